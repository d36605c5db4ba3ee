import { Redacted } from '../../src/core/redacted.ts';
import type { SecretError } from '../../src/core/errors.ts';
import { RejectionCache } from '../../src/concurrency/rejection-cache.ts';
import { createRetry } from '../../src/concurrency/retry.ts';
import type { AlibabaCloudConfig } from '../../src/providers/alibabacloud/types.ts';
import {
  createAlibabaCredentials,
  ownerOf,
} from '../../src/providers/alibabacloud/credentials/index.ts';
import { createMetadata } from '../../src/providers/alibabacloud/credentials/metadata.ts';
import { createApi } from '../../src/providers/alibabacloud/call.ts';
import {
  createAlibabaAuthenticatedCall,
  createAlibabaFetch,
} from '../../src/providers/alibabacloud/fetch.ts';
import { clusterTexts } from '../../src/providers/alibabacloud/texts.ts';
import type {
  AlibabaCredential,
  CredentialSource,
} from '../../src/providers/alibabacloud/types.ts';
import type { Principal } from '../../src/core/provider.ts';
import { CredentialGate } from '../../src/providers/shared/credentials/credential-gate.ts';
import type { AlibabaKeys } from './alibaba-account.ts';
import { alibabaRegion, type FakeAlibabaCloud } from './alibaba-cloud.ts';
import { createRequester } from './requester.ts';

/** Logs in to a fake cloud and reads from it, without classes. */
export function createAlibabaReader(
  cloud: FakeAlibabaCloud,
  { config: overrides = {} }: { readonly config?: Partial<AlibabaCloudConfig> } = {},
) {
  const { http, now } = cloud;
  const config = { ...cloud.config, ...overrides };
  const failures: SecretError[] = [];
  const retry = createRetry({ baseMs: 1 });
  const credentialGate = new CredentialGate({ rejectionCache: new RejectionCache({ now }), now });
  const deps = { config, http, retry, credentialGate, now };
  const metadata = createMetadata({
    http,
    retry,
    endpoint: config.metadata,
    texts: clusterTexts,
    now,
  });
  const credentials = createAlibabaCredentials({
    ...{ ...deps, metadata, texts: clusterTexts },
    onFailure: (error) => void failures.push(error),
  });
  const authenticatedCall = createAlibabaAuthenticatedCall({ ...deps, credentials });
  const fetch = createAlibabaFetch({ ...{ config, authenticatedCall, now }, api: createApi(deps) });

  const principalOf = (source: CredentialSource): Principal<AlibabaCredential> => {
    const fingerprint = JSON.stringify({ ...source, secret: secretOf(source) });
    return {
      fingerprint,
      description: ownerOf(source, clusterTexts),
      kind: 'own',
      credentials: (signal) => credentials.get(fingerprint, source, signal),
    };
  };

  return {
    credentials,
    /** The errors that `onFailure` got. */
    failures,
    ...createRequester({
      fetch,
      principalOf,
      refDefaults: { service: 'kms', region: alibabaRegion },
    }),
  };
}

/** Makes a credential source of keys. */
export function keysSource(keys: AlibabaKeys): CredentialSource & { readonly kind: 'keys' } {
  return {
    kind: 'keys',
    accessKeyId: keys.accessKeyId,
    accessKeySecret: new Redacted(keys.accessKeySecret),
    ...(keys.securityToken !== undefined && { securityToken: new Redacted(keys.securityToken) }),
  };
}

function secretOf(source: CredentialSource): string | undefined {
  return 'accessKeySecret' in source ? source.accessKeySecret.reveal() : undefined;
}
