import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { SingleFlight } from '../../concurrency/single-flight.ts';
import { isRecent } from '../../concurrency/time.ts';
import { type SecretError, toSecretError } from '../../core/errors.ts';
import { volumeNames } from '../model/volumes.ts';
import { writeFilesVolume, writeVariablesVolume } from '../volume/volume-files.ts';
import { type Delivery, type DeliverContext, type Wanted } from '../delivery/deliver.ts';
import type { MountRecord } from './mount-record.ts';
import {
  changedVersions,
  type DeliveryRecord,
  withFilesOf,
  hasFallback,
  isSameDelivery,
  recordOf,
  variableKey,
} from '../delivery/delivery-record.ts';
import type { StateDirectory } from '../delivery/state-file.ts';

/** What all services share. */
export type ServiceMountsDeps = {
  /** Where the volumes lie: `DIRECTORY/VOLUME`. */
  readonly directory: string;
  /** The copy that `installShim` has made. */
  readonly shim: string;
  readonly records: Pick<StateDirectory<MountRecord>, 'save' | 'remove'>;
  readonly deliver: (wanted: Wanted, context: DeliverContext) => Promise<Delivery>;
  readonly log: Logger;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
};

/**
 * How long the leases of a service stay after its last container: a container that crashes and
 * starts again gets the same credential, so that a loop of crashes makes few.
 */
const leaseLingerMs = 10_000;
/** How long a failed start answers for the next ones, which would ask the store for the same. */
const failureMs = 2_000;
/** How long after the first mount of a start the second one comes at most. */
const sameStartMs = 60_000;

/**
 * The volumes of one service, and the containers that have them mounted. All replicas share the
 * volumes. Each start of a container resolves the secrets and writes both volumes.
 */
export class ServiceMounts {
  #wanted: Wanted;
  readonly #deps: ServiceMountsDeps;
  readonly #names: ReturnType<typeof volumeNames>;
  readonly #mounts: Map<string, Map<string, DeliveryRecord>>;
  readonly #deliveries = new SingleFlight<DeliveryRecord>();
  /** Mounts whose start has not mounted its other volume yet: by volume and id. */
  readonly #halfStarts = new Map<
    string,
    { readonly volume: string; readonly record: DeliveryRecord }
  >();
  #current: DeliveryRecord | undefined;
  #readAt = -Infinity;
  #staleSince: number | undefined;
  #rotated: DeliveryRecord | undefined;
  #pending = 0;
  #lastUsedAt = -Infinity;
  #failure: { readonly error: SecretError; readonly at: number } | undefined;
  /** The file operations of a service run one after another. */
  #queue: Promise<unknown> = Promise.resolve();

  /** @param record what an earlier process has left on the tmpfs */
  constructor(wanted: Wanted, deps: ServiceMountsDeps, record?: MountRecord) {
    const { project, service } = wanted.injection;
    this.#wanted = wanted;
    this.#deps = deps;
    this.#names = volumeNames(project, service);
    this.#mounts = new Map(
      Object.entries(record?.mounts ?? {}).map(([volume, ids]) => [
        volume,
        new Map(Object.entries(ids)),
      ]),
    );
    this.#current = record?.current;
    this.#staleSince = record?.staleSince;
    this.#rotated = record?.rotated;
  }

  get wanted(): Wanted {
    return this.#wanted;
  }

  /** Replaces what the service asks for. Its containers get it when they start. */
  set wanted(wanted: Wanted) {
    this.#wanted = wanted;
    this.#failure = undefined;
    this.#halfStarts.clear();
  }

  /** The failure of the last start or read. */
  get failure(): SecretError | undefined {
    return this.#failure?.error;
  }

  /** The number of containers that have the service's secrets. */
  get containers(): number {
    // A start has mounted one volume before the other.
    return Math.max(0, ...Array.from(this.#mounts.values(), ({ size }) => size));
  }

  /** The ids of the mounts of each volume, the oldest first. */
  get mountIds(): ReadonlyMap<string, readonly string[]> {
    return new Map(Array.from(this.#mounts, ([volume, ids]) => [volume, [...ids.keys()]]));
  }

  /** Whether a container has a volume mounted, or is about to. */
  get isInUse(): boolean {
    return this.#pending > 0 || [...this.#mounts.values()].some((ids) => ids.size > 0);
  }

  /** Whether the leases of the service are still needed. */
  get keepsLeases(): boolean {
    return this.isInUse || isRecent(this.#lastUsedAt, leaseLingerMs, this.#deps.now());
  }

  /** What the newest container started with. */
  get started(): DeliveryRecord | undefined {
    return this.#starts.at(-1);
  }

  /** What the volumes hold. */
  get current(): DeliveryRecord | undefined {
    return this.#current;
  }

  /** When the read began that has brought or confirmed them, in milliseconds since the epoch. */
  get readAt(): number {
    return this.#readAt;
  }

  /** Whether a container runs with variables that have changed since its start. */
  get isStale(): boolean {
    return this.hasChanged(this.#wanted.injection.variables.map(({ name }) => variableKey(name)));
  }

  /** Since when it is stale, in milliseconds since the epoch. */
  get staleSince(): number | undefined {
    return this.#staleSince;
  }

  /** What the last rotation has brought to the containers, and when. */
  get rotated(): DeliveryRecord | undefined {
    return this.#rotated;
  }

  /**
   * The keys of {@link DeliveryRecord} whose secret has another version than when a container
   * started that still runs. Empty if a rotation has brought the current versions, or if they are
   * of a fallback. Another reference does not count: Compose makes the container again.
   */
  get outdated(): readonly string[] {
    const current = this.#current;
    if (current === undefined) return [];
    if (isSameDelivery(this.#rotated, current) || hasFallback(current)) return [];
    return [...new Set(this.#starts.flatMap((start) => changedVersions(start, current)))];
  }

  /** Records that a rotation has brought this delivery to all containers. */
  async markRotated(delivery: DeliveryRecord): Promise<void> {
    await this.#exclusive(async () => {
      if (this.#current === undefined) return;
      this.#rotated = { at: this.#deps.now(), secrets: delivery.secrets };
      // A signal brings files to a program that goes on.
      for (const ids of this.#mounts.values())
        for (const [id, start] of ids)
          if (start.at < delivery.at) ids.set(id, withFilesOf(delivery, start));
      await this.#save();
    });
  }

  /** What each container started with, the newest last. */
  get #starts(): readonly DeliveryRecord[] {
    return [...(this.#mounts.get(this.#names.variables)?.values() ?? [])];
  }

  /** Whether one of these has changed since a container started that still runs. */
  hasChanged(keys: readonly string[]): boolean {
    return this.#starts.some((start) =>
      keys.some((key) => {
        const now = this.#current?.secrets[key];
        return now !== undefined && start.secrets[key] !== now;
      }),
    );
  }

  /**
   * Fills the volumes for one start of a container.
   * @returns the directory of the volume, and whether its start has mounted no volume before
   * @throws SecretError; the volume is then as before
   */
  async mount(
    volume: string,
    id: string,
    context: DeliverContext,
  ): Promise<{ readonly path: string; readonly isFirst: boolean }> {
    this.#pending += 1;
    try {
      const half = this.#otherHalf(volume);
      const record = half ?? (await this.#resolve(context));
      await this.#exclusive(async () => {
        context.signal.throwIfAborted();
        this.#idsOf(volume).set(id, record);
        await this.#save();
      });
      if (half === undefined && this.#wanted.injection.files.length > 0)
        this.#halfStarts.set(id, { volume, record });
      return { path: join(this.#deps.directory, volume), isFirst: half === undefined };
    } finally {
      this.#pending -= 1;
      await this.#clearIfUnused();
    }
  }

  /** An id that is not known, such as one from before the machine started, changes nothing. */
  async unmount(volume: string, id: string): Promise<void> {
    await this.#exclusive(async () => {
      this.#idsOf(volume).delete(id);
      this.#halfStarts.delete(id);
      if (this.isInUse) await this.#save();
    });
    await this.#clearIfUnused();
  }

  /**
   * Reads the secrets again, and replaces the files of running containers if one has changed.
   * @returns whether one has changed
   * @throws SecretError
   */
  async refresh(context: DeliverContext): Promise<boolean> {
    try {
      const wanted = this.#wanted;
      const readAt = this.#deps.now();
      const delivery = await this.#deps.deliver(wanted, context);
      this.#failure = undefined;
      return await this.#exclusive(async () => {
        const record = recordOf(wanted.injection, delivery.versions, 0);
        if (this.#wanted !== wanted || !this.isInUse) return false;
        this.#readAt = readAt;
        if (isSameDelivery(record, this.#current)) return false;
        await this.#write(delivery);
        await this.#save();
        return true;
      });
    } catch (thrown) {
      // It does not answer for starts: the last good value can serve them.
      throw this.#fail(thrown, -Infinity);
    }
  }

  /** The delivery of this start, if the mount of its other volume has made one. */
  #otherHalf(volume: string): DeliveryRecord | undefined {
    const { now } = this.#deps;
    for (const [id, half] of this.#halfStarts) {
      if (!isRecent(half.record.at, sameStartMs, now())) this.#halfStarts.delete(id);
      else if (half.volume !== volume) {
        this.#halfStarts.delete(id);
        return half.record;
      }
    }
    return undefined;
  }

  async #resolve({ signal, deadline }: DeliverContext): Promise<DeliveryRecord> {
    const { deliver, now } = this.#deps;
    if (this.#failure !== undefined && isRecent(this.#failure.at, failureMs, now()))
      throw this.#failure.error;
    try {
      const record = await this.#deliveries.run('', signal, async (callSignal) => {
        for (;;) {
          const wanted = this.#wanted;
          const readAt = now();
          const delivery = await deliver(wanted, { signal: callSignal, deadline, isStart: true });
          // Meanwhile the project may have been registered again.
          const written = await this.#exclusive(async () => {
            if (this.#wanted !== wanted) return undefined;
            this.#readAt = readAt;
            return this.#write(delivery);
          });
          if (written !== undefined) return written;
        }
      });
      this.#failure = undefined;
      return record;
    } catch (thrown) {
      throw this.#fail(thrown, now());
    }
  }

  async #write({ env, files, versions, wholeTexts, fallbacks }: Delivery): Promise<DeliveryRecord> {
    const { directory, shim, log, now } = this.#deps;
    const { project, service, exec } = this.#wanted.injection;
    if (wholeTexts.length > 0)
      log.warn(
        { project, service, targets: wholeTexts },
        'a mapping names a key, and its secret is no JSON object: the whole text is used',
      );
    for (const { store, fallback, error } of fallbacks)
      log.warn(
        { project, service, store, fallback, code: error.code, reason: error.summary },
        'a store does not respond, and its fallback serves',
      );
    if (files.length > 0) await writeFilesVolume(join(directory, this.#names.files), files);
    await writeVariablesVolume(join(directory, this.#names.variables), { env, exec, shim });
    const record = recordOf(this.#wanted.injection, versions, now());
    // A rotation counts for one delivery. The same versions can come again, after others.
    if (this.#rotated && !isSameDelivery(record, this.#current))
      this.#rotated = { at: this.#rotated.at, secrets: {} };
    this.#current = record;
    return record;
  }

  #fail(thrown: unknown, at: number): SecretError {
    const error = toSecretError(thrown);
    if (error.code !== 'CANCELLED') this.#failure = { error, at };
    return error;
  }

  /** Both volumes at once: those of a start that has mounted only one of them are still needed. */
  #clearIfUnused(): Promise<void> {
    return this.#exclusive(async () => {
      if (this.isInUse) return;
      const { directory, records, now } = this.#deps;
      if (this.#current !== undefined) this.#lastUsedAt = now();
      this.#current = undefined;
      this.#staleSince = undefined;
      this.#rotated = undefined;
      this.#mounts.clear();
      this.#halfStarts.clear();
      // First: a process that is killed here leaves files without a record, which the next one
      // removes.
      await records.remove(this.#names.variables);
      for (const name of Object.values(this.#names))
        await rm(join(directory, name), { recursive: true, force: true });
    });
  }

  async #save(): Promise<void> {
    const { project, service } = this.#wanted.injection;
    if (this.#current === undefined) return;
    this.#staleSince = this.isStale ? (this.#staleSince ?? this.#deps.now()) : undefined;
    await this.#deps.records.save(this.#names.variables, {
      ...{ project, service, current: this.#current },
      mounts: Object.fromEntries(
        Array.from(this.#mounts, ([volume, ids]) => [volume, Object.fromEntries(ids)]),
      ),
      ...(this.#staleSince !== undefined && { staleSince: this.#staleSince }),
      ...(this.#rotated && { rotated: this.#rotated }),
    });
  }

  #idsOf(volume: string): Map<string, DeliveryRecord> {
    let ids = this.#mounts.get(volume);
    if (ids === undefined) this.#mounts.set(volume, (ids = new Map<string, DeliveryRecord>()));
    return ids;
  }

  #exclusive<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(work);
    this.#queue = result.catch(() => undefined);
    return result;
  }
}
