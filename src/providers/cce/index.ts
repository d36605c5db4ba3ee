import { RateLimiter } from '../../concurrency/rate-limiter.ts';
import { RejectionCache } from '../../concurrency/rejection-cache.ts';
import { SecretError } from '../../core/errors.ts';
import type { Provider } from '../../core/provider.ts';
import type { ServiceAccounts } from '../../kube/service-accounts.ts';
import { CredentialGate } from '../shared/credentials/credential-gate.ts';
import { type ProviderDeps, createProviderRetry } from '../shared/deps.ts';
import type { SharedIdentity } from '../shared/identity/shared-identity.ts';
import { createAuthorize } from './authorize.ts';
import { createApiCall } from './call.ts';
import { planCce } from './class.ts';
import { type CceConfig, type RegionConfig, readCceConfig } from './config.ts';
import { Credentials } from './credentials/index.ts';
import { createCsmsClient } from './csms.ts';
import { createFetch } from './fetch.ts';
import { createIdentitySources, createPrincipalOf } from './principals.ts';
import { Projects, type ProjectsOptions } from './projects.ts';
import type { CceCredential, CceLogin } from './types.ts';

/** What the provider gets from the process. */
export type CceDeps = ProviderDeps & {
  readonly serviceAccounts: ServiceAccounts;
  readonly sharedIdentity: Pick<SharedIdentity, 'mode'>;
};

type CceProvider = Provider<CceLogin, undefined, CceCredential>;

/**
 * Makes the provider `cce`: Huawei Cloud's CSMS (DEW), for the classes of the CCE Secrets Manager
 * add-on. Without a region it plans, which is enough for lint, and every mount fails with
 * NOT_CONFIGURED.
 * @throws SecretError NOT_CONFIGURED for a variable that cannot be used
 */
export function createCceProvider(deps: CceDeps): CceProvider {
  const config = readCceConfig(deps.env);
  return {
    name: 'cce',
    plan: planCce,
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
  const { http, now, log, fingerprint, serviceAccounts } = deps;
  const retry = createProviderRetry('cce', deps);
  const call = createApiCall({ http, retry, now });
  const rejectionCache = new RejectionCache({ now });
  const credentialGate = new CredentialGate({ rejectionCache, now });
  const credentials = new Credentials({
    ...{ config, region, call, http, retry, credentialGate, now },
    onFailure: ({ code, summary: reason, requestId }) =>
      log.warn({ provider: 'cce', code, reason, requestId }, 'keys not renewed'),
  });
  return {
    nodeFacts: () => Promise.resolve(undefined),
    authorize: createAuthorize({
      serviceAccounts,
      identitySources: createIdentitySources({
        clusterIdentity: config.identity,
        clusterOwner: credentials.clusterOwner,
        sharedIdentityMode: deps.sharedIdentity.mode,
        ...{ region, now },
      }),
      principalOf: createPrincipalOf({ region, credentials, fingerprint }),
    }),
    fetch: createFetch({
      csms: createCsmsClient({ call, endpoint: region.csms }),
      projects: createProjects(region, { call, now }),
      rateLimiter: createRateLimiter(deps, config),
      ...{ credentials, credentialGate },
      region: region.name,
    }),
  };
}

function createProjects(
  { name, iam, projectId }: RegionConfig,
  deps: Pick<ProjectsOptions, 'call' | 'now'>,
): Projects {
  return new Projects({ ...deps, iam, region: name, configuredId: projectId });
}

function createRateLimiter(
  { now, rateLimiterMetrics: metrics }: CceDeps,
  { perSecond, burst }: CceConfig,
): RateLimiter {
  return new RateLimiter({ name: 'cce', perSecond, burst, now, ...(metrics && { metrics }) });
}

function createUnconfigured(): Pick<CceProvider, 'nodeFacts' | 'authorize' | 'fetch'> {
  const error = new SecretError(
    'NOT_CONFIGURED',
    'cce: Keyferry does not know the region of this cluster',
    { hint: 'set HUAWEICLOUD_SDK_REGION, such as eu-west-101' },
  );
  const rejectNotConfigured = (): Promise<never> => Promise.reject(error);
  return {
    nodeFacts: rejectNotConfigured,
    authorize: rejectNotConfigured,
    fetch: (requests) => requests.map(() => Promise.resolve({ kind: 'failed', error })),
  };
}
