import { SecretError } from '../../src/core/errors.ts';
import type { SecretRef } from '../../src/core/plan.ts';
import { grant } from '../../src/core/grant.ts';
import type { FetchRequest, FetchResult, Principal } from '../../src/core/provider.ts';

/** What is read; service and region as the asker's unless it says otherwise. */
export type AskedRef = Partial<SecretRef> & Pick<SecretRef, 'name'>;

type How = Partial<Pick<FetchRequest, 'signal' | 'urgency' | 'onStart' | 'known'>> & {
  /** Of the workload. Default `team-a`. */
  readonly namespace?: string;
};

/** Logins and reading by a provider's own parts, without classes: asks as the store would. */
export function createAsker<Who, Credential>({
  fetch,
  principalOf,
  place,
}: {
  readonly fetch: (requests: readonly FetchRequest<Credential>[]) => readonly Promise<FetchResult>[];
  readonly principalOf: (who: Who) => Principal<Credential>;
  /** Of a ref that does not say. */
  readonly place: Pick<SecretRef, 'service' | 'region'>;
}) {
  const question = (
    who: Who,
    ref: AskedRef,
    { namespace = 'team-a', ...how }: How = {},
  ): FetchRequest<Credential> => ({
    urgency: 'first',
    signal: new AbortController().signal,
    onStart: () => undefined,
    ...how,
    grant: grant({
      ref: { ...place, ...ref },
      principal: principalOf(who),
      workload: {
        namespace,
        serviceAccount: { name: 'app' },
        instance: 'pod-1',
        volume: 'pod-1',
        tokens: new Map(),
        secrets: new Map(),
      },
    }),
  });

  return {
    fetch,
    question,
    async results(who: Who, ...refs: AskedRef[]): Promise<FetchResult[]> {
      return Promise.all(fetch(refs.map((ref) => question(who, ref))));
    },
    /** See {@link lineOf}. */
    async read(who: Who, ref: AskedRef | string): Promise<string> {
      const asked = typeof ref === 'string' ? { name: ref } : ref;
      const [result] = await Promise.all(fetch([question(who, asked)]));
      return lineOf(asked.name, result);
    },
    /** The error of a login, `CODE: message; hint`, or `none`. */
    async login(who: Who): Promise<string> {
      try {
        await principalOf(who).credentials(new AbortController().signal);
        return 'none';
      } catch (error) {
        if (error instanceof SecretError) return `${error.code}: ${error.summary}`;
        throw error;
      }
    },
  };
}

/** `name@version: text`, `unchanged`, or `failed CODE: message; hint`. */
export function lineOf(name: string, result: FetchResult | undefined): string {
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
