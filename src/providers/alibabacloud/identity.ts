import type { Redacted } from '../../errors/redacted.ts';

/** Keys that sign requests. */
export type AlibabaCredential = {
  readonly accessKeyId: string;
  readonly accessKeySecret: Redacted;
  /** Of a session: without it the keys are worth nothing. */
  readonly securityToken?: Redacted;
  /** Milliseconds since the epoch; absent for keys that last. */
  readonly expiresAt?: number;
  /** What shares one rate budget: the account's number where it is known, else what stands for it. For nothing else. */
  readonly account: string;
};

/** Whose rights serve: everything needed to log in, told apart by `kind`. */
export type AlibabaIdentity = BaseIdentity & {
  /** A role assumed on top: `acs:ram::1234567890:role/reader`. */
  readonly crossAccountRoleArn?: string;
};

type BaseIdentity =
  /** An OIDC token exchanged for a session of a role: a pod's, or the provider's own. */
  | {
      readonly kind: 'rrsa';
      readonly roleArn: string;
      readonly oidcProviderArn: string;
      readonly sessionName: string;
      /** The pod's token, or what stands in the provider's token file now. @throws SecretError */
      readonly token: () => Promise<Redacted>;
    }
  | {
      readonly kind: 'keys';
      readonly accessKeyId: string;
      readonly accessKeySecret: Redacted;
      readonly securityToken?: Redacted;
    }
  /** Keys that may do nothing but assume a role. */
  | {
      readonly kind: 'keys-role';
      readonly accessKeyId: string;
      readonly accessKeySecret: Redacted;
      readonly roleArn: string;
      readonly sessionName: string;
      readonly durationSeconds: number;
    }
  /** The RAM role of the node, by the metadata service. */
  | { readonly kind: 'worker-role' };
