import * as z from 'zod';
import { Redacted } from '../../../core/redacted.ts';
import { SecretError } from '../../../core/errors.ts';
import type { HttpResponse } from '../../../http/client.ts';
import { digestOf } from '../../shared/identity/fingerprint.ts';
import type { CredentialGate } from '../../shared/credentials/credential-gate.ts';
import { readBody } from '../../../http/response.ts';
import type { Api } from '../call.ts';
import { describeFault, isRefusal, readFault, type Fault } from '../errors.ts';
import type { AlibabaCredential } from '../types.ts';
import { credentialDigest, secretsOf, time } from '../types.ts';

const version = '2015-04-01';

/** What logins need. */
export type StsDeps = { readonly api: Api; readonly sts: URL; readonly proving: CredentialGate };

/** A session of a role. */
export type RoleSession = {
  readonly roleArn: string;
  readonly sessionName: string;
  readonly durationSeconds: number;
};

const session = z.object({
  Credentials: z.object({
    AccessKeyId: z.string().min(1),
    AccessKeySecret: z.string().min(1),
    SecurityToken: z.string().min(1),
    Expiration: time,
  }),
});

/**
 * A session of a role for an OIDC token: AssumeRoleWithOIDC, unsigned, the token in the body and never in an address. A token that was
 * refused is not shown again for a while; another one is tried at once.
 * @throws SecretError CREDENTIALS_REFUSED, and what an outage is
 */
export async function assumeRoleWithOidc(
  { api, sts, proving }: StsDeps,
  asked: RoleSession & { readonly oidcProviderArn: string; readonly token: Redacted },
  signal: AbortSignal,
): Promise<AlibabaCredential> {
  const { roleArn, oidcProviderArn } = asked;
  const token = asked.token.reveal();
  return proving.run(digestOf(roleArn, oidcProviderArn, token), signal, async () => {
    const answer = await api.call({
      endpoint: sts,
      action: 'AssumeRoleWithOIDC',
      version,
      form: { ...parametersOf(asked), OIDCProviderArn: oidcProviderArn, OIDCToken: token },
      signal,
    });
    if (answer.status !== 200) {
      const fault = readStsFault(answer);
      throw new SecretError(
        'CREDENTIALS_REFUSED',
        `Alibaba Cloud refused the OIDC token for the role ${roleArn} ${describeFault(fault, [token])}`,
        { hint: oidcHint(fault) },
      );
    }
    return credentialOf(readBody(answer, session, 'STS'), roleArn);
  });
}

/**
 * A session of a role by the rights of another credential: AssumeRole, signed.
 * @param owner whose that credential is, for messages
 * @throws SecretError CREDENTIALS_REFUSED for the credential, ACCESS_DENIED where it may not have the role, and what an outage is
 */
export async function assumeRole(
  { api, sts, proving }: StsDeps,
  base: { readonly credential: AlibabaCredential; readonly owner: string },
  asked: RoleSession,
  signal: AbortSignal,
): Promise<AlibabaCredential> {
  const { credential, owner } = base;
  return proving.run(credentialDigest(credential), signal, async () => {
    const query = parametersOf(asked);
    const answer = await api.call({
      endpoint: sts,
      action: 'AssumeRole',
      version,
      query,
      credential,
      signal,
    });
    if (answer.status !== 200) {
      const fault = readStsFault(answer);
      if (isRefusal(fault)) throw api.refusal(answer, credential, owner);
      throw new SecretError(
        'ACCESS_DENIED',
        `${owner} cannot assume the role ${asked.roleArn} ${describeFault(fault, secretsOf(credential))}`,
        { hint: 'it needs sts:AssumeRole, and the trust policy of the role must name it' },
      );
    }
    return credentialOf(readBody(answer, session, 'STS'), asked.roleArn);
  });
}

/** The account in `acs:ram::1234567890:role/reader`, or the text itself. */
export function accountOf(arn: string): string {
  return /^acs:ram::(\d+):/.exec(arn)?.[1] ?? arn;
}

function parametersOf({
  roleArn,
  sessionName,
  durationSeconds,
}: RoleSession): Record<string, string> {
  return {
    RoleArn: roleArn,
    RoleSessionName: sessionName,
    DurationSeconds: String(durationSeconds),
  };
}

/** @throws SecretError STORE_ANSWER_INVALID for what STS would not say: a proxy's page is no refusal */
function readStsFault(answer: HttpResponse): Fault {
  const fault = readFault(answer);
  if (fault.code !== undefined && fault.status >= 400) return fault;
  throw new SecretError(
    'STORE_ANSWER_INVALID',
    `the endpoint does not answer as STS does ${describeFault({ ...fault, text: '' }, [])}`,
  );
}

function credentialOf(
  { Credentials: keys }: z.infer<typeof session>,
  roleArn: string,
): AlibabaCredential {
  return {
    accessKeyId: keys.AccessKeyId,
    accessKeySecret: new Redacted(keys.AccessKeySecret),
    securityToken: new Redacted(keys.SecurityToken),
    expiresAt: keys.Expiration,
    account: accountOf(roleArn),
  };
}

function oidcHint({ code = '' }: Fault): string {
  if (code.includes('OIDCToken.Expired')) return 'check the clock of this node';
  if (code.includes('OIDCToken.AudienceNotMatch'))
    return 'the audience of the token must be among the client ids of the OIDC provider';
  if (code.includes('NoPermission'))
    return 'the trust policy of the role must name the OIDC provider, and this ServiceAccount as oidc:sub';
  return 'check the OIDC provider (issuer, fingerprints, client ids), and that the role exists';
}
