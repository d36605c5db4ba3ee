import type { SecretError } from '../../src/core/errors.ts';
import type { SecretRef } from '../../src/core/plan.ts';
import type { FetchResult, Grant, Lease, SecretValue } from '../../src/core/provider.ts';
import {
  absent,
  failed,
  unchanged,
  type ScriptedResponse,
  type FetchCall,
  type ScriptedRenewal,
} from './scripted-provider.ts';
import { minute, second } from './cache-fixture.ts';

/** A kind of secret: its ref, its scope and the kind of its values. */
export type SecretKind = {
  readonly ref: SecretRef;
  readonly scope: Grant['scope'];
  readonly like: 'moving' | 'pinned' | 'ending' | 'leased' | 'shareable' | 'fickle';
};

/** The secrets of the model. The fallback of `first` is `second`. */
export const secretKinds: readonly SecretKind[] = [
  { ref: { service: 'kms', name: 'moving' }, scope: 'principal', like: 'moving' },
  { ref: { service: 'kms', name: 'pinned', version: '7' }, scope: 'principal', like: 'pinned' },
  { ref: { service: 'kms', name: 'ending' }, scope: 'principal', like: 'ending' },
  { ref: { service: 'vault', name: 'lease of account' }, scope: 'principal', like: 'leased' },
  { ref: { service: 'vault', name: 'lease of pod' }, scope: 'pod', like: 'leased' },
  {
    ref: { service: 'vault', name: 'issued', method: 'POST', body: '{}' },
    scope: 'pod',
    like: 'moving',
  },
  { ref: { service: 'vault', name: 'kv' }, scope: 'pod', like: 'shareable' },
  { ref: { service: 'vault', name: 'fickle' }, scope: 'pod', like: 'fickle' },
  { ref: { service: 'csms', name: 'first' }, scope: 'principal', like: 'moving' },
];
export const fallbackKind = {
  ref: { service: 'csms', name: 'second' },
  scope: 'principal',
  like: 'moving',
} as const;

/** How the store responds to one call. */
export type ResponseProfile = {
  /** Milliseconds until the rate limiter lets the call go, and then until its response. */
  readonly waits: number;
  readonly takes: number;
  /** The call ends when its signal fires. */
  readonly heeds: boolean;
  /** The response is `unchanged` if possible. */
  readonly confirms: boolean;
  /** The kind of a fickle secret's value. */
  readonly like: 'leased' | 'shareable' | 'moving';
};

/** One call and its response. */
export type ModelCall = Pick<FetchCall, 'name' | 'principal' | 'pod' | 'urgency' | 'signal'> & {
  readonly id: number;
  readonly scope: Grant['scope'];
  readonly known: FetchCall['known'];
  readonly startedAt: number;
  /** When the rate limiter let it go. */
  sentAt: number;
  /** When its signal fired. */
  abortedAt?: number;
  response?: {
    readonly result: FetchResult;
    readonly at: number;
    readonly order: number;
    /** The response came after the signal had fired. */
    readonly isLate: boolean;
  };
};

/** One renewal of a lease and its response. */
export type RecordedRenewal = {
  readonly id: string;
  readonly sentAt: number;
  readonly order: number;
  readonly response: ScriptedRenewal;
};

/**
 * A store whose secrets can become denied, absent, changed, unavailable or rate-limited at any
 * moment. It records all calls and responses. The bytes of a value are the number of the call that
 * returned it.
 */
export function createModelStore(now: () => number, nextProfile: () => ResponseProfile) {
  const calls: ModelCall[] = [];
  const renewals: RecordedRenewal[] = [];
  const ends = new Map<string, Set<number>>();
  /**
   * Current conditions: `denied p secret`, `gone secret`, `down secret`, `ended secret`, `budget
   * spent`.
   */
  const conditions = new Set<string>();
  const versions = new Map<string, number>();
  const usedTimestamps = new Set<number>();
  let order = 0;

  /**
   * Waits until a moment that no other call uses, so that responses have an order, or until the
   * signal fires.
   */
  const pause = (ms: number, signal?: AbortSignal): Promise<void> =>
    new Promise((resolve) => {
      let due = now() + Math.max(1, ms);
      while (usedTimestamps.has(due)) due += 1;
      usedTimestamps.add(due);
      const timer = setTimeout(resolve, due - now());
      const onAbort = (): void => {
        clearTimeout(timer);
        resolve();
      };
      if (signal?.aborted) onAbort();
      signal?.addEventListener('abort', onAbort, { once: true });
    });

  const recordExpiry = (valueId: string, expiresAt: number): number => {
    ends.set(valueId, (ends.get(valueId) ?? new Set()).add(expiresAt));
    return expiresAt;
  };

  const valueOf = (
    modelCall: ModelCall,
    { like: fickleValueKind }: ResponseProfile,
  ): SecretValue => {
    const secretKind = [...secretKinds, fallbackKind].find(
      ({ ref }) => ref.name === modelCall.name,
    )!;
    const like = secretKind.like === 'fickle' ? fickleValueKind : secretKind.like;
    const id = `${modelCall.id}`;
    return {
      bytes: Buffer.from(id),
      version: `v${versions.get(modelCall.name) ?? 0}`,
      ...(like === 'pinned' && { immutable: true }),
      ...(like === 'shareable' && { shareable: true }),
      ...(like === 'ending' && { expiresAt: recordExpiry(id, now() + 5 * minute) }),
      ...(like === 'leased' && {
        lease: { id, renewable: true, expiresAt: recordExpiry(id, now() + 10 * minute) },
      }),
    };
  };

  const decide = (modelCall: ModelCall, profile: ResponseProfile): FetchResult => {
    const { name, principal, known } = modelCall;
    if (conditions.has(`down ${name}`)) return failed('STORE_UNAVAILABLE');
    if (conditions.has(`denied ${principal} ${name}`)) return failed('ACCESS_DENIED');
    if (conditions.has(`gone ${name}`)) return absent();
    if (profile.confirms && known?.lease !== undefined) {
      return unchanged({ expiresAt: recordExpiry(known.lease.id, now() + 10 * minute) });
    }
    if (profile.confirms && known?.version === `v${versions.get(name) ?? 0}`) return unchanged();
    return { kind: 'value', value: valueOf(modelCall, profile) };
  };

  const respond: ScriptedResponse = async (call) => {
    const { name, principal, pod, urgency, signal, known } = call;
    const { scope } = call.grant;
    const id = calls.length;
    const modelCall: ModelCall = {
      id,
      name,
      principal,
      pod,
      scope,
      urgency,
      signal,
      known,
      startedAt: now(),
      sentAt: now(),
    };
    calls.push(modelCall);
    signal.addEventListener('abort', () => void (modelCall.abortedAt = now()), { once: true });
    const profile = nextProfile();
    const abortSignal = profile.heeds ? signal : undefined;
    const isRateLimited = conditions.has('budget spent') && urgency === 'refresh';
    await pause(isRateLimited ? 2 * second : profile.waits, abortSignal);
    if (!isRateLimited) {
      call.onStart();
      modelCall.sentAt = now();
      await pause(profile.takes, abortSignal);
    }
    if (abortSignal?.aborted) return { kind: 'failed', error: signal.reason as SecretError };
    const result = isRateLimited ? failed('RATE_BUDGET_EXHAUSTED') : decide(modelCall, profile);
    modelCall.response = { result, at: now(), order: (order += 1), isLate: signal.aborted };
    return result;
  };

  const renew = async ({ id }: Lease): Promise<ScriptedRenewal> => {
    const { name } = calls[Number(id)]!;
    const sentAt = now();
    await pause(second);
    const renewal: ScriptedRenewal = conditions.has(`down ${name}`)
      ? 'STORE_UNAVAILABLE'
      : conditions.has(`ended ${name}`)
        ? { kind: 'ended' }
        : { kind: 'renewed', expiresAt: recordExpiry(id, now() + 10 * minute) };
    renewals.push({ id, sentAt, order: (order += 1), response: renewal });
    return renewal;
  };

  return {
    respond,
    renew,
    calls,
    renewals,
    /** All expiries that the store has set for the value of a call. */
    ends,
    toggle(condition: string): void {
      if (!conditions.delete(condition)) conditions.add(condition);
    },
    write: (name: string): void => void versions.set(name, (versions.get(name) ?? 0) + 1),
  };
}

export type ModelStore = ReturnType<typeof createModelStore>;
