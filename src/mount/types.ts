import type { Parameters, Workload } from '../core/workload.ts';

/** The files of a mount. Each mount has the complete volume. */
export type Volume = {
  /** Never empty: with an empty list the driver keeps the old files but stores the new versions. */
  readonly files: readonly {
    /** Relative and clean; see checkFilePath. */
    readonly path: string;
    /** Permission bits, 0 to 0o777. */
    readonly mode: number;
    /** May be the cached buffer: do not write to it. */
    readonly contents: Uint8Array;
  }[];
  /** One per file; `id` is its path. */
  readonly versions: readonly { readonly id: string; readonly version: string }[];
};

/** What a front door passes to the pipeline. */
export type MountRequest = {
  readonly workload: Workload;
  readonly parameters: Parameters;
  /** Permission bits of files without an explicit mode, 0 to 0o777. */
  readonly permission: number;
};
