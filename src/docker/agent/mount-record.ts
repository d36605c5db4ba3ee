import * as z from 'zod';
import { type DeliveryRecord, deliveryRecord } from '../delivery/delivery-record.ts';

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
  /** See `staleSince` of the status. */
  readonly staleSince?: number;
  /** What the last rotation has brought to the containers, and when. */
  readonly rotated?: DeliveryRecord;
};

const record = z.strictObject({
  project: z.string(),
  service: z.string(),
  current: deliveryRecord,
  mounts: z.record(z.string(), z.record(z.string(), deliveryRecord)),
  staleSince: z.number().optional(),
  rotated: deliveryRecord.optional(),
});

/** @throws Error for a document that is not valid */
export function readMountRecord(json: unknown): MountRecord {
  return record.parse(json) as MountRecord;
}
