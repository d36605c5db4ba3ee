import { type RateLimiterMetrics, createRateLimiters } from '../../concurrency/rate-limiter.ts';
import type { SecretRef } from '../../core/plan.ts';
import type { FetchRequest, FetchResult } from '../../core/provider.ts';
import type { CredentialGate } from '../shared/credentials/credential-gate.ts';
import { digestOf } from '../shared/identity/fingerprint.ts';
import {
  type AuthenticatedCall,
  createAuthenticatedCall,
} from '../shared/reads/authenticated-call.ts';
import { DeniedShortcuts } from '../shared/reads/denied-shortcuts.ts';
import { toReadResult } from '../shared/reads/read-result.ts';
import type { Api } from './call.ts';
import type { AwsCloudConfig } from './config.ts';
import type { AwsCredentials } from './credentials/index.ts';
import { createSecretsFetch } from './secrets-manager.ts';
import { createParametersFetch } from './ssm.ts';
import { type AwsCredential, credentialDigest } from './types.ts';

/** See {@link createAwsAuthenticatedCall}. */
export type AwsAuthenticatedCallDeps = {
  readonly config: Pick<AwsCloudConfig, 'perSecond' | 'burst'>;
  readonly credentialGate: CredentialGate;
  readonly credentials: Pick<AwsCredentials, 'invalidate'>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly rateLimiterMetrics?: RateLimiterMetrics;
};

/** Makes the call path to AWS's stores. */
export function createAwsAuthenticatedCall(
  deps: AwsAuthenticatedCallDeps,
): AuthenticatedCall<AwsCredential> {
  const { config, credentialGate, credentials, now, rateLimiterMetrics } = deps;
  const rateLimiters = createRateLimiters({ now, metrics: rateLimiterMetrics });
  return createAuthenticatedCall<AwsCredential>({
    gate: {
      credentialGate,
      // A region that the account has not enabled refuses every key. That says nothing about the
      // key in other regions.
      digestOf: (credential, { service, region }) =>
        digestOf(service, region, credentialDigest(credential)),
    },
    credentials,
    // AWS limits the rate for each service, region and account.
    rateLimiterOf({ service, region }, { account }) {
      const kind = service === 'ssm' ? 'ssm' : 'secretsmanager';
      const rate = { perSecond: config.perSecond[kind], burst: config.burst[kind] };
      return rateLimiters(`${service} ${region} ${account}`, { name: `aws-${kind}`, ...rate });
    },
  });
}

/** See {@link createAwsFetch}. */
export type AwsFetchDeps = {
  readonly api: Api;
  readonly authenticatedCall: AuthenticatedCall<AwsCredential>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
};

type Request = FetchRequest<AwsCredential>;

/** Reads secrets of Secrets Manager and parameters of SSM, each from the region of its ref. */
export function createAwsFetch({ api, authenticatedCall, now }: AwsFetchDeps) {
  const deniedShortcuts = new DeniedShortcuts({ now });
  const fetchSecrets = createSecretsFetch({ api, authenticatedCall, deniedShortcuts });
  const fetchParameters = createParametersFetch({ api, authenticatedCall });

  return (requests: readonly Request[]): readonly Promise<FetchResult>[] => {
    const isParameter = ({ grant }: Request): boolean => grant.ref.service === 'ssm';
    const resultByRequest = new Map([
      ...fetchSecrets(requests.filter((request) => !isParameter(request))),
      ...fetchParameters(requests.filter(isParameter)),
    ]);
    return requests.map((request) =>
      toReadResult(resultByRequest.get(request), `aws: ${describe(request.grant.ref)}`),
    );
  };
}

function describe({ service, name, region, version, stage }: SecretRef): string {
  const selectors = [version, stage === 'AWSCURRENT' ? undefined : stage]
    .filter((selector) => selector !== undefined)
    .join(', ');
  const kind = service === 'ssm' ? 'SSM parameter' : 'Secrets Manager secret';
  return `${kind} ${name}${selectors === '' ? '' : ` (${selectors})`} in ${region ?? 'no region'}`;
}
