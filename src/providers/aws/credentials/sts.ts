import { createHash } from 'node:crypto';
import * as z from 'zod';
import { SecretError } from '../../../core/errors.ts';
import { Redacted } from '../../../core/redacted.ts';
import type { CredentialGate } from '../../shared/credentials/credential-gate.ts';
import { digestOf } from '../../shared/identity/fingerprint.ts';
import { classify } from '../../shared/reads/store-errors.ts';
import { type AwsCallDeps, callAws } from '../call.ts';
import { tokenErrors } from '../errors.ts';
import type { AwsCredential, AwsCredentialRequest } from '../types.ts';

/** The longest session of a role, unless its owner sets another limit. */
const sessionSeconds = 3_600;

const sessionSchema = z.object({
  Credentials: z.object({
    AccessKeyId: z.string().min(1),
    SecretAccessKey: z.string().min(1),
    SessionToken: z.string().min(1),
    Expiration: z.date().refine((at) => !Number.isNaN(at.getTime())),
  }),
});

/**
 * Exchanges a ServiceAccount's token for a session of a role (IRSA): AssumeRoleWithWebIdentity,
 * unsigned, at the STS of the region. After a refusal the credential gate keeps the token from that
 * STS for a while. Another token is sent at once.
 * @throws SecretError CREDENTIALS_REFUSED; STORE_ANSWER_INVALID and the errors of {@link callAws}
 */
export async function assumeRoleWithWebIdentity(
  { credentialGate, ...deps }: AwsCallDeps & { readonly credentialGate: CredentialGate },
  request: Extract<AwsCredentialRequest, { kind: 'irsa' }>,
  signal: AbortSignal,
): Promise<AwsCredential> {
  const { roleArn, sessionName, region } = request;
  const token = request.token.reveal();
  const secrets = [token];
  return credentialGate.run(digestOf(region, roleArn, token), signal, async () => {
    const { module, client } = await deps.sdk.sts(region);
    const command = new module.AssumeRoleWithWebIdentityCommand({
      RoleArn: roleArn,
      RoleSessionName: sessionName,
      WebIdentityToken: token,
      DurationSeconds: sessionSeconds,
    });
    const service = 'STS';
    const result = await callAws(deps, {
      ...{ service, region, signal, secrets },
      send: (options) => client.send(command, options),
    });
    if (result.error !== undefined)
      throw classify(tokenErrors, result.error, { service, region, roleArn }, secrets);
    const session = sessionSchema.safeParse(result.output);
    if (!session.success)
      throw new SecretError(
        'STORE_ANSWER_INVALID',
        `STS in ${region} sent a response that Keyferry does not understand`,
      );
    const { AccessKeyId, SecretAccessKey, SessionToken, Expiration } = session.data.Credentials;
    return {
      accessKeyId: AccessKeyId,
      secretAccessKey: new Redacted(SecretAccessKey),
      sessionToken: new Redacted(SessionToken),
      expiresAt: Expiration.getTime(),
      account: /^arn:[^:]*:iam::(\d+):/.exec(roleArn)?.[1] ?? roleArn,
    };
  });
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
