import type { Retry } from '../../../concurrency/retry.ts';
import type { SecretError } from '../../../core/errors.ts';
import type { HttpClient } from '../../../http/client.ts';
import { CredentialCache } from '../../shared/credentials/credential-cache.ts';
import type { CredentialGate } from '../../shared/credentials/credential-gate.ts';
import type { Api } from '../api.ts';
import type { CceConfig, RegionConfig } from '../config.ts';
import { type CceCredential, makeCredential } from '../types.ts';
import { type AgencySession, assumeAgency, createIdTokenSource, idTokenOwner } from './iam.ts';
import { createMetadataSource, nodeOwner } from './metadata.ts';

/** The value of Huawei Cloud's SDKs. */
const renewBeforeMs = 40 * 60_000;

/**
 * The credentials of principals, cached by fingerprint.
 * All methods throw CREDENTIALS_REFUSED, CREDENTIALS_UNAVAILABLE or NOT_CONFIGURED.
 */
export type Credentials = {
  /** The owner of the cluster's identity, for messages. */
  readonly clusterOwner: string;
  forCluster(fingerprint: string, signal: AbortSignal): Promise<CceCredential>;
  forPod(fingerprint: string, session: AgencySession, signal: AbortSignal): Promise<CceCredential>;
  /** See {@link CredentialCache.invalidate}. */
  invalidate(fingerprint: string, credential: CceCredential): boolean;
};

/** What {@link createCredentials} needs. */
export type CredentialsDeps = {
  readonly config: CceConfig;
  readonly region: RegionConfig;
  readonly api: Api;
  readonly http: HttpClient;
  readonly retry: Retry;
  readonly credentialGate: CredentialGate;
  readonly now: () => number;
  /** Gets the error of a login that failed while older keys still serve. */
  readonly onFailure: (error: SecretError) => void;
};

/** See {@link Credentials}. */
export function createCredentials(deps: CredentialsDeps): Credentials {
  const { region, api, credentialGate, now, onFailure } = deps;
  const cache = new CredentialCache<CceCredential>({ now, renewBeforeMs, onFailure });
  const cluster = createClusterSource(deps);
  return {
    clusterOwner: cluster.owner,
    forCluster: (fingerprint, signal) => cache.get(fingerprint, signal, cluster.obtain),
    forPod: (fingerprint, session, signal) =>
      cache.get(fingerprint, signal, (loginSignal) =>
        assumeAgency({ api, sts: region.sts, credentialGate }, session, loginSignal),
      ),
    invalidate: (fingerprint, credential) => cache.invalidate(fingerprint, credential),
  };
}

type CredentialSource = {
  readonly owner: string;
  readonly obtain: (signal: AbortSignal) => Promise<CceCredential>;
};

function createClusterSource({ config, region, ...deps }: CredentialsDeps): CredentialSource {
  const { identity, metadata } = config;
  switch (identity.kind) {
    case 'id-token':
      return {
        owner: idTokenOwner,
        obtain: createIdTokenSource({ ...deps, ...identity, iam: region.iam }),
      };
    case 'keys': {
      const owner = 'the access key it is configured with';
      const { accessKey, secretKey, securityToken } = identity;
      const credential = makeCredential({
        accessKey,
        secretKey: secretKey.reveal(),
        securityToken: securityToken?.reveal(),
        owner,
      });
      return { owner, obtain: () => Promise.resolve(credential) };
    }
    case 'agency':
      return { owner: nodeOwner, obtain: createMetadataSource({ ...deps, endpoint: metadata }) };
  }
}
