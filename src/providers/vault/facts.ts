import type { NameGlob } from '../name-glob.ts';
import type { AuthMethod, VaultTls } from './login.ts';

/** What an operator configured for classes that leave it open, and what classes may ask for beside it. */
export type VaultFacts = {
  /** In their kept form; see `operatorAddress`. Perhaps none. */
  readonly addresses: readonly string[];
  readonly namespace?: string;
  readonly mounts: Readonly<Record<AuthMethod, string>>;
  readonly tls: VaultTls;
  /** As the operator wrote them, the configured ones among them. */
  readonly allowedAddresses: readonly string[];
  readonly allowedFiles: readonly NameGlob[];
  readonly allowSkipVerify: boolean;
};

export const defaultMounts: VaultFacts['mounts'] = {
  kubernetes: 'kubernetes',
  jwt: 'jwt',
  approle: 'approle',
  cert: 'cert',
  token: 'token',
};
