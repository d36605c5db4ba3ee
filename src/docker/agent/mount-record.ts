import * as z from 'zod';

/** The versions that a service got, and when. */
export type DeliveryRecord = {
  /** Milliseconds since the epoch. */
  readonly at: number;
  /** By the keys of {@link Delivery.versions}. */
  readonly versions: Readonly<Record<string, string>>;
};

/**
 * Who has the volumes of a service mounted, and since which delivery. It lies beside the volumes on
 * their tmpfs, because it is true as long as they are.
 */
export type MountRecord = {
  readonly project: string;
  readonly service: string;
  /** What the volumes hold now. */
  readonly current: DeliveryRecord;
  /** By the name of the volume and the id of the mount. */
  readonly mounts: Readonly<Record<string, Readonly<Record<string, DeliveryRecord>>>>;
};

const delivery = z.strictObject({ at: z.number(), versions: z.record(z.string(), z.string()) });
const record = z.strictObject({
  project: z.string(),
  service: z.string(),
  current: delivery,
  mounts: z.record(z.string(), z.record(z.string(), delivery)),
});

/** @throws Error for a document that is not valid */
export function readMountRecord(json: unknown): MountRecord {
  return record.parse(json);
}
