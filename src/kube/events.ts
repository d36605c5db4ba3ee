import { LRUCache } from 'lru-cache';
import type { Logger } from 'pino';
import { toSecretError, type SecretError } from '../core/errors.ts';
import { statusText } from '../core/safe-text.ts';
import type { KubeApi } from './api.ts';

/** At most one Event for each pod and cause in this time. */
const quietMs = 3_600_000;
/** An Event that could not be written is retried after this time, if the cause persists. */
const retryAfterMs = 300_000;
/** The limit of concurrent writes. Above it, an Event is dropped until the pod's next failure. */
const maxInFlight = 16;
const timeoutMs = 20_000;

/** The pod of an Event. */
export type EventPod = { readonly namespace: string; readonly name: string; readonly uid: string };

/** Options of {@link PodEvents}. */
export type PodEventsDeps = {
  readonly api: Pick<KubeApi, 'post'>;
  readonly now: () => number;
  readonly log: Logger;
};

/**
 * Writes Events on pods, for failures that the driver does not show to users. It needs the verb
 * `create` for `events`.
 */
export class PodEvents {
  readonly #deps: PodEventsDeps;
  /** When an Event may be written again, in milliseconds since the epoch. */
  readonly #quietUntil = new LRUCache<string, number>({ max: 2_000 });
  #inFlight = 0;

  constructor(deps: PodEventsDeps) {
    this.#deps = deps;
  }

  /**
   * Puts a Warning on the pod, unless it has one of this cause (the code of the error) from the
   * last hour. Does not wait and never throws.
   */
  warn(pod: EventPod, error: SecretError): void {
    const { now } = this.#deps;
    const key = `${pod.uid} ${error.code}`;
    const quietFor = (this.#quietUntil.get(key) ?? 0) - now();
    // A longer time means that the clock was set back in the meantime.
    if (this.#inFlight >= maxInFlight || (quietFor > 0 && quietFor <= quietMs)) return;
    this.#quietUntil.set(key, now() + quietMs);
    void this.#write(key, pod, error);
  }

  async #write(key: string, pod: EventPod, error: SecretError): Promise<void> {
    const { api, now, log } = this.#deps;
    const { namespace, name } = pod;
    this.#inFlight += 1;
    try {
      const path = ['api', 'v1', 'namespaces', namespace, 'events'];
      await api.post(path, podEvent(pod, error, now()), AbortSignal.timeout(timeoutMs));
    } catch (thrown) {
      this.#quietUntil.set(key, now() + retryAfterMs);
      const { code, summary } = toSecretError(thrown);
      log.warn({ namespace, pod: name, code, reason: summary }, 'no event could be written');
    } finally {
      this.#inFlight -= 1;
    }
  }
}

/**
 * An Event in the core/v1 form, which every version of Kubernetes shows
 * (https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/).
 */
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
