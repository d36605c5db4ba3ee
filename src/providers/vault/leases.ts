import { LRUCache } from 'lru-cache';
import type { Logger } from 'pino';
import * as z from 'zod';
import { SecretError, toSecretError } from '../../core/errors.ts';
import type { Grant, Lease, Provider } from '../../core/provider.ts';
import { Redacted } from '../../core/redacted.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import type { VaultApi, VaultResponse } from './call/api.ts';
import type { HandedOverToken, VaultTokenManager } from './credentials/token-manager.ts';
import { isoTime } from './describe.ts';
import type { VaultLogin, VaultSession } from './types.ts';

type VaultProvider = Required<Provider<unknown, unknown, VaultSession>>;

type LeaseTokens = Pick<VaultTokenManager, 'retain' | 'handOver' | 'takeOver'>;

/** What a later process needs of a lease. */
type HandedOver = {
  readonly token: HandedOverToken;
  readonly login: VaultLogin;
  readonly renewable: boolean;
  readonly ownExpiresAt: number;
};

/** What a lease needs besides the cache's record of it. */
type TrackedLease = {
  readonly session: VaultSession;
  /** Lets the token of the lease end. */
  readonly releaseToken: () => void;
  readonly renewable: boolean;
  /** The end of the lease itself, without regard to its token. */
  ownExpiresAt: number;
  /** How long it had to live at its last renewal, in milliseconds, and when that was. */
  lifeMs: number;
  lifeStartedAt: number;
};

/** How often leases that have ended release their tokens. */
const sweepMs = 60_000;
/**
 * Leases of the pods of one namespace: a tenant's own Vault can issue any number without an end.
 */
const maxLeasesPerNamespace = 2_000;

/**
 * The prefix of a lease that represents a token that a read made for a pod. Its id is its accessor,
 * which Keyferry does not use: the token lives until its end.
 */
export const tokenLeasePrefix = 'token ';

const renewalSchema = z.object({ lease_duration: z.number().int().nonnegative() });

/** See {@link VaultLeases}. */
export type VaultLeasesDeps = {
  readonly api: VaultApi;
  readonly tokens: LeaseTokens;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
};

/**
 * The leases and the tokens that they are children of. A lease ends with its token at the latest.
 * So the token is kept and renewed until the lease has ended, also where the cache has dropped the
 * lease: its pod may still use it. The end that callers get is the earlier one of the two.
 */
export class VaultLeases {
  readonly #api: VaultApi;
  readonly #tokens: LeaseTokens;
  readonly #now: () => number;
  readonly #log: Logger;
  /** By namespace, then by {@link keyOf}. */
  readonly #leasesByNamespace = new Map<string, LRUCache<string, TrackedLease>>();
  #sweepTimer: NodeJS.Timeout | undefined;

  constructor({ api, tokens, now, log }: VaultLeasesDeps) {
    this.#api = api;
    this.#tokens = tokens;
    this.#now = now;
    this.#log = log;
  }

  /**
   * Records a lease that this session read for a grant.
   * @returns the lease, with the end that it has as a child of its token
   */
  track(grant: Grant, session: VaultSession, lease: Lease): Lease {
    const { id, renewable, expiresAt: ownExpiresAt } = lease;
    const trackedLease: TrackedLease = {
      session,
      releaseToken: this.#tokens.retain(session),
      renewable,
      ownExpiresAt,
      lifeMs: 0,
      lifeStartedAt: this.#now(),
    };
    const expiresAt = expiryOf(trackedLease);
    trackedLease.lifeMs = expiresAt - trackedLease.lifeStartedAt;
    this.#add(grant, id, trackedLease);
    // Where the token ends first, each renewal of the token extends the lease.
    return { id, renewable: renewable || expiresAt < ownExpiresAt, expiresAt };
  }

  /**
   * Extends a lease. It returns `ended` as soon as the lease cannot be extended, though it has some
   * life left: the next republish then reads a new one while the pod's old one is valid.
   */
  async renew(
    grant: Grant,
    { id, expiresAt: previousExpiresAt }: Lease,
    signal: AbortSignal,
  ): ReturnType<VaultProvider['renew']> {
    const now = this.#now;
    const lease = this.#find(grant, id);
    if (lease === undefined || expiryOf(lease) <= now()) return { kind: 'ended' };
    // The clock was set back since then, so none of the lease's times is valid.
    const isClockSetBack = lease.lifeStartedAt > now();
    if (isClockSetBack && !lease.renewable) return { kind: 'ended' };
    if (lease.renewable && !(await this.#extend(id, lease, grant, signal)))
      return { kind: 'ended' };
    const expiresAt = expiryOf(lease);
    const remainingMs = expiresAt - now();
    if (remainingMs <= 0) return { kind: 'ended' };
    if (isClockSetBack || expiresAt - previousExpiresAt >= remainingMs / 2) {
      lease.lifeMs = remainingMs;
      lease.lifeStartedAt = expiresAt - remainingMs;
      return { kind: 'renewed', expiresAt };
    }
    // The renewal of the token can come a little later than this one.
    const mayStillExtend = expiresAt < lease.ownExpiresAt && remainingMs > lease.lifeMs / 5;
    return mayStillExtend ? { kind: 'renewed', expiresAt } : { kind: 'ended' };
  }

  /** Revokes a lease and releases its token. @throws SecretError where Vault did not revoke it */
  async release(grant: Grant, { id }: Lease, signal: AbortSignal): Promise<void> {
    const lease = this.#find(grant, id);
    if (lease === undefined) return;
    try {
      if (!id.startsWith(tokenLeasePrefix)) await this.#call(lease, 'revoke', id, signal);
    } catch (thrown) {
      const { code, message } = toSecretError(thrown);
      const expiryText = isoTime(expiryOf(lease));
      throw new SecretError(
        code,
        `${message}; the lease of ${sanitizeUserText(grant.ref.name)} lives on until ${expiryText}`,
        code === 'ACCESS_DENIED'
          ? { hint: 'give the role a policy with update on sys/leases/revoke' }
          : {},
      );
    } finally {
      this.#leasesByNamespace.get(grant.workload.tenant)?.delete(keyOf(grant, id));
    }
  }

  /** The lease with its token, since it ends with that one. */
  handOver(grant: Grant, { id }: Lease): Redacted | undefined {
    const lease = this.#find(grant, id);
    if (lease === undefined) return undefined;
    const { session, renewable, ownExpiresAt } = lease;
    const token = this.#tokens.handOver(session);
    if (token === undefined) return undefined;
    const handedOver: HandedOver = { token, login: session.login, renewable, ownExpiresAt };
    return new Redacted(JSON.stringify(handedOver));
  }

  /** See `takeOver` of the provider. The token is used for nothing but this lease. */
  takeOver(grant: Grant, { id }: Lease, handedOver: Redacted): Lease | undefined {
    const { token, login, renewable, ownExpiresAt } = JSON.parse(handedOver.reveal()) as HandedOver;
    if (Math.min(ownExpiresAt, token.expiresAt ?? Infinity) <= this.#now()) return undefined;
    const session = this.#tokens.takeOver(login, token);
    return this.track(grant, session, { id, renewable, expiresAt: ownExpiresAt });
  }

  /** Stops the timer. Leases live on, and so must their tokens. */
  close(): void {
    clearInterval(this.#sweepTimer);
  }

  #find(grant: Grant, id: string): TrackedLease | undefined {
    return this.#leasesByNamespace.get(grant.workload.tenant)?.get(keyOf(grant, id));
  }

  #add(grant: Grant, id: string, lease: TrackedLease): void {
    const { tenant: namespace } = grant.workload;
    const namespaceLeases =
      this.#leasesByNamespace.get(namespace) ??
      new LRUCache({ max: maxLeasesPerNamespace, dispose: ({ releaseToken }) => releaseToken() });
    this.#leasesByNamespace.set(namespace, namespaceLeases.set(keyOf(grant, id), lease));
    this.#sweepTimer ??= setInterval(() => this.#dropExpired(), sweepMs).unref();
  }

  #dropExpired(): void {
    for (const [namespace, leases] of this.#leasesByNamespace) {
      for (const [key, lease] of leases) if (expiryOf(lease) <= this.#now()) leases.delete(key);
      if (leases.size === 0) this.#leasesByNamespace.delete(namespace);
    }
    if (this.#leasesByNamespace.size > 0) return;
    clearInterval(this.#sweepTimer);
    this.#sweepTimer = undefined;
  }

  /** Lets Vault extend the lease itself. @returns whether Vault did */
  async #extend(
    id: string,
    lease: TrackedLease,
    grant: Grant,
    signal: AbortSignal,
  ): Promise<boolean> {
    const sentAt = this.#now();
    try {
      const response = await this.#call(lease, 'renew', id, signal);
      // It was revoked, or its role does not allow renewals any more.
      if (response.status !== 200) return false;
      const { lease_duration } = renewalSchema.parse(response.json());
      lease.ownExpiresAt = sentAt + lease_duration * 1_000;
      return true;
    } catch (thrown) {
      const error = toSecretError(thrown);
      if (error.kind !== 'definite') throw error;
      this.#log.warn(
        { ref: grant.ref.name, code: error.code, reason: error.summary },
        'a lease is not renewed',
      );
      return false;
    }
  }

  #call(
    { session }: TrackedLease,
    action: 'renew' | 'revoke',
    id: string,
    signal: AbortSignal,
  ): Promise<VaultResponse> {
    const { login, token } = session;
    const body = JSON.stringify({ lease_id: id });
    // Both actions can be repeated: the second one changes nothing.
    return this.#api.call({
      ...{ login, token, method: 'POST', path: `sys/leases/${action}`, body, signal },
      mayIssue: false,
      accept: [400],
    });
  }
}

function expiryOf({ ownExpiresAt, session }: TrackedLease): number {
  return Math.min(ownExpiresAt, session.expiresAt ?? Infinity);
}

/** Vaults of two tenants can use the same lease id, so the key contains the principal. */
function keyOf({ principal }: Grant, id: string): string {
  return `${principal.fingerprint} ${id}`;
}
