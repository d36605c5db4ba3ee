/** What an operator configures of the way to Vault, beside what each login says. */
export type VaultConfig = {
  /** Calls a second, for each login's addresses, and how many at once after a pause. */
  readonly perSecond: number;
  readonly burst: number;
};
