import { LRUCache } from 'lru-cache';
import { Gauge, type Registry } from 'prom-client';
import type { ErrorCode } from '../core/errors.ts';
import type { SecretError } from '../core/errors.ts';
import { lruSizeLimit } from '../concurrency/time.ts';
import type { Workload } from '../core/workload.ts';

/** A volume that does not ask for so long, or for three of its own rounds, is gone: the driver never tells. */
const forgottenAfter = 600_000;
/** Classes shown of one namespace, and namespaces; the rest goes by the name `other`. */
const [maxClasses, maxNamespaces] = [20, 100];
/** These say nothing about the next round. */
const passing: readonly ErrorCode[] = ['CANCELLED', 'SHUTTING_DOWN'];

/** How long running pods have lived on old files. The driver hides a republish that fails, so nobody else tells. */
export type Staleness = {
  /** A volume was served. */
  served(workload: Workload): void;
  /** It was not; `className` is what it is called by in the log. What was never served is no concern: the pod's own events show it. */
  failed(workload: Workload, className: string, error: SecretError): void;
};

/** Times in milliseconds. */
type Known = {
  servedAt: number;
  askedAt: number;
  /** Between its last two requests. */
  round: number;
  /** Set while its last request failed. */
  failing?: { readonly namespace: string; readonly className: string };
};

/** Keeps `keyferry_stale_seconds`, and where `events` are given tells the pod. */
export function createStaleness(deps: {
  readonly registry: Registry;
  /** In milliseconds; only differences count. Default: a clock that nobody sets. */
  readonly now?: () => number;
  /** Tells a pod, in Kubernetes by an Event. It answers at once and never throws. */
  readonly events?: {
    warn(
      pod: { readonly namespace: string; readonly name: string; readonly uid: string },
      error: SecretError,
    ): void;
  };
}): Staleness {
  const { registry, now = () => performance.now(), events } = deps;
  const volumes = new LRUCache<string, Known>(lruSizeLimit(10_000));

  function isGone({ askedAt, round }: Known): boolean {
    return now() - askedAt > Math.max(forgottenAfter, 3 * round);
  }

  new Gauge({
    name: 'keyferry_stale_seconds',
    help: 'Seconds since files of running pods were last confirmed, where a republish fails; the longest of each class.',
    labelNames: ['namespace', 'class'],
    registers: [registry],
    collect() {
      this.reset();
      const longest = createLabels();
      for (const [volume, known] of volumes) {
        if (isGone(known)) volumes.delete(volume);
        else if (known.failing !== undefined) longest.add(known.failing, now() - known.servedAt);
      }
      longest.each((labels, ms) => this.set(labels, ms / 1_000));
    },
  });

  return {
    served({ volume }) {
      const at = now();
      const round = at - (volumes.get(volume)?.askedAt ?? at);
      volumes.set(volume, { servedAt: at, askedAt: at, round });
    },
    failed({ volume, tenant: namespace, pod }, className, error) {
      const known = volumes.get(volume);
      if (known === undefined || passing.includes(error.code)) return;
      const at = now();
      const { servedAt, askedAt } = known;
      volumes.set(volume, {
        servedAt,
        askedAt: at,
        round: at - askedAt,
        failing: { namespace, className },
      });
      if (pod !== undefined) events?.warn({ namespace, ...pod }, error);
    },
  };
}

/** The longest time of each class, with as many labels as a metric may have whatever tenants do. */
function createLabels() {
  const namespaces = new Map<string, Map<string, number>>();
  const place = <T>(map: Map<string, T>, name: string, max: number): string =>
    map.has(name) || map.size < max ? name : 'other';
  return {
    add({ namespace, className }: { namespace: string; className: string }, ms: number): void {
      const shown = place(namespaces, namespace, maxNamespaces);
      const classes = namespaces.get(shown) ?? new Map<string, number>();
      namespaces.set(shown, classes);
      const name = shown === namespace ? place(classes, className, maxClasses) : 'other';
      classes.set(name, Math.max(ms, classes.get(name) ?? 0));
    },
    each(use: (labels: { namespace: string; class: string }, ms: number) => void): void {
      for (const [namespace, classes] of namespaces)
        for (const [name, ms] of classes) use({ namespace, class: name }, ms);
    },
  };
}
