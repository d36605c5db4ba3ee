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
import { createApi } from './call.ts';
import type { AlibabaCloudConfig } from './types.ts';
import type { AlibabaCredentials } from './credentials/index.ts';
import { credentialDigest } from './types.ts';
import { serviceEndpoint } from './endpoints.ts';
import type { AlibabaCredential } from './types.ts';
import { createKmsFetch } from './kms.ts';
import { getSecretParameter } from './oos.ts';

/** See {@link createAlibabaFetch}. */
export type AlibabaFetchDeps = {
  readonly config: AlibabaCloudConfig;
  readonly http: HttpClient;
  readonly retry: Retry;
  readonly credentialGate: CredentialGate;
  readonly credentials: Pick<AlibabaCredentials, 'invalidate'>;
  readonly now: () => number;
  readonly rateLimiterMetrics?: RateLimiterMetrics;
};

type Request = FetchRequest<AlibabaCredential>;

/** Reads secrets of KMS, and each parameter of OOS by a call of its own, within the rate of its service and account. */
export function createAlibabaFetch(deps: AlibabaFetchDeps) {
  const { config, credentialGate, credentials, now, rateLimiterMetrics: budgetMetrics } = deps;
  const { perSecond, burst } = config;
  const api = createApi(deps);
  const rateLimiters = createRateLimiters({ now, metrics: budgetMetrics });
  const authenticatedCall = createAuthenticatedCall<AlibabaCredential>({
    gate: {
      credentialGate,
      // A class names its gateway. A gateway that does not know the keys says nothing about them
      // elsewhere.
      digestOf: (credential, { service, region, endpoint }) =>
        digestOf(service, region, endpoint, credentialDigest(credential)),
    },
    credentials,
    rateLimiterOf: ({ service }, { account }) =>
      rateLimiters(`${service} ${account}`, { name: `alibabacloud-${service}`, perSecond, burst }),
  });
  const secrets = createKmsFetch({
    api,
    config,
    authenticatedCall: authenticatedCall,
    deniedShortcuts: new DeniedShortcuts({ now }),
  });

  const parameter = async (request: Request): Promise<FetchResult> => {
    const { ref } = request.grant;
    const value = await authenticatedCall(request, async (context) =>
      getSecretParameter(api, context, serviceEndpoint(config.oos, context.region), ref),
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
      toReadResult(answers.get(request), `alibabacloud: ${describe(request.grant.ref)}`),
    );
  };
}

function describe({ service, name, region, endpoint, version, stage }: SecretRef): string {
  const which = [version, stage].filter((part) => part !== undefined).join(', ');
  const what = `${service === 'oos' ? 'OOS parameter' : 'KMS secret'} ${name}${which === '' ? '' : ` (${which})`}`;
  return `${what} in ${region ?? 'no region'}${endpoint === undefined ? '' : ` at ${endpoint}`}`;
}
