import type { Plan, SecretRef } from '../../src/core/plan.ts';

/**
 * Three objects of one path that issues a lease. One read must serve all three, or username and
 * password would belong to two database users.
 */
export type VaultLogin = {
  readonly method: 'kubernetes';
  readonly role: string;
  readonly audience: string;
  readonly mountPath: string;
  readonly namespace?: string;
  readonly leaseScope?: 'pod' | 'serviceAccount';
};

export const databaseUser: SecretRef = {
  service: 'vault',
  name: 'database/creds/app',
  endpoint: 'https://vault.example:8200',
  method: 'GET',
};

export const vaultLeasedRead: Plan<VaultLogin> = {
  refs: [databaseUser],
  files: [
    {
      path: 'nested/envelope.json',
      sources: { value: { ref: databaseUser, selector: { kind: 'whole' } } },
      encoding: 'utf-8',
      mode: 0o600,
    },
    {
      path: 'username',
      sources: { value: { ref: databaseUser, selector: { kind: 'key', key: 'username' } } },
      encoding: 'utf-8',
    },
    {
      path: 'password',
      sources: { value: { ref: databaseUser, selector: { kind: 'key', key: 'password' } } },
      encoding: 'utf-8',
    },
  ],
  login: { method: 'kubernetes', role: 'app', audience: 'vault', mountPath: 'kubernetes' },
};
