import { LRUCache } from 'lru-cache';
import type { Logger } from 'pino';
import { toSecretError, type SecretError } from '../core/errors.ts';
import { statusText } from '../core/safe-text.ts';
import type { KubeApi } from './api.ts';

/** One Event for each pod and cause in this time. */
const quietMs = 3_600_000;
/** One that could not be written is tried again after this, if the cause still stands. */
const retryAfterMs = 300_000;
/** Being written at once; what comes beyond waits for the pod's next failure. */
const maxInFlight = 16;
const timeoutMs = 20_000;

/** A pod as an Event names it. */
export type EventPod = { readonly namespace: string; readonly name: string; readonly uid: string };

/** Tells pods' owners what the driver keeps to itself. */
export type PodEvents = {
  /** Puts a Warning on the pod, if it has none of this cause (the error's code) of the last hour. Answers at once and never throws. */
  warn(pod: EventPod, error: SecretError): void;
};

/** Writes Events by the API server; needs the verb `create` for `events`. */
export function createPodEvents(deps: {
  readonly api: KubeApi;
  readonly now: () => number;
  readonly log: Logger;
}): PodEvents {
  const { api, now, log } = deps;
  /** When each may be written again, in milliseconds since the epoch. */
  const quietUntil = new LRUCache<string, number>({ max: 2_000 });
  let inFlight = 0;

  async function write(key: string, pod: EventPod, error: SecretError): Promise<void> {
    inFlight += 1;
    try {
      const path = ['api', 'v1', 'namespaces', pod.namespace, 'events'];
      await api.post(path, podEvent(pod, error, now()), AbortSignal.timeout(timeoutMs));
    } catch (thrown) {
      quietUntil.set(key, now() + retryAfterMs);
      const { code, summary } = toSecretError(thrown);
      log.warn(
        { namespace: pod.namespace, pod: pod.name, code, reason: summary },
        'no event could be written',
      );
    } finally {
      inFlight -= 1;
    }
  }

  return {
    warn(pod, error) {
      const key = `${pod.uid} ${error.code}`;
      const quietFor = (quietUntil.get(key) ?? 0) - now();
      // Longer than anybody is told to be: the clock was set back meanwhile.
      if (inFlight >= maxInFlight || (quietFor > 0 && quietFor <= quietMs)) return;
      quietUntil.set(key, now() + quietMs);
      void write(key, pod, error);
    },
  };
}

/** https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/, in its older form, which every version shows. */
function podEvent({ namespace, name, uid }: EventPod, error: SecretError, at: number): object {
  const time = new Date(at).toISOString().replace(/\.\d+/, '');
  return {
    apiVersion: 'v1',
    kind: 'Event',
    metadata: { namespace, generateName: `${name}.` },
    involvedObject: { apiVersion: 'v1', kind: 'Pod', namespace, name, uid },
    type: 'Warning',
    reason: 'SecretsNotRefreshed',
    message: statusText(error.event),
    source: { component: 'keyferry' },
    firstTimestamp: time,
    lastTimestamp: time,
    count: 1,
  };
}
