import { RejectionCache } from '../../concurrency/rejection-cache.ts';
import { CredentialGate } from '../shared/credentials/credential-gate.ts';
import { type ProviderDeps, createProviderRetry } from '../shared/deps.ts';
import { createApi } from './call.ts';
import type { AwsCloudConfig } from './config.ts';
import { createAwsCredentials } from './credentials/index.ts';
import { createAwsAuthenticatedCall, createAwsFetch } from './fetch.ts';
import { createPrincipalOf } from './principals.ts';
import type { AwsTexts } from './texts.ts';

/** Creates what logs in to AWS, and what reads Secrets Manager and the Parameter Store. */
export function createAwsStore(
  deps: ProviderDeps,
  { cloud: config, texts }: { readonly cloud: AwsCloudConfig; readonly texts: AwsTexts },
) {
  const { http, now, log, fingerprint, rateLimiterMetrics } = deps;
  const retry = createProviderRetry('aws', deps);
  const credentialGate = new CredentialGate({ rejectionCache: new RejectionCache({ now }), now });
  const api = createApi({ config, http, retry, now });
  const credentials = createAwsCredentials({
    ...{ config, texts, api, http, retry, credentialGate, now },
    onFailure: ({ code, summary: reason, requestId }) =>
      log.warn({ provider: 'aws', code, reason, requestId }, 'keys not renewed'),
  });
  const authenticatedCall = createAwsAuthenticatedCall({
    ...{ config, credentialGate, credentials, now },
    ...(rateLimiterMetrics && { rateLimiterMetrics }),
  });
  return {
    ...{ api, authenticatedCall },
    principalOf: createPrincipalOf({ config: { cloud: config }, credentials, fingerprint }),
    fetch: createAwsFetch({ api, authenticatedCall, now }),
  };
}
