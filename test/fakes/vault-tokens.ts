import { randomBytes } from 'node:crypto';
import type { FakeResponse } from './http-server.ts';
import { vaultResponse, vaultErrorResponse } from './vault-responses.ts';

/** A token in the fake. */
export type FakeVaultToken = {
  readonly id: string;
  readonly accessor: string;
  readonly type: 'service' | 'batch';
  readonly policies: readonly string[];
  /** The life after a renewal, in milliseconds; Infinity: no end, as for root. */
  readonly ttlMs: number;
  /** Milliseconds since the epoch: no renewal extends it beyond. */
  readonly maxExpiresAt: number;
  readonly role?: string;
  /** The metadata that the method gives the login. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Milliseconds since the epoch. */
  expiresAt: number;
  renewals: number;
  state: 'good' | 'expired' | 'revoked';
};

/** The lifetime of a role's tokens. Vault uses seconds, but the tests' clocks use milliseconds. */
export type TokenLifetime = {
  /** Default one hour. */
  readonly ttlMs?: number;
  /** Default 24 hours. */
  readonly maxTtlMs?: number;
  readonly tokenType?: 'service' | 'batch';
  readonly policies?: readonly string[];
};

/**
 * The tokens of one namespace.
 * @param onEnd ends the leases of a token
 */
export function createFakeTokens(now: () => number, onEnd: (token: FakeVaultToken) => void) {
  const tokens = new Map<string, FakeVaultToken>();

  function issue(
    lifetime: TokenLifetime & {
      readonly role?: string;
      readonly metadata?: FakeVaultToken['metadata'];
    } = {},
  ): FakeVaultToken {
    const { ttlMs = 3_600_000, maxTtlMs = 86_400_000, tokenType: type = 'service' } = lifetime;
    const token: FakeVaultToken = {
      id: `${type === 'batch' ? 'hvb' : 'hvs'}.${randomBytes(45).toString('base64url')}`,
      accessor: randomBytes(12).toString('hex'),
      ...{ type, ttlMs, renewals: 0, state: 'good' },
      policies: lifetime.policies ?? ['app'],
      maxExpiresAt: now() + maxTtlMs,
      expiresAt: now() + Math.min(ttlMs, maxTtlMs),
      metadata: lifetime.metadata ?? {},
      ...(lifetime.role !== undefined && { role: lifetime.role }),
    };
    tokens.set(token.id, token);
    return token;
  }

  function endToken(token: FakeVaultToken, state: 'expired' | 'revoked'): void {
    if (token.state !== 'good') return;
    token.state = state;
    onEnd(token);
  }

  /** Ends expired tokens. */
  function sweep(): void {
    for (const token of tokens.values()) if (token.expiresAt <= now()) endToken(token, 'expired');
  }

  const secondsLeft = ({ expiresAt }: FakeVaultToken): number =>
    expiresAt === Infinity ? 0 : Math.floor((expiresAt - now()) / 1_000);

  const renewable = (token: FakeVaultToken): boolean =>
    token.type === 'service' && token.ttlMs !== Infinity;

  const authOf = (token: FakeVaultToken): object => ({
    client_token: token.id,
    accessor: token.accessor,
    policies: ['default', ...token.policies],
    token_policies: ['default', ...token.policies],
    metadata: token.metadata,
    lease_duration: secondsLeft(token),
    renewable: renewable(token),
    entity_id: '',
    token_type: token.type,
    orphan: true,
    mfa_requirement: null,
    num_uses: 0,
  });

  return {
    issue,
    sweep,
    all: (): readonly FakeVaultToken[] => [...tokens.values()],
    /** A token that is valid now. */
    find(id: string): FakeVaultToken | undefined {
      sweep();
      const token = tokens.get(id);
      return token?.state === 'good' ? token : undefined;
    },
    revoke: (token: FakeVaultToken) => endToken(token, 'revoked'),
    /** The response to a login. */
    loginResponse: (token: FakeVaultToken): FakeResponse =>
      vaultResponse('null', {}, { auth: authOf(token) }),
    /** `auth/token/...`. */
    handle(method: string, path: string, token: FakeVaultToken): FakeResponse | undefined {
      const isWrite = method === 'POST' || method === 'PUT';
      if (path === 'auth/token/renew-self' && isWrite) {
        if (token.type === 'batch')
          return vaultErrorResponse(400, 'batch tokens cannot be renewed');
        if (!renewable(token)) return vaultErrorResponse(400, 'lease is not renewable');
        const requestedExpiry = now() + token.ttlMs;
        token.expiresAt = Math.min(requestedExpiry, token.maxExpiresAt);
        token.renewals += 1;
        const warnings =
          requestedExpiry > token.maxExpiresAt
            ? [
                `TTL of "${token.ttlMs / 1_000}s" exceeded the effective max_ttl of "${secondsLeft(token)}s"; TTL value is capped accordingly`,
              ]
            : [];
        return vaultResponse(
          'null',
          {},
          { auth: authOf(token), ...(warnings.length > 0 && { warnings }) },
        );
      }
      if (path === 'auth/token/revoke-self' && isWrite) {
        if (token.type === 'batch')
          return vaultErrorResponse(400, 'batch tokens cannot be revoked');
        endToken(token, 'revoked');
        return { status: 204 };
      }
      if (path === 'auth/token/lookup-self' && method === 'GET') {
        const { id, accessor, type, policies } = token;
        const data = {
          id,
          accessor,
          type,
          policies,
          ttl: secondsLeft(token),
          renewable: renewable(token),
        };
        return vaultResponse(JSON.stringify(data));
      }
      return undefined;
    },
  };
}

export type FakeTokens = ReturnType<typeof createFakeTokens>;
