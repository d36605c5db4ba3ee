import type { Retry } from '../../../concurrency/retry.ts';
import type { SecretError } from '../../../core/errors.ts';
import type { HttpClient } from '../../../http/client.ts';
import { CredentialCache, runLogin } from '../../shared/credentials/credential-cache.ts';
import type { CredentialGate } from '../../shared/credentials/credential-gate.ts';
import { createApi } from '../call.ts';
import type { AlibabaCloudConfig, AlibabaCredential, AlibabaIdentity } from '../types.ts';
import { createMetadata } from './metadata.ts';
import { type StsDeps, accountOf, assumeRole, assumeRoleWithOidc } from './sts.ts';

/** How long sessions live whose life nobody sets. */
const sessionSeconds = 3_600;
const crossAccountSession = 'csi-secrets-store-cross-account';

/** Keys for principals, each made once, kept by the principal's fingerprint, and made anew 5 minutes before their end. */
export type AlibabaCredentials = {
  /**
   * @param cacheKey stands for all of `identity`; of an OIDC token, for whose it is
   * @throws SecretError CREDENTIALS_REFUSED, CREDENTIALS_UNAVAILABLE, ACCESS_DENIED (a role that may not be assumed), NOT_CONFIGURED
   */
  of(cacheKey: string, identity: AlibabaIdentity, signal: AbortSignal): Promise<AlibabaCredential>;
  /** See {@link CredentialCache.invalidate}. */
  invalidate(cacheKey: string, credential: AlibabaCredential): boolean;
};

/** What {@link createAlibabaCredentials} needs. */
export type AlibabaCredentialsDeps = {
  readonly config: Pick<AlibabaCloudConfig, 'sts' | 'metadata'>;
  readonly http: HttpClient;
  readonly retry: Retry;
  readonly credentialGate: CredentialGate;
  readonly now: () => number;
  /** Told of a login that failed while older keys still serve. */
  readonly onFailure?: (error: SecretError) => void;
};

/** See {@link AlibabaCredentials}. */
export function createAlibabaCredentials(deps: AlibabaCredentialsDeps): AlibabaCredentials {
  const { config, http, retry, credentialGate, now, onFailure } = deps;
  const cache = new CredentialCache<AlibabaCredential>({ now, ...(onFailure && { onFailure }) });
  const sts: StsDeps = { api: createApi({ http, retry, now }), sts: config.sts, credentialGate };
  const metadata = createMetadata({ http, retry, endpoint: config.metadata, now });

  const base = async (
    identity: AlibabaIdentity,
    signal: AbortSignal,
  ): Promise<AlibabaCredential> => {
    switch (identity.kind) {
      case 'rrsa':
        return assumeRoleWithOidc(
          sts,
          { durationSeconds: sessionSeconds, ...identity, token: await identity.token() },
          signal,
        );
      case 'keys':
        return keysOf(identity);
      case 'keys-role':
        return assumeRole(
          sts,
          { credential: keysOf(identity), owner: 'the access key' },
          identity,
          signal,
        );
      case 'worker-role':
        return metadata.workerRole(signal);
    }
  };

  const login = async (
    identity: AlibabaIdentity,
    signal: AbortSignal,
  ): Promise<AlibabaCredential> => {
    const credential = await base(identity, signal);
    const { crossAccountRoleArn: roleArn } = identity;
    if (roleArn === undefined) return credential;
    const session = { roleArn, sessionName: crossAccountSession, durationSeconds: sessionSeconds };
    return assumeRole(sts, { credential, owner: baseOwner(identity) }, session, signal);
  };

  return {
    of(cacheKey, identity, signal) {
      const about = { owner: ownerOf(identity), hint: 'check the way to STS, and its endpoint' };
      return cache.get(cacheKey, signal, (flight) =>
        runLogin(flight, about, () => login(identity, flight)),
      );
    },
    invalidate: (cacheKey, credential) => cache.invalidate(cacheKey, credential),
  };
}

/** Whose keys an identity leads to, for messages: `the role acs:ram::1234567890:role/reader`. */
export function ownerOf(identity: AlibabaIdentity): string {
  const { crossAccountRoleArn } = identity;
  return crossAccountRoleArn === undefined
    ? baseOwner(identity)
    : `the role ${crossAccountRoleArn}`;
}

function baseOwner(identity: AlibabaIdentity): string {
  switch (identity.kind) {
    case 'rrsa':
    case 'keys-role':
      return `the role ${identity.roleArn}`;
    case 'keys':
      return 'the access key';
    case 'worker-role':
      return 'the RAM role of this node';
  }
}

function keysOf(keys: Extract<AlibabaIdentity, { kind: 'keys' | 'keys-role' }>): AlibabaCredential {
  const { accessKeyId, accessKeySecret } = keys;
  const securityToken = keys.kind === 'keys' ? keys.securityToken : undefined;
  return {
    accessKeyId,
    accessKeySecret,
    ...(securityToken !== undefined && { securityToken }),
    account: keys.kind === 'keys-role' ? accountOf(keys.roleArn) : accessKeyId,
  };
}
