import { RejectionCache } from '../../concurrency/rejection-cache.ts';
import { CredentialGate } from '../shared/credentials/credential-gate.ts';
import { type ProviderDeps, createProviderRetry } from '../shared/deps.ts';
import { createApi } from './call.ts';
import { createAlibabaCredentials } from './credentials/index.ts';
import { createMetadata } from './credentials/metadata.ts';
import { createAlibabaAuthenticatedCall, createAlibabaFetch } from './fetch.ts';
import { createPrincipalOf } from './principals.ts';
import type { AlibabaTexts } from './texts.ts';
import type { AlibabaCloudConfig } from './types.ts';

/** Creates what logs in to Alibaba Cloud, and what reads KMS and OOS. */
export function createAlibabaStore(
  deps: ProviderDeps,
  { cloud: config, texts }: { readonly cloud: AlibabaCloudConfig; readonly texts: AlibabaTexts },
) {
  const { http, now, log, fingerprint, rateLimiterMetrics } = deps;
  const retry = createProviderRetry('alibabacloud', deps);
  const credentialGate = new CredentialGate({ rejectionCache: new RejectionCache({ now }), now });
  const metadata = createMetadata({ http, retry, endpoint: config.metadata, texts, now });
  const credentials = createAlibabaCredentials({
    ...{ config, texts, http, retry, credentialGate, metadata, now },
    onFailure: ({ code, summary: reason, requestId }) =>
      log.warn({ provider: 'alibabacloud', code, reason, requestId }, 'keys not renewed'),
  });
  const api = createApi({ http, retry, now });
  const authenticatedCall = createAlibabaAuthenticatedCall({
    ...{ config, credentialGate, credentials, now },
    ...(rateLimiterMetrics && { rateLimiterMetrics }),
  });
  return {
    ...{ api, metadata, authenticatedCall },
    principalOf: createPrincipalOf({ config: { cloud: config }, credentials, fingerprint }),
    fetch: createAlibabaFetch({ config, api, authenticatedCall, now }),
  };
}
