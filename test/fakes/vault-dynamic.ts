import { randomBytes } from 'node:crypto';
import type { FakeAnswer } from './http-server.ts';
import { createTestCa } from './tls.ts';
import { vaultEnvelope, vaultFault, type VaultQuestion } from './vault-answers.ts';
import type { FakeLease, FakeLeases, LeaseLife } from './vault-leases.ts';
import type { FakeVaultToken } from './vault-tokens.ts';

/** A backend that leases, told whose token asks and where it is mounted. */
export type LeasingBackend = (
  question: VaultQuestion,
  token: FakeVaultToken,
  mount: string,
) => FakeAnswer | undefined;

/** Database credentials: each read makes a user, who lives as long as its lease. */
export function createFakeDatabase(leases: FakeLeases) {
  const roles = new Map<string, LeaseLife>();
  const users = new Map<string, FakeLease>();
  const database = { down: false };

  const answer: LeasingBackend = ({ method, path }, token, mount) => {
    const [, name] = /^creds\/([^/]+)$/.exec(path) ?? [];
    if (name === undefined || method !== 'GET') return undefined;
    const role = roles.get(name);
    if (role === undefined) return vaultFault(400, `unknown role: ${name}`);
    if (database.down)
      return vaultFault(
        500,
        '1 error occurred:\n\t* failed to find entry for connection: dial tcp 10.0.0.9:5432: connect: connection refused\n\n',
      );
    const username = `v-${token.role ?? 'token'}-${name}-${randomBytes(10).toString('hex')}`;
    const lease = leases.issue(`${mount}/${path}`, token, role);
    users.set(username, lease);
    const data = JSON.stringify({ password: `-${randomBytes(15).toString('base64url')}`, username });
    return vaultEnvelope(data, { id: lease.id, seconds: leases.secondsLeft(lease), renewable: true });
  };

  return {
    answer,
    /** While `down`, nobody gets a user. */
    database,
    role: (name: string, life: LeaseLife = {}) => void roles.set(name, life),
    /** Those who can log in to the database now. */
    users(): string[] {
      leases.all();
      return [...users].filter(([, { state }]) => state === 'live').map(([name]) => name);
    },
    /** How many were ever made. */
    made: (): number => users.size,
  };
}

/** A certificate authority: `issue/<role>`; a lease comes with a certificate only where the role says so, and cannot be renewed. */
export function createFakePki(leases: FakeLeases, now: () => number) {
  const roles = new Map<string, { readonly ttlMs?: number; readonly generateLease?: boolean }>();
  const ca = createTestCa('Fake Vault PKI');
  let issued = 0;

  const answer: LeasingBackend = ({ method, path, fields }, token, mount) => {
    const [, name] = /^issue\/([^/]+)$/.exec(path) ?? [];
    if (name === undefined || (method !== 'POST' && method !== 'PUT')) return undefined;
    const role = roles.get(name);
    if (role === undefined) return vaultFault(400, `unknown role: ${name}`);
    const host = fields.common_name;
    if (typeof host !== 'string') return vaultFault(400, 'the common_name field is required');
    const { ttlMs = 3_600_000, generateLease = false } = role;
    const expiresAt = now() + ttlMs;
    const { cert, key } = ca.issue({ hosts: [host], notAfter: new Date(expiresAt) });
    issued += 1;
    const data = JSON.stringify({
      ca_chain: [ca.cert.trim()],
      certificate: cert.trim(),
      expiration: Math.floor(expiresAt / 1_000),
      issuing_ca: ca.cert.trim(),
      private_key: key.trim(),
      private_key_type: 'ec',
      serial_number: `00:${issued.toString(16).padStart(2, '0')}`,
    });
    if (!generateLease) return vaultEnvelope(data);
    const lease = leases.issue(`${mount}/${path}`, token, { ttlMs, renewable: false });
    return vaultEnvelope(data, { id: lease.id, seconds: leases.secondsLeft(lease) });
  };

  return {
    answer,
    ca: ca.cert,
    role: (name: string, role: { ttlMs?: number; generateLease?: boolean } = {}) =>
      void roles.set(name, role),
    /** How many certificates were made. */
    issued: (): number => issued,
  };
}
