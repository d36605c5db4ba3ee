import type { Logger } from 'pino';
import { toSecretError } from '../../core/errors.ts';
import type { ServiceMounts } from './service-mounts.ts';

/** What a {@link SecretWatch} needs. */
export type SecretWatchDeps = {
  /** The services with containers. */
  readonly services: () => readonly ServiceMounts[];
  /** Reads the secrets of a service again. @returns whether one has changed */
  readonly refresh: (service: ServiceMounts) => Promise<boolean>;
  /** Called when the secrets of a service have been read again, changed or not. */
  readonly onRead: (service: ServiceMounts) => void;
  /** From the end of one round to the start of the next, in milliseconds. Jitter shortens it. */
  readonly intervalMs: number;
  readonly log: Logger;
};

/** Of services at once. */
const refreshesAtOnce = 8;

/** Reads the secrets of all running services again and again. */
export class SecretWatch {
  readonly #deps: SecretWatchDeps;
  #timer: NodeJS.Timeout | undefined;
  #isStopped = false;

  constructor(deps: SecretWatchDeps) {
    this.#deps = deps;
  }

  /** The first round begins at once. */
  start(): void {
    this.#schedule(0);
  }

  /** A round that has begun goes on. */
  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#timer);
  }

  /** Reads the secrets of one service now. A failure is logged. */
  async refresh(service: ServiceMounts): Promise<void> {
    const { refresh, onRead, log } = this.#deps;
    const { project, service: name } = service.wanted.injection;
    try {
      if (await refresh(service))
        log.info({ project, service: name, stale: service.isStale }, 'secrets changed');
      onRead(service);
    } catch (thrown) {
      const { code, summary } = toSecretError(thrown);
      log.warn({ project, service: name, code, reason: summary }, 'secrets cannot be read again');
    }
  }

  #schedule(ms: number): void {
    if (this.#isStopped) return;
    this.#timer = setTimeout(() => {
      void this.#refreshAll().finally(() => this.#schedule(jittered(this.#deps.intervalMs)));
    }, ms);
    this.#timer.unref();
  }

  async #refreshAll(): Promise<void> {
    const services = [...this.#deps.services()];
    const refreshNext = async (): Promise<void> => {
      for (let next = services.pop(); next !== undefined; next = services.pop())
        await this.refresh(next);
    };
    await Promise.all(Array.from({ length: refreshesAtOnce }, refreshNext));
  }
}

/** Agents that start together do not ask a store together for long. */
function jittered(ms: number): number {
  return ms * (1 - Math.random() / 10);
}
