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

/** The driver's MountRequest as it came over the socket. `attributes` and `secrets` hold tokens and keys: never log them. */
export type RawMountRequest = {
  /** JSON object of strings. */
  readonly attributes: string;
  /** JSON object of strings, `null`, or empty. */
  readonly secrets: string;
  /** Compared, never opened. */
  readonly targetPath: string;
  /** JSON number: the mode of files, in decimal. */
  readonly permission: string;
  /** A hint at most: drivers from 1.6 on send none. */
  readonly currentVersions: readonly { readonly id: string; readonly version: string }[];
};
