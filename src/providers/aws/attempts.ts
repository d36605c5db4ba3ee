import { LRUCache } from 'lru-cache';
import { toSecretError } from '../../errors/secret-error.ts';
import { createBudget, type Budget } from '../../flow/budget.ts';
import type { BudgetMetrics } from '../../flow/budget-metrics.ts';
import type { FetchRequest } from '../provider.ts';
import type { Proving } from '../proving.ts';
import type { AwsCloudConfig } from './config-type.ts';
import type { AwsCredentials } from './credentials.ts';
import { credentialDigest } from './credentials/credential.ts';
import type { AwsCredential } from './identity.ts';
import type { Asker } from './question.ts';

/** Services, regions and accounts whose rates are kept apart. */
const maxBudgets = 1_000;

/** What is asked by one call: requests that differ in nothing but the object. */
export type Asking = Pick<FetchRequest<AwsCredential>, 'grant' | 'urgency' | 'signal' | 'onStart'>;

/** Makes one call on behalf of who asks. */
export type Attempts = <T>(asking: Asking, call: (asker: Asker) => Promise<T>) => Promise<T>;

/** See {@link createAttempts}. */
export type AttemptsDeps = {
  readonly config: Pick<AwsCloudConfig, 'perSecond' | 'burst'>;
  readonly proving: Proving;
  readonly credentials: Pick<AwsCredentials, 'refused'>;
  readonly now: () => number;
  readonly budgetMetrics?: BudgetMetrics;
};

/**
 * Calls within the rate of their service, region and account, by credentials that are proven. A session that ended before its time is
 * refused like wrong keys: one login more tells.
 */
export function createAttempts(deps: AttemptsDeps): Attempts {
  const budgetOf = createBudgets(deps);

  const attempt = <T>(
    { grant, urgency, signal, onStart }: Asking,
    credential: AwsCredential,
    call: (asker: Asker) => Promise<T>,
  ): Promise<T> => {
    const { ref, principal, workload } = grant;
    const { service, region = '' } = ref;
    const digest = credentialDigest(credential);
    return deps.proving.run(digest, signal, async () => {
      const budget = budgetOf(service, region, credential);
      await budget.take({ namespace: workload.namespace, urgency, signal });
      deps.proving.check(digest);
      onStart();
      const { fingerprint, description: owner } = principal;
      return call({ region, principal: fingerprint, credential, owner, signal });
    });
  };

  return async (asking, call) => {
    const { principal } = asking.grant;
    const credential = await principal.credentials(asking.signal);
    try {
      return await attempt(asking, credential, call);
    } catch (thrown) {
      if (toSecretError(thrown).code !== 'CREDENTIALS_REFUSED') throw thrown;
      deps.credentials.refused(principal.fingerprint, credential);
      const next = await principal.credentials(asking.signal);
      if (credentialDigest(next) === credentialDigest(credential)) throw thrown;
      return attempt(asking, next, call);
    }
  };
}

/** One for each service, region and account: AWS counts so. */
function createBudgets({ config, now, budgetMetrics }: AttemptsDeps) {
  const budgets = new LRUCache<string, Budget>({ max: maxBudgets });
  return (service: string, region: string, { account }: AwsCredential): Budget => {
    const key = `${service} ${region} ${account}`;
    const known = budgets.get(key);
    if (known !== undefined) return known;
    const kind = service === 'ssm' ? 'ssm' : 'secretsmanager';
    const fresh = createBudget({
      ...{ name: `aws-${kind}`, perSecond: config.perSecond[kind], burst: config.burst[kind], now },
      ...(budgetMetrics && { metrics: budgetMetrics }),
    });
    budgets.set(key, fresh);
    return fresh;
  };
}
