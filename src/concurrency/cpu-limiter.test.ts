import { describe, expect, test } from '@jest/globals';
import { SecretError } from '../core/errors.ts';
import { createCpuShare } from './cpu-limiter.ts';

const patient = { signal: new AbortController().signal };

/** A share whose clock moves by work, by standing still, and by waiting. */
function rig() {
  const clock = { worked: 0, stood: 0 };
  const began = performance.now();
  const now = (): number => clock.worked + clock.stood + performance.now() - began;
  const share = createCpuShare({ now, cpu: () => clock.worked, share: 0.5, burstMs: 20, freeMs: 5 });
  const order: string[] = [];
  const work = (namespace: string, ms: number, waiter = patient): Promise<void> =>
    share.run(namespace, waiter, () => {
      order.push(namespace);
      clock.worked += ms;
    });
  return { clock, share, order, work };
}

describe('a share of the thread', () => {
  test('is used at once, and what was thrown is thrown', async () => {
    const share = createCpuShare();
    expect(await share.run('a', patient, () => 'done')).toBe('done');
    const failing = share.run('a', patient, () => {
      throw new SecretError('NOT_JSON', 'no');
    });
    await expect(failing).rejects.toMatchObject({ code: 'NOT_JSON' });
  });

  test('lets whoever had too much wait, and nobody else', async () => {
    const { order, work } = rig();
    await work('greedy', 100);
    const begun = performance.now();
    const later = work('greedy', 1);
    await work('modest', 30);
    expect(order).toEqual(['greedy', 'modest']);
    await later;
    // 80 too many, half of which is earned by the modest one's own 30 ms.
    expect(performance.now() - begun).toBeGreaterThan(100);
    expect(order).toEqual(['greedy', 'modest', 'greedy']);
  });

  test('does not count what ordinary classes need', async () => {
    const { order, work } = rig();
    const begun = performance.now();
    for (let piece = 0; piece < 200; piece += 1) await work('busy', 4);
    expect(performance.now() - begun).toBeLessThan(500);
    expect(order).toHaveLength(200);
  });

  test("does not count time in which the process stood still: a throttled container is nobody's fault", async () => {
    const { clock, share, order, work } = rig();
    await share.run('slow', patient, () => (clock.stood += 10_000));
    await work('slow', 1);
    expect(order).toEqual(['slow']);
  });

  test('is waited for no longer than the caller does', async () => {
    const { order, work } = rig();
    await work('greedy', 10_000);
    const caller = new AbortController();
    const waiting = work('greedy', 1, { signal: caller.signal });
    const left = new SecretError('CANCELLED', 'left');
    setTimeout(() => caller.abort(left), 5);
    await expect(waiting).rejects.toBe(left);
    expect(order).toEqual(['greedy']);
  });
});
