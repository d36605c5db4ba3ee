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
import type { AlibabaCredentials } from './credentials/index.ts';
import { serviceEndpoint } from './endpoints.ts';
import { createKmsFetch } from './kms.ts';
import { getSecretParameter } from './oos.ts';
import { type AlibabaCloudConfig, type AlibabaCredential, credentialDigest } from './types.ts';

/** See {@link createAlibabaAuthenticatedCall}. */
export type AlibabaAuthenticatedCallDeps = {
  readonly config: Pick<AlibabaCloudConfig, 'perSecond' | 'burst'>;
  readonly credentialGate: CredentialGate;
  readonly credentials: Pick<AlibabaCredentials, 'invalidate'>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly rateLimiterMetrics?: RateLimiterMetrics;
};

/** Makes the call path to Alibaba Cloud's stores. Each service and account has a rate limiter. */
export function createAlibabaAuthenticatedCall(
  deps: AlibabaAuthenticatedCallDeps,
): AuthenticatedCall<AlibabaCredential> {
  const { config, credentialGate, credentials, now, rateLimiterMetrics } = deps;
  const { perSecond, burst } = config;
  const rateLimiterFor = createRateLimiters({ now, metrics: rateLimiterMetrics });
  return createAuthenticatedCall<AlibabaCredential>({
    gate: {
      credentialGate,
      // A class can name any allowed gateway. A gateway that does not know the keys must not block
      // them for other gateways. So the digest has the endpoint.
      digestOf: (credential, { service, region, endpoint }) =>
        digestOf(service, region, endpoint, credentialDigest(credential)),
    },
    credentials,
    rateLimiterOf: ({ service }, { account }) =>
      rateLimiterFor(`${service} ${account}`, {
        ...{ name: `alibabacloud-${service}`, perSecond, burst },
      }),
  });
}

/** See {@link createAlibabaFetch}. */
export type AlibabaFetchDeps = {
  readonly config: AlibabaCloudConfig;
  readonly api: Api;
  readonly authenticatedCall: AuthenticatedCall<AlibabaCredential>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
};

type Request = FetchRequest<AlibabaCredential>;

/** Reads secrets of KMS in batches, and each parameter of OOS by a call of its own. */
export function createAlibabaFetch({ config, api, authenticatedCall, now }: AlibabaFetchDeps) {
  const deniedShortcuts = new DeniedShortcuts<'BatchGetSecretValue'>({ now });
  const readSecrets = createKmsFetch({ api, config, authenticatedCall, deniedShortcuts });

  const readParameter = async (request: Request): Promise<FetchResult> => {
    const { ref } = request.grant;
    const value = await authenticatedCall(request, async (context) =>
      getSecretParameter(api, context, serviceEndpoint(config.oos, context.region), ref),
    );
    return { kind: 'value', value };
  };

  return (requests: readonly Request[]): readonly Promise<FetchResult>[] => {
    const isParameter = ({ grant }: Request): boolean => grant.ref.service === 'oos';
    const resultByRequest = new Map([
      ...readSecrets(requests.filter((request) => !isParameter(request))),
      ...requests.filter(isParameter).map((request) => [request, readParameter(request)] as const),
    ]);
    return requests.map((request) =>
      toReadResult(resultByRequest.get(request), `alibabacloud: ${describeRef(request.grant.ref)}`),
    );
  };
}

/** `KMS secret db (v1, ACSCurrent) in cn-hangzhou at kst-1.cryptoservice.kms.aliyuncs.com` */
function describeRef({ service, name, region, endpoint, version, stage }: SecretRef): string {
  const kind = service === 'oos' ? 'OOS parameter' : 'KMS secret';
  const versions = [version, stage].filter((part) => part !== undefined).join(', ');
  const object = `${kind} ${name}${versions === '' ? '' : ` (${versions})`}`;
  return `${object} in ${region ?? 'no region'}${endpoint === undefined ? '' : ` at ${endpoint}`}`;
}
