import { describe, expect, jest, test } from '@jest/globals';
import { RejectionCache } from '../../../concurrency/rejection-cache.ts';
import { runAs } from '../../../concurrency/caller.ts';
import { SecretError } from '../../../core/errors.ts';
import { CredentialGate } from './credential-gate.ts';

const neverAborted = new AbortController().signal;
const tick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Calls that the test ends. */
function createScriptedCall() {
  const pendingCalls: { succeed: () => void; fail: (error: SecretError) => void }[] = [];
  const call = (): Promise<string> =>
    new Promise((resolve, reject) =>
      pendingCalls.push({ succeed: () => resolve('value'), fail: reject }),
    );
  return { pendingCalls, call };
}

function createFixture() {
  let now = 0;
  const gate = new CredentialGate({
    rejectionCache: new RejectionCache({ now: () => now }),
    now: () => now,
  });
  const advanceClock = (ms: number): void => void (now += ms);
  return { gate, advanceClock };
}

describe('a credential that the store has not accepted yet', () => {
  test('is used by one call, and after its success by all calls at the same time', async () => {
    const { gate } = createFixture();
    const { pendingCalls, call } = createScriptedCall();
    const calls = Array.from({ length: 200 }, () => gate.run('key', neverAborted, call));
    await tick();
    expect(pendingCalls).toHaveLength(1);
    pendingCalls[0]?.succeed();
    await tick();
    expect(pendingCalls).toHaveLength(200);
    for (const { succeed } of pendingCalls) succeed();
    await expect(Promise.all(calls)).resolves.toHaveLength(200);
  });

  test('costs one call when the store refuses it, for waiting callers and within the next minute', async () => {
    const { gate, advanceClock } = createFixture();
    const { pendingCalls, call } = createScriptedCall();
    const refusedError = new SecretError('CREDENTIALS_REFUSED', 'wrong key');
    const calls = Array.from({ length: 500 }, () => gate.run('key', neverAborted, call));
    pendingCalls[0]?.fail(refusedError);
    for (const one of await Promise.allSettled(calls))
      expect(one).toEqual({ status: 'rejected', reason: refusedError });
    await expect(gate.run('key', neverAborted, call)).rejects.toBe(refusedError);
    expect(pendingCalls).toHaveLength(1);

    advanceClock(60_000);
    const retried = [gate.run('key', neverAborted, call), gate.run('key', neverAborted, call)];
    await tick();
    expect(pendingCalls).toHaveLength(2);
    pendingCalls[1]?.fail(refusedError);
    await Promise.allSettled(retried);
  });

  test('is probed again for callers that have more patience than the probe of an outage had', async () => {
    const { gate } = createFixture();
    const { pendingCalls, call } = createScriptedCall();
    const outage = new SecretError('STORE_UNAVAILABLE', 'away');
    const run = (patienceMs: number): Promise<string> =>
      runAs({ namespace: 'team-a', patience: () => patienceMs }, () =>
        gate.run('key', neverAborted, call),
      );
    const quick = [run(0), run(0)];
    const patient = [run(20_000), run(20_000)];
    pendingCalls[0]?.fail(outage);
    for (const one of await Promise.allSettled(quick))
      expect(one).toEqual({ status: 'rejected', reason: outage });
    await tick();
    expect(pendingCalls).toHaveLength(2);
    pendingCalls[1]?.succeed();
    await tick();
    pendingCalls[2]?.succeed();
    expect(await Promise.all(patient)).toEqual(['value', 'value']);
  });

  test('does not delay another credential', async () => {
    const { gate } = createFixture();
    const { pendingCalls, call } = createScriptedCall();
    const wrong = gate.run('wrong', neverAborted, call);
    const right = gate.run('right', neverAborted, call);
    await tick();
    expect(pendingCalls).toHaveLength(2);
    pendingCalls[0]?.fail(new SecretError('CREDENTIALS_REFUSED', 'wrong key'));
    pendingCalls[1]?.succeed();
    await expect(wrong).rejects.toThrow('wrong key');
    await expect(right).resolves.toBe('value');
  });

  test('is accepted by an error that does not concern the credential', async () => {
    const { gate } = createFixture();
    const { pendingCalls, call } = createScriptedCall();
    const calls = [1, 2, 3].map(() => gate.run('key', neverAborted, call));
    pendingCalls[0]?.fail(new SecretError('OBJECT_NOT_FOUND', 'no such secret'));
    await expect(calls[0]).rejects.toThrow('no such secret');
    await tick();
    expect(pendingCalls).toHaveLength(3);
    for (const { succeed } of pendingCalls) succeed();
    await Promise.all(calls.slice(1));
  });

  test('fails all waiting callers in an outage, and the next call tries again', async () => {
    const { gate } = createFixture();
    const { pendingCalls, call } = createScriptedCall();
    const calls = [1, 2, 3].map(() => gate.run('key', neverAborted, call));
    pendingCalls[0]?.fail(new SecretError('STORE_UNAVAILABLE', 'away'));
    for (const one of calls) await expect(one).rejects.toThrow('away');
    const next = gate.run('key', neverAborted, call);
    await tick();
    pendingCalls[1]?.succeed();
    await expect(next).resolves.toBe('value');
  });

  test('is probed by the next caller when the first one leaves', async () => {
    const { gate } = createFixture();
    const { pendingCalls, call } = createScriptedCall();
    const abortController = new AbortController();
    const first = gate.run('key', abortController.signal, call);
    const second = gate.run('key', neverAborted, call);
    abortController.abort(new SecretError('CANCELLED', 'gone'));
    pendingCalls[0]?.fail(new SecretError('CANCELLED', 'gone'));
    await expect(first).rejects.toThrow('gone');
    await tick();
    expect(pendingCalls).toHaveLength(2);
    pendingCalls[1]?.succeed();
    await expect(second).resolves.toBe('value');
  });

  test('releases a waiting caller at once when its signal fires', async () => {
    const { gate } = createFixture();
    const { pendingCalls, call } = createScriptedCall();
    const first = gate.run('key', neverAborted, call);
    const abortController = new AbortController();
    const second = gate.run('key', abortController.signal, call);
    abortController.abort(new SecretError('CANCELLED', 'gone'));
    await expect(second).rejects.toThrow('gone');
    pendingCalls[0]?.succeed();
    await first;
  });
});

test('probes an accepted credential again after a refusal', async () => {
  const { gate, advanceClock } = createFixture();
  const { pendingCalls, call } = createScriptedCall();
  const first = gate.run('key', neverAborted, call);
  pendingCalls[0]?.succeed();
  await first;
  const second = gate.run('key', neverAborted, call);
  pendingCalls[1]?.fail(new SecretError('CREDENTIALS_REFUSED', 'revoked'));
  await expect(second).rejects.toThrow('revoked');
  await expect(gate.run('key', neverAborted, call)).rejects.toThrow('revoked');
  advanceClock(60_000);
  const calls = [1, 2].map(() => gate.run('key', neverAborted, call));
  await tick();
  expect(pendingCalls).toHaveLength(3);
  pendingCalls[2]?.succeed();
  await tick();
  pendingCalls[3]?.succeed();
  await Promise.all(calls);
});

describe('a credential that the store accepted more than a second ago', () => {
  async function createAcceptedFixture() {
    const { gate, advanceClock } = createFixture();
    const script = createScriptedCall();
    const first = gate.run('key', neverAborted, script.call);
    script.pendingCalls.shift()?.succeed();
    await first;
    advanceClock(1_000);
    return { gate, ...script };
  }

  test('is probed by one call: a revoked key costs one bad call, not 200', async () => {
    const { gate, pendingCalls, call } = await createAcceptedFixture();
    const calls = Array.from({ length: 200 }, () => gate.run('key', neverAborted, call));
    await tick();
    expect(pendingCalls).toHaveLength(1);
    pendingCalls[0]?.fail(new SecretError('CREDENTIALS_REFUSED', 'revoked'));
    for (const outcome of await Promise.allSettled(calls))
      expect(outcome).toMatchObject({ status: 'rejected', reason: { message: 'revoked' } });
    expect(pendingCalls).toHaveLength(1);
  });

  test('lets the others go when the probe fails for another reason, such as an outage', async () => {
    const { gate, pendingCalls, call } = await createAcceptedFixture();
    const calls = Array.from({ length: 3 }, () => gate.run('key', neverAborted, call));
    await tick();
    pendingCalls[0]?.fail(new SecretError('STORE_UNAVAILABLE', 'away'));
    await expect(calls[0]).rejects.toThrow('away');
    await tick();
    expect(pendingCalls).toHaveLength(3);
    for (const { succeed } of pendingCalls) succeed();
    await expect(Promise.all(calls.slice(1))).resolves.toEqual(['value', 'value']);
  });

  test('lets the others go after a second of waiting for the probe', async () => {
    jest.useFakeTimers({ doNotFake: ['setImmediate', 'nextTick', 'queueMicrotask'] });
    try {
      const { gate, pendingCalls, call } = await createAcceptedFixture();
      const calls = [1, 2].map(() => gate.run('key', neverAborted, call));
      await jest.advanceTimersByTimeAsync(999);
      expect(pendingCalls).toHaveLength(1);
      await jest.advanceTimersByTimeAsync(1);
      expect(pendingCalls).toHaveLength(2);
      for (const { succeed } of pendingCalls) succeed();
      await Promise.all(calls);
    } finally {
      jest.useRealTimers();
    }
  });
});
