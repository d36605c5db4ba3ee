import type { RateLimiterMetrics } from '../../concurrency/rate-limiter.ts';
import { createRateLimiters } from '../../concurrency/rate-limiter.ts';
import type { Retry } from '../../concurrency/retry.ts';
import type { HttpClient } from '../../http/client.ts';
import type { SecretRef } from '../../core/plan.ts';
import { createAuthenticatedCall } from '../shared/reads/authenticated-call.ts';
import { digestOf } from '../shared/identity/fingerprint.ts';
import type { FetchRequest, FetchResult } from '../../core/provider.ts';
import type { CredentialGate } from '../shared/credentials/credential-gate.ts';
import { DeniedShortcuts } from '../shared/reads/denied-shortcuts.ts';
import { toReadResult } from '../shared/reads/read-result.ts';
import type { AwsCloudConfig } from './types.ts';
import type { AwsCredentials } from './credentials/index.ts';
import { credentialDigest } from './types.ts';
import type { AwsCredential } from './types.ts';
import { createParametersFetch } from './ssm.ts';
import { createSdk } from './sdk.ts';
import { createSecretsFetch } from './secrets-manager.ts';

/** See {@link createAwsFetch}. */
export type AwsFetchDeps = {
  readonly config: AwsCloudConfig;
  readonly http: HttpClient;
  readonly retry: Retry;
  readonly proving: CredentialGate;
  readonly credentials: Pick<AwsCredentials, 'invalidate'>;
  readonly now: () => number;
  readonly budgetMetrics?: RateLimiterMetrics;
};

type Request = FetchRequest<AwsCredential>;

/** Reads secrets of Secrets Manager and parameters of SSM, each from the region its ref names. */
export function createAwsFetch(deps: AwsFetchDeps) {
  const { config, http, retry, proving, credentials, now, budgetMetrics } = deps;
  const budgets = createRateLimiters({ now, metrics: budgetMetrics });
  const attempts = createAuthenticatedCall<AwsCredential>({
    gate: {
      credentialGate: proving,
      // A region that the account has not enabled refuses every key. That says nothing about the key
      // in other regions.
      digestOf: (credential, { service, region }) =>
        digestOf(service, region, credentialDigest(credential)),
    },
    credentials,
    // AWS counts by service, region and account.
    rateLimiterOf({ service, region }, { account }) {
      const kind = service === 'ssm' ? 'ssm' : 'secretsmanager';
      const rate = { perSecond: config.perSecond[kind], burst: config.burst[kind] };
      return budgets(`${service} ${region} ${account}`, { name: `aws-${kind}`, ...rate });
    },
  });
  const way = { sdk: createSdk({ config, http }), retry };
  const secrets = createSecretsFetch({ way, attempts, rights: new DeniedShortcuts({ now }) });
  const parameters = createParametersFetch({ way, attempts });

  return (requests: readonly Request[]): readonly Promise<FetchResult>[] => {
    const isParameter = ({ grant }: Request): boolean => grant.ref.service === 'ssm';
    const answers = new Map([
      ...secrets(requests.filter((request) => !isParameter(request))),
      ...parameters(requests.filter(isParameter)),
    ]);
    return requests.map((request) =>
      toReadResult(answers.get(request), `aws: ${describe(request.grant.ref)}`),
    );
  };
}

function describe({ service, name, region, version, stage }: SecretRef): string {
  const which = [version, stage === 'AWSCURRENT' ? undefined : stage]
    .filter((part) => part !== undefined)
    .join(', ');
  const kind = service === 'ssm' ? 'SSM parameter' : 'Secrets Manager secret';
  return `${kind} ${name}${which === '' ? '' : ` (${which})`} in ${region ?? 'no region'}`;
}
