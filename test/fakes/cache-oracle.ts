import type { SecretError } from '../../src/core/errors.ts';
import type { Grant, Outcome, SecretValue } from '../../src/core/provider.ts';
import type { ModelStore, ModelCall } from './model-store.ts';
import type { FetchCall, LeaseCall } from './scripted-provider.ts';
import { hour, minute, second } from './cache-fixture.ts';

type Value = Extract<Outcome, { kind: 'value' }>;
/** A read: since when it waits, and for how long at most. */
type PendingRead = {
  readonly grant: Grant;
  readonly waitingSince: number;
  readonly timeoutMs: number;
};

/**
 * Checks the outcomes of the secret cache against the calls that the model store recorded. It knows
 * the contract, but not the implementation of the cache. Every method throws if the contract is
 * broken.
 */
export function createCacheOracle(deps: {
  readonly model: ModelStore;
  readonly now: () => number;
  readonly refreshIntervalMs: number;
  readonly maxStaleMs: number;
  readonly releases: readonly LeaseCall[];
}) {
  const { model, now, refreshIntervalMs, maxStaleMs, releases } = deps;
  const deliveredKeys = new Set<string>();
  const deliveryKey = ({ workload, principal, ref }: Grant): string =>
    `${workload.instance} ${principal.description} ${ref.name}`;

  const callsFor = (grant: Grant): ModelCall[] =>
    model.calls.filter(
      ({ name, principal }) => name === grant.ref.name && principal === grant.principal.description,
    );
  const isVisibleTo = (call: ModelCall, grant: Grant): boolean =>
    grant.scope === 'principal' || call.pod === grant.workload.instance;
  /**
   * If a response comes in the moment in which the last reader leaves, both results are correct.
   */
  const mayBeApplied = ({ response }: ModelCall): boolean =>
    response !== undefined && !response.isLate;
  const wasApplied = (call: ModelCall): boolean =>
    mayBeApplied(call) && call.abortedAt !== call.response!.at;

  /** The responses after `sourceCall` that affect its value. */
  const since = (sourceCall: ModelCall, value: SecretValue, grant: Grant): ModelCall[] =>
    callsFor(grant).filter(
      (call) =>
        call.response !== undefined &&
        call.response.order > sourceCall.response!.order &&
        (isShared(value) || isVisibleTo(call, grant)),
    );
  const deniedSince = (sourceCall: ModelCall, value: SecretValue, grant: Grant): boolean =>
    since(sourceCall, value, grant).some(isDefiniteFailure);

  /** When a value was last delivered or its lease prolonged, and when it was last requested. */
  const deliveryHistory = (
    sourceCall: ModelCall,
    value: SecretValue,
    grant: Grant,
    isCounted = mayBeApplied,
  ) => {
    const confirmations = since(sourceCall, value, grant).filter(
      (call) => call.response!.result.kind === 'unchanged' && isCounted(call),
    );
    const renewals = model.renewals.filter(
      ({ id, response }) => id === value.lease?.id && kindOf(response) === 'renewed',
    );
    const extensions = value.lease === undefined ? [] : [...confirmations, ...renewals];
    const delivered = Math.max(sourceCall.sentAt, ...extensions.map(({ sentAt }) => sentAt));
    const requested = Math.max(delivered, ...confirmations.map(({ sentAt }) => sentAt));
    const justNow =
      sourceCall.response!.at === now() ||
      confirmations.some(({ response }) => response!.at === now());
    return { delivered, requested, justNow };
  };

  const dueAt = (value: SecretValue, grant: Grant, requestedAt: number): number => {
    const expiresAt = expiryOf(value);
    if (expiresAt !== Infinity) return requestedAt + ((expiresAt - requestedAt) * 2) / 3;
    if (value.immutable === true) return Infinity;
    return requestedAt + (grant.ref.method === 'POST' ? hour : refreshIntervalMs);
  };

  /** A read that changes to a fallback in the moment of a response may not have received it. */
  const mayUseFallbackNow = ({ grant, waitingSince, timeoutMs }: PendingRead): boolean =>
    grant.fallbacks.length > 0 || Math.abs(now() - waitingSince - timeoutMs / 2) < 1;

  /**
   * Whether a grant's call got no response within half of the read's time, so that a fallback may
   * serve.
   */
  const hadNoResponse = (
    { grant, waitingSince, timeoutMs }: PendingRead,
    includeRateLimited: boolean,
  ): boolean =>
    callsFor(grant).some((call) => {
      const { response, abortedAt } = call;
      if (response === undefined || abortedAt !== undefined)
        return abortedAt === undefined || abortedAt >= waitingSince;
      if (response.at >= waitingSince + Math.floor(timeoutMs / 2)) return true;
      return (
        response.at >= waitingSince &&
        response.result.kind === 'failed' &&
        response.result.error.kind === 'outage' &&
        (includeRateLimited || response.result.error.code !== 'RATE_BUDGET_EXHAUSTED')
      );
    });

  const checkValue = (read: PendingRead, { value, served: ref }: Value): void => {
    const servingGrant = [read.grant, ...read.grant.fallbacks].find((grant) => grant.ref === ref)!;
    const sourceCall = model.calls[Number(Buffer.from(value.bytes).toString())]!;
    const wasDelivered = deliveredKeys.has(deliveryKey(servingGrant));
    assertContract(
      callsFor(servingGrant).includes(sourceCall),
      'it was never delivered for this ref to this principal',
    );
    assertContract(mayBeApplied(sourceCall), 'it came after the last reader had left');
    assertContract(
      sourceCall.response!.at - sourceCall.sentAt <= 30 * second,
      'it came after the 30 s of its call',
    );
    assertContract(isVisibleTo(sourceCall, servingGrant) || isShared(value), "it is another pod's");
    const later = since(sourceCall, value, servingGrant).filter(
      ({ response }) => response!.at < now() || !mayUseFallbackNow(read),
    );
    assertContract(!later.some(isDefiniteFailure), 'it was denied, or absent, since');
    for (const expiresAt of [value.expiresAt, value.lease?.expiresAt]) {
      assertContract(
        expiresAt === undefined || model.ends.get(`${sourceCall.id}`)!.has(expiresAt),
        'the store never set that expiry',
      );
    }
    assertContract(now() < expiryOf(value), 'it has expired');
    const lease = value.lease?.id;
    assertContract(!releases.some((release) => release.lease === lease), 'its lease was released');
    assertContract(
      !model.renewals.some(({ id, response }) => id === lease && kindOf(response) === 'ended'),
      'its lease has ended',
    );
    // A fickle secret moves between a pod's key and a shared one; the last response for each may
    // serve.
    const newer = later.some((call) => wasApplied(call) && call.response!.result.kind === 'value');
    assertContract(!newer || ref.name === 'fickle', 'it is not the last delivered value');

    const { delivered, requested, justNow } = deliveryHistory(sourceCall, value, servingGrant);
    const authorized = wasDelivered || now() - delivered <= 15 * minute;
    const isFresh =
      sourceCall.response!.at === now() ||
      (authorized && (justNow || now() < dueAt(value, servingGrant, requested)));
    const isAllowedStale =
      servingGrant === read.grant &&
      maxStaleMs > 0 &&
      now() - delivered <= maxStaleMs &&
      hadNoResponse(read, authorized);
    assertContract(
      isFresh || isAllowedStale,
      `it is too old: delivered ${now() - delivered} ms ago, requested ${now() - requested} ms ago`,
    );
    assertContract(
      servingGrant === read.grant || hadNoResponse(read, true),
      'a fallback served although the primary responded',
    );
    deliveredKeys.add(deliveryKey(servingGrant));
  };

  const checkAbsent = ({ grant }: PendingRead): void => {
    const absentCalls = callsFor(grant).filter(
      (call) => mayBeApplied(call) && call.response!.result.kind === 'absent',
    );
    const wasDelivered = deliveredKeys.has(deliveryKey(grant));
    assertContract(
      absentCalls.some(
        ({ response, sentAt }) =>
          response!.at === now() || (wasDelivered && now() < sentAt + refreshIntervalMs),
      ),
      'the store did not say that it is absent',
    );
    deliveredKeys.add(deliveryKey(grant));
  };

  const checkFailure = (read: PendingRead, error: SecretError): void => {
    const { grant } = read;
    if (error.kind === 'definite') {
      const wasDenied = callsFor(grant).some(
        (call) => isDefiniteFailure(call) && call.response!.at === now(),
      );
      return assertContract(wasDenied, 'the store did not deny it');
    }
    assertContract(error.kind === 'outage', `it failed with ${error.code}: ${error.message}`);
    assertContract(hadNoResponse(read, true), 'the store responded');
    const last = callsFor(grant)
      .filter((call) => wasApplied(call) && call.response!.result.kind === 'value')
      .filter((call) => isShared(valueOf(call)) || isVisibleTo(call, grant))
      .sort((a, b) => a.response!.order - b.response!.order)
      .at(-1);
    if (last === undefined || maxStaleMs === 0 || grant.ref.name === 'fickle') return;
    const value = valueOf(last);
    if (value.lease !== undefined || now() >= expiryOf(value) || deniedSince(last, value, grant))
      return;
    assertContract(now() - last.sentAt > maxStaleMs, 'the last good value should have served');
  };

  /**
   * For watched pods. The lease of an existing pod is never released. The last lease of a deleted
   * pod is, unless it has expired.
   */
  const checkLeases = (
    deletedPods: ReadonlySet<string>,
    revokedLeaseIds: readonly string[],
  ): void => {
    const leasedTo = model.calls.filter(
      (call) => wasApplied(call) && call.scope === 'pod' && call.response!.result.kind === 'value',
    );
    for (const call of leasedTo) {
      const { lease } = valueOf(call);
      if (lease === undefined) continue;
      const isRevoked = revokedLeaseIds.includes(lease.id);
      assertContract(
        deletedPods.has(call.pod) || !isRevoked,
        'a lease was released although its pod exists',
      );
      const later = model.calls.some(
        ({ name, principal, response }) =>
          name === call.name &&
          principal === call.principal &&
          response !== undefined &&
          response.order > call.response!.order,
      );
      const renewals = model.renewals.filter(({ id }) => id === lease.id);
      const hasEnded =
        renewals.some(({ response }) => kindOf(response) === 'ended') ||
        now() >= Math.max(...model.ends.get(lease.id)!);
      assertContract(
        isRevoked || later || hasEnded || !deletedPods.has(call.pod),
        'a lease was not released although its pod is gone',
      );
    }
  };

  return {
    /** The cache sends a request to the store. */
    onCall({ grant }: FetchCall): void {
      if (grant.scope === 'pod') return;
      const earlierCalls = callsFor(grant);
      assertContract(
        !earlierCalls.some(
          ({ response, abortedAt }) => response === undefined && abortedAt === undefined,
        ),
        'the same read is already in flight',
      );
      const last = earlierCalls
        .filter((call) => wasApplied(call) && call.response!.result.kind === 'value')
        .sort((a, b) => a.response!.order - b.response!.order)
        .at(-1);
      if (last === undefined || now() - last.sentAt > hour) return;
      const value = valueOf(last);
      if (value.lease !== undefined || deniedSince(last, value, grant)) return;
      const { delivered, requested } = deliveryHistory(last, value, grant, wasApplied);
      const isAuthorized =
        deliveredKeys.has(deliveryKey(grant)) || now() - delivered <= 15 * minute;
      const isFresh = now() < requested + (dueAt(value, grant, requested) - requested) * 0.9;
      assertContract(
        !(isAuthorized && isFresh),
        'it is read although the cached value is fresh enough',
      );
    },
    onOutcome(read: PendingRead, outcome: Outcome): void {
      assertContract(now() <= read.waitingSince + read.timeoutMs, 'the reader had left');
      if (outcome.kind === 'value') checkValue(read, outcome);
      else if (outcome.kind === 'absent') checkAbsent(read);
      else checkFailure(read, outcome.error);
    },
    /**
     * At the end of a scenario, after a tick. `deletedPods`: the deleted pods, if pods are watched.
     */
    end(deletedPods?: ReadonlySet<string>): void {
      const revokedLeaseIds = releases.map(({ lease }) => lease);
      assertContract(
        new Set(revokedLeaseIds).size === revokedLeaseIds.length,
        'a lease was released twice',
      );
      if (deletedPods !== undefined) checkLeases(deletedPods, revokedLeaseIds);
      for (const { response } of model.calls) {
        const lease = response?.result.kind === 'value' ? response.result.value.lease : undefined;
        assertContract(
          !lease || !response?.isLate || revokedLeaseIds.includes(lease.id),
          'the lease of a late response was not released',
        );
      }
    },
  };
}

function valueOf({ response }: ModelCall): SecretValue {
  return (response!.result as { value: SecretValue }).value;
}

function isDefiniteFailure({ response }: ModelCall): boolean {
  return (
    response?.result.kind === 'absent' ||
    (response?.result.kind === 'failed' && response.result.error.kind === 'definite')
  );
}

function kindOf(renewal: string | { readonly kind: string }): string {
  return typeof renewal === 'string' ? renewal : renewal.kind;
}

function isShared({ shareable, lease }: SecretValue): boolean {
  return shareable === true && lease === undefined;
}

function expiryOf({ expiresAt, lease }: SecretValue): number {
  return Math.min(expiresAt ?? Infinity, lease?.expiresAt ?? Infinity);
}

function assertContract(condition: boolean, message: string): void {
  if (!condition) throw new Error(`contract broken: ${message}`);
}
