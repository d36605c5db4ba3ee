import * as z from 'zod';
import { Redacted } from '../../../core/redacted.ts';
import { SecretError } from '../../../core/errors.ts';
import type { Retry } from '../../../concurrency/retry.ts';
import { digestOf } from '../../shared/identity/fingerprint.ts';
import type { CredentialGate } from '../../shared/credentials/credential-gate.ts';
import { callAws } from '../call.ts';
import { describeFault, type Fault } from '../errors.ts';
import type { AwsCredential, AwsIdentity } from '../types.ts';
import type { Sdk } from '../sdk.ts';

/** What a role allows unless its owner says otherwise. */
const sessionSeconds = 3_600;

const session = z.object({
  Credentials: z.object({
    AccessKeyId: z.string().min(1),
    SecretAccessKey: z.string().min(1),
    SessionToken: z.string().min(1),
    Expiration: z.date().refine((at) => !Number.isNaN(at.getTime())),
  }),
});

/**
 * A session of a role for a ServiceAccount's token (IRSA): AssumeRoleWithWebIdentity, unsigned, at the STS of the region. A token that was
 * refused is not shown there again for a while; another one is tried at once.
 * @throws SecretError CREDENTIALS_REFUSED, and what an outage is
 */
export async function assumeRoleWithWebIdentity(
  {
    sdk,
    retry,
    proving,
  }: { readonly sdk: Sdk; readonly retry: Retry; readonly proving: CredentialGate },
  identity: Extract<AwsIdentity, { kind: 'irsa' }>,
  signal: AbortSignal,
): Promise<AwsCredential> {
  const { roleArn, sessionName, region } = identity;
  const token = identity.token.reveal();
  return proving.run(digestOf(region, roleArn, token), signal, async () => {
    const { module, client } = await sdk.sts(region);
    const command = new module.AssumeRoleWithWebIdentityCommand({
      RoleArn: roleArn,
      RoleSessionName: sessionName,
      WebIdentityToken: token,
      DurationSeconds: sessionSeconds,
    });
    const answer = await callAws(retry, {
      ...{ endpoint: `STS in ${region}`, signal, secrets: [token] },
      send: (options) => client.send(command, options),
    });
    if ('fault' in answer) throw refusal(answer.fault, roleArn, region, token);
    const read = session.safeParse(answer.output);
    if (!read.success)
      throw new SecretError(
        'STORE_ANSWER_INVALID',
        `STS in ${region} answered with something we do not understand`,
      );
    const { AccessKeyId, SecretAccessKey, SessionToken, Expiration } = read.data.Credentials;
    return {
      accessKeyId: AccessKeyId,
      secretAccessKey: new Redacted(SecretAccessKey),
      sessionToken: new Redacted(SessionToken),
      expiresAt: Expiration.getTime(),
      account: /^arn:[^:]*:iam::(\d+):/.exec(roleArn)?.[1] ?? roleArn,
    };
  });
}

/** A proxy's page is no refusal. */
function refusal(fault: Fault, roleArn: string, region: string, token: string): SecretError {
  const told = describeFault(fault, [token]);
  if (fault.code === undefined || (fault.status ?? 0) < 400)
    return new SecretError(
      'STORE_ANSWER_INVALID',
      `the endpoint does not answer as STS in ${region} does ${told}`,
    );
  return new SecretError(
    'CREDENTIALS_REFUSED',
    `STS in ${region} refused the ServiceAccount's token for the role ${roleArn} ${told}`,
    { hint: hintOf(fault, region) },
  );
}

function hintOf({ code = '', text }: Fault, region: string): string {
  if (code.startsWith('ExpiredToken')) return 'check the clock of this node';
  if (code.startsWith('RegionDisabled'))
    return `activate STS for ${region} in the account settings of IAM`;
  if (/audience/i.test(text))
    return 'add sts.amazonaws.com to the audiences (client ids) of the OIDC provider in IAM';
  if (code.startsWith('AccessDenied'))
    return (
      'the role must exist, and its trust policy must allow sts:AssumeRoleWithWebIdentity to the OIDC provider of this cluster, ' +
      'with this ServiceAccount as sub and sts.amazonaws.com as aud'
    );
  return "check that the OIDC provider of this cluster exists in IAM, in the role's account";
}
