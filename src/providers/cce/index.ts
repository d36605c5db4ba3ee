import { SecretError } from '../../core/errors.ts';
import type { Provider } from '../../core/provider.ts';
import type { ServiceAccounts } from '../../kube/service-accounts.ts';
import type { ProviderDeps } from '../shared/deps.ts';
import type { SharedIdentity } from '../shared/identity/shared-identity.ts';
import { createAuthorize } from './authorize.ts';
import { planCce } from './class.ts';
import { type CceConfig, type RegionConfig, readCceConfig } from './config.ts';
import { createIdentitySources } from './principals.ts';
import { createCsmsStore } from './store.ts';
import { clusterTexts } from './texts.ts';
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
  const { now, serviceAccounts } = deps;
  const { owner, principalOf, fetch } = createCsmsStore(deps, {
    ...{ config, region, texts: clusterTexts },
  });
  return {
    nodeFacts: () => Promise.resolve(undefined),
    authorize: createAuthorize({
      serviceAccounts,
      identitySources: createIdentitySources({
        clusterIdentity: config.identity,
        clusterOwner: owner,
        sharedIdentityMode: deps.sharedIdentity.mode,
        ...{ region, now },
      }),
      principalOf,
    }),
    fetch,
  };
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
