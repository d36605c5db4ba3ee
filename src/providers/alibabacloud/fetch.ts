import type { BudgetMetrics } from '../../flow/budget-metrics.ts';
import { createBudgets } from '../../flow/budgets.ts';
import type { Retry } from '../../flow/retry.ts';
import type { Http } from '../../http/http.ts';
import type { SecretRef } from '../../plan/plan.ts';
import { createAttempts } from '../attempts.ts';
import { digestOf } from '../digest.ts';
import type { FetchRequest, FetchResult } from '../provider.ts';
import type { Proving } from '../proving.ts';
import { createRights } from '../rights.ts';
import { settle } from '../settle.ts';
import { createApi } from './api.ts';
import type { AlibabaCloudConfig } from './config-type.ts';
import type { AlibabaCredentials } from './credentials.ts';
import { credentialDigest } from './credentials/credential.ts';
import { serviceEndpoint } from './endpoints.ts';
import type { AlibabaCredential } from './identity.ts';
import { createKmsFetch } from './kms-fetch.ts';
import { getSecretParameter } from './oos.ts';

/** See {@link createAlibabaFetch}. */
export type AlibabaFetchDeps = {
  readonly config: AlibabaCloudConfig;
  readonly http: Http;
  readonly retry: Retry;
  readonly proving: Proving;
  readonly credentials: Pick<AlibabaCredentials, 'refused'>;
  readonly now: () => number;
  readonly budgetMetrics?: BudgetMetrics;
};

type Request = FetchRequest<AlibabaCredential>;

/** Reads secrets of KMS, and each parameter of OOS by a call of its own, within the rate of its service and account. */
export function createAlibabaFetch(deps: AlibabaFetchDeps) {
  const { config, proving, credentials, now, budgetMetrics } = deps;
  const { perSecond, burst } = config;
  const api = createApi(deps);
  const budgets = createBudgets({ now, metrics: budgetMetrics });
  const attempts = createAttempts<AlibabaCredential>({
    ...{ proving, credentials },
    // A class names its gateway: one that does not know the keys must not have them refused for all who share them.
    digestOf: (credential, { service, region, endpoint }) =>
      digestOf(service, region, endpoint, credentialDigest(credential)),
    budgetOf: ({ service }, { account }) =>
      budgets(`${service} ${account}`, { name: `alibabacloud-${service}`, perSecond, burst }),
  });
  const secrets = createKmsFetch({ api, config, attempts, rights: createRights({ now }) });

  const parameter = async (request: Request): Promise<FetchResult> => {
    const { ref } = request.grant;
    const value = await attempts(request, async (asker) =>
      getSecretParameter(api, asker, serviceEndpoint(config.oos, asker.region), ref),
    );
    return { kind: 'value', value };
  };

  return (requests: readonly Request[]): readonly Promise<FetchResult>[] => {
    const isParameter = ({ grant }: Request): boolean => grant.ref.service === 'oos';
    const answers = new Map([
      ...secrets(requests.filter((request) => !isParameter(request))),
      ...requests.filter(isParameter).map((request) => [request, parameter(request)] as const),
    ]);
    return requests.map((request) =>
      settle(answers.get(request), `alibabacloud: ${describe(request.grant.ref)}`),
    );
  };
}

function describe({ service, name, region, endpoint, version, stage }: SecretRef): string {
  const which = [version, stage].filter((part) => part !== undefined).join(', ');
  const what = `${service === 'oos' ? 'OOS parameter' : 'KMS secret'} ${name}${which === '' ? '' : ` (${which})`}`;
  return `${what} in ${region ?? 'no region'}${endpoint === undefined ? '' : ` at ${endpoint}`}`;
}
