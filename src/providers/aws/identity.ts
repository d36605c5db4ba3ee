import type { Redacted } from '../../errors/redacted.ts';

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
  | { readonly kind: 'own-chain'; readonly region: string };

/** Which of the agent's two addresses is asked. */
export type AddressType = 'ipv4' | 'ipv6' | 'auto';
