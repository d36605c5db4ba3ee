import type { Retry } from '../../../concurrency/retry.ts';
import type { SecretError } from '../../../core/errors.ts';
import type { HttpClient } from '../../../http/client.ts';
import { CredentialCache } from '../../shared/credentials/credential-cache.ts';
import type { CredentialGate } from '../../shared/credentials/credential-gate.ts';
import type { ApiCall } from '../call.ts';
import type { CloudConfig, RegionConfig } from '../config.ts';
import type { Texts } from '../texts.ts';
import {
  type AgencySession,
  type CceCredential,
  type CceCredentialSource,
  makeCredential,
} from '../types.ts';
import { assumeAgency } from './agency.ts';
import { createIdTokenLogin, idTokenOwner } from './id-token.ts';
import { MetadataService, agencyOwner } from './metadata.ts';

/** The value of Huawei Cloud's SDKs. */
const renewBeforeMs = 40 * 60_000;

/** See {@link Credentials}. */
export type CredentialsOptions = {
  readonly config: Pick<CloudConfig, 'identity' | 'metadata'>;
  readonly region: RegionConfig;
  readonly texts: Texts;
  readonly call: ApiCall;
  readonly http: HttpClient;
  readonly retry: Retry;
  readonly credentialGate: CredentialGate;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Gets the error of a login that failed while older keys still serve. */
  readonly onFailure: (error: SecretError) => void;
};

/** The credentials of principals, cached by fingerprint. */
export class Credentials {
  /** The owner of the cluster's identity, for messages. */
  readonly clusterOwner: string;
  readonly #logInAsCluster: Login;
  readonly #logInAsAgency: (session: AgencySession, signal: AbortSignal) => Promise<CceCredential>;
  readonly #cache: CredentialCache<CceCredential>;

  constructor(options: CredentialsOptions) {
    const { region, call, credentialGate, now, onFailure } = options;
    const clusterLogin = createClusterLogin(options);
    this.clusterOwner = clusterLogin.owner;
    this.#logInAsCluster = clusterLogin.logIn;
    this.#logInAsAgency = (session, signal) =>
      assumeAgency({ call, sts: region.sts, credentialGate }, session, signal);
    this.#cache = new CredentialCache({ now, renewBeforeMs, onFailure });
  }

  /**
   * @param fingerprint of the principal
   * @throws SecretError CREDENTIALS_REFUSED, CREDENTIALS_UNAVAILABLE, NOT_CONFIGURED
   */
  get(
    fingerprint: string,
    source: CceCredentialSource,
    signal: AbortSignal,
  ): Promise<CceCredential> {
    return this.#cache.get(fingerprint, signal, (loginSignal) =>
      source.kind === 'cluster'
        ? this.#logInAsCluster(loginSignal)
        : this.#logInAsAgency(source.session, loginSignal),
    );
  }

  /** See {@link CredentialCache.invalidate}. */
  invalidate(fingerprint: string, credential: CceCredential): boolean {
    return this.#cache.invalidate(fingerprint, credential);
  }
}

type Login = (signal: AbortSignal) => Promise<CceCredential>;

function createClusterLogin(options: CredentialsOptions): {
  readonly owner: string;
  readonly logIn: Login;
} {
  const { config, region, call, credentialGate, http, retry, now, texts } = options;
  const { identity, metadata: endpoint } = config;
  switch (identity.kind) {
    case 'id-token': {
      const logIn = createIdTokenLogin({ ...identity, iam: region.iam, call, credentialGate });
      return { owner: idTokenOwner, logIn };
    }
    case 'keys': {
      const owner = 'the access key it is configured with';
      const { accessKey, secretKey, securityToken } = identity;
      const credential = makeCredential({
        accessKey,
        secretKey: secretKey.reveal(),
        securityToken: securityToken?.reveal(),
        owner,
      });
      return { owner, logIn: () => Promise.resolve(credential) };
    }
    case 'agency': {
      const metadataService = new MetadataService({ http, retry, endpoint, texts, now });
      return { owner: agencyOwner(texts), logIn: (signal) => metadataService.getKeys(signal) };
    }
  }
}
