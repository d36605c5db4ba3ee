import { LRUCache } from 'lru-cache';
import type { Logger } from 'pino';
import { codes } from '../core/errors.ts';
import type { SecretError } from '../core/errors.ts';
import { isRecent } from '../concurrency/time.ts';
import {
  type WorkloadKey,
  WorkloadMemory,
  type WorkloadPart,
} from '../concurrency/workload-memory.ts';
import { createRefKeys } from '../core/plan.ts';
import type { Grant, Outcome } from '../core/provider.ts';

/** The fields that every log line of a request has. */
export type AuditSubject = {
  readonly provider: string;
  readonly namespace?: string;
  readonly serviceAccount?: string;
  readonly pod?: string;
  readonly class?: string;
};

const repeatWindowMs = 60_000;
const maxDenials = 2_000;
const maxObjectsPerWorkload = 1_000;
/** What a delivery takes beside the characters of its key and version. */
const deliveryBytes = 160;

type Delivery = { readonly fingerprint: string; readonly version: string | undefined };
type Denial = { readonly since: number; repeats: number };

/**
 * The audit log of deliveries and denials. It has a line when an object is first delivered to a
 * workload, when the object's version or principal changes, and at every denial. Repeats of a
 * denial within a minute are counted into the next line. It never holds a value.
 */
export class Audit {
  readonly #log: Logger;
  readonly #now: () => number;
  readonly #deliveriesByWorkload: WorkloadPart<Map<string, Delivery>>;
  readonly #denials = new LRUCache<string, Denial>({ max: maxDenials });
  readonly #keyOf = createRefKeys();

  /** @param deps.now milliseconds since the epoch */
  constructor({
    log,
    now,
    workloadMemory = new WorkloadMemory(),
  }: {
    readonly log: Logger;
    readonly now: () => number;
    readonly workloadMemory?: WorkloadMemory;
  }) {
    this.#deliveriesByWorkload = workloadMemory.createPart();
    this.#log = log;
    this.#now = now;
  }

  /**
   * @returns whether anything is new: an object's first delivery, or another version or principal
   */
  recordDelivery(
    subject: AuditSubject,
    grants: readonly Grant[],
    outcomes: readonly Outcome[],
  ): boolean {
    let isChange = false;
    const workload = grants[0]?.workload;
    if (workload === undefined) return isChange;
    const deliveries = this.#deliveriesTo(workload);
    for (const [index, outcome] of outcomes.entries()) {
      const principal = grants[index]?.principal;
      if (principal === undefined || outcome.kind !== 'value') continue;
      const { served, value } = outcome;
      const key = this.#keyOf(served);
      const previous = deliveries.get(key);
      const { fingerprint, description } = principal;
      if (previous?.fingerprint === fingerprint && previous.version === value.version) continue;
      deliveries.set(key, { fingerprint, version: value.version });
      isChange = true;
      this.#log.info(
        {
          ...subject,
          audit: previous === undefined ? 'delivered' : 'changed',
          service: served.service,
          object: served.name,
          region: served.region,
          version: value.version,
          principal: description,
        },
        'audit',
      );
    }
    if (isChange) this.#deliveriesByWorkload.set(workload, deliveries, bytesOf(deliveries));
    return isChange;
  }

  /** Ignores errors that are not a decision against the caller. */
  recordDenial(subject: AuditSubject, error: SecretError): void {
    if (!isDenial(error)) return;
    const key = JSON.stringify([subject, error.code, error.message]);
    const previous = this.#denials.get(key);
    if (previous !== undefined && isRecent(previous.since, repeatWindowMs, this.#now())) {
      previous.repeats += 1;
      return;
    }
    this.#denials.set(key, { since: this.#now(), repeats: 0 });
    this.#log.warn(
      {
        ...subject,
        audit: 'refused',
        code: error.code,
        reason: error.message,
        requestId: error.requestId,
        repeats: previous?.repeats ?? 0,
      },
      'audit',
    );
  }

  /**
   * What a workload received, by object. A workload with too many objects starts with an empty map.
   */
  #deliveriesTo(workload: WorkloadKey): Map<string, Delivery> {
    const deliveries = this.#deliveriesByWorkload.get(workload);
    return deliveries === undefined || deliveries.size > maxObjectsPerWorkload
      ? new Map<string, Delivery>()
      : deliveries;
  }
}

/** With the volumes that other mounts of the workload delivered. */
function bytesOf(deliveries: ReadonlyMap<string, Delivery>): number {
  let bytes = 0;
  for (const [key, { version = '' }] of deliveries)
    bytes += deliveryBytes + key.length + version.length;
  return bytes;
}

/** A decision against the caller. A mistake in its class and an outage of the store are not. */
function isDenial({ code }: SecretError): boolean {
  const { grpc } = codes[code];
  return (
    grpc === 'PERMISSION_DENIED' || grpc === 'UNAUTHENTICATED' || code === 'IDENTITY_DOWNGRADE'
  );
}
