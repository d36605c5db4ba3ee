import type { Logger } from 'pino';
import { type SecretError, toSecretError } from '../../core/errors.ts';
import { type RotationStatus, toFailure } from '../agent-api.ts';
import type { Rotation } from '../config/types.ts';
import type { Wanted } from '../delivery/deliver.ts';
import { type DeliveryRecord, isSameDelivery, variableKey } from '../delivery/delivery-record.ts';
import type { Engine } from '../engine/engine.ts';
import type { RotationMetrics } from './metrics.ts';
import { type Owing, type Strategy, restart, roll, signal } from './strategies.ts';
import type { HealthDelays } from './until-healthy.ts';

/** A service whose containers can be brought up to date. */
export type RotatableService = {
  readonly wanted: Wanted;
  /** What its volumes hold. */
  readonly current: DeliveryRecord | undefined;
  /** What the last rotation has brought to its containers, and when. */
  readonly rotated: DeliveryRecord | undefined;
  /** The keys of its secrets that a running container has in an earlier version. */
  readonly outdated: readonly string[];
  /** Whether a container has its secrets. */
  readonly isInUse: boolean;
  markRotated(delivery: DeliveryRecord): Promise<void>;
};

/** What a {@link Rotator} needs. */
export type RotatorDeps = {
  readonly engine: Engine;
  readonly metrics?: RotationMetrics | undefined;
  readonly delays?: RotationDelays | undefined;
  readonly owing: Owing;
  readonly log: Logger;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
};

/** In milliseconds. */
export type RotationDelays = Partial<HealthDelays> & {
  /** How long after `docker dso up` its services are left alone. Default 15 s. */
  readonly holdMs?: number;
  /** Before a failed rotation is tried again; it doubles up to ten minutes. Default 30 s. */
  readonly retryMs?: number;
};

/** Of services at once: all that share a secret change together. */
const rotationsAtOnce = 4;
const maxRetryMs = 600_000;

type State = {
  isRunning: boolean;
  failure?: SecretError;
  failures: number;
  retryAt: number;
  /** What it was to bring. Another delivery is tried at once. */
  failedFor?: DeliveryRecord;
  timer?: NodeJS.Timeout;
  /** Whether this process has looked for what an earlier one has left half done. */
  isResumed: boolean;
};

/**
 * Brings changed secrets to running containers, as the rotation of their service says: one action
 * for a service, however many of its secrets have changed. See docs/adr/0023.
 */
export class Rotator {
  readonly #deps: RotatorDeps;
  readonly #delays: HealthDelays & { readonly holdMs: number; readonly retryMs: number };
  readonly #states = new WeakMap<RotatableService, State>();
  /** Until when the services of a project are left alone. */
  readonly #held = new Map<string, number>();
  readonly #waiting: RotatableService[] = [];
  readonly #running = new Set<Promise<void>>();
  readonly #stop = new AbortController();

  constructor(deps: RotatorDeps) {
    this.#deps = deps;
    this.#delays = {
      ...{ healthMs: 300_000, settleMs: 3_000, pollMs: 500, holdMs: 15_000, retryMs: 30_000 },
      ...deps.delays,
    };
  }

  /**
   * Rotates a service, if it needs that and no attempt is under way: now or, after a failure or
   * `docker dso up`, later. To be called when its secrets have been read again, changed or not.
   * @returns whether it needs that
   */
  consider(service: RotatableService): boolean {
    const state = this.#stateOf(service);
    if (!isDue(service, state)) return false;
    if (state.isRunning || this.#stop.signal.aborted) return true;
    clearTimeout(state.timer);
    const heldUntil = this.#held.get(service.wanted.injection.project) ?? 0;
    const retryAt = isSameDelivery(service.current, state.failedFor) ? state.retryAt : 0;
    const waitMs = Math.max(heldUntil, retryAt) - this.#deps.now();
    if (waitMs > 0) {
      // A clock that was set back makes it long.
      const timeoutMs = Math.min(waitMs, maxRetryMs);
      state.timer = setTimeout(() => this.consider(service), timeoutMs);
      state.timer.unref();
      return true;
    }
    state.isRunning = true;
    this.#waiting.push(service);
    this.#runNext();
    return true;
  }

  /** Compose is about to make the containers of a project again, where that is needed. */
  hold(project: string): void {
    const at = this.#deps.now();
    for (const [name, until] of this.#held) if (until <= at) this.#held.delete(name);
    this.#held.set(project, at + this.#delays.holdMs);
  }

  /** Undefined: nothing happens to its containers when a secret changes. */
  status(service: RotatableService): RotationStatus | undefined {
    const { strategy } = service.wanted.injection.rotation ?? {};
    if (strategyOf(service) === undefined || strategy === undefined || strategy === 'none')
      return undefined;
    const { isRunning, failure } = this.#stateOf(service);
    const isUnderWay = isRunning && (failure === undefined || service.outdated.length > 0);
    return {
      ...{ strategy, state: isUnderWay ? 'running' : failure ? 'failed' : 'idle' },
      ...(service.rotated && { rotatedAt: service.rotated.at }),
      ...(failure && { failure: toFailure(failure) }),
    };
  }

  /** Begins no further step. @returns the end of the steps that have begun, if there are some */
  stop(): Promise<unknown> | undefined {
    this.#stop.abort();
    this.#waiting.length = 0;
    return this.#running.size === 0 ? undefined : Promise.all(this.#running);
  }

  #runNext(): void {
    if (this.#stop.signal.aborted || this.#running.size >= rotationsAtOnce) return;
    const service = this.#waiting.shift();
    if (service === undefined) return;
    const rotation = this.#rotate(service).finally(() => {
      this.#running.delete(rotation);
      this.#runNext();
    });
    this.#running.add(rotation);
    this.#runNext();
  }

  async #rotate(service: RotatableService): Promise<void> {
    const { engine, metrics, owing, log, now } = this.#deps;
    const { wanted, current: target, outdated: changed } = service;
    const { injection } = wanted;
    const { project, service: name, rotation } = injection;
    const state = this.#stateOf(service);
    const strategy = strategyOf(service);
    const fields = { project, service: name, strategy: rotation?.strategy };
    const startedAt = now();
    try {
      if (strategy === undefined || rotation === undefined || target === undefined) return;
      if (changed.length > 0) log.info({ ...fields, changed }, 'rotation begins');
      await strategy({
        ...{ injection, rotation, engine, delays: this.#delays, signal: this.#stop.signal },
        owing,
        isOutdated: () => service.outdated.length > 0,
      });
      state.isResumed = true;
      state.failures = 0;
      delete state.failure;
      if (changed.length === 0) return;
      await service.markRotated(target);
      metrics?.record(rotation.strategy, 'succeeded');
      log.info({ ...fields, ms: now() - startedAt }, 'rotated');
    } catch (thrown) {
      if (this.#stop.signal.aborted) return;
      const error = toSecretError(thrown);
      const waitMs = Math.min(this.#delays.retryMs * 2 ** state.failures, maxRetryMs);
      if (changed.length > 0) state.failures += 1;
      if (target !== undefined) state.failedFor = target;
      state.retryAt = now() + waitMs;
      if (rotation === undefined || changed.length === 0) return;
      state.failure = error;
      metrics?.record(rotation.strategy, 'failed');
      log.warn(
        { ...fields, code: error.code, reason: error.summary, retryInMs: waitMs },
        'rotation failed: containers keep the earlier secrets',
      );
    } finally {
      state.isRunning = false;
      // Another version may have come meanwhile, and a failure is tried again.
      this.consider(service);
    }
  }

  #stateOf(service: RotatableService): State {
    let state = this.#states.get(service);
    if (state === undefined) {
      state = { isRunning: false, failures: 0, retryAt: -Infinity, isResumed: false };
      this.#states.set(service, state);
    }
    return state;
  }
}

const strategies: Readonly<Record<Rotation['strategy'], Strategy | undefined>> = {
  ...{ restart, rolling: roll, signal, auto: restart },
  none: undefined,
};

function strategyOf({ wanted: { injection } }: RotatableService): Strategy | undefined {
  const { rotation } = injection;
  return rotation?.enabled === true ? strategies[rotation.strategy] : undefined;
}

function isDue(service: RotatableService, { isResumed, failure }: State): boolean {
  const strategy = strategyOf(service);
  if (strategy === undefined || service.current === undefined) return false;
  if (strategy === roll && !isResumed) return true;
  // All containers can have the current versions, and one does not run well with them.
  if (failure !== undefined) return true;
  const { outdated } = service;
  // A running program sees its files change. Its variables need another start.
  return service.wanted.injection.rotation?.strategy === 'auto'
    ? outdated.some((key) => key.startsWith(variableKey('')))
    : outdated.length > 0;
}
