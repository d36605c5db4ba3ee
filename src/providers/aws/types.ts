import type { Redacted } from '../../core/redacted.ts';
import { digestOf } from '../shared/identity/fingerprint.ts';

/** Keys that sign requests. */
export type AwsCredential = {
  readonly accessKeyId: string;
  readonly secretAccessKey: Redacted;
  /** Of a session: without it the keys are worth nothing. */
  readonly sessionToken?: Redacted;
  /** Milliseconds since the epoch; absent for keys that last. */
  readonly expiresAt?: number;
  /** What shares one rate budget: the account's number where it is known, else what stands for it. For nothing else but hints. */
  readonly account: string;
};

/** Whose rights serve: everything needed to log in, told apart by `kind`. */
export type AwsIdentity =
  /** IRSA: the pod's token exchanged for a session of its ServiceAccount's role, at the STS of `region`. */
  | {
      readonly kind: 'irsa';
      readonly roleArn: string;
      readonly sessionName: string;
      readonly region: string;
      readonly token: Redacted;
    }
  /** EKS Pod Identity: the pod's token shown to the agent of the node. */
  | { readonly kind: 'pod-identity'; readonly token: Redacted; readonly addressType: AddressType }
  /** The provider's own identity, where the operator lends it. */
  | { readonly kind: 'default-chain'; readonly region: string };

/** Which of the agent's two addresses is asked. */
export type AddressType = 'ipv4' | 'ipv6' | 'auto';

/** What an operator configures of the ways to AWS. Endpoints absent: the SDK's own for the region. */
export type AwsCloudConfig = {
  readonly secretsManager?: URL;
  readonly ssm?: URL;
  readonly sts?: URL;
  readonly fips: boolean;
  readonly dualstack: boolean;
  /** The Pod Identity agent's two addresses; plain http. */
  readonly podIdentityAgent: { readonly ipv4: URL; readonly ipv6: URL };
  /** Calls a second, for each service, region and account, and how many at once after a pause. */
  readonly perSecond: { readonly secretsmanager: number; readonly ssm: number };
  readonly burst: { readonly secretsmanager: number; readonly ssm: number };
};

/** See {@link digestOf}. */
export function credentialDigest({
  accessKeyId,
  secretAccessKey,
  sessionToken,
}: AwsCredential): string {
  return digestOf(accessKeyId, secretAccessKey.reveal(), sessionToken?.reveal());
}

/** What must not appear in a message. */
export function secretsOf({ accessKeyId, secretAccessKey, sessionToken }: AwsCredential): string[] {
  return [
    accessKeyId,
    secretAccessKey.reveal(),
    ...(sessionToken === undefined ? [] : [sessionToken.reveal()]),
  ];
}
