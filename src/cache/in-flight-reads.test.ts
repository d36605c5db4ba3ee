import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import {
  createScriptedProvider,
  failed,
  grantOf,
  hang,
  held,
  leased,
  value,
} from '../../test/fakes/scripted-provider.ts';
import { advance, createStoreRig, minute, onFakeClock, second, settle } from '../../test/fakes/store-rig.ts';
import { SecretError } from '../core/errors.ts';
import { createFlights } from './in-flight-reads.ts';

onFakeClock();

const left = new SecretError('CANCELLED', 'left');
const crowd = (size: number, grantFor = (index: number) => grantOf({ pod: `pod-${index}` })) =>
  Array.from({ length: size }, (_, index) => ({ grant: grantFor(index), leaver: new AbortController() }));

const unhandled: unknown[] = [];
const note = (reason: unknown): unknown => unhandled.push(reason);
beforeEach(() => void process.on('unhandledRejection', note));
afterEach(async () => {
  await settle();
  process.off('unhandledRejection', note);
  expect(unhandled).toEqual([]);
});

describe('readers of one secret', () => {
  test('200 at once are one question', async () => {
    const { provider, ask } = createStoreRig();
    const answer = held();
    provider.script('db', answer.answer);
    const asking = crowd(200).map(({ grant }) => ask(grant));
    await settle();
    answer.give(value('one'));
    expect(new Set(await Promise.all(asking))).toEqual(new Set(['one']));
    expect(provider.calls).toHaveLength(1);
  });

  test('the first of 200 leaves: 199 are served by the one question', async () => {
    const { provider, ask } = createStoreRig();
    const answer = held();
    provider.script('db', answer.answer);
    const readers = crowd(200);
    const asking = readers.map(({ grant, leaver }) => ask(grant, { signal: leaver.signal }));
    await settle();
    readers[0]!.leaver.abort(left);
    await expect(asking[0]).rejects.toBe(left);
    expect(provider.calls[0]!.signal.aborted).toBe(false);
    answer.give(value('one'));
    expect(new Set(await Promise.all(asking.slice(1)))).toEqual(new Set(['one']));
    expect(provider.calls).toHaveLength(1);
  });

  test("all leave: the question's signal fires, and each has its own reason", async () => {
    const { provider, ask } = createStoreRig();
    provider.script('db', hang);
    const readers = crowd(200);
    const asking = readers.map(({ grant, leaver }) => ask(grant, { signal: leaver.signal }));
    await settle();
    const reasons = readers.map((_, index) => new SecretError('CANCELLED', `reader ${index}`));
    readers.forEach(({ leaver }, index) => leaver.abort(reasons[index]));
    const settled = await Promise.allSettled(asking);
    expect(settled.map((outcome) => (outcome as PromiseRejectedResult).reason as unknown)).toEqual(reasons);
    expect(provider.calls[0]!.signal.aborted).toBe(true);
  });

  test('share a failure too, and nobody who comes later does', async () => {
    const { provider, ask } = createStoreRig();
    const answer = held();
    provider.script('db', answer.answer, value('one'));
    const asking = crowd(20).map(({ grant }) => ask(grant));
    await settle();
    answer.give(failed('STORE_UNAVAILABLE'));
    expect(new Set(await Promise.all(asking))).toEqual(new Set(['failed STORE_UNAVAILABLE']));
    expect(await ask(grantOf({}))).toBe('one');
  });

  test('of another principal, ref, version or body ask for themselves', async () => {
    const { provider, ask } = createStoreRig();
    const answer = held();
    provider.script('db', answer.answer);
    const ref = { service: 'kms', name: 'db' };
    const grants = [
      grantOf({}),
      grantOf({ principal: 'other' }),
      ...['region', 'endpoint', 'role', 'version', 'stage', 'body'].map((field) =>
        grantOf({ ref: { ...ref, [field]: 'x' } }),
      ),
      grantOf({ ref: { ...ref, method: 'POST' } }),
      grantOf({ ref: { ...ref, service: 'oos' } }),
    ];
    const asking = grants.map((grant) => ask(grant));
    await settle();
    expect(provider.calls).toHaveLength(grants.length);
    grants.forEach((_, index) => answer.give(value(`${index}`)));
    expect(await Promise.all(asking)).toEqual(grants.map((_, index) => `${index}`));
    // And what they were told is kept apart.
    expect(await Promise.all(grants.map((grant) => ask(grant)))).toEqual(
      grants.map((_, index) => `${index}`),
    );
  });

  test('who leave at once ask nothing that stays', async () => {
    const { provider, ask } = createStoreRig();
    provider.script('db', hang, value('one'));
    await expect(ask(grantOf({}), { signal: AbortSignal.abort(left) })).rejects.toBe(left);
    await settle();
    expect(provider.calls.every(({ signal }) => signal.aborted)).toBe(true);
  });
});

describe('an answer that comes when nobody waits any more', () => {
  test('is not filed, and its lease is given back', async () => {
    const { provider, ask, count } = createStoreRig();
    const late = held();
    provider.script('db', late.answer, value('two'));
    const leaver = new AbortController();
    const leaving = ask(grantOf({}), { signal: leaver.signal });
    await settle();
    leaver.abort(left);
    await expect(leaving).rejects.toBe(left);
    late.give(leased('one', Date.now() + minute));
    await settle();
    expect(await count('keyferry_cache_bytes')).toBe(0);
    expect(provider.releases).toMatchObject([{ lease: 'lease of one' }]);
    expect(await ask(grantOf({}))).toBe('two');
  });

  test('does not take the place of the answer to the next question', async () => {
    const { provider, ask } = createStoreRig();
    const late = held();
    provider.script('db', late.answer, value('two'));
    const leaver = new AbortController();
    const leaving = ask(grantOf({}), { signal: leaver.signal });
    await settle();
    leaver.abort(left);
    await expect(leaving).rejects.toBe(left);
    expect(await ask(grantOf({}))).toBe('two');
    late.give(value('one'));
    await settle();
    expect(await ask(grantOf({}))).toBe('two');
  });
});

describe('a question', () => {
  test('has 30 s from when its budget lets it go, however patient its readers are', async () => {
    const { provider, ask } = createStoreRig();
    let start = (): void => undefined;
    provider.script('db', ({ onStart }) => {
      start = onStart;
      return new Promise(() => undefined);
    });
    const asking = ask(grantOf({}));
    await advance(60 * second);
    expect(provider.calls[0]!.signal.aborted).toBe(false);
    start();
    await advance(30 * second - 1);
    expect(provider.calls[0]!.signal.aborted).toBe(false);
    await advance(1);
    expect(await asking).toBe('failed STORE_TIMEOUT');
    expect(provider.calls[0]!.signal.aborted).toBe(true);
  });

  test('has no more when it is let go again, as for a second attempt', async () => {
    const { provider, ask } = createStoreRig();
    provider.script('db', async ({ onStart }) => {
      onStart();
      await new Promise((resolve) => setTimeout(resolve, 20 * second));
      onStart();
      return new Promise(() => undefined);
    });
    const asking = ask(grantOf({}));
    await advance(30 * second);
    expect(await asking).toBe('failed STORE_TIMEOUT');
  });

  test('that is let go when it is over leaves nothing behind', async () => {
    const { provider, ask } = createStoreRig();
    provider.script('db', value('one'));
    await ask(grantOf({}));
    provider.calls[0]!.onStart();
    await advance(30 * second);
    expect(provider.calls[0]!.signal.aborted).toBe(false);
  });

  test('that took too long is an outage: the last good value serves', async () => {
    const { provider, ask, pass } = createStoreRig();
    provider.script('db', value('one'), hang);
    await ask(grantOf({}));
    await pass(30 * second);
    const asking = ask(grantOf({}));
    await advance(30 * second);
    expect(await asking).toBe('one');
  });

  test('that took too long for the provider to heed: its late lease is given back', async () => {
    const { provider, ask } = createStoreRig();
    const late = held();
    provider.script('db', late.answer);
    const asking = ask(grantOf({}));
    await advance(30 * second);
    expect(await asking).toBe('failed STORE_TIMEOUT');
    late.give(leased('one', Date.now() + minute));
    await settle();
    expect(provider.releases).toMatchObject([{ lease: 'lease of one' }]);
  });

  test('that is refused its budget for two minutes ends', async () => {
    const { provider, ask } = createStoreRig();
    provider.script('db', () => new Promise(() => undefined));
    const asking = ask(grantOf({}), { patience: 10 * minute });
    await advance(2 * minute);
    expect(await asking).toBe('failed STORE_TIMEOUT');
  });

  test('is not the one that was abandoned: who comes then asks anew', async () => {
    const { provider, ask } = createStoreRig();
    provider.script('db', () => new Promise(() => undefined), value('two'));
    const leaver = new AbortController();
    const leaving = ask(grantOf({}), { signal: leaver.signal });
    await settle();
    leaver.abort(left);
    await expect(leaving).rejects.toBe(left);
    expect(await ask(grantOf({}))).toBe('two');
  });

  test('is not joined from the very moment in which it is abandoned', async () => {
    const flights = createFlights({
      ask: () => new Promise(() => undefined),
      now: () => Date.now(),
      stray: () => undefined,
    });
    const question = { provider: createScriptedProvider(), grant: grantOf({}), urgency: 'first' } as const;
    const flight = flights.begin('key', question, (result) => result);
    const leaver = new AbortController();
    const found = flight.join(leaver.signal).catch(() => flights.underWay('key'));
    expect(flights.underWay('key')).toBe(flight);
    leaver.abort(left);
    expect(await found).toBeUndefined();
  });
});
