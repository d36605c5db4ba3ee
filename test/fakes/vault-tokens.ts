import { randomBytes } from 'node:crypto';
import type { FakeAnswer } from './http-server.ts';
import { vaultEnvelope, vaultFault } from './vault-answers.ts';

/** A token as the fake knows it. */
export type FakeVaultToken = {
  readonly id: string;
  readonly accessor: string;
  readonly type: 'service' | 'batch';
  readonly policies: readonly string[];
  /** How long a renewal carries. Milliseconds; Infinity: for ever, as root's. */
  readonly ttlMs: number;
  /** Milliseconds since the epoch: beyond it no renewal helps. */
  readonly lastsUntil: number;
  readonly role?: string;
  /** What the method says of the login. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Milliseconds since the epoch. */
  expiresAt: number;
  renewals: number;
  state: 'good' | 'expired' | 'revoked';
};

/** How a role's tokens live; seconds would be Vault's word, but clocks here turn in milliseconds. */
export type TokenLife = {
  /** Default one hour. */
  readonly ttlMs?: number;
  /** Default 24 hours. */
  readonly maxTtlMs?: number;
  readonly tokenType?: 'service' | 'batch';
  readonly policies?: readonly string[];
};

/**
 * The tokens of one namespace.
 * @param onEnd what depends on a token ends with it
 */
export function createFakeTokens(now: () => number, onEnd: (token: FakeVaultToken) => void) {
  const tokens = new Map<string, FakeVaultToken>();

  function issue(
    life: TokenLife & { readonly role?: string; readonly metadata?: FakeVaultToken['metadata'] } = {},
  ): FakeVaultToken {
    const { ttlMs = 3_600_000, maxTtlMs = 86_400_000, tokenType: type = 'service' } = life;
    const token: FakeVaultToken = {
      id: `${type === 'batch' ? 'hvb' : 'hvs'}.${randomBytes(45).toString('base64url')}`,
      accessor: randomBytes(12).toString('hex'),
      ...{ type, ttlMs, renewals: 0, state: 'good' },
      policies: life.policies ?? ['app'],
      lastsUntil: now() + maxTtlMs,
      expiresAt: now() + Math.min(ttlMs, maxTtlMs),
      metadata: life.metadata ?? {},
      ...(life.role !== undefined && { role: life.role }),
    };
    tokens.set(token.id, token);
    return token;
  }

  function end(token: FakeVaultToken, state: 'expired' | 'revoked'): void {
    if (token.state !== 'good') return;
    token.state = state;
    onEnd(token);
  }

  /** Ends what is over. */
  function sweep(): void {
    for (const token of tokens.values()) if (token.expiresAt <= now()) end(token, 'expired');
  }

  const secondsLeft = ({ expiresAt }: FakeVaultToken): number =>
    expiresAt === Infinity ? 0 : Math.floor((expiresAt - now()) / 1_000);

  const renewable = (token: FakeVaultToken): boolean => token.type === 'service' && token.ttlMs !== Infinity;

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
    /** A token that is good now. */
    find(id: string): FakeVaultToken | undefined {
      sweep();
      const token = tokens.get(id);
      return token?.state === 'good' ? token : undefined;
    },
    revoke: (token: FakeVaultToken) => end(token, 'revoked'),
    /** The answer of a login. */
    welcome: (token: FakeVaultToken): FakeAnswer => vaultEnvelope('null', {}, { auth: authOf(token) }),
    /** `auth/token/...`. */
    answer(method: string, path: string, token: FakeVaultToken): FakeAnswer | undefined {
      const isWrite = method === 'POST' || method === 'PUT';
      if (path === 'auth/token/renew-self' && isWrite) {
        if (token.type === 'batch') return vaultFault(400, 'batch tokens cannot be renewed');
        if (!renewable(token)) return vaultFault(400, 'lease is not renewable');
        const wanted = now() + token.ttlMs;
        token.expiresAt = Math.min(wanted, token.lastsUntil);
        token.renewals += 1;
        const warnings =
          wanted > token.lastsUntil
            ? [
                `TTL of "${token.ttlMs / 1_000}s" exceeded the effective max_ttl of "${secondsLeft(token)}s"; TTL value is capped accordingly`,
              ]
            : [];
        return vaultEnvelope('null', {}, { auth: authOf(token), ...(warnings.length > 0 && { warnings }) });
      }
      if (path === 'auth/token/revoke-self' && isWrite) {
        if (token.type === 'batch') return vaultFault(400, 'batch tokens cannot be revoked');
        end(token, 'revoked');
        return { status: 204 };
      }
      if (path === 'auth/token/lookup-self' && method === 'GET') {
        const { id, accessor, type, policies } = token;
        const data = { id, accessor, type, policies, ttl: secondsLeft(token), renewable: renewable(token) };
        return vaultEnvelope(JSON.stringify(data));
      }
      return undefined;
    },
  };
}

export type FakeTokens = ReturnType<typeof createFakeTokens>;
