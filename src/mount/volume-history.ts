import { LRUCache } from 'lru-cache';
import { lruSizeLimit } from '../concurrency/lru-size-limit.ts';
import { SecretError } from '../core/errors.ts';
import type { Grant } from '../core/provider.ts';
import type { Workload } from '../core/workload.ts';

type VolumeRecord = { readonly className?: string; readonly own?: boolean };

/**
 * What this process remembers of each volume: its class, and whether it was served under the
 * workload's own identity. Such a volume is never served under a shared identity afterwards:
 * drivers up to 1.5 drop the pod's volumeAttributes at rotation, and a dropped parameter must not
 * switch to the provider's stronger identity.
 */
export class VolumeHistory {
  readonly #volumes: LRUCache<string, VolumeRecord>;

  constructor(maxVolumes = 10_000) {
    this.#volumes = new LRUCache(lruSizeLimit(maxVolumes));
  }

  /**
   * The volume's class. At rotation, drivers up to 1.5 send no class name: then the remembered one.
   */
  classOf({ className, volume }: Workload): string {
    return className ?? this.#volumes.get(volume)?.className ?? 'unknown';
  }

  /** @throws SecretError IDENTITY_DOWNGRADE */
  checkIdentity({ volume }: Workload, grants: readonly Grant[]): void {
    if (this.#volumes.get(volume)?.own === true && !grants.every(isOwn)) {
      throw new SecretError(
        'IDENTITY_DOWNGRADE',
        "this volume was mounted under the pod's own identity and now requests a shared one",
        {
          hint:
            "drivers up to 1.5 drop the pod's volumeAttributes at rotation: " +
            'put the parameter that chooses the identity into the class',
        },
      );
    }
  }

  /** Remembers the class and the identity of a volume that was served. */
  recordDelivery({ volume, className }: Workload, grants: readonly Grant[]): void {
    const previous = this.#volumes.get(volume);
    const own = previous?.own === true || grants.every(isOwn);
    const name = className ?? previous?.className;
    this.#volumes.set(volume, { own, ...(name !== undefined && { className: name }) });
  }
}

function isOwn({ principal }: Grant): boolean {
  return principal.kind === 'own';
}
