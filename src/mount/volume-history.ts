import { LRUCache } from 'lru-cache';
import { lruSizeLimit } from '../concurrency/time.ts';
import { SecretError } from '../core/errors.ts';
import type { Grant } from '../core/provider.ts';
import type { Workload } from '../core/workload.ts';

/** See {@link createVolumeHistory}. */
export type VolumeHistory = {
  /** The class of a volume, where the request itself names none (rotation by drivers up to 1.5). */
  classOf(workload: Workload): string;
  /** @throws SecretError IDENTITY_DOWNGRADE */
  checkIdentity(workload: Workload, grants: readonly Grant[]): void;
  /** Takes down what a volume was served under. */
  remember(workload: Workload, grants: readonly Grant[]): void;
};

/**
 * What is remembered of each volume, for the life of this process: its class, and whether it was served under the workload's own
 * identity. From then on it is never served under a shared one: drivers up to 1.5 drop the pod's attributes at rotation, and a dropped switch must
 * not turn the provider's stronger identity on.
 */
export function createVolumeHistory(max = 10_000): VolumeHistory {
  const volumes = new LRUCache<string, { className?: string; own?: boolean }>(lruSizeLimit(max));
  return {
    classOf: ({ className, volume }) => className ?? volumes.get(volume)?.className ?? 'unknown',
    checkIdentity({ volume }, grants) {
      if (volumes.get(volume)?.own === true && !grants.every(isOwn)) {
        throw new SecretError(
          'IDENTITY_DOWNGRADE',
          "this volume was mounted under the pod's own identity and now asks for a shared one",
          {
            hint: "drivers up to 1.5 drop the pod's volumeAttributes at rotation: put the parameter that chooses the identity into the class",
          },
        );
      }
    },
    remember({ volume, className }, grants) {
      const known = volumes.get(volume);
      const own = known?.own === true || grants.every(isOwn);
      const name = className ?? known?.className;
      volumes.set(volume, { own, ...(name !== undefined && { className: name }) });
    },
  };
}

function isOwn({ principal }: Grant): boolean {
  return principal.identity === 'own';
}
