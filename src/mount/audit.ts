import { LRUCache } from 'lru-cache';
import type { Logger } from 'pino';
import { codes } from '../core/errors.ts';
import type { SecretError } from '../core/errors.ts';
import { isRecent } from '../concurrency/time.ts';
import { createRefKeys } from '../core/plan.ts';
import type { Grant, Outcome } from '../core/provider.ts';

/** See {@link createAudit}. */
export type Audit = {
  /** Says whether anything in it was new: an object first delivered, or with another version or principal. */
  delivered(asked: AuditSubject, grants: readonly Grant[], outcomes: readonly Outcome[]): boolean;
  refused(asked: AuditSubject, error: SecretError): void;
};

/** Who asked for what: the fields that every log line of a request has. */
export type AuditSubject = {
  readonly provider: string;
  readonly namespace?: string;
  readonly serviceAccount?: string;
  readonly pod?: string;
  readonly class?: string;
};

const repeatWindow = 60_000;

type Delivery = { readonly fingerprint: string; readonly version: string | undefined };

/**
 * The trail of who was given what: a line when an object is first delivered to a workload, when its version or principal changes, and at
 * every refusal, where repeats within a minute are counted into the next line. Never a value.
 */
export function createAudit({
  log,
  now,
}: {
  readonly log: Logger;
  readonly now: () => number;
}): Audit {
  const byInstance = new LRUCache<string, Map<string, Delivery>>({ max: 2_000 });
  const refusals = new LRUCache<string, { since: number; repeats: number }>({ max: 2_000 });
  const keyOf = createRefKeys();

  /** What a workload was given, by object; a workload that goes on and on through new objects begins anew. */
  const deliveriesTo = (instance: string): Map<string, Delivery> => {
    let deliveries = byInstance.get(instance);
    if (deliveries === undefined || deliveries.size > 1_000) {
      deliveries = new Map();
      byInstance.set(instance, deliveries);
    }
    return deliveries;
  };

  return {
    delivered(asked, grants, outcomes) {
      let news = false;
      const instance = grants[0]?.workload.instance;
      if (instance === undefined) return news;
      const deliveries = deliveriesTo(instance);
      for (const [index, outcome] of outcomes.entries()) {
        const principal = grants[index]?.principal;
        if (principal === undefined || outcome.kind !== 'value') continue;
        const { served, value } = outcome;
        const key = keyOf(served);
        const before = deliveries.get(key);
        const { fingerprint, description } = principal;
        if (before?.fingerprint === fingerprint && before.version === value.version) continue;
        deliveries.set(key, { fingerprint, version: value.version });
        news = true;
        log.info(
          {
            ...asked,
            audit: before === undefined ? 'delivered' : 'changed',
            service: served.service,
            object: served.name,
            region: served.region,
            version: value.version,
            principal: description,
          },
          'audit',
        );
      }
      return news;
    },
    refused(asked, error) {
      if (!isRefusal(error)) return;
      const key = JSON.stringify([asked, error.code, error.message]);
      const seen = refusals.get(key);
      if (seen !== undefined && isRecent(seen.since, repeatWindow, now())) {
        seen.repeats += 1;
        return;
      }
      refusals.set(key, { since: now(), repeats: 0 });
      log.warn(
        {
          ...asked,
          audit: 'refused',
          code: error.code,
          reason: error.message,
          repeats: seen?.repeats ?? 0,
        },
        'audit',
      );
    },
  };
}

/** A decision against the caller, as opposed to a mistake in its class or a store that does not answer. */
function isRefusal({ code }: SecretError): boolean {
  const { grpc } = codes[code];
  return (
    grpc === 'PERMISSION_DENIED' || grpc === 'UNAUTHENTICATED' || code === 'IDENTITY_DOWNGRADE'
  );
}
