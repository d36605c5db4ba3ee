import { randomBytes } from 'node:crypto';
import type { FakeResponse } from './http-server.ts';
import { vaultResponse, vaultErrorResponse, type VaultBackendRequest } from './vault-responses.ts';
import type { FakeVaultToken } from './vault-tokens.ts';

/** A lease in the fake. */
export type FakeLease = {
  readonly id: string;
  readonly path: string;
  readonly token: FakeVaultToken;
  readonly renewable: boolean;
  readonly ttlMs: number;
  /** Milliseconds since the epoch: no renewal extends it beyond. */
  readonly maxExpiresAt: number;
  /** Milliseconds since the epoch. */
  expiresAt: number;
  renewals: number;
  state: 'live' | 'expired' | 'revoked';
};

/** The lifetime of an issued lease, in milliseconds. */
export type LeaseLifetime = { readonly ttlMs?: number; readonly maxTtlMs?: number };

/** The leases of one namespace, each a child of the token of its request. */
export function createFakeLeases(now: () => number) {
  const leases: FakeLease[] = [];

  function sweep(): void {
    for (const lease of leases)
      if (lease.state === 'live' && lease.expiresAt <= now()) lease.state = 'expired';
  }

  const secondsLeft = ({ expiresAt }: FakeLease): number => Math.floor((expiresAt - now()) / 1_000);

  return {
    all: (): readonly FakeLease[] => (sweep(), leases),
    issue(
      path: string,
      token: FakeVaultToken,
      lifetime: LeaseLifetime & { readonly renewable?: boolean },
    ): FakeLease {
      const { ttlMs = 3_600_000, maxTtlMs = 86_400_000, renewable = true } = lifetime;
      const lease: FakeLease = {
        id: `${path}/${randomBytes(12).toString('hex')}`,
        ...{ path, token, renewable, ttlMs, renewals: 0, state: 'live' },
        maxExpiresAt: now() + maxTtlMs,
        expiresAt: now() + Math.min(ttlMs, maxTtlMs),
      };
      leases.push(lease);
      return lease;
    },
    secondsLeft,
    /** Leases end with their parent token. */
    revokeByToken(token: FakeVaultToken): void {
      for (const lease of leases)
        if (lease.token === token && lease.state === 'live') lease.state = 'revoked';
    },
    /** `sys/leases/...`. */
    handle({ method, path, fields }: VaultBackendRequest): FakeResponse | undefined {
      if (method !== 'POST' && method !== 'PUT') return undefined;
      const [, action, rest] = /^sys\/leases\/(renew|revoke|lookup)(?:\/(.+))?$/.exec(path) ?? [];
      if (action === undefined) return undefined;
      const id = rest ?? fields.lease_id;
      sweep();
      const lease = leases.find((each) => each.id === id && each.state === 'live');
      if (action === 'revoke') {
        if (lease !== undefined) lease.state = 'revoked';
        return { status: 204 };
      }
      if (lease === undefined)
        return vaultErrorResponse(400, action === 'renew' ? 'lease not found' : 'invalid lease');
      if (action === 'lookup')
        return vaultResponse(
          JSON.stringify({ id: lease.id, ttl: secondsLeft(lease), renewable: lease.renewable }),
        );
      if (!lease.renewable) return vaultErrorResponse(400, 'lease is not renewable');
      const requestedExpiry = now() + (Number(fields.increment ?? 0) * 1_000 || lease.ttlMs);
      lease.expiresAt = Math.min(requestedExpiry, lease.maxExpiresAt);
      lease.renewals += 1;
      const seconds = secondsLeft(lease);
      const warnings = [
        `TTL of "${(requestedExpiry - now()) / 1_000}s" exceeded the effective max_ttl of "${seconds}s"; TTL value is capped accordingly`,
      ];
      return vaultResponse(
        'null',
        { id: lease.id, seconds, renewable: true },
        requestedExpiry > lease.maxExpiresAt ? { warnings } : {},
      );
    },
  };
}

export type FakeLeases = ReturnType<typeof createFakeLeases>;
