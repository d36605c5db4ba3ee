import { describe, expect, test } from '@jest/globals';
import { SecretError } from '../../../core/errors.ts';
import { type Expiring, createCredentialCache } from './credential-cache.ts';

const minute = 60_000;
const hour = 60 * minute;
const never = new AbortController().signal;
const tick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

type Key = Expiring & { readonly number: number };

/** A login whose keys live `lifeMs`, counted. */
function setUp({ lifeMs = hour, max = 10 } = {}) {
  let now = 1_000_000;
  const state = { logins: 0, failing: undefined as SecretError | undefined };
  const failures: SecretError[] = [];
  const cache = createCredentialCache<Key>({
    now: () => now,
    earlyMs: 5 * minute,
    max,
    onFailure: (error) => failures.push(error),
  });
  const login = async (): Promise<Key> => {
    const number = (state.logins += 1);
    await tick();
    if (state.failing !== undefined) throw state.failing;
    return { number, expiresAt: now + lifeMs };
  };
  const get = async (key = 'alice', signal = never): Promise<number> =>
    (await cache.get(key, signal, login)).number;
  return { cache, get, login, state, failures, pass: (ms: number): void => void (now += ms) };
}

test('one login for all who ask, and for all who come later', async () => {
  const { get, state } = setUp();
  expect(await Promise.all(Array.from({ length: 200 }, () => get()))).toEqual(Array(200).fill(1));
  expect(await get()).toBe(1);
  expect(state.logins).toBe(1);
});

test('nobody is given the credential of another identity', async () => {
  const { get } = setUp();
  expect(await Promise.all([get('alice'), get('bob')])).toEqual([1, 2]);
});

test('who started the login may leave; the others have it all the same', async () => {
  const { get, state } = setUp();
  const leaving = new AbortController();
  const first = get('alice', leaving.signal);
  const second = get();
  leaving.abort(new SecretError('CANCELLED', 'gone'));
  await expect(first).rejects.toThrow('gone');
  expect(await second).toBe(1);
  expect(state.logins).toBe(1);
});

test('a failed login is not kept', async () => {
  const { get, state } = setUp();
  state.failing = new SecretError('CREDENTIALS_UNAVAILABLE', 'away');
  await expect(get()).rejects.toThrow('away');
  state.failing = undefined;
  expect(await get()).toBe(2);
});

describe('towards its end', () => {
  test('it is made anew early and once, and nobody waits for that', async () => {
    const { get, pass } = setUp();
    await get();
    pass(54 * minute);
    expect(await get()).toBe(1);
    pass(2 * minute);
    expect(await Promise.all([get(), get(), get()])).toEqual([1, 1, 1]);
    await tick();
    expect(await get()).toBe(2);
  });

  test('one that lives shortly is used for at least half of its life', async () => {
    const { get, pass, state } = setUp({ lifeMs: 4 * minute });
    await get();
    pass(minute);
    await get();
    expect(state.logins).toBe(1);
    pass(1.5 * minute);
    await get();
    expect(state.logins).toBe(2);
  });

  test('while nobody makes a new one the old one serves, asked for again after 30 s', async () => {
    const { get, pass, state, failures } = setUp();
    await get();
    pass(56 * minute);
    state.failing = new SecretError('CREDENTIALS_UNAVAILABLE', 'away');
    expect(await get()).toBe(1);
    await tick();
    await tick();
    expect(await get()).toBe(1);
    expect(state.logins).toBe(2);
    expect(failures).toHaveLength(1);
    pass(30_000);
    await get();
    expect(state.logins).toBe(3);
  });

  test('half a minute before it ends it serves no more', async () => {
    const { get, pass, state } = setUp();
    await get();
    state.failing = new SecretError('CREDENTIALS_UNAVAILABLE', 'away');
    pass(hour - 30_000);
    await expect(get()).rejects.toThrow('away');
  });
});

describe('refused by the store', () => {
  test('it is made anew, unless it was just made', async () => {
    const { cache, login, pass } = setUp();
    const first = await cache.get('alice', never, login);
    cache.refused('alice', first);
    expect(await cache.get('alice', never, login)).toBe(first);
    pass(minute);
    cache.refused('alice', first);
    expect((await cache.get('alice', never, login)).number).toBe(2);
  });

  test('it is made anew where it was made before the clock was set back', async () => {
    const { cache, login, pass } = setUp();
    const first = await cache.get('alice', never, login);
    pass(-8 * hour);
    cache.refused('alice', first);
    expect((await cache.get('alice', never, login)).number).toBe(2);
  });

  test('a late complaint of a former one changes nothing', async () => {
    const { cache, login, pass } = setUp();
    const first = await cache.get('alice', never, login);
    pass(minute);
    cache.refused('alice', first);
    const second = await cache.get('alice', never, login);
    pass(minute);
    cache.refused('alice', first);
    expect(await cache.get('alice', never, login)).toBe(second);
  });
});

test('it keeps as many as it may, those used last', async () => {
  const { get, state } = setUp({ max: 2 });
  await get('a');
  await get('b');
  await get('a');
  await get('c');
  await get('a');
  expect(state.logins).toBe(3);
  await get('b');
  expect(state.logins).toBe(4);
});
