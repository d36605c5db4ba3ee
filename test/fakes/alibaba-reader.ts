import { Redacted } from '../../src/errors/redacted.ts';
import { SecretError } from '../../src/errors/secret-error.ts';
import { createRefusals } from '../../src/flow/refusals.ts';
import { createRetry } from '../../src/flow/retry.ts';
import type { SecretRef } from '../../src/plan/plan.ts';
import type { AlibabaCloudConfig } from '../../src/providers/alibabacloud/config-type.ts';
import { createAlibabaCredentials, ownerOf } from '../../src/providers/alibabacloud/credentials.ts';
import { createAlibabaFetch } from '../../src/providers/alibabacloud/fetch.ts';
import type { AlibabaCredential, AlibabaIdentity } from '../../src/providers/alibabacloud/identity.ts';
import { grant } from '../../src/providers/grant.ts';
import type { FetchRequest, FetchResult, Principal } from '../../src/providers/provider.ts';
import { createProving } from '../../src/providers/proving.ts';
import type { AlibabaKeys } from './alibaba-account.ts';
import { alibabaRegion, type FakeAlibabaCloud } from './alibaba-cloud.ts';

type Ref = Partial<SecretRef> & Pick<SecretRef, 'name'>;

/** Logins and reading against a fake cloud, without classes. */
export function createAlibabaReader(
  cloud: FakeAlibabaCloud,
  { config: over = {} }: { readonly config?: Partial<AlibabaCloudConfig> } = {},
) {
  const { http, now } = cloud;
  const config = { ...cloud.config, ...over };
  const failures: SecretError[] = [];
  const retry = createRetry({ baseMs: 1 });
  const proving = createProving({ refusals: createRefusals({ now }) });
  const deps = { config, http, retry, proving, now };
  const credentials = createAlibabaCredentials({ ...deps, onFailure: (error) => void failures.push(error) });
  const fetch = createAlibabaFetch({ ...deps, credentials });

  const principalOf = (identity: AlibabaIdentity): Principal<AlibabaCredential> => {
    const fingerprint = JSON.stringify({ ...identity, secret: secretOf(identity) });
    return {
      fingerprint,
      description: ownerOf(identity),
      identity: 'own',
      credentials: (signal) => credentials.of(fingerprint, identity, signal),
    };
  };

  const question = (
    identity: AlibabaIdentity,
    ref: Ref,
    {
      namespace = 'team-a',
      ...how
    }: Partial<Pick<FetchRequest, 'signal' | 'urgency' | 'onStart' | 'known'>> & {
      readonly namespace?: string;
    } = {},
  ): FetchRequest<AlibabaCredential> => ({
    urgency: 'first',
    signal: new AbortController().signal,
    onStart: () => undefined,
    ...how,
    grant: grant({
      ref: { service: 'kms', region: alibabaRegion, ...ref },
      principal: principalOf(identity),
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
    credentials,
    /** What onFailure was told. */
    failures,
    question,
    fetch,
    async results(identity: AlibabaIdentity, ...refs: Ref[]): Promise<FetchResult[]> {
      return Promise.all(fetch(refs.map((ref) => question(identity, ref))));
    },
    /** `name@version: text`, or `failed CODE: message; hint`. */
    async read(identity: AlibabaIdentity, ref: Ref | string): Promise<string> {
      const asked = typeof ref === 'string' ? { name: ref } : ref;
      const [result] = await Promise.all(fetch([question(identity, asked)]));
      return lineOf(asked.name, result);
    },
    /** The error of a login, `CODE: message; hint`, or `none`. */
    async login(identity: AlibabaIdentity): Promise<string> {
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

/** `name@version: text`, or `failed CODE: message; hint`. */
export function lineOf(name: string, result: FetchResult | undefined): string {
  if (result === undefined || result.kind === 'unchanged') throw new Error('nothing');
  return result.kind === 'value'
    ? `${name}@${result.value.version}: ${Buffer.from(result.value.bytes).toString()}`
    : `${result.kind} ${result.error.code}: ${result.error.summary}`;
}

/** Keys as an identity. */
export function keysIdentity(keys: AlibabaKeys): AlibabaIdentity & { readonly kind: 'keys' } {
  return {
    kind: 'keys',
    accessKeyId: keys.accessKeyId,
    accessKeySecret: new Redacted(keys.accessKeySecret),
    ...(keys.securityToken !== undefined && { securityToken: new Redacted(keys.securityToken) }),
  };
}

function secretOf(identity: AlibabaIdentity): string | undefined {
  return 'accessKeySecret' in identity ? identity.accessKeySecret.reveal() : undefined;
}
