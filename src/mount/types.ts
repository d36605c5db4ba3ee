import type { Parameters, Workload } from '../core/workload.ts';

/** What a mount puts into the pod's directory: the whole volume, each time. */
export type Volume = {
  /** Never empty: an empty list would leave the old files in place while versions advance. */
  readonly files: readonly {
    /** Relative and clean; see checkFilePath. */
    readonly path: string;
    /** Permission bits, 0 to 0o777. */
    readonly mode: number;
    /** May be the cached buffer itself: never written to. */
    readonly contents: Uint8Array;
  }[];
  /** One a file; `id` is its path. */
  readonly versions: readonly { readonly id: string; readonly version: string }[];
};

/** What a front door asks of the pipeline. */
export type MountRequest = {
  readonly workload: Workload;
  readonly parameters: Parameters;
  /** Permission bits of files without a mode of their own, 0 to 0o777. */
  readonly permission: number;
};
