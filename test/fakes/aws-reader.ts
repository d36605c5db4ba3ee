import { Redacted } from '../../src/core/redacted.ts';
import type { SecretError } from '../../src/core/errors.ts';
import { createRefusals } from '../../src/concurrency/rejection-cache.ts';
import { createRetry } from '../../src/concurrency/retry.ts';
import type { AwsCloudConfig } from '../../src/providers/aws/types.ts';
import { createAwsCredentials } from '../../src/providers/aws/credentials/index.ts';
import { createAwsFetch } from '../../src/providers/aws/fetch.ts';
import type { AwsCredential, AwsIdentity } from '../../src/providers/aws/types.ts';
import type { FetchResult, Principal } from '../../src/core/provider.ts';
import { createProving } from '../../src/providers/shared/credentials/credential-gate.ts';
import type { AwsKeys } from './aws-account.ts';
import { awsRegion, type FakeAwsCloud } from './aws-cloud.ts';
import { createAsker, type AskedRef } from './asker.ts';

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

  const asker = createAsker({ fetch, principalOf, place: { service: 'secretsmanager', region: awsRegion } });

  return {
    credentials,
    /** What onFailure was told. */
    failures,
    ...asker,
    /** What a refresh answers that knows this version. */
    async refresh(who: Who, ref: AskedRef, version: string): Promise<FetchResult | undefined> {
      const [result] = await Promise.all(
        fetch([asker.question(who, ref, { urgency: 'refresh', known: { version } })]),
      );
      return result;
    },
  };
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
