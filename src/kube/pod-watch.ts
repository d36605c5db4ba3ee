import { LRUCache } from 'lru-cache';
import type { Logger } from 'pino';
import * as z from 'zod';
import { raceWithAbort } from '../concurrency/single-flight.ts';
import { SecretError, toSecretError } from '../core/errors.ts';
import { sanitizeExternalText } from '../core/safe-text.ts';
import type { KubeApi } from './api.ts';

/** Pods that have ended, the latest: whoever asks does so within seconds. */
const maxGone = 2_000;
/** How long what was seen last is believed when nothing more is seen: pods run on while the API server is away, and so must their leases. */
const maxUnseenMs = 3_600_000;

/** What is known of the pods of one node. */
export type PodWatch = {
  /** Of a pod's uid. `gone`: it is deleted, or all its containers have ended for good. `unknown`: never seen, or not for an hour. */
  presence(uid: string): 'here' | 'gone' | 'unknown';
  /** Watches until the signal fires. Never rejects: failures are logged, and tried again after a pause of up to a minute. */
  run(signal: AbortSignal): Promise<void>;
};

/** See {@link createPodWatch}. */
export type PodWatchDeps = {
  readonly api: Pick<KubeApi, 'list' | 'watch'>;
  /** Of the node whose pods are watched. */
  readonly node: string;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
  /** In [0, 1). */
  readonly random?: () => number;
  /** The shortest pause before the next question, in milliseconds. */
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
    message: z.string().default(''),
  }),
});

/** Lists the node's pods and watches what changes, as https://kubernetes.io/docs/reference/using-api/api-concepts/ says. */
export function createPodWatch(deps: PodWatchDeps): PodWatch {
  const { api, node, now, log, random = Math.random, pauseMs = 1_000 } = deps;
  const path = ['api', 'v1', 'pods'];
  // One that no longer fits is reported as deleted: so of all pods, their metadata are enough.
  const fieldSelector = `spec.nodeName=${node},status.phase!=Succeeded,status.phase!=Failed`;
  const gone = new LRUCache<string, true>({ max: maxGone });
  let here = new Set<string>();
  let seenAt = -Infinity;
  let failures = 0;

  /** From where to watch. */
  async function list(signal: AbortSignal): Promise<string> {
    const found = listSchema.parse(await api.list(path, { fieldSelector }, signal));
    const listed = new Set((found.items ?? []).map((pod) => pod.metadata.uid));
    for (const uid of here) if (!listed.has(uid)) gone.set(uid, true);
    here = listed;
    seenAt = now();
    if (failures > 0) log.info({ node }, 'pods are watched again');
    failures = 0;
    return found.metadata.resourceVersion;
  }

  /** Until the server ends it; from where to go on. */
  async function watch(from: string, signal: AbortSignal): Promise<string> {
    let version = from;
    await api.watch(
      path,
      { fieldSelector, resourceVersion: from },
      (event) => {
        const { type, object } = eventSchema.parse(event);
        if (type === 'ERROR')
          throw new SecretError('ADMISSION_UNAVAILABLE', sanitizeExternalText(object.message));
        const { uid = '', resourceVersion = '' } = object.metadata ?? {};
        if (type === 'ADDED' || type === 'MODIFIED') here.add(uid);
        if (type === 'DELETED') {
          here.delete(uid);
          gone.set(uid, true);
        }
        if (resourceVersion !== '') version = resourceVersion;
        seenAt = now();
      },
      signal,
    );
    seenAt = now();
    return version;
  }

  /** Each list is followed by watches, until one of them fails: for which the version's having grown too old (410) is the common reason. */
  async function listAndWatch(signal: AbortSignal): Promise<void> {
    let version = await list(signal);
    try {
      for (;;) {
        version = await watch(version, signal);
        await pause(pauseMs, signal);
      }
    } catch (thrown) {
      log.debug({ node, reason: toSecretError(thrown).summary }, 'the watch of pods ended');
    }
  }

  return {
    presence(uid) {
      if (gone.has(uid)) return 'gone';
      return here.has(uid) && now() - seenAt <= maxUnseenMs ? 'here' : 'unknown';
    },
    async run(signal) {
      while (!signal.aborted) {
        try {
          await listAndWatch(signal);
        } catch (thrown) {
          if (thrown === signal.reason) return;
          failures += 1;
          if (failures === 1) logFailure(thrown);
        }
        const longest = Math.min(60_000, pauseMs * 2 ** Math.min(failures, 10));
        await pause(longest * (0.5 + random() / 2), signal).catch(() => undefined);
      }
    },
  };

  function logFailure(thrown: unknown): void {
    const { code, summary } = toSecretError(thrown);
    const hint =
      code === 'ACCESS_DENIED'
        ? 'give its ClusterRole the verbs list and watch for pods in the API group ""'
        : 'until then, or an hour after they were seen last, a lease is kept by the republishes of its pod';
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
