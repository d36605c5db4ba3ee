import { LRUCache } from 'lru-cache';
import type { Logger } from 'pino';
import * as z from 'zod';
import { raceWithAbort } from '../concurrency/deadline.ts';
import { SecretError, toSecretError } from '../core/errors.ts';
import type { KubeApi } from './api.ts';

/** The limit of ended pods that are kept: callers look them up within seconds. */
const maxGone = 2_000;
/**
 * How long a pod counts as running after the last event. Pods keep running while the API server is
 * not available, and so must their leases.
 */
const maxUnseenMs = 3_600_000;

/** Options of {@link PodWatch}. */
export type PodWatchDeps = {
  readonly api: Pick<KubeApi, 'list' | 'watch'>;
  /** The node whose pods are watched. */
  readonly node: string;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
  /** In [0, 1). */
  readonly random?: () => number;
  /** The shortest pause before the next request, in milliseconds. Default 1,000. */
  readonly pauseMs?: number;
};

const metadata = z.object({ uid: z.string().default(''), resourceVersion: z.string().default('') });
const listSchema = z.object({
  metadata: z.object({ resourceVersion: z.string() }),
  items: z.array(z.object({ metadata })).nullable(),
});
const eventSchema = z.object({
  type: z.string(),
  object: z.object({
    metadata: metadata.optional(),
    code: z.number().optional(),
  }),
});

/**
 * Knows which pods of one node are running. Lists them and watches their changes, as described at
 * https://kubernetes.io/docs/reference/using-api/api-concepts/.
 */
export class PodWatch {
  readonly #deps: PodWatchDeps;
  readonly #pauseMs: number;
  readonly #path = ['api', 'v1', 'pods'];
  readonly #fieldSelector: string;
  readonly #gone = new LRUCache<string, true>({ max: maxGone });
  #here = new Set<string>();
  #seenAt = -Infinity;
  #failures = 0;

  constructor(deps: PodWatchDeps) {
    this.#deps = deps;
    this.#pauseMs = deps.pauseMs ?? 1_000;
    // A pod that no longer matches is reported as deleted, so the metadata of the pods suffice.
    this.#fieldSelector = `spec.nodeName=${deps.node},status.phase!=Succeeded,status.phase!=Failed`;
  }

  /**
   * The state of a pod, by its uid. `gone`: it is deleted, or all its containers have ended for
   * good. `unknown`: it was never seen, or not for an hour.
   */
  presence(uid: string): 'here' | 'gone' | 'unknown' {
    if (this.#gone.has(uid)) return 'gone';
    const isRecent = this.#deps.now() - this.#seenAt <= maxUnseenMs;
    return this.#here.has(uid) && isRecent ? 'here' : 'unknown';
  }

  /**
   * Watches until the signal fires. Never rejects: it logs a failure and retries after a pause of
   * at most a minute.
   */
  async run(signal: AbortSignal): Promise<void> {
    const { random = Math.random } = this.#deps;
    while (!signal.aborted) {
      try {
        await this.#listAndWatch(signal);
      } catch (thrown) {
        if (thrown === signal.reason) return;
        this.#failures += 1;
        if (this.#failures === 1) this.#logFailure(thrown);
      }
      const longest = Math.min(60_000, this.#pauseMs * 2 ** Math.min(this.#failures, 10));
      await pause(longest * (0.5 + random() / 2), signal).catch(() => undefined);
    }
  }

  /**
   * One list, followed by watches until one of them fails. The usual reason is an expired version
   * (410).
   */
  async #listAndWatch(signal: AbortSignal): Promise<void> {
    let version = await this.#list(signal);
    try {
      for (;;) {
        version = await this.#watch(version, signal);
        await pause(this.#pauseMs, signal);
      }
    } catch (thrown) {
      const { log, node } = this.#deps;
      log.debug({ node, reason: toSecretError(thrown).summary }, 'the watch of pods ended');
    }
  }

  /** @returns the resource version from which to watch */
  async #list(signal: AbortSignal): Promise<string> {
    const { api, node, now, log } = this.#deps;
    const query = { fieldSelector: this.#fieldSelector };
    const found = listSchema.parse(await api.list(this.#path, query, signal));
    const listed = new Set((found.items ?? []).map((pod) => pod.metadata.uid));
    for (const uid of this.#here) if (!listed.has(uid)) this.#gone.set(uid, true);
    this.#here = listed;
    this.#seenAt = now();
    if (this.#failures > 0) log.info({ node }, 'pods are watched again');
    this.#failures = 0;
    return found.metadata.resourceVersion;
  }

  /**
   * Watches until the server ends it.
   * @returns the resource version from which to continue
   */
  async #watch(from: string, signal: AbortSignal): Promise<string> {
    const { api, now } = this.#deps;
    let version = from;
    await api.watch(
      this.#path,
      { fieldSelector: this.#fieldSelector, resourceVersion: from },
      (event) => {
        const { type, object } = eventSchema.parse(event);
        if (type === 'ERROR')
          throw new SecretError(
            'ADMISSION_UNAVAILABLE',
            `the API server ends the watch with the status ${object.code ?? 'unknown'}`,
          );
        const { uid = '', resourceVersion = '' } = object.metadata ?? {};
        if (type === 'ADDED' || type === 'MODIFIED') this.#here.add(uid);
        if (type === 'DELETED') {
          this.#here.delete(uid);
          this.#gone.set(uid, true);
        }
        if (resourceVersion !== '') version = resourceVersion;
        this.#seenAt = now();
      },
      signal,
    );
    this.#seenAt = now();
    return version;
  }

  #logFailure(thrown: unknown): void {
    const { code, summary } = toSecretError(thrown);
    const hint =
      code === 'ACCESS_DENIED'
        ? 'give its ClusterRole the verbs list and watch for pods in the API group ""'
        : 'until then, or from an hour after the last event on, only the republishes of a pod renew its leases';
    const { log, node } = this.#deps;
    log.warn({ node, code, reason: summary, hint }, 'pods cannot be watched');
  }
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  try {
    await raceWithAbort(new Promise((resolve) => (timer = setTimeout(resolve, ms))), signal);
  } finally {
    clearTimeout(timer);
  }
}
