import { describe, expect, test } from '@jest/globals';
import { SecretError } from '../../../core/errors.ts';
import { type Expiring, CredentialCache } from './credential-cache.ts';

const minute = 60_000;
const hour = 60 * minute;
const neverAborted = new AbortController().signal;
const tick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

type TestCredential = Expiring & { readonly loginNumber: number };

/** A login whose keys live `lifeMs`, counted. */
function createFixture({ lifeMs = hour, max = 10 } = {}) {
  let now = 1_000_000;
  const state = { logins: 0, loginError: undefined as SecretError | undefined };
  const failures: SecretError[] = [];
  const cache = new CredentialCache<TestCredential>({
    now: () => now,
    renewBeforeMs: 5 * minute,
    max,
    onFailure: (error) => failures.push(error),
  });
  const login = async (): Promise<TestCredential> => {
    const loginNumber = (state.logins += 1);
    await tick();
    if (state.loginError !== undefined) throw state.loginError;
    return { loginNumber, expiresAt: now + lifeMs };
  };
  const get = async (key = 'alice', signal = neverAborted): Promise<number> =>
    (await cache.get(key, signal, login)).loginNumber;
  return {
    cache,
    get,
    login,
    state,
    failures,
    advanceClock: (ms: number): void => void (now += ms),
  };
}

test('one login for all who ask, and for all who come later', async () => {
  const { get, state } = createFixture();
  expect(await Promise.all(Array.from({ length: 200 }, () => get()))).toEqual(Array(200).fill(1));
  expect(await get()).toBe(1);
  expect(state.logins).toBe(1);
});

test('nobody is given the credential of another identity', async () => {
  const { get } = createFixture();
  expect(await Promise.all([get('alice'), get('bob')])).toEqual([1, 2]);
});

test('who started the login may leave; the others have it all the same', async () => {
  const { get, state } = createFixture();
  const abortController = new AbortController();
  const first = get('alice', abortController.signal);
  const second = get();
  abortController.abort(new SecretError('CANCELLED', 'gone'));
  await expect(first).rejects.toThrow('gone');
  expect(await second).toBe(1);
  expect(state.logins).toBe(1);
});

test('a failed login is not kept', async () => {
  const { get, state } = createFixture();
  state.loginError = new SecretError('CREDENTIALS_UNAVAILABLE', 'away');
  await expect(get()).rejects.toThrow('away');
  state.loginError = undefined;
  expect(await get()).toBe(2);
});

describe('towards its end', () => {
  test('it is made anew early and once, and nobody waits for that', async () => {
    const { get, advanceClock } = createFixture();
    await get();
    advanceClock(54 * minute);
    expect(await get()).toBe(1);
    advanceClock(2 * minute);
    expect(await Promise.all([get(), get(), get()])).toEqual([1, 1, 1]);
    await tick();
    expect(await get()).toBe(2);
  });

  test('one that lives shortly is used for at least half of its life', async () => {
    const { get, advanceClock, state } = createFixture({ lifeMs: 4 * minute });
    await get();
    advanceClock(minute);
    await get();
    expect(state.logins).toBe(1);
    advanceClock(1.5 * minute);
    await get();
    expect(state.logins).toBe(2);
  });

  test('while nobody makes a new one the old one serves, asked for again after 30 s', async () => {
    const { get, advanceClock, state, failures } = createFixture();
    await get();
    advanceClock(56 * minute);
    state.loginError = new SecretError('CREDENTIALS_UNAVAILABLE', 'away');
    expect(await get()).toBe(1);
    await tick();
    await tick();
    expect(await get()).toBe(1);
    expect(state.logins).toBe(2);
    expect(failures).toHaveLength(1);
    advanceClock(30_000);
    await get();
    expect(state.logins).toBe(3);
  });

  test('half a minute before it ends it serves no more', async () => {
    const { get, advanceClock, state } = createFixture();
    await get();
    state.loginError = new SecretError('CREDENTIALS_UNAVAILABLE', 'away');
    advanceClock(hour - 30_000);
    await expect(get()).rejects.toThrow('away');
  });
});

describe('refused by the store', () => {
  test('it is made anew, unless it was just made', async () => {
    const { cache, login, advanceClock } = createFixture();
    const first = await cache.get('alice', neverAborted, login);
    cache.invalidate('alice', first);
    expect(await cache.get('alice', neverAborted, login)).toBe(first);
    advanceClock(minute);
    cache.invalidate('alice', first);
    expect((await cache.get('alice', neverAborted, login)).loginNumber).toBe(2);
  });

  test('it is made anew where it was made before the clock was set back', async () => {
    const { cache, login, advanceClock } = createFixture();
    const first = await cache.get('alice', neverAborted, login);
    advanceClock(-8 * hour);
    cache.invalidate('alice', first);
    expect((await cache.get('alice', neverAborted, login)).loginNumber).toBe(2);
  });

  test('a late complaint of a former one changes nothing', async () => {
    const { cache, login, advanceClock } = createFixture();
    const first = await cache.get('alice', neverAborted, login);
    advanceClock(minute);
    cache.invalidate('alice', first);
    const second = await cache.get('alice', neverAborted, login);
    advanceClock(minute);
    cache.invalidate('alice', first);
    expect(await cache.get('alice', neverAborted, login)).toBe(second);
  });
});

test('it keeps as many as it may, those used last', async () => {
  const { get, state } = createFixture({ max: 2 });
  await get('a');
  await get('b');
  await get('a');
  await get('c');
  await get('a');
  expect(state.logins).toBe(3);
  await get('b');
  expect(state.logins).toBe(4);
});
