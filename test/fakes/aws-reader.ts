import { Redacted } from '../../src/core/redacted.ts';
import type { SecretError } from '../../src/core/errors.ts';
import { RejectionCache } from '../../src/concurrency/rejection-cache.ts';
import { createRetry } from '../../src/concurrency/retry.ts';
import { createApi } from '../../src/providers/aws/call.ts';
import type { AwsCloudConfig } from '../../src/providers/aws/config.ts';
import { createAwsCredentials } from '../../src/providers/aws/credentials/index.ts';
import { createAwsAuthenticatedCall, createAwsFetch } from '../../src/providers/aws/fetch.ts';
import { clusterTexts } from '../../src/providers/aws/texts.ts';
import type { AwsCredential, AwsCredentialRequest } from '../../src/providers/aws/types.ts';
import type { FetchResult, Principal } from '../../src/core/provider.ts';
import { CredentialGate } from '../../src/providers/shared/credentials/credential-gate.ts';
import type { AwsKeys } from './aws-account.ts';
import { awsRegion, type FakeAwsCloud } from './aws-cloud.ts';
import { createRequester, type RequestedRef } from './requester.ts';

/** A request for credentials, or keys. */
export type AwsReaderIdentity =
  AwsCredentialRequest | { readonly kind: 'keys'; readonly keys: AwsKeys };

/** Logs in to a fake cloud and reads from it, without classes. */
export function createAwsReader(
  cloud: Pick<FakeAwsCloud, 'http' | 'now' | 'config'>,
  { config: overrides = {} }: { readonly config?: Partial<AwsCloudConfig> } = {},
) {
  const { http, now } = cloud;
  const config = { ...cloud.config, ...overrides };
  const failures: SecretError[] = [];
  const retry = createRetry({ baseMs: 1 });
  const credentialGate = new CredentialGate({ rejectionCache: new RejectionCache({ now }), now });
  const api = createApi({ config, http, retry, now });
  const deps = { config, api, credentialGate, now };
  const credentials = createAwsCredentials({
    ...{ ...deps, http, retry, texts: clusterTexts },
    onFailure: (error) => void failures.push(error),
  });
  const authenticatedCall = createAwsAuthenticatedCall({ ...deps, credentials });
  const fetch = createAwsFetch({ api, authenticatedCall, now });

  const principalOf = (identity: AwsReaderIdentity): Principal<AwsCredential> => {
    const token = 'token' in identity ? identity.token.reveal() : undefined;
    const fingerprint = JSON.stringify({ ...identity, token });
    return {
      fingerprint,
      description: identity.kind === 'irsa' ? `the role ${identity.roleArn}` : identity.kind,
      kind: 'own',
      credentials: async (signal) =>
        identity.kind === 'keys'
          ? credentialOf(identity.keys)
          : credentials.get(fingerprint, identity, signal),
    };
  };

  const requester = createRequester({
    fetch,
    principalOf,
    refDefaults: { service: 'secretsmanager', region: awsRegion },
  });

  return {
    credentials,
    /** The errors that onFailure got. */
    failures,
    ...requester,
    /** The result of a refresh of a known version. */
    async refresh(
      identity: AwsReaderIdentity,
      ref: RequestedRef,
      version: string,
    ): Promise<FetchResult | undefined> {
      const [result] = await Promise.all(
        fetch([requester.fetchRequest(identity, ref, { urgency: 'refresh', known: { version } })]),
      );
      return result;
    },
  };
}

function credentialOf({
  accessKeyId,
  secretAccessKey,
  sessionToken,
  expiresAt,
}: AwsKeys): AwsCredential {
  return {
    accessKeyId,
    secretAccessKey: new Redacted(secretAccessKey),
    ...(sessionToken !== undefined && { sessionToken: new Redacted(sessionToken) }),
    ...(expiresAt !== Infinity && { expiresAt }),
    account: '111122223333',
  };
}
