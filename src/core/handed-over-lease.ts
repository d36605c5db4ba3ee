import type { SecretValue } from './provider.ts';

/**
 * A leased value of a workload, and what keeps its lease. JSON, and as secret as the value: it must
 * never reach a disk.
 */
export type HandedOverLease = {
  readonly provider: string;
  /** See `Workload`. */
  readonly instance: string;
  /** See `refKey`. */
  readonly ref: string;
  readonly value: Omit<SecretValue, 'bytes' | 'lease'> & Required<Pick<SecretValue, 'lease'>>;
  /** `bytes` of the value, in base64. */
  readonly bytes: string;
  /** What the provider needs. */
  readonly secret: string;
  readonly deliveredAt: number;
  readonly freshUntil: number;
};
