import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { isThere } from '../../files/is-there.ts';
import type { Injection } from '../model/types.ts';
import { volumeNames } from '../model/volumes.ts';
import { type Delivery, type Wanted } from '../delivery/deliver.ts';
import { isSameDelivery, recordOf, variableKey } from '../delivery/delivery-record.ts';
import { writeFilesVolume, writeVariablesVolume } from '../volume/volume-files.ts';
import { type LocalRecord, LocalRecords } from './local-records.ts';
import { type LocalPlaces, lockPlaces } from './user-places.ts';

/** What {@link writeLocalVolumes} writes for one service. */
export type LocalDelivery = { readonly wanted: Wanted; readonly delivery: Delivery };

/** Options of {@link writeLocalVolumes}. */
export type WriteOptions = {
  /** Copies the shim into a directory. @returns its path @throws SecretError */
  readonly installShim: (directory: string) => Promise<string>;
  /** Milliseconds since the epoch. */
  readonly now: number;
};

/**
 * Writes what the containers of services mount. Files that are as they were stay untouched. If
 * several commands do this at once, they do it one after the other.
 * @throws SecretError
 */
export async function writeLocalVolumes(
  deliveries: readonly LocalDelivery[],
  places: LocalPlaces,
  options: WriteOptions,
): Promise<void> {
  await lockPlaces(places).run(() => write(deliveries, places, options));
}

async function write(
  deliveries: readonly LocalDelivery[],
  { directory, volumes, records: recordsDirectory }: LocalPlaces,
  { installShim, now }: WriteOptions,
): Promise<void> {
  // Every user of a container reads its volumes, which a stricter umask would prevent.
  const umask = process.umask(0o022);
  try {
    const shim = await installShim(directory);
    const records = new LocalRecords(recordsDirectory);
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
