import type { Logger } from 'pino';
import * as z from 'zod';
import { SecretError, toSecretError } from '../../errors/secret-error.ts';
import { quoteForeign } from '../../errors/status-text.ts';
import type { Grant, Lease, Provider } from '../provider.ts';
import type { VaultAnswer, VaultApi } from './api.ts';
import type { VaultSession } from './identity.ts';
import type { VaultTokens } from './tokens.ts';

/** See {@link createLeases}. */
export type Leases = {
  /** Takes down a lease that this session read. @returns the lease, with the end it has as a child of its token */
  hold(session: VaultSession, lease: Lease): Lease;
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
  /** Milliseconds it had to live when that was last put off. */
  life: number;
};

/** How often leases that have ended let go of their tokens. */
const sweepMs = 60_000;

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
  const held = new Map<string, Held>();
  let sweep: NodeJS.Timeout | undefined;

  const endOf = ({ end, session }: Held): number => Math.min(end, session.expiresAt ?? Infinity);

  function forget(id: string): void {
    held.get(id)?.letGo();
    held.delete(id);
    if (held.size > 0) return;
    clearInterval(sweep);
    sweep = undefined;
  }

  function forgetEnded(): void {
    for (const [id, lease] of held) if (endOf(lease) <= now()) forget(id);
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
    hold(session, lease) {
      const { id, renewable, expiresAt: end } = lease;
      const entry: Held = { session, letGo: tokens.dependOn(session), renewable, end, life: 0 };
      const expiresAt = endOf(entry);
      entry.life = expiresAt - now();
      held.set(id, entry);
      sweep ??= setInterval(forgetEnded, sweepMs).unref();
      // Where the token ends first, the end moves with it.
      return { id, renewable: renewable || expiresAt < end, expiresAt };
    },

    /**
     * `ended` as soon as the end cannot be put off, though the lease has some life left: the next republish then reads anew while what the pod has still
     * works.
     */
    async renew(grant, { id, expiresAt: before }, signal) {
      const lease = held.get(id);
      if (lease === undefined || endOf(lease) <= now()) return { kind: 'ended' };
      if (lease.renewable && !(await putOff(id, lease, grant, signal))) return { kind: 'ended' };
      const expiresAt = endOf(lease);
      const left = expiresAt - now();
      if (left <= 0) return { kind: 'ended' };
      if (expiresAt - before >= left / 2) {
        lease.life = left;
        return { kind: 'renewed', expiresAt };
      }
      // The token's own renewal may be a little later than this one.
      const mayStillMove = expiresAt < lease.end && left > lease.life / 5;
      return mayStillMove ? { kind: 'renewed', expiresAt } : { kind: 'ended' };
    },

    async release({ ref }, { id }, signal) {
      const lease = held.get(id);
      if (lease === undefined) return;
      try {
        await ask(lease, 'revoke', id, signal);
      } catch (thrown) {
        const { code, message } = toSecretError(thrown);
        const ends = new Date(Math.min(endOf(lease), 8.64e15)).toISOString();
        throw new SecretError(
          code,
          `${message}; the lease of ${quoteForeign(ref.name)} lives on until ${ends}`,
          code === 'ACCESS_DENIED' ? { hint: 'give the role a policy with update on sys/leases/revoke' } : {},
        );
      } finally {
        forget(id);
      }
    },

    close: () => clearInterval(sweep),
  };
}
