import { describe, expect, jest, test } from '@jest/globals';
import { Registry } from 'prom-client';
import { SecretError } from '../core/errors.ts';
import type { Workload } from '../core/workload.ts';
import { createStaleness } from './staleness.ts';

const minute = 60_000;
const trouble = new SecretError('STORE_UNAVAILABLE', 'nobody answers');

function watch({ ownClock = false } = {}) {
  const clock = { now: 1_000_000_000 };
  const registry = new Registry();
  const told: string[] = [];
  const staleness = createStaleness({
    registry,
    ...(!ownClock && { now: () => clock.now }),
    events: {
      warn: ({ namespace, name, uid }, { code }) =>
        void told.push(`${namespace}/${name} ${uid} ${code}`),
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
    told,
    served: (pod: string, namespace?: string) => staleness.served(workload(pod, namespace)),
    failed: (pod: string, className = 'app', namespace?: string, error = trouble) =>
      staleness.failed(workload(pod, namespace), className, error),
    /** `namespace/class: seconds`, by namespace and class. */
    async shown(): Promise<string[]> {
      const metric = await registry.getSingleMetric('keyferry_stale_seconds')!.get();
      return metric.values
        .map(({ labels, value }) => `${labels.namespace}/${labels.class}: ${value}`)
        .sort();
    },
  };
}

describe('a running pod whose republish fails', () => {
  test('is counted by a clock that nobody sets', async () => {
    const { served, failed, shown } = watch({ ownClock: true });
    served('a');
    const wall = jest.spyOn(Date, 'now').mockReturnValue(Date.now() + 1_440 * minute);
    failed('a');
    expect(await shown()).toEqual([expect.stringMatching(/^shop\/app: \d(\D|$)/)]);
    wall.mockRestore();
  });

  test('is counted from its last success, until one succeeds', async () => {
    const { clock, served, failed, shown } = watch();
    served('a');
    clock.now += minute;
    expect(await shown()).toEqual([]);
    failed('a');
    expect(await shown()).toEqual(['shop/app: 60']);
    clock.now += minute;
    failed('a');
    clock.now += 30_000;
    expect(await shown()).toEqual(['shop/app: 150']);
    served('a');
    expect(await shown()).toEqual([]);
  });

  test('shows by the longest of its class', async () => {
    const { clock, served, failed, shown } = watch();
    served('old');
    clock.now += minute;
    served('young');
    failed('old');
    failed('young');
    failed('old', 'other-class');
    expect(await shown()).toEqual(['shop/app: 0', 'shop/other-class: 60']);
  });

  test('is told to its owner each time: who writes the event knows how often', () => {
    const { served, failed, told } = watch();
    served('a');
    failed('a');
    failed('a');
    expect(told).toEqual(Array(2).fill('shop/a uid-a STORE_UNAVAILABLE'));
  });

  test('is forgotten with its pod, which ends without a word', async () => {
    const { clock, served, failed, shown } = watch();
    served('a');
    failed('a');
    clock.now += 10 * minute;
    expect(await shown()).toHaveLength(1);
    clock.now += 1;
    expect(await shown()).toEqual([]);
    failed('a');
    expect(await shown()).toEqual([]);
  });

  test('is waited for as long as it lets wait: drivers up to 1.5 can rotate once a day', async () => {
    const { clock, served, failed, shown } = watch();
    served('a');
    clock.now += 60 * minute;
    failed('a');
    clock.now += 179 * minute;
    expect(await shown()).toHaveLength(1);
    clock.now += 2 * minute;
    expect(await shown()).toEqual([]);
  });
});

describe('what is no silence', () => {
  test('a first mount that fails: the kubelet shows it', async () => {
    const { failed, shown, told } = watch();
    failed('a');
    expect([await shown(), told]).toEqual([[], []]);
  });

  test.each(['CANCELLED', 'SHUTTING_DOWN'] as const)(
    '%s says nothing of the store',
    async (code) => {
      const { served, failed, shown, told } = watch();
      served('a');
      failed('a', 'app', 'shop', new SecretError(code, 'gone'));
      expect([await shown(), told]).toEqual([[], []]);
    },
  );
});

test('labels are bounded, whatever tenants do, and none takes the names of others', async () => {
  const { served, failed, shown } = watch();
  for (let index = 0; index < 50; index += 1) {
    served(`pod-${index}`, 'greedy');
    failed(`pod-${index}`, `class-${index}`, 'greedy');
  }
  served('a', 'modest');
  failed('a', 'app', 'modest');
  expect(await shown()).toHaveLength(22);
  expect(await shown()).toEqual(expect.arrayContaining(['modest/app: 0', 'greedy/other: 0']));
  for (let index = 0; index < 150; index += 1) {
    served('a', `team-${index}`);
    failed('a', 'app', `team-${index}`);
  }
  const namespaces = new Set((await shown()).map((line) => line.split('/')[0]));
  expect(namespaces.size).toBe(101);
  expect(await shown()).toContain('other/other: 0');
});
