import { LRUCache } from 'lru-cache';
import { SecretError, toSecretError } from '../../errors/secret-error.ts';
import { createBudget, type Budget } from '../../flow/budget.ts';
import type { BudgetMetrics } from '../../flow/budget-metrics.ts';
import type { Retry } from '../../flow/retry.ts';
import type { Http } from '../../http/http.ts';
import type { SecretRef } from '../../plan/plan.ts';
import type { FetchRequest, FetchResult, SecretValue } from '../provider.ts';
import type { Proving } from '../proving.ts';
import { createApi, type Api } from './api.ts';
import type { AlibabaCloudConfig } from './config-type.ts';
import type { AlibabaCredentials } from './credentials.ts';
import { credentialDigest } from './credentials/credential.ts';
import { kmsEndpoint, serviceEndpoint } from './endpoints.ts';
import type { AlibabaCredential } from './identity.ts';
import { getSecretValue } from './kms.ts';
import { getSecretParameter } from './oos.ts';
import type { Asker } from './question.ts';

/** Accounts whose rates are kept apart. */
const maxBudgets = 1_000;

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

/** Reads each secret of KMS and each parameter of OOS by a call of its own, within the rate of its service and account. */
export function createAlibabaFetch(deps: AlibabaFetchDeps) {
  const api = createApi(deps);
  const budgetOf = createBudgets(deps);

  const attempt = (request: Request, credential: AlibabaCredential): Promise<SecretValue> => {
    const { urgency, signal, onStart } = request;
    const { ref, principal, workload } = request.grant;
    const digest = credentialDigest(credential);
    return deps.proving.run(digest, signal, async () => {
      await budgetOf(ref.service, credential).take({ namespace: workload.namespace, urgency, signal });
      deps.proving.check(digest);
      onStart();
      return ask(api, deps.config, ref, { credential, owner: principal.description, signal });
    });
  };

  /** A session that ended before its time is refused like a wrong key: one login more tells. */
  const read = async (request: Request): Promise<SecretValue> => {
    const { principal } = request.grant;
    const credential = await principal.credentials(request.signal);
    try {
      return await attempt(request, credential);
    } catch (thrown) {
      if (toSecretError(thrown).code !== 'CREDENTIALS_REFUSED') throw thrown;
      deps.credentials.refused(principal.fingerprint, credential);
      const next = await principal.credentials(request.signal);
      if (credentialDigest(next) === credentialDigest(credential)) throw thrown;
      return attempt(request, next);
    }
  };

  return (requests: readonly Request[]): readonly Promise<FetchResult>[] =>
    requests.map(async (request): Promise<FetchResult> => {
      try {
        return { kind: 'value', value: await read(request) };
      } catch (thrown) {
        const error = label(toSecretError(thrown), request.grant.ref);
        return { kind: isAbsence(error) ? 'absent' : 'failed', error };
      }
    });
}

function ask(api: Api, config: AlibabaCloudConfig, ref: SecretRef, asker: Asker): Promise<SecretValue> {
  const { service, name, region = '', endpoint, version, stage } = ref;
  const pin = version !== undefined && { version };
  if (service === 'oos')
    return getSecretParameter(api, {
      ...asker,
      ...{ name, region, ...pin },
      endpoint: serviceEndpoint(config.oos, region),
    });
  return getSecretValue(api, {
    ...asker,
    name,
    ...(version !== undefined && { versionId: version }),
    ...(stage !== undefined && { stage }),
    endpoint: endpoint === undefined ? serviceEndpoint(config.kms, region) : kmsEndpoint(endpoint, config),
  });
}

/** One for each service and account. */
function createBudgets({ config, now, budgetMetrics }: AlibabaFetchDeps) {
  const budgets = new LRUCache<string, Budget>({ max: maxBudgets });
  const { perSecond, burst } = config;
  return (service: string, { account }: AlibabaCredential): Budget => {
    const key = `${service} ${account}`;
    const known = budgets.get(key);
    if (known !== undefined) return known;
    const metrics = budgetMetrics && { metrics: budgetMetrics };
    const fresh = createBudget({ name: `alibabacloud-${service}`, perSecond, burst, now, ...metrics });
    budgets.set(key, fresh);
    return fresh;
  };
}

/** What the user needs to find it; errors from below name no secret, for they may be told to many. */
function label(error: SecretError, ref: SecretRef): SecretError {
  const { service, name, region, endpoint, version, stage } = ref;
  const which = [version, stage].filter((part) => part !== undefined).join(', ');
  const what = `${service === 'oos' ? 'OOS parameter' : 'KMS secret'} ${name}${which === '' ? '' : ` (${which})`}`;
  const where = `in ${region ?? 'no region'}${endpoint === undefined ? '' : ` at ${endpoint}`}`;
  return new SecretError(error.code, `alibabacloud: ${what} ${where}: ${error.message}`, {
    ...(error.hint !== undefined && { hint: error.hint }),
    ...(error.cause !== undefined && { cause: error.cause }),
  });
}

function isAbsence({ code }: SecretError): boolean {
  return code === 'OBJECT_NOT_FOUND' || code === 'OBJECT_DISABLED';
}
