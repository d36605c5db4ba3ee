import { LRUCache } from 'lru-cache';
import type { Logger } from 'pino';
import * as z from 'zod';
import { SecretError, toSecretError } from '../../core/errors.ts';
import type { Grant, Lease, Provider } from '../../core/provider.ts';
import { sanitizeExternalText } from '../../core/safe-text.ts';
import type { VaultTokenManager } from './credentials/token-manager.ts';
import type { VaultResponse, VaultApi } from './call/api.ts';
import type { VaultSession } from './types.ts';

/** See {@link createVaultLeases}. */
export type VaultLeases = {
  /** Takes down a lease that this session read for a grant. @returns the lease, with the end it has as a child of its token */
  track(grant: Grant, session: VaultSession, lease: Lease): Lease;
  readonly renew: NonNullable<Provider<unknown, unknown, VaultSession>['renew']>;
  readonly release: NonNullable<Provider<unknown, unknown, VaultSession>['release']>;
  /** Stops its clock. Leases live on, and so must their tokens. */
  close(): void;
};

/** What is known of a lease beside what the store knows. */
type TrackedLease = {
  readonly session: VaultSession;
  /** Ends the keeping of its token. */
  readonly releaseToken: () => void;
  readonly renewable: boolean;
  /** The lease's own end, whatever becomes of its token. */
  ownExpiresAt: number;
  /** Milliseconds it had to live when that was last put off, and when that was. */
  lifeMs: number;
  lifeStartedAt: number;
};

/** How often leases that have ended let go of their tokens. */
const sweepMs = 60_000;
/** Leases of the pods of one namespace: a Vault of a tenant's own can hand out any number that never end. */
const maxLeasesPerNamespace = 2_000;

/** Begins what stands for the lease of a token made for a pod, whose own id nobody tells. It is left to its end. */
export const tokenLeasePrefix = 'token ';

const renewalSchema = z.object({ lease_duration: z.number().int().nonnegative() });

/**
 * Leases with the tokens they are children of. A lease lives no longer than its token, so the token is kept, and renewed, until the lease has ended
 * (also one that the store has forgotten: its pod may still use it); and the end that is told is the earlier one of the two.
 */
export function createVaultLeases(deps: {
  readonly api: VaultApi;
  readonly tokens: Pick<VaultTokenManager, 'retain'>;
  readonly now: () => number;
  readonly log: Logger;
}): VaultLeases {
  const { api, tokens, now, log } = deps;
  /** By namespace, then by {@link keyOf}. */
  const leasesByNamespace = new Map<string, LRUCache<string, TrackedLease>>();
  let sweepTimer: NodeJS.Timeout | undefined;

  const expiryOf = ({ ownExpiresAt, session }: TrackedLease): number =>
    Math.min(ownExpiresAt, session.expiresAt ?? Infinity);

  const find = (grant: Grant, id: string): TrackedLease | undefined =>
    leasesByNamespace.get(grant.workload.tenant)?.get(keyOf(grant, id));

  function addLease(grant: Grant, id: string, lease: TrackedLease): void {
    const { tenant: namespace } = grant.workload;
    const namespaceLeases =
      leasesByNamespace.get(namespace) ??
      new LRUCache({ max: maxLeasesPerNamespace, dispose: ({ releaseToken }) => releaseToken() });
    leasesByNamespace.set(namespace, namespaceLeases.set(keyOf(grant, id), lease));
    sweepTimer ??= setInterval(dropExpired, sweepMs).unref();
  }

  function dropExpired(): void {
    for (const [namespace, leases] of leasesByNamespace) {
      for (const [key, lease] of leases) if (expiryOf(lease) <= now()) leases.delete(key);
      if (leases.size === 0) leasesByNamespace.delete(namespace);
    }
    if (leasesByNamespace.size > 0) return;
    clearInterval(sweepTimer);
    sweepTimer = undefined;
  }

  function callLeaseApi(
    { session }: TrackedLease,
    action: 'renew' | 'revoke',
    id: string,
    signal: AbortSignal,
  ): Promise<VaultResponse> {
    const { login, token } = session;
    const body = JSON.stringify({ lease_id: id });
    // Asked twice, either does what it did once.
    return api.call({
      ...{ login, token, method: 'POST', path: `sys/leases/${action}`, body, signal },
      mayIssue: false,
      accept: [400],
    });
  }

  /** Asks Vault to put the lease's own end off. False: it will not. */
  async function extendLease(
    id: string,
    lease: TrackedLease,
    grant: Grant,
    signal: AbortSignal,
  ): Promise<boolean> {
    const sentAt = now();
    try {
      const response = await callLeaseApi(lease, 'renew', id, signal);
      // It was revoked, or its role no longer lets it be renewed.
      if (response.status !== 200) return false;
      const { lease_duration } = renewalSchema.parse(response.json());
      lease.ownExpiresAt = sentAt + lease_duration * 1_000;
      return true;
    } catch (thrown) {
      const error = toSecretError(thrown);
      if (error.kind !== 'definite') throw error;
      log.warn(
        { ref: grant.ref.name, code: error.code, reason: error.summary },
        'a lease is not renewed',
      );
      return false;
    }
  }

  return {
    track(grant, session, lease) {
      const { id, renewable, expiresAt: ownExpiresAt } = lease;
      const entry: TrackedLease = {
        session,
        releaseToken: tokens.retain(session),
        renewable,
        ownExpiresAt,
        lifeMs: 0,
        lifeStartedAt: now(),
      };
      const expiresAt = expiryOf(entry);
      entry.lifeMs = expiresAt - entry.lifeStartedAt;
      addLease(grant, id, entry);
      // Where the token ends first, the end moves with it.
      return { id, renewable: renewable || expiresAt < ownExpiresAt, expiresAt };
    },

    /**
     * `ended` as soon as the end cannot be put off, though the lease has some life left: the next republish then reads anew while what the pod has still
     * works.
     */
    async renew(grant, { id, expiresAt: previousExpiresAt }, signal) {
      const lease = find(grant, id);
      if (lease === undefined || expiryOf(lease) <= now()) return { kind: 'ended' };
      // From before the clock was set back: no end it was told holds.
      const isClockSetBack = lease.lifeStartedAt > now();
      if (isClockSetBack && !lease.renewable) return { kind: 'ended' };
      if (lease.renewable && !(await extendLease(id, lease, grant, signal)))
        return { kind: 'ended' };
      const expiresAt = expiryOf(lease);
      const remainingMs = expiresAt - now();
      if (remainingMs <= 0) return { kind: 'ended' };
      if (isClockSetBack || expiresAt - previousExpiresAt >= remainingMs / 2) {
        lease.lifeMs = remainingMs;
        lease.lifeStartedAt = expiresAt - remainingMs;
        return { kind: 'renewed', expiresAt };
      }
      // The token's own renewal may be a little later than this one.
      const mayStillExtend = expiresAt < lease.ownExpiresAt && remainingMs > lease.lifeMs / 5;
      return mayStillExtend ? { kind: 'renewed', expiresAt } : { kind: 'ended' };
    },

    async release(grant, { id }, signal) {
      const lease = find(grant, id);
      if (lease === undefined) return;
      try {
        if (!id.startsWith(tokenLeasePrefix)) await callLeaseApi(lease, 'revoke', id, signal);
      } catch (thrown) {
        const { code, message } = toSecretError(thrown);
        const expiryText = new Date(Math.min(expiryOf(lease), 8.64e15)).toISOString();
        throw new SecretError(
          code,
          `${message}; the lease of ${sanitizeExternalText(grant.ref.name)} lives on until ${expiryText}`,
          code === 'ACCESS_DENIED'
            ? { hint: 'give the role a policy with update on sys/leases/revoke' }
            : {},
        );
      } finally {
        leasesByNamespace.get(grant.workload.tenant)?.delete(keyOf(grant, id));
      }
    },

    close: () => clearInterval(sweepTimer),
  };
}

/** A Vault can be anybody's, and name its leases as it likes: also as another Vault did. */
function keyOf({ principal }: Grant, id: string): string {
  return `${principal.fingerprint} ${id}`;
}
