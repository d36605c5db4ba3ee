import { codes, type ErrorCode } from '../../src/core/errors.ts';
import { SecretError } from '../../src/core/errors.ts';
import type { SecretRef } from '../../src/core/plan.ts';
import type { Workload } from '../../src/core/workload.ts';
import { createFingerprint } from '../../src/providers/shared/identity/fingerprint.ts';
import { grant } from '../../src/core/grant.ts';
import type {
  FetchRequest,
  FetchResult,
  Grant,
  Lease,
  Provider,
  SecretValue,
} from '../../src/core/provider.ts';
import { inOneStep } from '../../src/core/steps.ts';

/** One request as the provider received it. */
export type FetchCall = Pick<
  FetchRequest,
  'grant' | 'known' | 'urgency' | 'patience' | 'signal' | 'onStart'
> & {
  /** The ref's name. */
  readonly name: string;
  /** The principal, by the name given to {@link grantOf}. */
  readonly principal: string;
  /** The pod of the request. */
  readonly pod: string;
  /** The number of the `fetch` that contained it, counted from 0. */
  readonly batch: number;
};

/**
 * The response to a request: a result at once, or the result of a function. A plain result also
 * calls `onStart`.
 */
export type ScriptedResponse =
  FetchResult | ((call: FetchCall) => FetchResult | Promise<FetchResult>);

/** The response to a renewal; a code is thrown. */
export type ScriptedRenewal =
  { readonly kind: 'renewed'; readonly expiresAt: number } | { readonly kind: 'ended' } | ErrorCode;

/** A renewal or release of a lease. */
export type LeaseCall = {
  readonly lease: string;
  readonly principal: string;
  readonly pod: string;
};

export type ScriptedProvider = Provider & {
  readonly calls: FetchCall[];
  readonly renewals: LeaseCall[];
  readonly releases: LeaseCall[];
  /** Sets the responses for a name, in order. The last one is repeated. */
  script(name: string, ...responses: ScriptedResponse[]): void;
  /** Sets the responses to renewals, in order. The last one is repeated. */
  scriptRenewals(
    ...responses: (
      ScriptedRenewal | ((lease: Lease) => ScriptedRenewal | Promise<ScriptedRenewal>)
    )[]
  ): void;
};

/**
 * A provider that responds as scripted and records all requests. A name without a script is absent.
 */
export function createScriptedProvider({
  name = 'scripted',
  defaultResponse = absent(),
}: { name?: string; defaultResponse?: ScriptedResponse } = {}): ScriptedProvider {
  const scripts = new Map<string, ScriptedResponse[]>();
  const calls: FetchCall[] = [];
  const renewals: LeaseCall[] = [];
  const releases: LeaseCall[] = [];
  let renewalScript: Parameters<ScriptedProvider['scriptRenewals']> = ['STORE_UNAVAILABLE'];
  let batch = 0;

  const next = <T>(responses: T[]): T | undefined =>
    responses.length > 1 ? responses.shift() : responses[0];
  const leaseCall = ({ principal, workload }: Grant, { id }: Lease): LeaseCall => ({
    lease: id,
    principal: principal.description,
    pod: workload.instance,
  });
  const respond = async (call: FetchCall): Promise<FetchResult> => {
    const scripted = next(scripts.get(call.name) ?? []) ?? defaultResponse;
    if (typeof scripted === 'function') return scripted(call);
    call.onStart();
    return scripted;
  };

  return {
    name,
    calls,
    renewals,
    releases,
    script: (ref, ...responses) => void scripts.set(ref, responses),
    scriptRenewals: (...responses) => {
      renewalScript = responses;
    },
    nodeFacts: () => Promise.resolve(undefined),
    plan: () => inOneStep('held', () => ({ problems: [] })),
    authorize: () => Promise.resolve([]),
    fetch(requests) {
      const fetchCalls = requests.map((request): FetchCall => {
        const { ref, principal, workload } = request.grant;
        return {
          ...request,
          name: ref.name,
          principal: principal.description,
          pod: workload.instance,
          batch,
        };
      });
      batch += 1;
      calls.push(...fetchCalls);
      return fetchCalls.map(respond);
    },
    async renew(grant, lease) {
      renewals.push(leaseCall(grant, lease));
      const scripted = next(renewalScript) ?? 'STORE_UNAVAILABLE';
      const renewal = typeof scripted === 'function' ? await scripted(lease) : scripted;
      if (typeof renewal === 'string') throw new SecretError(renewal, 'as scripted');
      return renewal;
    },
    async release(grant, lease) {
      releases.push(leaseCall(grant, lease));
    },
  };
}

export function value(text: string, fields: Partial<SecretValue> = {}): FetchResult {
  return { kind: 'value', value: { bytes: Buffer.from(text), version: text, ...fields } };
}

export function leased(text: string, expiresAt: number, renewable = true): FetchResult {
  return value(text, { lease: { id: `lease of ${text}`, renewable, expiresAt } });
}

export function unchanged(fields: { version?: string; expiresAt?: number } = {}): FetchResult {
  return { kind: 'unchanged', ...fields };
}

export function absent(): FetchResult {
  return { kind: 'absent', error: new SecretError('OBJECT_NOT_FOUND', 'as scripted') };
}

export function failed(code: ErrorCode = 'STORE_UNAVAILABLE'): FetchResult {
  return { kind: 'failed', error: new SecretError(code, `as scripted: ${codes[code].kind}`) };
}

/** Calls `onStart`, and does not respond until the signal fires. */
export function hang({ signal, onStart }: FetchCall): Promise<FetchResult> {
  onStart();
  return new Promise((resolve) => {
    const onAbort = (): void => resolve({ kind: 'failed', error: signal.reason as SecretError });
    signal.addEventListener('abort', onAbort, { once: true });
  });
}

/** A response that the test gives to the oldest waiting request, even if its signal has fired. */
export function deferredResponse(): {
  readonly response: ScriptedResponse;
  readonly resolve: (result: FetchResult) => void;
} {
  const pendingResolves: ((result: FetchResult) => void)[] = [];
  return {
    response: ({ onStart }) => {
      onStart();
      return new Promise((resolve) => pendingResolves.push(resolve));
    },
    resolve: (result) => pendingResolves.shift()!(result),
  };
}

const fingerprint = createFingerprint(new Uint8Array(32));

export function workloadOf({ namespace = 'team', pod = 'pod' } = {}): Workload {
  return {
    tenant: namespace,
    identity: { name: 'default' },
    instance: pod,
    volume: pod,
    tokens: new Map(),
    secrets: new Map(),
  };
}

/** A grant. Every field has a default. A string as ref is its name. */
export function grantOf(fields: {
  ref?: string | SecretRef;
  principal?: string;
  namespace?: string;
  pod?: string;
  scope?: Grant['scope'];
  fallbacks?: readonly Grant[];
}): Grant {
  const { ref = 'db', principal = 'principal', scope = 'principal', fallbacks = [] } = fields;
  return grant({
    ref: typeof ref === 'string' ? { service: 'kms', name: ref } : ref,
    principal: {
      fingerprint: fingerprint({ principal }),
      description: principal,
      kind: 'own',
      credentials: () => Promise.resolve({}),
    },
    workload: workloadOf(fields),
    scope,
    fallbacks,
  });
}

/** A grant of pod scope. */
export function podGrantOf(
  pod: string,
  fields: { readonly ref?: string; readonly principal?: string } = {},
): Grant {
  return grantOf({ ...fields, pod, scope: 'pod' });
}
