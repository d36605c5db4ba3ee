import { describe, expect, test } from '@jest/globals';
import { absent, failed, grantOf, hang, value } from '../../test/fakes/scripted-provider.ts';
import {
  advance,
  createStoreRig,
  minute,
  onFakeClock,
  second,
  settle,
  told,
} from '../../test/fakes/store-rig.ts';
import { SecretError } from '../core/errors.ts';
import type { Provider } from '../core/provider.ts';

onFakeClock();

const left = new SecretError('CANCELLED', 'left');
const waiter = () => ({ signal: new AbortController().signal, deadline: Date.now() + minute });

describe('a read', () => {
  test('answers each grant in its place, whatever the others come to', async () => {
    const { store, provider } = createStoreRig();
    provider.script('slow', async () => {
      await new Promise((resolve) => setTimeout(resolve, second));
      return value('slow');
    });
    provider.script('quick', value('quick'));
    provider.script('denied', failed('ACCESS_DENIED'));
    const names = ['slow', 'absent', 'quick', 'denied', 'slow'];
    const grants = names.map((ref) => grantOf({ ref }));
    const reading = store.read(provider, grants, waiter());
    await advance(second);
    const outcomes = await reading;
    expect(outcomes.map(told)).toEqual([
      'slow',
      'absent OBJECT_NOT_FOUND',
      'quick',
      'failed ACCESS_DENIED',
      'slow',
    ]);
    expect(outcomes.map(({ ref }) => ref)).toEqual(grants.map(({ ref }) => ref));
  });

  test('asks all that a mount needs in one batch, and each question once', async () => {
    const { store, provider } = createStoreRig();
    const grants = ['a', 'b', 'c', 'a'].map((ref) => grantOf({ ref }));
    await store.read(provider, grants, waiter());
    expect(provider.calls.map(({ name, batch }) => [name, batch])).toEqual([
      ['a', 0],
      ['b', 0],
      ['c', 0],
    ]);
  });

  test('of nothing asks nothing', async () => {
    const { store, provider } = createStoreRig();
    expect(await store.read(provider, [], waiter())).toEqual([]);
    expect(provider.calls).toEqual([]);
  });

  test("rejects with its own signal's reason as soon as it fires, and leaves no other read behind", async () => {
    const { store, provider } = createStoreRig();
    provider.script('hung', hang);
    provider.script('also', hang);
    const leaver = new AbortController();
    const reading = store.read(provider, [grantOf({ ref: 'hung' }), grantOf({ ref: 'also' })], {
      ...waiter(),
      signal: leaver.signal,
    });
    await settle();
    leaver.abort(left);
    await expect(reading).rejects.toBe(left);
    expect(provider.calls.map(({ signal }) => signal.aborted)).toEqual([true, true]);
  });

  test('has served a grant once all of its volume was answered', async () => {
    const { store, provider, ask } = createStoreRig();
    provider.script('db', value('one'));
    const grant = grantOf({});
    expect(store.hasServed(grant)).toBe(false);
    await ask(grant);
    expect(store.hasServed(grant)).toBe(true);
    expect(store.hasServed(grantOf({ pod: 'other' }))).toBe(false);
    expect(store.hasServed(grantOf({ principal: 'other' }))).toBe(false);
    expect(store.hasServed(grantOf({ ref: 'other' }))).toBe(false);
  });
});

describe('a provider that misbehaves', () => {
  const misbehaving: [string, (provider: Provider) => Provider['fetch'], string][] = [
    [
      'throws',
      () => () => {
        throw new Error('as scripted');
      },
      'failed INTERNAL',
    ],
    [
      'rejects',
      () => (requests) => requests.map(() => Promise.reject(new Error('as scripted'))),
      'failed INTERNAL',
    ],
    [
      'rejects with an error of the house',
      () => (requests) => requests.map(() => Promise.reject(new SecretError('ACCESS_DENIED', 'as scripted'))),
      'failed ACCESS_DENIED',
    ],
    ['answers nothing', () => () => [], 'failed INTERNAL'],
  ];
  test.each(misbehaving)('and %s fails its own reads, and is asked again', async (_, fetch, expected) => {
    const { store, provider } = createStoreRig();
    provider.script('a', value('one'));
    provider.script('b', value('two'));
    const grants = [grantOf({ ref: 'a' }), grantOf({ ref: 'b' })];
    const bad = { ...provider, fetch: fetch(provider) };
    expect((await store.read(bad, grants, waiter())).map(told)).toEqual([expected, expected]);
    expect((await store.read(provider, grants, waiter())).map(told)).toEqual(['one', 'two']);
  });

  test('and answers too few fails those that are left', async () => {
    const { store, provider } = createStoreRig();
    provider.script('a', value('one'));
    const short: Provider = { ...provider, fetch: (requests) => provider.fetch(requests.slice(0, 1)) };
    const outcomes = await store.read(short, [grantOf({ ref: 'a' }), grantOf({ ref: 'b' })], waiter());
    expect(outcomes.map(told)).toEqual(['one', 'failed INTERNAL']);
  });

  test('and throws says so in the house’s words, with the cause for the log', async () => {
    const { store, provider } = createStoreRig();
    const cause = new Error('secret detail');
    const bad: Provider = { ...provider, fetch: () => [Promise.reject(cause)] };
    const [outcome] = await store.read(bad, [grantOf({})], waiter());
    expect(outcome).toMatchObject({ kind: 'failed', error: { cause } });
    expect((outcome as { error: SecretError }).error.summary).not.toContain('secret detail');
  });
});

describe('fallbacks', () => {
  const fallback = (ref: string, principal = 'principal') => grantOf({ ref, principal });
  const withFallbacks = grantOf({ fallbacks: [fallback('second', 'second'), fallback('third', 'third')] });
  const asked = (provider: { calls: readonly { name: string }[] }) => provider.calls.map(({ name }) => name);

  test('are not asked while the primary answers', async () => {
    const { provider, ask } = createStoreRig();
    provider.script('db', value('one'));
    expect(await ask(withFallbacks)).toBe('one');
    expect(asked(provider)).toEqual(['db']);
  });

  test('are asked in order when nobody answers; each as its own principal', async () => {
    const { provider, read } = createStoreRig();
    provider.script('db', failed());
    provider.script('second', failed('STORE_THROTTLED'));
    provider.script('third', value('three'));
    const outcome = await read(withFallbacks);
    expect(told(outcome)).toBe('three');
    expect(outcome).toMatchObject({ ref: { name: 'db' }, served: { name: 'third' } });
    expect(provider.calls.map(({ name, principal }) => [name, principal])).toEqual([
      ['db', 'principal'],
      ['second', 'second'],
      ['third', 'third'],
    ]);
  });

  test.each([
    ['a denial', failed('ACCESS_DENIED'), 'failed ACCESS_DENIED'],
    ['absence', absent(), 'absent OBJECT_NOT_FOUND'],
    ['a fault of the request', failed('INVALID_REQUEST'), 'failed INVALID_REQUEST'],
    ['one of our limits', failed('STORE_ANSWER_TOO_LARGE'), 'failed STORE_ANSWER_TOO_LARGE'],
  ])('are not asked after %s', async (_, answer, expected) => {
    const { provider, ask } = createStoreRig();
    provider.script('db', answer);
    provider.script('second', value('two'));
    expect(await ask(withFallbacks)).toBe(expected);
    expect(asked(provider)).toEqual(['db']);
  });

  test.each([
    ['has no credentials', failed('CREDENTIALS_REFUSED')],
    ['is denied', failed('ACCESS_DENIED')],
    ['does not have the secret', absent()],
    ['fails in a way of its own', failed('INTERNAL')],
  ])('one that %s fails alone', async (_, answer) => {
    const { provider, ask } = createStoreRig();
    provider.script('db', failed());
    provider.script('second', answer);
    provider.script('third', value('three'));
    expect(await ask(withFallbacks)).toBe('three');
  });

  test("the primary's failure is told when all fail, and the next request begins with it again", async () => {
    const { provider, ask } = createStoreRig();
    provider.script('db', failed('STORE_UNAVAILABLE'), value('one'));
    provider.script('second', failed('CREDENTIALS_REFUSED'));
    provider.script('third', failed('STORE_THROTTLED'));
    expect(await ask(withFallbacks)).toBe('failed STORE_UNAVAILABLE');
    expect(await ask(withFallbacks)).toBe('one');
  });

  test('each attempt but the last has half of the time that is left', async () => {
    const { provider, ask } = createStoreRig();
    const begun: [string, number][] = [];
    const start = Date.now();
    for (const name of ['db', 'second', 'third']) {
      provider.script(name, (call) => {
        begun.push([name, Date.now() - start]);
        return hang(call);
      });
    }
    const asking = ask(withFallbacks, { patience: 40 * second });
    await advance(40 * second);
    expect(begun).toEqual([
      ['db', 0],
      ['second', 20 * second],
      ['third', 30 * second],
    ]);
    // The last one has all the rest: here its own 30 s, since no signal has fired.
    await advance(20 * second);
    expect(await asking).toBe('failed STORE_TIMEOUT');
    expect(provider.calls.every(({ signal }) => signal.aborted)).toBe(true);
  });

  test("a reader's leaving ends the walk", async () => {
    const { provider, ask } = createStoreRig();
    provider.script('db', hang);
    const leaver = new AbortController();
    const asking = ask(withFallbacks, { signal: leaver.signal });
    await settle();
    leaver.abort(left);
    await expect(asking).rejects.toBe(left);
    await settle();
    expect(asked(provider)).toEqual(['db']);
  });

  test('give way to the last good value of the primary only when all have failed', async () => {
    const { provider, ask, pass } = createStoreRig();
    provider.script('db', value('one'), failed());
    provider.script('second', value('two'), failed());
    provider.script('third', failed());
    await ask(withFallbacks);
    await pass(30 * second);
    expect(await ask(withFallbacks)).toBe('two');
    await pass(30 * second);
    expect(await ask(withFallbacks)).toBe('one');
    expect(asked(provider)).toEqual(['db', 'db', 'second', 'db', 'second', 'third']);
  });

  test("never stand under the primary's key: who has no fallback is not served by them", async () => {
    const { provider, ask } = createStoreRig();
    provider.script('db', failed());
    provider.script('second', value('two'));
    expect(await ask(withFallbacks)).toBe('two');
    expect(await ask(grantOf({ pod: 'other' }))).toBe('failed STORE_UNAVAILABLE');
  });

  test('are cached under their own key, and the primary is tried first each time', async () => {
    const { provider, ask } = createStoreRig();
    provider.script('db', failed(), failed(), value('one'));
    provider.script('second', value('two'));
    expect(await ask(withFallbacks)).toBe('two');
    expect(await ask(withFallbacks)).toBe('two');
    expect(await ask(withFallbacks)).toBe('one');
    expect(asked(provider)).toEqual(['db', 'second', 'db', 'db']);
  });

  test('a pod served by one counts as served; for the primary it is still new', async () => {
    const { store, provider, ask, pass } = createStoreRig({ refreshInterval: 60 * minute });
    provider.script('db', value('one'), failed(), value('two'));
    provider.script('second', value('fallback'));
    await ask(grantOf({ pod: 'other' }));
    await pass(16 * minute);
    expect(await ask(withFallbacks)).toBe('fallback');
    expect(store.hasServed(withFallbacks)).toBe(true);
    expect(await ask(withFallbacks)).toBe('two');
    expect(provider.calls.at(-1)!.known).toBeUndefined();
  });

  test("a fallback's denial drops what was cached for it", async () => {
    const { provider, ask, pass } = createStoreRig();
    provider.script('db', failed());
    provider.script('second', value('two'), failed('ACCESS_DENIED'), failed());
    provider.script('third', failed());
    await ask(withFallbacks);
    await pass(30 * second);
    expect(await ask(withFallbacks)).toBe('failed STORE_UNAVAILABLE');
    expect(await ask(fallback('second', 'second'))).toBe('failed STORE_UNAVAILABLE');
  });
});
