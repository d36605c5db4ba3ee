import { describe, expect, test } from '@jest/globals';
import { createRefusals } from '../../../concurrency/rejection-cache.ts';
import { SecretError } from '../../../core/errors.ts';
import { createProving } from './credential-gate.ts';

const never = new AbortController().signal;
const tick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Calls that end when told to. */
function scripted() {
  const ends: { succeed: () => void; fail: (error: SecretError) => void }[] = [];
  const call = (): Promise<string> =>
    new Promise((resolve, reject) => ends.push({ succeed: () => resolve('value'), fail: reject }));
  return { ends, call };
}

function setUp() {
  let now = 0;
  const proving = createProving({ refusals: createRefusals({ now: () => now }) });
  const pass = (ms: number): void => void (now += ms);
  return { proving, pass };
}

describe('a credential nobody has seen accepted yet', () => {
  test('is used by one call; once accepted, by all at once', async () => {
    const { proving } = setUp();
    const { ends, call } = scripted();
    const all = Array.from({ length: 200 }, () => proving.run('key', never, call));
    await tick();
    expect(ends).toHaveLength(1);
    ends[0]?.succeed();
    await tick();
    expect(ends).toHaveLength(200);
    for (const { succeed } of ends) succeed();
    await expect(Promise.all(all)).resolves.toHaveLength(200);
  });

  test('refused, it costs one call for all who wait and for all who come within the minute', async () => {
    const { proving, pass } = setUp();
    const { ends, call } = scripted();
    const refusal = new SecretError('CREDENTIALS_REFUSED', 'wrong key');
    const all = Array.from({ length: 500 }, () => proving.run('key', never, call));
    ends[0]?.fail(refusal);
    for (const one of await Promise.allSettled(all))
      expect(one).toEqual({ status: 'rejected', reason: refusal });
    await expect(proving.run('key', never, call)).rejects.toBe(refusal);
    expect(ends).toHaveLength(1);

    pass(60_000);
    const again = [proving.run('key', never, call), proving.run('key', never, call)];
    await tick();
    expect(ends).toHaveLength(2);
    ends[1]?.fail(refusal);
    await Promise.allSettled(again);
  });

  test('another credential is tried at once', async () => {
    const { proving } = setUp();
    const { ends, call } = scripted();
    const wrong = proving.run('wrong', never, call);
    const right = proving.run('right', never, call);
    await tick();
    expect(ends).toHaveLength(2);
    ends[0]?.fail(new SecretError('CREDENTIALS_REFUSED', 'wrong key'));
    ends[1]?.succeed();
    await expect(wrong).rejects.toThrow('wrong key');
    await expect(right).resolves.toBe('value');
  });

  test('an answer that is no success proves it too', async () => {
    const { proving } = setUp();
    const { ends, call } = scripted();
    const all = [1, 2, 3].map(() => proving.run('key', never, call));
    ends[0]?.fail(new SecretError('OBJECT_NOT_FOUND', 'no such secret'));
    await expect(all[0]).rejects.toThrow('no such secret');
    await tick();
    expect(ends).toHaveLength(3);
    for (const { succeed } of ends) succeed();
    await Promise.all(all.slice(1));
  });

  test('in an outage all who wait learn of it at once, and the next one tries anew', async () => {
    const { proving } = setUp();
    const { ends, call } = scripted();
    const all = [1, 2, 3].map(() => proving.run('key', never, call));
    ends[0]?.fail(new SecretError('STORE_UNAVAILABLE', 'away'));
    for (const one of all) await expect(one).rejects.toThrow('away');
    const next = proving.run('key', never, call);
    await tick();
    ends[1]?.succeed();
    await expect(next).resolves.toBe('value');
  });

  test('where the first one leaves, the second one takes over', async () => {
    const { proving } = setUp();
    const { ends, call } = scripted();
    const leaving = new AbortController();
    const first = proving.run('key', leaving.signal, call);
    const second = proving.run('key', never, call);
    leaving.abort(new SecretError('CANCELLED', 'gone'));
    ends[0]?.fail(new SecretError('CANCELLED', 'gone'));
    await expect(first).rejects.toThrow('gone');
    await tick();
    expect(ends).toHaveLength(2);
    ends[1]?.succeed();
    await expect(second).resolves.toBe('value');
  });

  test('who leaves while waiting leaves at once', async () => {
    const { proving } = setUp();
    const { ends, call } = scripted();
    const first = proving.run('key', never, call);
    const leaving = new AbortController();
    const second = proving.run('key', leaving.signal, call);
    leaving.abort(new SecretError('CANCELLED', 'gone'));
    await expect(second).rejects.toThrow('gone');
    ends[0]?.succeed();
    await first;
  });
});

test('a proven credential that is refused has to be proven again', async () => {
  const { proving, pass } = setUp();
  const { ends, call } = scripted();
  const first = proving.run('key', never, call);
  ends[0]?.succeed();
  await first;
  const second = proving.run('key', never, call);
  ends[1]?.fail(new SecretError('CREDENTIALS_REFUSED', 'revoked'));
  await expect(second).rejects.toThrow('revoked');
  await expect(proving.run('key', never, call)).rejects.toThrow('revoked');
  pass(60_000);
  const all = [1, 2].map(() => proving.run('key', never, call));
  await tick();
  expect(ends).toHaveLength(3);
  ends[2]?.succeed();
  await tick();
  ends[3]?.succeed();
  await Promise.all(all);
});
