import { afterEach, beforeEach, jest } from '@jest/globals';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import type { Grant, Outcome, Provider } from '../../src/core/provider.ts';
import type { Presence } from '../../src/cache/leases.ts';
import { createCacheMetrics } from '../../src/cache/metrics.ts';
import { SecretCache, type Waiter } from '../../src/cache/secret-cache.ts';
import {
  createScriptedProvider,
  grantOf,
  value,
  type ScriptedResponse,
  type ScriptedProvider,
} from './scripted-provider.ts';

export const second = 1_000;
export const minute = 60 * second;
export const hour = 60 * minute;

export type CacheFixture = {
  readonly cache: SecretCache;
  readonly provider: ScriptedProvider;
  /** Reads one grant as a waiter with `timeoutMs` milliseconds left (default 100,000). */
  readonly read: (
    grant: Grant,
    waiter?: { signal?: AbortSignal; timeoutMs?: number },
  ) => Promise<Outcome>;
  /** As `read`, formatted by {@link formatOutcome}. */
  readonly readText: (
    grant: Grant,
    waiter?: { signal?: AbortSignal; timeoutMs?: number },
  ) => Promise<string>;
  /** The sum of a metric's values with these labels. */
  readonly count: (metric: string, labels?: Record<string, string>) => Promise<number>;
  /** The warnings that the cache logged. */
  readonly warnings: readonly object[];
  /** Advances the fake clock, and calls `tick` every 10 s. */
  readonly advanceClock: (ms: number) => Promise<void>;
  /**
   * As `advanceClock`, while another pod of the node requests its own secret every minute, as it
   * does if the driver rotates.
   */
  readonly advanceClockWithTraffic: (ms: number) => Promise<void>;
};

/** Gives every test of a file its own fake clock. */
export function useFakeClock(): void {
  beforeEach(() => {
    jest.useFakeTimers({
      now: 1_000_000_000,
      doNotFake: ['nextTick', 'queueMicrotask', 'setImmediate'],
    });
  });
  afterEach(() => {
    jest.useRealTimers();
  });
}

/** Runs all tasks that do not wait for a timer. */
export function flushTasks(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/**
 * Advances the fake clock. Timers fire in order, and each one's tasks run before the next timer.
 */
export async function advanceTimers(ms: number): Promise<void> {
  await flushTasks();
  await jest.advanceTimersByTimeAsync(ms);
}

/** Records the delivery of what it reads, as a successful mount does. */
class DeliveringCache extends SecretCache {
  override async read(
    provider: Provider,
    grants: readonly Grant[],
    waiter: Waiter,
  ): Promise<readonly Outcome[]> {
    const outcomes = await super.read(provider, grants, waiter);
    if (outcomes.every(({ kind }) => kind !== 'failed')) this.recordDelivery(grants, outcomes);
    return outcomes;
  }
}

/** A cache over a scripted provider, on the fake clock. Jitter is off. */
export function createCacheFixture({
  refreshIntervalMs = 30 * second,
  maxStaleMs = 10 * minute,
  maxBytes = 32 * 1024 * 1024,
  defaultResponse,
  presence,
  patienceMs = 0,
}: {
  refreshIntervalMs?: number;
  maxStaleMs?: number;
  maxBytes?: number;
  defaultResponse?: ScriptedResponse;
  presence?: Presence;
  patienceMs?: number;
} = {}): CacheFixture {
  const provider = createScriptedProvider(defaultResponse === undefined ? {} : { defaultResponse });
  const registry = new Registry();
  const warnings: object[] = [];
  const cache = new DeliveringCache({
    now: () => Date.now(),
    random: () => 0,
    maxBytes,
    freshness: () => ({ refreshIntervalMs, maxStaleMs }),
    metrics: (bytes) => createCacheMetrics(registry, bytes),
    log: pino(
      { level: 'warn' },
      { write: (line) => void warnings.push(JSON.parse(line) as object) },
    ),
    ...(presence && { presence }),
    patienceMs,
  });
  const read: CacheFixture['read'] = async (
    grant,
    { signal = new AbortController().signal, timeoutMs = 100 * second } = {},
  ) => {
    const [outcome] = await cache.read(provider, [grant], {
      signal,
      deadline: Date.now() + timeoutMs,
    });
    return outcome!;
  };
  const advanceClock: CacheFixture['advanceClock'] = async (ms) => {
    const end = Date.now() + ms;
    while (Date.now() < end) {
      await advanceTimers(Math.min(10 * second, end - Date.now()));
      cache.tick();
      await flushTasks();
    }
  };
  return {
    cache,
    provider,
    warnings,
    read,
    advanceClock,
    async advanceClockWithTraffic(ms) {
      provider.script('of another', value('x', { immutable: true }));
      const otherGrant = grantOf({ ref: 'of another', pod: 'another' });
      for (
        const end = Date.now() + ms;
        Date.now() < end;
        await advanceClock(Math.min(minute, end - Date.now()))
      )
        await read(otherGrant);
    },
    readText: async (grant, waiter) => formatOutcome(await read(grant, waiter)),
    async count(metric, labels = {}) {
      const { values } = await registry.getSingleMetric(metric)!.get();
      const matching = values.filter((sample) =>
        Object.entries(labels).every(([label, value]) => sample.labels[label] === value),
      );
      return matching.reduce((sum, sample) => sum + sample.value, 0);
    },
  };
}

/** An outcome as a short text: the text of its value, or its kind and code. */
export function formatOutcome(outcome: Outcome): string {
  if (outcome.kind === 'value') return Buffer.from(outcome.value.bytes).toString();
  return `${outcome.kind} ${outcome.error.code}`;
}
