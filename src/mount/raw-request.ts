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
