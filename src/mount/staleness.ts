import { Gauge, type Registry } from 'prom-client';
import type { ErrorCode } from '../core/errors.ts';
import type { SecretError } from '../core/errors.ts';
import { WorkloadMemory, type WorkloadPart } from '../concurrency/workload-memory.ts';
import type { Workload } from '../core/workload.ts';

/**
 * A volume without a request for this long, or for three of its own intervals, counts as unmounted:
 * the driver does not report unmounts to providers.
 */
const expiresAfterMs = 600_000;
/** Classes shown of one namespace, and namespaces. Others share the label `other`. */
const [maxClasses, maxNamespaces] = [20, 100];
/** The process or the caller ended the request. These errors say nothing about the next one. */
const transientCodes: readonly ErrorCode[] = ['CANCELLED', 'SHUTTING_DOWN'];
const otherLabel = 'other';

/** What a volume takes beside the characters of its key. */
const volumeBytes = 192;

/** Times in milliseconds. */
type VolumeState = {
  readonly succeededAt: number;
  readonly requestedAt: number;
  /** Between its last two requests. */
  readonly interval: number;
  /** Set while its last request failed. */
  readonly failing?: { readonly namespace: string; readonly className: string };
};

/** What {@link Staleness} needs. */
export type StalenessDeps = {
  readonly registry: Registry;
  readonly workloadMemory?: WorkloadMemory;
  /** In milliseconds; only differences count. Default: a monotonic clock. */
  readonly now?: () => number;
  /** Warns a pod, in Kubernetes by an Event. It returns at once and never throws. */
  readonly events?: {
    warn(
      pod: { readonly namespace: string; readonly name: string; readonly uid: string },
      error: SecretError,
    ): void;
  };
};

/**
 * How long running pods have used old files: the driver does not show that a republish fails. Keeps
 * the metric `keyferry_stale_seconds`, and warns the pod where `events` are given.
 */
export class Staleness {
  readonly #now: () => number;
  readonly #events: StalenessDeps['events'];
  readonly #volumesByWorkload: WorkloadPart<Map<string, VolumeState>>;

  constructor({
    registry,
    now = () => performance.now(),
    events,
    workloadMemory = new WorkloadMemory(),
  }: StalenessDeps) {
    this.#volumesByWorkload = workloadMemory.createPart();
    this.#now = now;
    this.#events = events;
    const longestByClass = (): BoundedLabels => this.#longestByClass();
    new Gauge({
      name: 'keyferry_stale_seconds',
      help:
        'Seconds since files of running pods were last confirmed, where a republish fails; ' +
        'the longest of each class.',
      labelNames: ['namespace', 'class'],
      registers: [registry],
      collect() {
        this.reset();
        longestByClass().forEach((labels, ms) => this.set(labels, ms / 1_000));
      },
    });
  }

  /** A volume was served. */
  recordSuccess(workload: Workload): void {
    const now = this.#now();
    const interval = now - (this.#stateOf(workload)?.requestedAt ?? now);
    this.#set(workload, { succeededAt: now, requestedAt: now, interval });
  }

  /**
   * A volume was not served. Ignores volumes that were never served: the kubelet shows a first
   * mount that fails in the pod's events.
   * @param className the class as the log names it
   */
  recordFailure(workload: Workload, className: string, error: SecretError): void {
    const previous = this.#stateOf(workload);
    if (previous === undefined || transientCodes.includes(error.code)) return;
    const { tenant: namespace, pod } = workload;
    const now = this.#now();
    const { succeededAt, requestedAt } = previous;
    this.#set(workload, {
      succeededAt,
      requestedAt: now,
      interval: now - requestedAt,
      failing: { namespace, className },
    });
    if (pod !== undefined) this.#events?.warn({ namespace, ...pod }, error);
  }

  #stateOf(workload: Workload): VolumeState | undefined {
    return this.#volumesByWorkload.get(workload)?.get(workload.volume);
  }

  #set(workload: Workload, state: VolumeState): void {
    const volumes = this.#volumesByWorkload.get(workload) ?? new Map<string, VolumeState>();
    const isKnown = volumes.has(workload.volume);
    volumes.set(workload.volume, state);
    if (isKnown) return;
    const bytes = volumes.size * (volumeBytes + workload.volume.length);
    this.#volumesByWorkload.set(workload, volumes, bytes);
  }

  #longestByClass(): BoundedLabels {
    const longest = new BoundedLabels();
    for (const volumes of this.#volumesByWorkload.values())
      for (const [volume, state] of volumes)
        if (this.#isExpired(state)) volumes.delete(volume);
        else if (state.failing !== undefined)
          longest.add(state.failing, this.#now() - state.succeededAt);
    return longest;
  }

  #isExpired({ requestedAt, interval }: VolumeState): boolean {
    return this.#now() - requestedAt > Math.max(expiresAfterMs, 3 * interval);
  }
}

/** The longest time of each class. The number of labels is bounded: tenants choose their names. */
class BoundedLabels {
  readonly #namespaces = new Map<string, Map<string, number>>();

  add({ namespace, className }: { namespace: string; className: string }, ms: number): void {
    const shown = labelFor(this.#namespaces, namespace, maxNamespaces);
    const classes = this.#namespaces.get(shown) ?? new Map<string, number>();
    this.#namespaces.set(shown, classes);
    const name = shown === namespace ? labelFor(classes, className, maxClasses) : otherLabel;
    classes.set(name, Math.max(ms, classes.get(name) ?? 0));
  }

  forEach(use: (labels: { namespace: string; class: string }, ms: number) => void): void {
    for (const [namespace, classes] of this.#namespaces)
      for (const [name, ms] of classes) use({ namespace, class: name }, ms);
  }
}

function labelFor(known: ReadonlyMap<string, unknown>, name: string, max: number): string {
  return known.has(name) || known.size < max ? name : otherLabel;
}
