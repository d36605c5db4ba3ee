import { randomBytes } from 'node:crypto';
import type { FakeResponse } from './http-server.ts';
import { createTestCa } from './tls.ts';
import { vaultResponse, vaultErrorResponse, type VaultBackendRequest } from './vault-responses.ts';
import type { FakeLease, FakeLeases, LeaseLifetime } from './vault-leases.ts';
import type { FakeVaultToken } from './vault-tokens.ts';

/** A backend that issues leases for a token. */
export type FakeLeaseBackend = (
  request: VaultBackendRequest,
  token: FakeVaultToken,
  mount: string,
) => FakeResponse | undefined;

/** Database credentials: each read creates a user, which lives as long as its lease. */
export function createFakeDatabase(leases: FakeLeases) {
  const roles = new Map<string, LeaseLifetime>();
  const users = new Map<string, FakeLease>();
  const database = { down: false };

  const handle: FakeLeaseBackend = ({ method, path }, token, mount) => {
    const [, name] = /^creds\/([^/]+)$/.exec(path) ?? [];
    if (name === undefined || method !== 'GET') return undefined;
    const role = roles.get(name);
    if (role === undefined) return vaultErrorResponse(400, `unknown role: ${name}`);
    if (database.down)
      return vaultErrorResponse(
        500,
        '1 error occurred:\n\t* failed to find entry for connection: dial tcp 10.0.0.9:5432: connect: connection refused\n\n',
      );
    const username = `v-${token.role ?? 'token'}-${name}-${randomBytes(10).toString('hex')}`;
    const lease = leases.issue(`${mount}/${path}`, token, role);
    users.set(username, lease);
    const data = JSON.stringify({
      password: `-${randomBytes(15).toString('base64url')}`,
      username,
    });
    return vaultResponse(data, {
      id: lease.id,
      seconds: leases.secondsLeft(lease),
      renewable: true,
    });
  };

  return {
    handle,
    /** While `down`, reads create no user. */
    database,
    role: (name: string, lifetime: LeaseLifetime = {}) => void roles.set(name, lifetime),
    /** The users that can log in to the database now. */
    users(): string[] {
      leases.all();
      return [...users].filter(([, { state }]) => state === 'live').map(([name]) => name);
    },
    /** How many users were ever created. */
    createdCount: (): number => users.size,
  };
}

/**
 * A certificate authority: `issue/<role>`. A certificate has a lease only where its role has
 * `generateLease`, and the lease cannot be renewed.
 */
export function createFakePki(leases: FakeLeases, now: () => number) {
  const roles = new Map<string, { readonly ttlMs?: number; readonly generateLease?: boolean }>();
  const ca = createTestCa('Fake Vault PKI');
  let issuedCount = 0;

  const handle: FakeLeaseBackend = ({ method, path, fields }, token, mount) => {
    const [, name] = /^issue\/([^/]+)$/.exec(path) ?? [];
    if (name === undefined || (method !== 'POST' && method !== 'PUT')) return undefined;
    const role = roles.get(name);
    if (role === undefined) return vaultErrorResponse(400, `unknown role: ${name}`);
    const host = fields.common_name;
    if (typeof host !== 'string')
      return vaultErrorResponse(400, 'the common_name field is required');
    const { ttlMs = 3_600_000, generateLease = false } = role;
    const expiresAt = now() + ttlMs;
    const { cert, key } = ca.issue({ hosts: [host], notAfter: new Date(expiresAt) });
    issuedCount += 1;
    const data = JSON.stringify({
      ca_chain: [ca.cert.trim()],
      certificate: cert.trim(),
      expiration: Math.floor(expiresAt / 1_000),
      issuing_ca: ca.cert.trim(),
      private_key: key.trim(),
      private_key_type: 'ec',
      serial_number: `00:${issuedCount.toString(16).padStart(2, '0')}`,
    });
    if (!generateLease) return vaultResponse(data);
    const lease = leases.issue(`${mount}/${path}`, token, { ttlMs, renewable: false });
    return vaultResponse(data, { id: lease.id, seconds: leases.secondsLeft(lease) });
  };

  return {
    handle,
    ca: ca.cert,
    role: (name: string, role: { ttlMs?: number; generateLease?: boolean } = {}) =>
      void roles.set(name, role),
    /** How many certificates were issued. */
    issuedCount: (): number => issuedCount,
  };
}
