import * as z from 'zod';
import type { Redacted } from '../../core/redacted.ts';
import { digestOf } from '../shared/identity/fingerprint.ts';

/** Keys that sign requests. */
export type AlibabaCredential = {
  readonly accessKeyId: string;
  readonly accessKeySecret: Redacted;
  /** The keys of a session are valid only with their token. */
  readonly securityToken?: Redacted;
  /** Milliseconds since the epoch. Absent for keys that do not expire. */
  readonly expiresAt?: number;
  /**
   * Selects the rate limiter, and has no other use: the number of the account, or a text that
   * stands for it if the number is not known.
   */
  readonly account: string;
};

/** Where the keys of a principal come from. */
export type CredentialSource = BaseCredentialSource & {
  /** A role that the base assumes: `acs:ram::1234567890:role/reader`. */
  readonly crossAccountRoleArn?: string;
};

type BaseCredentialSource =
  /** STS gives a session of a role for an OIDC token (RRSA): a pod's, or the provider's own. */
  | {
      readonly kind: 'rrsa';
      readonly roleArn: string;
      readonly oidcProviderArn: string;
      readonly sessionName: string;
      /** The pod's token, or the current text of the provider's token file. @throws SecretError */
      readonly token: () => Promise<Redacted>;
    }
  | {
      readonly kind: 'keys';
      readonly accessKeyId: string;
      readonly accessKeySecret: Redacted;
      readonly securityToken?: Redacted;
    }
  /** Keys that only assume a role. */
  | {
      readonly kind: 'keys-role';
      readonly accessKeyId: string;
      readonly accessKeySecret: Redacted;
      readonly roleArn: string;
      readonly sessionName: string;
      readonly durationSeconds: number;
    }
  /**
   * The RAM role of the machine, from the metadata service.
   * `roleName`: must be this one. Absent: the one that is attached.
   */
  | { readonly kind: 'worker-role'; readonly roleName?: string };

/**
 * The address of a service: a host that contains `{region}` (`kms-vpc.{region}.aliyuncs.com`), or
 * one address for all regions.
 */
export type ServiceAddress = string | URL;

/** The operator's configuration of Alibaba Cloud's services. */
export type AlibabaCloudConfig = {
  readonly kms: ServiceAddress;
  readonly oos: ServiceAddress;
  readonly sts: URL;
  /** The instance metadata service; plain HTTP. */
  readonly metadata: URL;
  /**
   * Hosts that classes may name beside dedicated gateways and regional endpoints; for the form see
   * `classEndpoint`.
   */
  readonly allowedEndpoints: readonly string[];
  /** PEM: the certificates, also intermediate ones, for each `kmsEndpoint` that is not regional. */
  readonly gatewayCa: readonly string[];
  /** Calls per second, for each service and account. */
  readonly perSecond: number;
  /** Calls at once after a pause. */
  readonly burst: number;
};

/** See {@link digestOf}. */
export function credentialDigest({
  accessKeyId,
  accessKeySecret,
  securityToken,
}: AlibabaCredential): string {
  return digestOf(accessKeyId, accessKeySecret.reveal(), securityToken?.reveal());
}

/** What must not appear in a message. */
export function secretsOf(credential: AlibabaCredential | undefined): string[] {
  if (credential === undefined) return [];
  const { accessKeyId, accessKeySecret, securityToken } = credential;
  return [
    accessKeyId,
    accessKeySecret.reveal(),
    ...(securityToken === undefined ? [] : [securityToken.reveal()]),
  ];
}

/** Parses a time such as `2026-11-22T03:00:00Z` to milliseconds since the epoch. */
export const time = z
  .string()
  .transform((text) => Date.parse(text))
  .refine((at) => !Number.isNaN(at));

/** What is constant for a node. */
export type AlibabaNodeFacts = {
  /** For objects whose class names no region. Absent if no object needs it. */
  readonly region?: string;
  /** See {@link AlibabaCloudConfig.allowedEndpoints}. */
  readonly allowedEndpoints: readonly string[];
};
