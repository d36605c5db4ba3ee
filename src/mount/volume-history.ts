import { WorkloadMemory, type WorkloadPart } from '../concurrency/workload-memory.ts';
import { SecretError } from '../core/errors.ts';
import type { Grant } from '../core/provider.ts';
import type { Workload } from '../core/workload.ts';

/** What a volume takes beside the characters of its key. */
const volumeBytes = 192;

type VolumeRecord = { readonly className?: string; readonly own?: boolean };

/**
 * What this process remembers of each volume: its class, and whether it was served under the
 * workload's own identity. Such a volume is never served under a shared identity afterwards:
 * drivers up to 1.5 drop the pod's volumeAttributes at rotation, and a dropped parameter must not
 * switch to the provider's stronger identity.
 */
export class VolumeHistory {
  readonly #volumesByWorkload: WorkloadPart<ReadonlyMap<string, VolumeRecord>>;

  constructor(memory = new WorkloadMemory()) {
    this.#volumesByWorkload = memory.createPart();
  }

  /**
   * The volume's class. At rotation, drivers up to 1.5 send no class name: then the remembered one.
   */
  classOf(workload: Workload): string {
    return workload.className ?? this.#recordOf(workload)?.className ?? 'unknown';
  }

  /** @throws SecretError IDENTITY_DOWNGRADE */
  checkIdentity(workload: Workload, grants: readonly Grant[]): void {
    if (this.#recordOf(workload)?.own === true && !grants.every(isOwn)) {
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
  recordDelivery(workload: Workload, grants: readonly Grant[]): void {
    const { volume, className } = workload;
    const previous = this.#recordOf(workload);
    const own = previous?.own === true || grants.every(isOwn);
    const name = className ?? previous?.className;
    if (previous?.own === own && previous.className === name) return;
    const volumes = new Map(this.#volumesByWorkload.get(workload));
    volumes.set(volume, { own, ...(name !== undefined && { className: name }) });
    const bytes = volumes.size * (volumeBytes + volume.length);
    this.#volumesByWorkload.set(workload, volumes, bytes);
  }

  #recordOf(workload: Workload): VolumeRecord | undefined {
    return this.#volumesByWorkload.get(workload)?.get(workload.volume);
  }
}

function isOwn({ principal }: Grant): boolean {
  return principal.kind === 'own';
}
