import { LRUCache } from 'lru-cache';
import type { Logger } from 'pino';
import * as z from 'zod';
import { SecretError, toSecretError } from '../../../core/errors.ts';
import type { Grant, Lease, Provider } from '../../../core/provider.ts';
import { quoteForeign } from '../../../core/safe-text.ts';
import type { VaultTokens } from '../auth/token-manager.ts';
import type { VaultAnswer, VaultApi } from '../client/client.ts';
import type { VaultSession } from '../types.ts';

/** See {@link createLeases}. */
export type Leases = {
  /** Takes down a lease that this session read for a grant. @returns the lease, with the end it has as a child of its token */
  hold(grant: Grant, session: VaultSession, lease: Lease): Lease;
  readonly renew: NonNullable<Provider<unknown, unknown, VaultSession>['renew']>;
  readonly release: NonNullable<Provider<unknown, unknown, VaultSession>['release']>;
  /** Stops its clock. Leases live on, and so must their tokens. */
  close(): void;
};

/** What is known of a lease beside what the store knows. */
type Held = {
  readonly session: VaultSession;
  /** Ends the keeping of its token. */
  readonly letGo: () => void;
  readonly renewable: boolean;
  /** The lease's own end, whatever becomes of its token. */
  end: number;
  /** Milliseconds it had to live when that was last put off, and when that was. */
  life: number;
  livesFrom: number;
};

/** How often leases that have ended let go of their tokens. */
const sweepMs = 60_000;
/** Leases of the pods of one namespace: a Vault of a tenant's own can hand out any number that never end. */
const maxHeld = 2_000;

/** Begins what stands for the lease of a token made for a pod, whose own id nobody tells. It is left to its end. */
export const tokenLease = 'token ';

const renewalSchema = z.object({ lease_duration: z.number().int().nonnegative() });

/**
 * Leases with the tokens they are children of. A lease lives no longer than its token, so the token is kept, and renewed, until the lease has ended
 * (also one that the store has forgotten: its pod may still use it); and the end that is told is the earlier one of the two.
 */
export function createLeases(deps: {
  readonly api: VaultApi;
  readonly tokens: Pick<VaultTokens, 'dependOn'>;
  readonly now: () => number;
  readonly log: Logger;
}): Leases {
  const { api, tokens, now, log } = deps;
  /** By namespace, then by {@link keyOf}. */
  const held = new Map<string, LRUCache<string, Held>>();
  let sweep: NodeJS.Timeout | undefined;

  const endOf = ({ end, session }: Held): number => Math.min(end, session.expiresAt ?? Infinity);

  const find = (grant: Grant, id: string): Held | undefined =>
    held.get(grant.workload.namespace)?.get(keyOf(grant, id));

  function keep(grant: Grant, id: string, lease: Held): void {
    const { namespace } = grant.workload;
    const mine = held.get(namespace) ?? new LRUCache({ max: maxHeld, dispose: ({ letGo }) => letGo() });
    held.set(namespace, mine.set(keyOf(grant, id), lease));
    sweep ??= setInterval(forgetEnded, sweepMs).unref();
  }

  function forgetEnded(): void {
    for (const [namespace, leases] of held) {
      for (const [key, lease] of leases) if (endOf(lease) <= now()) leases.delete(key);
      if (leases.size === 0) held.delete(namespace);
    }
    if (held.size > 0) return;
    clearInterval(sweep);
    sweep = undefined;
  }

  function ask(
    { session }: Held,
    what: 'renew' | 'revoke',
    id: string,
    signal: AbortSignal,
  ): Promise<VaultAnswer> {
    const { login, token } = session;
    const body = JSON.stringify({ lease_id: id });
    // Asked twice, either does what it did once.
    return api.call({
      ...{ login, token, method: 'POST', path: `sys/leases/${what}`, body, signal },
      issues: false,
      accept: [400],
    });
  }

  /** Asks Vault to put the lease's own end off. False: it will not. */
  async function putOff(id: string, lease: Held, grant: Grant, signal: AbortSignal): Promise<boolean> {
    const askedAt = now();
    try {
      const answer = await ask(lease, 'renew', id, signal);
      // It was revoked, or its role no longer lets it be renewed.
      if (answer.status !== 200) return false;
      const { lease_duration } = renewalSchema.parse(answer.json());
      lease.end = askedAt + lease_duration * 1_000;
      return true;
    } catch (thrown) {
      const error = toSecretError(thrown);
      if (error.kind !== 'definite') throw error;
      log.warn({ ref: grant.ref.name, code: error.code, reason: error.summary }, 'a lease is not renewed');
      return false;
    }
  }

  return {
    hold(grant, session, lease) {
      const { id, renewable, expiresAt: end } = lease;
      const entry: Held = {
        session,
        letGo: tokens.dependOn(session),
        renewable,
        end,
        life: 0,
        livesFrom: now(),
      };
      const expiresAt = endOf(entry);
      entry.life = expiresAt - entry.livesFrom;
      keep(grant, id, entry);
      // Where the token ends first, the end moves with it.
      return { id, renewable: renewable || expiresAt < end, expiresAt };
    },

    /**
     * `ended` as soon as the end cannot be put off, though the lease has some life left: the next republish then reads anew while what the pod has still
     * works.
     */
    async renew(grant, { id, expiresAt: before }, signal) {
      const lease = find(grant, id);
      if (lease === undefined || endOf(lease) <= now()) return { kind: 'ended' };
      // From before the clock was set back: no end it was told holds.
      const isAhead = lease.livesFrom > now();
      if (isAhead && !lease.renewable) return { kind: 'ended' };
      if (lease.renewable && !(await putOff(id, lease, grant, signal))) return { kind: 'ended' };
      const expiresAt = endOf(lease);
      const left = expiresAt - now();
      if (left <= 0) return { kind: 'ended' };
      if (isAhead || expiresAt - before >= left / 2) {
        lease.life = left;
        lease.livesFrom = expiresAt - left;
        return { kind: 'renewed', expiresAt };
      }
      // The token's own renewal may be a little later than this one.
      const mayStillMove = expiresAt < lease.end && left > lease.life / 5;
      return mayStillMove ? { kind: 'renewed', expiresAt } : { kind: 'ended' };
    },

    async release(grant, { id }, signal) {
      const lease = find(grant, id);
      if (lease === undefined) return;
      try {
        if (!id.startsWith(tokenLease)) await ask(lease, 'revoke', id, signal);
      } catch (thrown) {
        const { code, message } = toSecretError(thrown);
        const ends = new Date(Math.min(endOf(lease), 8.64e15)).toISOString();
        throw new SecretError(
          code,
          `${message}; the lease of ${quoteForeign(grant.ref.name)} lives on until ${ends}`,
          code === 'ACCESS_DENIED' ? { hint: 'give the role a policy with update on sys/leases/revoke' } : {},
        );
      } finally {
        held.get(grant.workload.namespace)?.delete(keyOf(grant, id));
      }
    },

    close: () => clearInterval(sweep),
  };
}

/** A Vault can be anybody's, and name its leases as it likes: also as another Vault did. */
function keyOf({ principal }: Grant, id: string): string {
  return `${principal.fingerprint} ${id}`;
}
