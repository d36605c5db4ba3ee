import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { type SecretError, toSecretError } from '../../core/errors.ts';
import type {
  ContainerState,
  Engine,
  ListedContainer,
  StartedContainer,
} from '../engine/engine.ts';
import type { BegunRestarts } from './begun-restarts.ts';
import type { ServiceMounts } from './service-mounts.ts';

/** What an {@link EngineRecovery} needs. */
export type EngineRecoveryDeps = {
  readonly engine: Engine;
  /** Where the volumes lie. */
  readonly volumesDir: string;
  /** The services with mounts. */
  readonly services: () => readonly ServiceMounts[];
  /** Whether the agent knows what belongs into the volume of this name. */
  readonly canMount: (volume: string) => boolean;
  readonly unmount: (volume: string, id: string) => Promise<void>;
  readonly onContainerStart: (container: StartedContainer) => void;
  readonly restarts: Pick<BegunRestarts, 'owed' | 'settle'>;
  readonly log: Logger;
  readonly delays?: RecoveryDelays | undefined;
};

/** In milliseconds. */
export type RecoveryDelays = {
  /** Before the first retry of a start. Default 10 s. */
  readonly firstRetryMs?: number;
  /** From the end of a container to the moment when its mounts must be gone. Default 5 s. */
  readonly settleMs?: number;
};

/** Between two attempts to reach an engine that is away. */
const reconnectMs = 1_000;
const maxRetryMs = 300_000;
const startsAtOnce = 4;
const restartPolicies = ['always', 'unless-stopped', 'on-failure'];

/**
 * What the agent asks of the engine, each time when it finds the engine serving, and when a
 * container has ended:
 * - Mounts that no container has are forgotten. An engine that was killed does not unmount, neither
 *   does one that has not reached the agent, nor one with live-restore for a container of the
 *   engine before it.
 * - Containers that could not start because of the agent are started. The engine tries each of them
 *   once: when it starts itself, or when the container has ended. See docs/adr/0021.
 * - Containers that the agent has stopped for a restart that failed are started.
 *
 * None of it happens within a request of the engine, which would wait for itself.
 */
export class EngineRecovery {
  readonly #deps: EngineRecoveryDeps;
  readonly #firstRetryMs: number;
  readonly #stop = new AbortController();
  #problem: SecretError | undefined;
  #retryMs: number;
  #timer: NodeJS.Timeout | undefined;
  #settleTimer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;

  constructor(deps: EngineRecoveryDeps) {
    this.#deps = deps;
    this.#firstRetryMs = deps.delays?.firstRetryMs ?? 10_000;
    this.#retryMs = this.#firstRetryMs;
  }

  /** Why the agent cannot use the engine now. */
  get problem(): SecretError | undefined {
    return this.#problem;
  }

  start(): void {
    void this.#watch();
  }

  /** A start that the engine has begun goes on. */
  stop(): void {
    this.#stop.abort();
    clearTimeout(this.#timer);
    clearTimeout(this.#settleTimer);
  }

  /** To be called when a container could not start because of the agent. */
  startFailed(): void {
    this.#retryLater();
  }

  async #watch(): Promise<void> {
    const { signal } = this.#stop;
    const isStopped = (): boolean => signal.aborted;
    while (!isStopped()) {
      try {
        await this.#deps.engine.untilEnded(signal, {
          onServing: () => {
            this.#problem = undefined;
            this.#retryMs = this.#firstRetryMs;
            this.#recover();
          },
          onContainerEnd: () => this.#recoverSoon(),
          onContainerStart: (container) => this.#deps.onContainerStart(container),
        });
      } catch (thrown) {
        if (!isStopped()) this.#report(toSecretError(thrown));
      }
      await sleep(reconnectMs, undefined, { signal, ref: false }).catch(() => undefined);
    }
  }

  #report(error: SecretError): void {
    if (this.#problem?.message !== error.message)
      this.#deps.log.warn(
        { code: error.code, reason: error.summary },
        'the agent waits for the container engine: until then it starts no container that failed because of the agent, and counts mounts of containers that are gone',
      );
    this.#problem = error;
  }

  #retryLater(): void {
    if (this.#timer !== undefined || this.#stop.signal.aborted) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#retryMs = Math.min(2 * this.#retryMs, maxRetryMs);
      this.#recover();
    }, this.#retryMs);
    this.#timer.unref();
  }

  #recoverSoon(): void {
    if (this.#settleTimer !== undefined || this.#stop.signal.aborted) return;
    this.#settleTimer = setTimeout(() => {
      this.#settleTimer = undefined;
      this.#recover();
    }, this.#deps.delays?.settleMs ?? 5_000);
    this.#settleTimer.unref();
  }

  /** One at a time. */
  #recover(): void {
    const { log } = this.#deps;
    const run = async (): Promise<void> => {
      try {
        const containers = await this.#deps.engine.containers();
        await Promise.all([this.#forgetLostMounts(containers), this.#startFailed(containers)]);
      } catch (thrown) {
        const { code, summary } = toSecretError(thrown);
        log.warn({ code, reason: summary }, 'the containers of the engine are not known');
      }
    };
    const before = this.#running ?? Promise.resolve();
    this.#running = before.then(run);
  }

  async #forgetLostMounts(containers: readonly ListedContainer[]): Promise<void> {
    const { services, unmount, log } = this.#deps;
    const lost = await Promise.all(
      services().flatMap(({ mountIds }) =>
        Array.from(mountIds, async ([volume, ids]) => {
          const count = await this.#runningWith(volume, containers, ids.length);
          // An engine that was killed has started containers again, with newer mounts.
          return ids.slice(0, Math.max(0, ids.length - count)).map((id) => ({ volume, id }));
        }),
      ),
    );
    for (const { volume, id } of lost.flat()) {
      log.info({ volume }, 'a mount that no container has is forgotten');
      await unmount(volume, id);
    }
  }

  /** How many running containers have a volume, or more than `enough`. */
  async #runningWith(
    volume: string,
    containers: readonly ListedContainer[],
    enough: number,
  ): Promise<number> {
    const users = containers.filter(({ volumes }) => volumes.includes(volume));
    const running = users.filter(({ state }) => isRunning(state)).length;
    if (running >= enough) return running;
    // A container that starts has its mounts already. The engine answers when it has started.
    const states = await Promise.all(
      users.map(async ({ id, state }) =>
        isRunning(state) ? { isRunning: true } : this.#deps.engine.container(id),
      ),
    );
    return states.filter((state) => state?.isRunning === true).length;
  }

  async #startFailed(containers: readonly ListedContainer[]): Promise<void> {
    const { canMount, restarts } = this.#deps;
    for (const id of restarts.owed) {
      const container = containers.find((each) => each.id === id);
      if (container === undefined || isRunning(container.state)) await restarts.settle(id);
    }
    const stopped = containers.filter(
      ({ state, volumes }) => state === 'exited' && volumes.some(canMount),
    );
    const startSome = async (): Promise<boolean> => {
      let allStarted = true;
      for (let next = stopped.pop(); next !== undefined; next = stopped.pop())
        allStarted = (await this.#startAgain(next)) && allStarted;
      return allStarted;
    };
    const results = await Promise.all(Array.from({ length: startsAtOnce }, startSome));
    if (results.every(Boolean)) this.#retryMs = this.#firstRetryMs;
    else this.#retryLater();
  }

  /** @returns false if the container could not be started */
  async #startAgain(container: ListedContainer): Promise<boolean> {
    const { engine, volumesDir, restarts, log } = this.#deps;
    const { id, name, volumes } = container;
    try {
      const state = await engine.container(id);
      if (this.#stop.signal.aborted || state === undefined) return true;
      const isOwed = restarts.owed.has(id);
      if (!isOwed && !hasFailedByAgent(state, [...volumes, volumesDir])) return true;
      await engine.startContainer(id);
      if (isOwed) await restarts.settle(id);
      log.info({ container: name }, 'started a container that had failed because of the agent');
      return true;
    } catch (thrown) {
      const { code, summary } = toSecretError(thrown);
      log.warn({ container: name, code, reason: summary }, 'a container could not be started yet');
      return false;
    }
  }
}

function isRunning(state: string): boolean {
  return ['running', 'paused', 'restarting'].includes(state);
}

/**
 * Whether the engine wanted to run a container and could not mount its volumes. The engine clears
 * the error when a start succeeds, and it tries to start only what no person has stopped: a
 * container that `docker stop` has stopped has no error. (moby: `containerStart` in
 * daemon/start.go, `ShouldRestart` in restartmanager; the same in 20.10 and 28.)
 * @param names those of its volumes, and their directory
 */
export function hasFailedByAgent(
  {
    isRunning: runs,
    hasStarted,
    error,
    restartPolicy,
  }: Pick<ContainerState, 'isRunning' | 'hasStarted' | 'error' | 'restartPolicy'>,
  names: readonly string[],
): boolean {
  if (runs || !hasStarted || !restartPolicies.includes(restartPolicy)) return false;
  return (
    /error looking up volume plugin|error while mounting volume ''|VolumeDriver\./.test(error) ||
    names.some((name) => error.includes(name))
  );
}
