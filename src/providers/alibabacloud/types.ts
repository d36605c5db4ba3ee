import * as z from 'zod';
import type { Redacted } from '../../core/redacted.ts';
import type { ReadFilesContext, ReportAt } from '../shared/class/files.ts';
import { digestOf } from '../shared/identity/fingerprint.ts';

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

/**
 * Where a service is: a host with `{region}` in it (`kms-vpc.{region}.aliyuncs.com`), or one address for all regions.
 */
export type ServiceAddress = string | URL;

/** What an operator configures of the ways to Alibaba Cloud. */
export type AlibabaCloudConfig = {
  readonly kms: ServiceAddress;
  readonly oos: ServiceAddress;
  readonly sts: URL;
  /** Of the instance metadata; plain http. */
  readonly metadata: URL;
  /** Hosts that classes may name beside dedicated gateways and regional endpoints; entries as `classEndpoint` takes them. */
  readonly allowedEndpoints: readonly string[];
  /** PEM: certificates that vouch for dedicated gateways, intermediates among them. For nothing else. */
  readonly gatewayCa: readonly string[];
  /** Calls a second, for each service and account, and how many at once after a pause. */
  readonly perSecond: number;
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

/** A time such as `2026-11-22T03:00:00Z`: milliseconds since the epoch. */
export const time = z
  .string()
  .transform((text) => Date.parse(text))
  .refine((at) => !Number.isNaN(at));

/** What is constant for a node. */
export type AlibabaFacts = {
  /** For objects whose class names none. Absent where no object needs it. */
  readonly region?: string;
  /** What the operator lets classes name as `kmsEndpoint`, beside Alibaba Cloud's own; entries as `classEndpoint` takes them. */
  readonly allowedEndpoints: readonly string[];
};

/** What stands around the objects of a class. */
export type ObjectsContext = Omit<ReadFilesContext, 'reportError'> & {
  readonly region: string | undefined;
  /** None offline. */
  readonly facts: AlibabaFacts | undefined;
  /** Takes down a check that needs facts. */
  readonly skip: (check: string) => void;
};

/** The same, with the two ways to report. */
export type Reader = ObjectsContext & { readonly reportError: ReportAt; readonly warn: ReportAt };
