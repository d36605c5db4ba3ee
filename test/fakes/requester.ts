import { SecretError } from '../../src/core/errors.ts';
import type { SecretRef } from '../../src/core/plan.ts';
import { grant } from '../../src/core/grant.ts';
import type { FetchRequest, FetchResult, Principal } from '../../src/core/provider.ts';

/** A ref. Missing fields have the defaults of the requester. */
export type RequestedRef = Partial<SecretRef> & Pick<SecretRef, 'name'>;

type RequestOptions = Partial<Pick<FetchRequest, 'signal' | 'urgency' | 'onStart' | 'known'>> & {
  /** Of the workload. Default `team-a`. */
  readonly namespace?: string;
};

/** Logs in and reads with the parts of a provider, without classes, as the cache does. */
export function createRequester<Identity, Credential>({
  fetch,
  principalOf,
  refDefaults,
}: {
  readonly fetch: (
    requests: readonly FetchRequest<Credential>[],
  ) => readonly Promise<FetchResult>[];
  readonly principalOf: (identity: Identity) => Principal<Credential>;
  /** For fields that a ref does not set. */
  readonly refDefaults: Pick<SecretRef, 'service' | 'region'>;
}) {
  const fetchRequest = (
    identity: Identity,
    ref: RequestedRef,
    { namespace = 'team-a', ...options }: RequestOptions = {},
  ): FetchRequest<Credential> => ({
    urgency: 'first',
    signal: new AbortController().signal,
    onStart: () => undefined,
    ...options,
    grant: grant({
      ref: { ...refDefaults, ...ref },
      principal: principalOf(identity),
      workload: {
        tenant: namespace,
        identity: { name: 'app' },
        instance: 'pod-1',
        volume: 'pod-1',
        tokens: new Map(),
        secrets: new Map(),
      },
    }),
  });

  return {
    fetch,
    fetchRequest: fetchRequest,
    async results(identity: Identity, ...refs: RequestedRef[]): Promise<FetchResult[]> {
      return Promise.all(fetch(refs.map((ref) => fetchRequest(identity, ref))));
    },
    /** See {@link formatResult}. */
    async read(identity: Identity, ref: RequestedRef | string): Promise<string> {
      const requestedRef = typeof ref === 'string' ? { name: ref } : ref;
      const [result] = await Promise.all(fetch([fetchRequest(identity, requestedRef)]));
      return formatResult(requestedRef.name, result);
    },
    /** The error of a login, `CODE: message; hint`, or `none`. */
    async login(identity: Identity): Promise<string> {
      try {
        await principalOf(identity).credentials(new AbortController().signal);
        return 'none';
      } catch (error) {
        if (error instanceof SecretError) return `${error.code}: ${error.summary}`;
        throw error;
      }
    },
  };
}

/** `name@version: text`, `unchanged`, or `failed CODE: message; hint`. */
export function formatResult(name: string, result: FetchResult | undefined): string {
  switch (result?.kind) {
    case undefined:
      return 'nothing';
    case 'unchanged':
      return 'unchanged';
    case 'value':
      return `${name}@${result.value.version}: ${Buffer.from(result.value.bytes).toString()}`;
    case 'absent':
    case 'failed':
      return `${result.kind} ${result.error.code}: ${result.error.summary}`;
  }
}
