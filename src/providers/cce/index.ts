import { SecretError } from '../../core/errors.ts';
import { RateLimiter } from '../../concurrency/rate-limiter.ts';
import { RejectionCache } from '../../concurrency/rejection-cache.ts';
import type { ServiceAccounts } from '../../kube/service-accounts.ts';
import type { Provider } from '../../core/provider.ts';
import type { ProviderDeps } from '../shared/deps.ts';
import { createProviderRetry } from '../shared/deps.ts';
import { CredentialGate } from '../shared/credentials/credential-gate.ts';
import type { SharedIdentity } from '../shared/identity/shared-identity.ts';
import { createAuthorize } from './authorize.ts';
import { createApi } from './api.ts';
import { createCsmsClient } from './client.ts';
import { readCceConfig, type CceConfig, type RegionConfig } from './config.ts';
import { createCredentials } from './credentials/index.ts';
import type { CceCredential } from './types.ts';
import { createFetch } from './client.ts';
import { planCce, type CceLogin } from './class.ts';
import { createPrincipalResolver } from './principals.ts';
import { createProjects } from './projects.ts';

/** What the provider needs of the process it runs in. */
export type CceDeps = ProviderDeps & {
  readonly serviceAccounts: ServiceAccounts;
  readonly sharedIdentity: Pick<SharedIdentity, 'mode'>;
};

type CceProvider = Provider<CceLogin, undefined, CceCredential>;

/**
 * Provider `cce`: Huawei Cloud's CSMS (DEW), for the classes of the CCE Secrets Manager add-on. Without a region it can plan, for lint,
 * and says at the first mount what is missing.
 * @throws SecretError NOT_CONFIGURED for a variable that cannot be used
 */
export function createCceProvider(deps: CceDeps): CceProvider {
  const config = readCceConfig(deps.env);
  const plan: CceProvider['plan'] = (parameters) => planCce(parameters);
  return {
    name: 'cce',
    plan,
    ...(config.region === undefined
      ? createUnconfigured()
      : createConfigured(deps, config, config.region)),
  };
}

function createConfigured(
  deps: CceDeps,
  config: CceConfig,
  region: RegionConfig,
): Pick<CceProvider, 'nodeFacts' | 'authorize' | 'fetch'> {
  const { http, now, log } = deps;
  const { perSecond, burst } = config;
  const retry = createProviderRetry('cce', deps);
  const api = createApi({ http, retry, now });
  const rejectionCache = new RejectionCache({ now });
  const credentialGate = new CredentialGate({ rejectionCache, now });
  const credentials = createCredentials({
    ...{ config, region, api, http, retry, credentialGate, now },
    onFailure: ({ code, summary }) =>
      log.warn({ provider: 'cce', code, reason: summary }, 'keys not renewed'),
  });
  const projects = createProjects({
    api,
    iam: region.iam,
    region: region.name,
    configuredId: region.projectId,
    now,
  });
  const metrics = deps.rateLimiterMetrics && { metrics: deps.rateLimiterMetrics };
  const rateLimiter = new RateLimiter({ name: 'cce', perSecond, burst, now, ...metrics });
  const csms = createCsmsClient({ api, endpoint: region.csms });
  return {
    nodeFacts: () => Promise.resolve(undefined),
    authorize: createAuthorize({
      serviceAccounts: deps.serviceAccounts,
      sharedIdentityMode: deps.sharedIdentity.mode,
      resolvePrincipal: createPrincipalResolver({
        config,
        region,
        credentials,
        fingerprint: deps.fingerprint,
        now,
      }),
    }),
    fetch: createFetch({
      csms,
      credentials,
      projects,
      credentialGate,
      rateLimiter,
      region: region.name,
    }),
  };
}

function createUnconfigured(): Pick<CceProvider, 'nodeFacts' | 'authorize' | 'fetch'> {
  const error = new SecretError(
    'NOT_CONFIGURED',
    'cce: Keyferry does not know the region of this cluster',
    {
      hint: 'set HUAWEICLOUD_SDK_REGION, such as eu-west-101',
    },
  );
  const rejectNotConfigured = (): Promise<never> => Promise.reject(error);
  return {
    nodeFacts: rejectNotConfigured,
    authorize: rejectNotConfigured,
    fetch: (requests) => requests.map(() => Promise.resolve({ kind: 'failed', error })),
  };
}
