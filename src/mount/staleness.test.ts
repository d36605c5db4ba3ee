import { describe, expect, jest, test } from '@jest/globals';
import { Registry } from 'prom-client';
import { SecretError } from '../core/errors.ts';
import type { Workload } from '../core/workload.ts';
import { Staleness } from './staleness.ts';

const minute = 60_000;
const unavailable = new SecretError('STORE_UNAVAILABLE', 'connection refused');

function createFixture({ ownClock = false } = {}) {
  const clock = { now: 1_000_000_000 };
  const registry = new Registry();
  const warnings: string[] = [];
  const staleness = new Staleness({
    registry,
    ...(!ownClock && { now: () => clock.now }),
    events: {
      warn: ({ namespace, name, uid }, { code }) =>
        void warnings.push(`${namespace}/${name} ${uid} ${code}`),
    },
  });
  const workload = (pod: string, namespace = 'shop'): Workload => ({
    tenant: namespace,
    identity: { name: 'web' },
    instance: `uid-${pod}`,
    volume: `${namespace} ${pod}`,
    pod: { name: pod, uid: `uid-${pod}` },
    tokens: new Map(),
    secrets: new Map(),
  });
  return {
    clock,
    warnings,
    recordSuccess: (pod: string, namespace?: string) =>
      staleness.recordSuccess(workload(pod, namespace)),
    recordFailure: (pod: string, className = 'app', namespace?: string, error = unavailable) =>
      staleness.recordFailure(workload(pod, namespace), className, error),
    /** `namespace/class: seconds`, by namespace and class. */
    async metricLines(): Promise<string[]> {
      const metric = await registry.getSingleMetric('keyferry_stale_seconds')!.get();
      return metric.values
        .map(({ labels, value }) => `${labels.namespace}/${labels.class}: ${value}`)
        .sort();
    },
  };
}

describe('a running pod whose republish fails', () => {
  test('is measured by a monotonic clock', async () => {
    const { recordSuccess, recordFailure, metricLines } = createFixture({ ownClock: true });
    const monotonic = jest.spyOn(performance, 'now').mockReturnValue(1_000);
    recordSuccess('a');
    const wall = jest.spyOn(Date, 'now').mockReturnValue(Date.now() + 1_440 * minute);
    monotonic.mockReturnValue(6_000);
    recordFailure('a');
    expect(await metricLines()).toEqual(['shop/app: 5']);
    wall.mockRestore();
    monotonic.mockRestore();
  });

  test('is measured from its last success until the next one', async () => {
    const { clock, recordSuccess, recordFailure, metricLines } = createFixture();
    recordSuccess('a');
    clock.now += minute;
    expect(await metricLines()).toEqual([]);
    recordFailure('a');
    expect(await metricLines()).toEqual(['shop/app: 60']);
    clock.now += minute;
    recordFailure('a');
    clock.now += 30_000;
    expect(await metricLines()).toEqual(['shop/app: 150']);
    recordSuccess('a');
    expect(await metricLines()).toEqual([]);
  });

  test('is shown as the longest of its class', async () => {
    const { clock, recordSuccess, recordFailure, metricLines } = createFixture();
    recordSuccess('old');
    clock.now += minute;
    recordSuccess('young');
    recordFailure('old');
    recordFailure('young');
    recordFailure('old', 'other-class');
    expect(await metricLines()).toEqual(['shop/app: 0', 'shop/other-class: 60']);
  });

  test('causes a warning each time: the event writer limits their rate', () => {
    const { recordSuccess, recordFailure, warnings } = createFixture();
    recordSuccess('a');
    recordFailure('a');
    recordFailure('a');
    expect(warnings).toEqual(Array(2).fill('shop/a uid-a STORE_UNAVAILABLE'));
  });

  test('expires ten minutes after the last request: the driver reports no unmount', async () => {
    const { clock, recordSuccess, recordFailure, metricLines } = createFixture();
    recordSuccess('a');
    recordFailure('a');
    clock.now += 10 * minute;
    expect(await metricLines()).toHaveLength(1);
    clock.now += 1;
    expect(await metricLines()).toEqual([]);
    recordFailure('a');
    expect(await metricLines()).toEqual([]);
  });

  test('expires after three of its own intervals: drivers up to 1.5 can rotate once a day', async () => {
    const { clock, recordSuccess, recordFailure, metricLines } = createFixture();
    recordSuccess('a');
    clock.now += 60 * minute;
    recordFailure('a');
    clock.now += 179 * minute;
    expect(await metricLines()).toHaveLength(1);
    clock.now += 2 * minute;
    expect(await metricLines()).toEqual([]);
  });
});

describe('not counted as stale', () => {
  test('a first mount that fails: the kubelet shows it', async () => {
    const { recordFailure, metricLines, warnings } = createFixture();
    recordFailure('a');
    expect([await metricLines(), warnings]).toEqual([[], []]);
  });

  test.each(['CANCELLED', 'SHUTTING_DOWN'] as const)(
    'a request that ends with %s',
    async (code) => {
      const { recordSuccess, recordFailure, metricLines, warnings } = createFixture();
      recordSuccess('a');
      recordFailure('a', 'app', 'shop', new SecretError(code, 'gone'));
      expect([await metricLines(), warnings]).toEqual([[], []]);
    },
  );
});

test('labels are bounded, and one tenant cannot use up the labels of others', async () => {
  const { recordSuccess, recordFailure, metricLines } = createFixture();
  for (let index = 0; index < 50; index += 1) {
    recordSuccess(`pod-${index}`, 'greedy');
    recordFailure(`pod-${index}`, `class-${index}`, 'greedy');
  }
  recordSuccess('a', 'modest');
  recordFailure('a', 'app', 'modest');
  expect(await metricLines()).toHaveLength(22);
  expect(await metricLines()).toEqual(expect.arrayContaining(['modest/app: 0', 'greedy/other: 0']));
  for (let index = 0; index < 150; index += 1) {
    recordSuccess('a', `team-${index}`);
    recordFailure('a', 'app', `team-${index}`);
  }
  const namespaces = new Set((await metricLines()).map((line) => line.split('/')[0]));
  expect(namespaces.size).toBe(101);
  expect(await metricLines()).toContain('other/other: 0');
});
