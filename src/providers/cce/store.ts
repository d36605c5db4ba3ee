import { RateLimiter } from '../../concurrency/rate-limiter.ts';
import { RejectionCache } from '../../concurrency/rejection-cache.ts';
import { CredentialGate } from '../shared/credentials/credential-gate.ts';
import { type ProviderDeps, createProviderRetry } from '../shared/deps.ts';
import { createAuthenticatedCall } from '../shared/reads/authenticated-call.ts';
import { createApiCall } from './call.ts';
import type { CloudConfig, RegionConfig } from './config.ts';
import { Credentials } from './credentials/index.ts';
import { createCsmsClient } from './csms.ts';
import { createFetch } from './fetch.ts';
import { createPrincipalOf } from './principals.ts';
import { Projects } from './projects.ts';
import type { Texts } from './texts.ts';
import type { CceCredential } from './types.ts';

/** Creates what logs in to Huawei Cloud, and what reads the CSMS of one region. */
export function createCsmsStore(
  deps: ProviderDeps,
  {
    config,
    region,
    texts,
  }: { readonly config: CloudConfig; readonly region: RegionConfig; readonly texts: Texts },
) {
  const { http, now, log, fingerprint, rateLimiterMetrics: metrics } = deps;
  const { provider, endpointHint, projectHint } = texts;
  const { perSecond, burst } = config;
  const retry = createProviderRetry(provider, deps);
  const call = createApiCall({ http, retry, now });
  const credentialGate = new CredentialGate({ rejectionCache: new RejectionCache({ now }), now });
  const credentials = new Credentials({
    ...{ config, region, texts, call, http, retry, credentialGate, now },
    onFailure: ({ code, summary: reason, requestId }) =>
      log.warn({ provider, code, reason, requestId }, 'keys not renewed'),
  });
  const csms = createCsmsClient({ call, endpoint: region.csms, endpointHint });
  const projects = new Projects({
    ...{ call, now, iam: region.iam, region: region.name },
    ...{ configuredId: region.projectId, hint: projectHint },
  });
  const rateLimiter = new RateLimiter({
    ...{ name: provider, perSecond, burst, now },
    ...(metrics && { metrics }),
  });
  const authenticatedCall = createAuthenticatedCall<CceCredential>({
    gate: { credentialGate, digestOf: ({ digest }) => digest },
    credentials,
    rateLimiterOf: () => rateLimiter,
  });
  return {
    ...{ csms, projects, authenticatedCall },
    /** The owner of the configured identity, for messages. */
    owner: credentials.clusterOwner,
    principalOf: createPrincipalOf({ region, credentials, fingerprint }),
    fetch: createFetch({ csms, projects, authenticatedCall, provider, region: region.name }),
  };
}

/** See {@link createCsmsStore}. */
export type CsmsStore = ReturnType<typeof createCsmsStore>;
