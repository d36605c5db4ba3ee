import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import fc from 'fast-check';
import {
  type SecretKind,
  type ResponseProfile,
  createModelStore,
  fallbackKind,
  secretKinds,
} from '../../test/fakes/model-store.ts';
import { type ScriptedResponse, grantOf } from '../../test/fakes/scripted-provider.ts';
import { createCacheOracle } from '../../test/fakes/cache-oracle.ts';
import {
  createCacheFixture,
  hour,
  minute,
  useFakeClock,
  second,
  flushTasks,
} from '../../test/fakes/cache-fixture.ts';
import { SecretError } from '../core/errors.ts';
import type { Grant } from '../core/provider.ts';

useFakeClock();

const unhandled: unknown[] = [];
const recordUnhandled = (reason: unknown): unknown => unhandled.push(reason);
beforeEach(() => void process.on('unhandledRejection', recordUnhandled));
afterEach(() => void process.off('unhandledRejection', recordUnhandled));

/** One step of a scenario. */
type Step =
  | {
      readonly do: 'read';
      readonly pod: number;
      readonly kind: number;
      readonly shared: boolean;
      readonly leaves?: number;
    }
  | { readonly do: 'advance clock'; readonly ms: number }
  | {
      readonly do: 'toggle';
      readonly fact: 'denied' | 'gone' | 'down' | 'ended' | 'budget';
      readonly kind: number;
      readonly principal: number;
    }
  | { readonly do: 'write'; readonly kind: number }
  /** A pod ends, and another one replaces it. */
  | { readonly do: 'end'; readonly pod: number };

const smallIndex = fc.nat({ max: 2 });
const leaves = fc.option(fc.oneof(fc.nat({ max: 20 }), fc.nat({ max: 100 * second })), {
  nil: undefined,
  freq: 3,
});
const readStep = fc.record({
  do: fc.constant('read' as const),
  pod: fc.nat({ max: 4 }),
  kind: smallIndex,
  shared: fc.boolean(),
  leaves,
});
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 10, arbitrary: readStep as fc.Arbitrary<Step> },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('advance clock' as const),
      ms: fc.oneof(
        fc.nat({ max: 20 }),
        fc.nat({ max: 40 * second }),
        fc.nat({ max: 10 * minute }),
        fc.constantFrom(30 * second, 9 * minute, 14 * minute, 16 * minute, hour),
      ),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('toggle' as const),
      fact: fc.constantFrom('denied', 'denied', 'gone', 'down', 'down', 'ended', 'budget'),
      kind: smallIndex,
      principal: smallIndex,
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('write' as const), kind: smallIndex }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('end' as const), pod: fc.nat({ max: 4 }) }) },
);

const profiles: fc.Arbitrary<ResponseProfile> = fc.record({
  waits: fc.oneof({ weight: 4, arbitrary: fc.constant(0) }, fc.nat({ max: 60 * second })),
  takes: fc.oneof({ weight: 4, arbitrary: fc.nat({ max: 20 }) }, fc.nat({ max: 40 * second })),
  heeds: fc.boolean(),
  confirms: fc.boolean(),
  like: fc.constantFrom('leased', 'shareable', 'moving'),
});

const scenario = fc.record({
  kinds: fc.shuffledSubarray([...secretKinds], { minLength: 1, maxLength: 3 }),
  refreshIntervalMs: fc.constantFrom(0, 30 * second, 2 * minute),
  maxStaleMs: fc.constantFrom(0, 10 * minute, 30 * minute),
  // No rule may depend on a tick in time.
  ticks: fc.boolean(),
  watched: fc.boolean(),
  steps: fc.array(step, { minLength: 20, maxLength: 90, size: 'max' }),
  profiles: fc.array(profiles, { minLength: 5, maxLength: 40 }),
});

const namespaceOf = (pod: number): string => `team-${pod % 2}`;

/** The grant of a pod: with the principal of its account, or with the one that all share. */
function grantFor({ ref, scope }: SecretKind, pod: number, name: string, shared: boolean): Grant {
  const namespace = namespaceOf(pod);
  const principal = shared ? 'shared' : namespace;
  const podFields = { namespace, pod: name, principal };
  const fallbacks = ref.name === 'first' ? [grantOf({ ...fallbackKind, ...podFields })] : [];
  return grantOf({ ref, scope, ...podFields, fallbacks });
}

/** Runs a scenario on a cache and checks every outcome with the oracle. */
async function runScenario(
  plan: typeof scenario extends fc.Arbitrary<infer T> ? T : never,
): Promise<void> {
  const now = (): number => Date.now();
  let responseCount = 0;
  const model = createModelStore(
    now,
    () => plan.profiles[(responseCount += 1) % plan.profiles.length]!,
  );
  const violations: unknown[] = [];
  const respond: ScriptedResponse = (call) => {
    try {
      oracle.onCall(call);
    } catch (thrown) {
      violations.push(thrown);
    }
    return model.respond(call);
  };
  const restarts = new Map<number, number>();
  const gone = new Set<string>();
  const podName = (pod: number): string => `pod-${pod}.${restarts.get(pod) ?? 0}`;
  const { cache, provider } = createCacheFixture({
    ...plan,
    defaultResponse: respond,
    ...(plan.watched && { presence: (instance) => (gone.has(instance) ? 'gone' : 'here') }),
  });
  const oracle = createCacheOracle({ model, now, ...plan, releases: provider.releases });
  provider.scriptRenewals(model.renew);
  let waiting = 0;

  const read = async (grant: Grant, abortAfterMs: number | undefined): Promise<void> => {
    const abortController = new AbortController();
    const reason = new SecretError('CANCELLED', 'left');
    const timeoutMs = abortAfterMs ?? 110 * second;
    const abortTimer = setTimeout(() => abortController.abort(reason), timeoutMs);
    const since = now();
    waiting += 1;
    try {
      const deadline = since + timeoutMs;
      const [outcome] = await cache.read(provider, [grant], {
        signal: abortController.signal,
        deadline,
      });
      oracle.onOutcome({ grant, waitingSince: since, timeoutMs }, outcome!);
    } catch (thrown) {
      if (thrown !== reason) violations.push(thrown);
    } finally {
      waiting -= 1;
      clearTimeout(abortTimer);
    }
  };

  const advanceClock = async (ms: number): Promise<void> => {
    let elapsed = false;
    setTimeout(() => (elapsed = true), ms);
    const hasElapsed = (): boolean => elapsed;
    while (!hasElapsed() && jest.getTimerCount() > 0) {
      jest.advanceTimersToNextTimer();
      await flushTasks();
    }
  };

  const runStep = async (action: Step): Promise<void> => {
    if (action.do === 'advance clock') {
      for (let slice = 0; slice < 8; slice++) {
        if (plan.ticks) cache.tick();
        await advanceClock(action.ms / 8);
      }
      return;
    }
    if (action.do === 'end') {
      gone.add(podName(action.pod));
      restarts.set(action.pod, (restarts.get(action.pod) ?? 0) + 1);
      return;
    }
    const kind = plan.kinds[action.kind % plan.kinds.length]!;
    const { name } = kind.ref;
    if (action.do === 'read')
      void read(grantFor(kind, action.pod, podName(action.pod), action.shared), action.leaves);
    else if (action.do === 'write') model.write(name);
    else if (action.fact === 'budget') model.toggle('budget spent');
    else if (action.fact === 'denied')
      model.toggle(`denied ${['team-0', 'team-1', 'shared'][action.principal]!} ${name}`);
    else model.toggle(`${action.fact} ${name}`);
    await flushTasks();
  };

  try {
    for (const action of plan.steps) {
      await runStep(action);
      if (violations.length > 0) throw violations[0];
    }
    await advanceClock(5 * minute);
    if (violations.length > 0) throw violations[0];
    expect(waiting).toBe(0);
    cache.tick();
    await flushTasks();
    oracle.end(plan.watched ? gone : undefined);
    expect(unhandled).toEqual([]);
  } finally {
    jest.clearAllTimers();
  }
}

/**
 * The environment can set another seed, or more runs. A failure prints the seed and the path to its
 * smallest case.
 */
test('no scenario serves a value that the contract does not allow', async () => {
  const maxShrinkRuns = 500;
  let sinceFailure = 0;
  // A run that is interrupted at the time limit still uses the fake clock: the next one waits.
  let lastRun: Promise<unknown> = Promise.resolve();
  const runAlone = async (...args: Parameters<typeof runScenario>): Promise<void> => {
    await lastRun;
    const run = runScenario(...args);
    lastRun = run.catch(() => undefined);
    await run;
  };
  const property = fc.asyncProperty(scenario, async (plan) => {
    // After this many runs of shrinking, the failing scenario is small enough.
    if (sinceFailure > maxShrinkRuns) return;
    try {
      await runAlone(plan);
      if (sinceFailure > 0) sinceFailure += 1;
    } catch (thrown) {
      sinceFailure += 1;
      throw thrown;
    }
  });
  const seed = Number(process.env.STORE_PROPERTY_SEED ?? 20_240_229);
  const runs = Number(process.env.STORE_PROPERTY_RUNS ?? 240);
  // Each part ends within the time limit of a property.
  for (let part = 0; part < runs / 60; part += 1)
    await fc.assert(property, { seed: seed + part, numRuns: 60 });
}, 120_000);
