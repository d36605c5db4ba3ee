import { Redacted } from '../../src/errors/redacted.ts';
import { SecretError } from '../../src/errors/secret-error.ts';
import { createRefusals } from '../../src/flow/refusals.ts';
import { createRetry } from '../../src/flow/retry.ts';
import type { SecretRef } from '../../src/plan/plan.ts';
import type { AwsCloudConfig } from '../../src/providers/aws/config-type.ts';
import { createAwsCredentials } from '../../src/providers/aws/credentials.ts';
import { createAwsFetch } from '../../src/providers/aws/fetch.ts';
import type { AwsCredential, AwsIdentity } from '../../src/providers/aws/identity.ts';
import { grant } from '../../src/providers/grant.ts';
import type { FetchRequest, FetchResult, Principal } from '../../src/providers/provider.ts';
import { createProving } from '../../src/providers/proving.ts';
import type { AwsKeys } from './aws-account.ts';
import { awsRegion, type FakeAwsCloud } from './aws-cloud.ts';

type Ref = Partial<SecretRef> & Pick<SecretRef, 'name'>;

/** An identity that logs in, or keys it has already. */
export type Who = AwsIdentity | { readonly kind: 'keys'; readonly keys: AwsKeys };

/** Logins and reading against a fake cloud, without classes. */
export function createAwsReader(
  cloud: Pick<FakeAwsCloud, 'http' | 'now' | 'config'>,
  { config: over = {} }: { readonly config?: Partial<AwsCloudConfig> } = {},
) {
  const { http, now } = cloud;
  const config = { ...cloud.config, ...over };
  const failures: SecretError[] = [];
  const retry = createRetry({ baseMs: 1 });
  const proving = createProving({ refusals: createRefusals({ now }) });
  const deps = { config, http, retry, proving, now };
  const credentials = createAwsCredentials({ ...deps, onFailure: (error) => void failures.push(error) });
  const fetch = createAwsFetch({ ...deps, credentials });

  const principalOf = (who: Who): Principal<AwsCredential> => {
    const token = 'token' in who ? who.token.reveal() : undefined;
    const fingerprint = JSON.stringify({ ...who, token });
    return {
      fingerprint,
      description: who.kind === 'irsa' ? `the role ${who.roleArn}` : who.kind,
      identity: 'own',
      credentials: async (signal) =>
        who.kind === 'keys' ? credentialOf(who.keys) : credentials.of(fingerprint, who, signal),
    };
  };

  const question = (
    who: Who,
    ref: Ref,
    how: Partial<Pick<FetchRequest, 'signal' | 'urgency' | 'onStart' | 'known'>> & {
      readonly namespace?: string;
    } = {},
  ): FetchRequest<AwsCredential> => {
    const { namespace = 'team-a', ...rest } = how;
    return {
      urgency: 'first',
      signal: new AbortController().signal,
      onStart: () => undefined,
      ...rest,
      grant: grant({
        ref: { service: 'secretsmanager', region: awsRegion, ...ref },
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
    };
  };

  return {
    credentials,
    /** What onFailure was told. */
    failures,
    question,
    fetch,
    async results(who: Who, ...refs: Ref[]): Promise<FetchResult[]> {
      return Promise.all(fetch(refs.map((ref) => question(who, ref))));
    },
    /** What a refresh answers that knows this version. */
    async refresh(who: Who, ref: Ref, version: string): Promise<FetchResult | undefined> {
      const [result] = await Promise.all(
        fetch([question(who, ref, { urgency: 'refresh', known: { version } })]),
      );
      return result;
    },
    /** `name@version: text`, or `failed CODE: message; hint`. */
    async read(who: Who, ref: Ref | string): Promise<string> {
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

function credentialOf({ accessKeyId, secretAccessKey, sessionToken, expiresAt }: AwsKeys): AwsCredential {
  return {
    accessKeyId,
    secretAccessKey: new Redacted(secretAccessKey),
    ...(sessionToken !== undefined && { sessionToken: new Redacted(sessionToken) }),
    ...(expiresAt !== Infinity && { expiresAt }),
    account: '111122223333',
  };
}
