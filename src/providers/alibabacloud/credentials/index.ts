import type { Retry } from '../../../concurrency/retry.ts';
import type { SecretError } from '../../../core/errors.ts';
import type { HttpClient } from '../../../http/client.ts';
import { CredentialCache } from '../../shared/credentials/credential-cache.ts';
import type { CredentialGate } from '../../shared/credentials/credential-gate.ts';
import { runLogin } from '../../shared/credentials/run-login.ts';
import { createApi } from '../call.ts';
import type { AlibabaTexts } from '../texts.ts';
import type { AlibabaCloudConfig, AlibabaCredential, CredentialSource } from '../types.ts';
import type { Metadata } from './metadata.ts';
import { type StsDeps, accountOf, assumeRole, assumeRoleWithOidc } from './sts.ts';

/** The lifetime of a session, unless the operator configures one. */
const sessionSeconds = 3_600;

/** The credentials of principals, cached by fingerprint. */
export type AlibabaCredentials = {
  /**
   * Returns the cached credential, or logs in.
   * @param fingerprint identifies all of `source`. With an OIDC token it covers the subject of the
   *   token, not the token
   * @throws SecretError CREDENTIALS_REFUSED, CREDENTIALS_UNAVAILABLE, NOT_CONFIGURED;
   *   ACCESS_DENIED for a role that the source may not assume
   */
  get(
    fingerprint: string,
    source: CredentialSource,
    signal: AbortSignal,
  ): Promise<AlibabaCredential>;
  /** See {@link CredentialCache.invalidate}. */
  invalidate(fingerprint: string, credential: AlibabaCredential): boolean;
};

/** What {@link createAlibabaCredentials} needs. */
export type AlibabaCredentialsDeps = {
  readonly config: Pick<AlibabaCloudConfig, 'sts'>;
  readonly http: HttpClient;
  readonly retry: Retry;
  readonly credentialGate: CredentialGate;
  readonly metadata: Pick<Metadata, 'workerRole'>;
  readonly texts: AlibabaTexts;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Gets the error of a login that failed while older keys still serve. */
  readonly onFailure?: (error: SecretError) => void;
};

/** See {@link AlibabaCredentials}. */
export function createAlibabaCredentials(deps: AlibabaCredentialsDeps): AlibabaCredentials {
  const { config, http, retry, credentialGate, metadata, now, texts, onFailure } = deps;
  const cache = new CredentialCache<AlibabaCredential>({ now, ...(onFailure && { onFailure }) });
  const sts: StsDeps = { api: createApi({ http, retry, now }), sts: config.sts, credentialGate };

  const loginToBase = async (
    source: CredentialSource,
    signal: AbortSignal,
  ): Promise<AlibabaCredential> => {
    switch (source.kind) {
      case 'rrsa': {
        const token = await source.token();
        const session = { ...source, token, durationSeconds: sessionSeconds };
        return assumeRoleWithOidc(sts, session, signal);
      }
      case 'keys':
        return keysOf(source);
      case 'keys-role': {
        const base = { credential: keysOf(source), owner: 'the access key' };
        return assumeRole(sts, base, source, signal);
      }
      case 'worker-role':
        return metadata.workerRole(signal, source.roleName);
    }
  };

  const login = async (
    source: CredentialSource,
    signal: AbortSignal,
  ): Promise<AlibabaCredential> => {
    const credential = await loginToBase(source, signal);
    const { crossAccountRoleArn: roleArn } = source;
    if (roleArn === undefined) return credential;
    const base = { credential, owner: baseOwnerOf(source, texts) };
    const sessionName = texts.roleSessionName;
    const session = { roleArn, sessionName, durationSeconds: sessionSeconds };
    return assumeRole(sts, base, session, signal);
  };

  return {
    get(fingerprint, source, signal) {
      const about = {
        owner: ownerOf(source, texts),
        hint: 'check the way to STS, and its endpoint',
      };
      return cache.get(fingerprint, signal, (loginSignal) =>
        runLogin(loginSignal, about, () => login(source, loginSignal)),
      );
    },
    invalidate: (fingerprint, credential) => cache.invalidate(fingerprint, credential),
  };
}

/** The owner of a source's keys, for messages: `the role acs:ram::1234567890:role/reader`. */
export function ownerOf(source: CredentialSource, texts: AlibabaTexts): string {
  const { crossAccountRoleArn } = source;
  return crossAccountRoleArn === undefined
    ? baseOwnerOf(source, texts)
    : `the role ${crossAccountRoleArn}`;
}

function baseOwnerOf(source: CredentialSource, { machine }: AlibabaTexts): string {
  switch (source.kind) {
    case 'rrsa':
    case 'keys-role':
      return `the role ${source.roleArn}`;
    case 'keys':
      return 'the access key';
    case 'worker-role':
      return `the RAM role of this ${machine}`;
  }
}

function keysOf(
  source: Extract<CredentialSource, { kind: 'keys' | 'keys-role' }>,
): AlibabaCredential {
  const { accessKeyId, accessKeySecret } = source;
  const securityToken = source.kind === 'keys' ? source.securityToken : undefined;
  return {
    accessKeyId,
    accessKeySecret,
    ...(securityToken !== undefined && { securityToken }),
    account: source.kind === 'keys-role' ? accountOf(source.roleArn) : accessKeyId,
  };
}
