import { createHash } from 'node:crypto';
import * as z from 'zod';
import { SecretError } from '../../../core/errors.ts';
import { Redacted } from '../../../core/redacted.ts';
import type { HttpResponse } from '../../../http/client.ts';
import { readXmlText } from '../../../http/response.ts';
import type { CredentialGate } from '../../shared/credentials/credential-gate.ts';
import { digestOf } from '../../shared/identity/fingerprint.ts';
import { classify } from '../../shared/reads/store-errors.ts';
import { type Api, formContent } from '../call.ts';
import { assumeRoleErrors, tokenErrors } from '../errors.ts';
import {
  type AwsCredential,
  type AwsCredentialRequest,
  credentialDigest,
  secretsOf,
} from '../types.ts';

/** The longest session of a role, unless its owner sets another limit. */
const sessionSeconds = 3_600;

/** The elements of `Credentials` in the response. */
const sessionSchema = z.object({
  AccessKeyId: z.string().min(1),
  SecretAccessKey: z.string().min(1),
  SessionToken: z.string().min(1),
  Expiration: z
    .string()
    .transform((text) => Date.parse(text))
    .refine((at) => !Number.isNaN(at)),
});

/**
 * Exchanges a ServiceAccount's token for a session of a role (IRSA): AssumeRoleWithWebIdentity,
 * unsigned, at the STS of the region. After a refusal the credential gate keeps the token from that
 * STS for a while. Another token is sent at once.
 * @throws SecretError CREDENTIALS_REFUSED; STORE_ANSWER_INVALID and the errors of {@link Api}
 */
export async function assumeRoleWithWebIdentity(
  { api, credentialGate }: { readonly api: Api; readonly credentialGate: CredentialGate },
  request: Extract<AwsCredentialRequest, { kind: 'irsa' }>,
  signal: AbortSignal,
): Promise<AwsCredential> {
  const { roleArn, sessionName, region } = request;
  const token = request.token.reveal();
  const secrets = [token];
  return credentialGate.run(digestOf(region, roleArn, token), signal, async () => {
    const content = formContent({
      Action: 'AssumeRoleWithWebIdentity',
      Version: '2011-06-15',
      RoleArn: roleArn,
      RoleSessionName: sessionName,
      WebIdentityToken: token,
      DurationSeconds: String(sessionSeconds),
    });
    const result = await api.call({ service: 'sts', region, content, secrets, signal });
    if (result.error !== undefined)
      throw classify(tokenErrors, result.error, { service: 'STS', region, roleArn }, secrets);
    return readSession(result.response, request);
  });
}

/** A session of a role. */
export type RoleSession = {
  readonly roleArn: string;
  readonly sessionName: string;
  readonly region: string;
};

/**
 * Exchanges a credential for a session of a role: AssumeRole at the STS of the region.
 * @param base.owner the owner of the credential, for messages
 * @throws SecretError CREDENTIALS_REFUSED for the credential, ACCESS_DENIED if it may not assume
 *   the role, STORE_REFUSED_REQUEST for a role that cannot exist; STORE_ANSWER_INVALID and the
 *   errors of {@link Api}
 */
export async function assumeRole(
  { api, credentialGate }: { readonly api: Api; readonly credentialGate: CredentialGate },
  base: { readonly credential: AwsCredential; readonly owner: string },
  session: RoleSession,
  signal: AbortSignal,
): Promise<AwsCredential> {
  const { credential, owner } = base;
  const { roleArn, sessionName, region } = session;
  const digest = digestOf('sts', region, credentialDigest(credential));
  return credentialGate.run(digest, signal, async () => {
    const content = formContent({
      Action: 'AssumeRole',
      Version: '2011-06-15',
      RoleArn: roleArn,
      RoleSessionName: sessionName,
      DurationSeconds: String(sessionSeconds),
    });
    const result = await api.call({ service: 'sts', region, content, credential, signal });
    if (result.error === undefined) return readSession(result.response, session);
    const context = { service: 'STS', region, roleArn, owner };
    throw classify(assumeRoleErrors, result.error, context, secretsOf(credential));
  });
}

/** @throws SecretError STORE_ANSWER_INVALID */
function readSession(
  { body }: HttpResponse,
  { region, roleArn }: Pick<RoleSession, 'region' | 'roleArn'>,
): AwsCredential {
  const content = body.toString();
  const names = Object.keys(sessionSchema.shape);
  const elements = Object.fromEntries(names.map((name) => [name, readXmlText(content, name)]));
  const { data: session } = sessionSchema.safeParse(elements);
  if (session !== undefined)
    return {
      accessKeyId: session.AccessKeyId,
      secretAccessKey: new Redacted(session.SecretAccessKey),
      sessionToken: new Redacted(session.SessionToken),
      expiresAt: session.Expiration,
      account: /^arn:[^:]*:iam::(\d+):/.exec(roleArn)?.[1] ?? roleArn,
    };
  throw new SecretError(
    'STORE_ANSWER_INVALID',
    `STS in ${region} sent a response that Keyferry does not understand`,
  );
}

const maxSessionNameLength = 64;

/**
 * The name of a session, as CloudTrail shows it: `<namespace>.<account>`. STS allows
 * `[\w+=,.@-]{2,64}`. A name that is not allowed ends with a digest, so that two ServiceAccounts
 * never share a name.
 */
export function sessionNameOf(namespace: string, serviceAccount: string): string {
  const fullName = `${namespace}.${serviceAccount}`;
  const allowedName = fullName.replace(/[^\w+=,.@-]/g, '-');
  if (allowedName === fullName && fullName.length <= maxSessionNameLength) return fullName;
  const digest = createHash('sha256').update(fullName).digest('hex').slice(0, 8);
  return `${allowedName.slice(0, maxSessionNameLength - 1 - digest.length)}-${digest}`;
}
