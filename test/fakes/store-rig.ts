import { afterEach, beforeEach, jest } from '@jest/globals';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import type { Grant, Outcome } from '../../src/core/provider.ts';
import type { Presence } from '../../src/cache/leases.ts';
import { createStoreMetrics } from '../../src/cache/metrics.ts';
import { createSecretStore, type SecretStore } from '../../src/cache/secret-cache.ts';
import {
  createScriptedProvider,
  grantOf,
  value,
  type Answer,
  type ScriptedProvider,
} from './scripted-provider.ts';

export const second = 1_000;
export const minute = 60 * second;
export const hour = 60 * minute;

export type StoreRig = {
  readonly store: SecretStore;
  readonly provider: ScriptedProvider;
  /** One grant read by a waiter with `patience` milliseconds left (100 s). */
  readonly read: (grant: Grant, waiter?: { signal?: AbortSignal; patience?: number }) => Promise<Outcome>;
  /** As `read`, in a word. */
  readonly ask: (grant: Grant, waiter?: { signal?: AbortSignal; patience?: number }) => Promise<string>;
  /** The sum of a metric's values with these labels. */
  readonly count: (metric: string, labels?: Record<string, string>) => Promise<number>;
  /** What it logged. */
  readonly warnings: readonly object[];
  /** Lets time pass, and the store's clock tick every 10 s of it. */
  readonly pass: (ms: number) => Promise<void>;
  /** As `pass`, while another pod of the node asks for something of its own every minute, as it does where the driver rotates. */
  readonly passAmongOthers: (ms: number) => Promise<void>;
};

/** Puts every test of a file on a clock of its own. */
export function onFakeClock(): void {
  beforeEach(() => {
    jest.useFakeTimers({ now: 1_000_000_000, doNotFake: ['nextTick', 'queueMicrotask', 'setImmediate'] });
  });
  afterEach(() => {
    jest.useRealTimers();
  });
}

/** Lets everything happen that waits for no timer. */
export function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Lets time pass: timers fire in their order, and what they set off is done before the next one. */
export async function advance(ms: number): Promise<void> {
  await settle();
  await jest.advanceTimersByTimeAsync(ms);
}

/** A store over a scripted provider, on the fake clock. Jitter is off. */
export function createStoreRig({
  refreshInterval = 30 * second,
  maxStale = 10 * minute,
  maxBytes = 32 * 1024 * 1024,
  otherwise,
  presence,
}: {
  refreshInterval?: number;
  maxStale?: number;
  maxBytes?: number;
  otherwise?: Answer;
  presence?: Presence;
} = {}): StoreRig {
  const provider = createScriptedProvider(otherwise === undefined ? {} : { otherwise });
  const registry = new Registry();
  const warnings: object[] = [];
  const bare = createSecretStore({
    now: () => Date.now(),
    random: () => 0,
    maxBytes,
    freshness: () => ({ refreshInterval, maxStale }),
    metrics: (bytes) => createStoreMetrics(registry, bytes),
    log: pino({ level: 'warn' }, { write: (line) => void warnings.push(JSON.parse(line) as object) }),
    ...(presence && { presence }),
  });
  /** As a mount reads: whatever was read without a failure was also mounted. */
  const store: SecretStore = {
    ...bare,
    async read(by, grants, waiter) {
      const outcomes = await bare.read(by, grants, waiter);
      if (outcomes.every(({ kind }) => kind !== 'failed')) bare.remember(grants, outcomes);
      return outcomes;
    },
  };
  const read: StoreRig['read'] = async (
    grant,
    { signal = new AbortController().signal, patience = 100 * second } = {},
  ) => {
    const [outcome] = await store.read(provider, [grant], { signal, deadline: Date.now() + patience });
    return outcome!;
  };
  const pass: StoreRig['pass'] = async (ms) => {
    const end = Date.now() + ms;
    while (Date.now() < end) {
      await advance(Math.min(10 * second, end - Date.now()));
      store.tick();
      await settle();
    }
  };
  return {
    store,
    provider,
    warnings,
    read,
    pass,
    async passAmongOthers(ms) {
      provider.script('of another', value('x', { immutable: true }));
      const another = grantOf({ ref: 'of another', pod: 'another' });
      for (const end = Date.now() + ms; Date.now() < end; await pass(Math.min(minute, end - Date.now())))
        await read(another);
    },
    ask: async (grant, waiter) => told(await read(grant, waiter)),
    async count(metric, labels = {}) {
      const { values } = await registry.getSingleMetric(metric)!.get();
      const named = values.filter((sample) =>
        Object.entries(labels).every(([label, value]) => sample.labels[label] === value),
      );
      return named.reduce((sum, sample) => sum + sample.value, 0);
    },
  };
}

/** An outcome in a word: the text of its value, or its kind and code. */
export function told(outcome: Outcome): string {
  if (outcome.kind === 'value') return Buffer.from(outcome.value.bytes).toString();
  return `${outcome.kind} ${outcome.error.code}`;
}
