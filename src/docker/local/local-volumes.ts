import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { isThere } from '../../files/is-there.ts';
import type { Injection } from '../model/types.ts';
import { volumeNames } from '../model/volumes.ts';
import { type Delivery, type Wanted, variableKey } from '../delivery/deliver.ts';
import { isSameDelivery, recordOf } from '../delivery/delivery-record.ts';
import { writeFilesVolume, writeVariablesVolume } from '../volume/volume-files.ts';
import { type LocalRecord, LocalRecords } from './local-records.ts';
import type { LocalPlaces } from './user-places.ts';

/** What {@link writeLocalVolumes} writes for one service. */
export type LocalDelivery = { readonly wanted: Wanted; readonly delivery: Delivery };

/**
 * Writes what the containers of services mount. Files that are as they were stay untouched.
 * @param options.shim the copy that `installShim` has made
 * @param options.now milliseconds since the epoch
 * @throws SecretError
 */
export async function writeLocalVolumes(
  deliveries: readonly LocalDelivery[],
  { volumes, records: directory }: LocalPlaces,
  { shim, now }: { readonly shim: string; readonly now: number },
): Promise<void> {
  // Every user of a container reads its volumes, which a stricter umask would prevent.
  const umask = process.umask(0o022);
  try {
    const records = new LocalRecords(directory);
    const before = new Map((await records.load()).map((record) => [nameOf(record), record]));
    for (const { wanted, delivery } of deliveries) {
      const { injection } = wanted;
      const { project, service, exec } = injection;
      const names = volumeNames(project, service);
      const { env, files, versions } = delivery;
      const current = recordOf(wanted.injection, versions, now);
      const old = before.get(names.variables);
      const isSame = old !== undefined && isSameDelivery(current, old.current);
      const filesStay =
        isSame &&
        isEqual(injection.files, old.wanted.injection.files) &&
        (await isThere(join(volumes, names.files)));
      if (files.length > 0 && !filesStay) await writeFilesVolume(join(volumes, names.files), files);
      await writeVariablesVolume(join(volumes, names.variables), { env, exec, shim });
      const keepsVariables =
        old !== undefined &&
        injection.variables
          .map(({ name }) => variableKey(name))
          .every((key) => current.secrets[key] === old.current.secrets[key]);
      await records.save({
        wanted,
        current: isSame ? old.current : current,
        variablesSince: keepsVariables ? old.variablesSince : now,
      });
    }
  } finally {
    process.umask(umask);
  }
}

function nameOf({ wanted: { injection } }: LocalRecord): string {
  return volumeNames(injection.project, injection.service).variables;
}

/** A document has no order, and no keys without a value. */
function isEqual(one: Injection['files'], other: Injection['files']): boolean {
  const asDocument = (files: Injection['files']): unknown => JSON.parse(JSON.stringify(files));
  return isDeepStrictEqual(asDocument(one), asDocument(other));
}
