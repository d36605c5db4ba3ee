import type { Redacted } from '../../core/redacted.ts';
import { digestOf } from '../shared/identity/fingerprint.ts';

/** Keys that sign requests. */
export type AwsCredential = {
  readonly accessKeyId: string;
  readonly secretAccessKey: Redacted;
  /** The keys of a session are valid only with it. */
  readonly sessionToken?: Redacted;
  /** Milliseconds since the epoch. Absent: the keys do not expire. */
  readonly expiresAt?: number;
  /**
   * The number of the account, or another text where it is not known. Keys of one account share a
   * rate limiter, and hints name the account. It has no other use.
   */
  readonly account: string;
};

/** What is needed to obtain keys. */
export type AwsCredentialSource =
  /** IRSA: exchanges the pod's token for a session of its ServiceAccount's role. */
  | {
      readonly kind: 'irsa';
      readonly roleArn: string;
      readonly sessionName: string;
      readonly token: Redacted;
    }
  /** EKS Pod Identity: sends the pod's token to the agent on the node. */
  | { readonly kind: 'pod-identity'; readonly token: Redacted; readonly addressType: AddressType }
  /** The identity of this process: the SDK's default credential chain. */
  | DefaultChainSource
  /** A role that this process assumes. */
  | {
      readonly kind: 'assumed-role';
      readonly roleArn: string;
      readonly sessionName: string;
      readonly base: DefaultChainSource;
    };

/** The SDK's default credential chain, or one of its links. */
export type DefaultChainSource = { readonly kind: 'default-chain'; readonly method: ChainMethod };

/** `default` is the whole chain. */
export type ChainMethod = 'default' | 'environment' | 'task_role' | 'instance_profile';

/** A source, and the region whose STS makes the session. Pod Identity does not use the region. */
export type AwsCredentialRequest = AwsCredentialSource & { readonly region: string };

/** Which of the two addresses of the Pod Identity agent to use. */
export type AddressType = 'ipv4' | 'ipv6' | 'auto';

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
