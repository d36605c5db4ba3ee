import * as z from 'zod';
import { Redacted } from '../../core/redacted.ts';
import { digestOf } from '../shared/identity/fingerprint.ts';
import type { SigningKey } from './sign.ts';

/** The names of secrets that CSMS allows. */
export const secretNamePattern = /^[a-zA-Z0-9_.-]{1,64}$/;

/** How a class wants to log in. */
export type CceLogin =
  /** As the operator configures it for the whole cluster. */
  | { readonly kind: 'cluster' }
  /** With the token of the pod, in exchange for a session of an agency. */
  | {
      readonly kind: 'pod';
      readonly agencyUrn: string;
      readonly providerUrn: string;
      readonly audience: string;
    };

/** A session of an agency that STS gives for the token of a ServiceAccount. */
export type AgencySession = {
  readonly agencyUrn: string;
  readonly providerUrn: string;
  readonly sessionName: string;
  readonly token: Redacted;
};

/** Where the credential of an identity comes from. */
export type CceCredentialSource =
  | { readonly kind: 'cluster' }
  | { readonly kind: 'agency-session'; readonly session: AgencySession };

/** Keys of Huawei Cloud. */
export type CceCredential = SigningKey & {
  /** Only temporary keys have one. */
  readonly securityToken?: Redacted;
  /** Milliseconds since the epoch. */
  readonly expiresAt?: number;
  /**
   * The owner of the keys, for messages: `the agency of this node`. Contains no part of the keys.
   */
  readonly owner: string;
  /** See {@link digestOf}. */
  readonly digest: string;
};

/** Makes a credential of keys as a service or the operator gives them. */
export function makeCredential(fields: {
  readonly accessKey: string;
  readonly secretKey: string;
  readonly securityToken?: string | undefined;
  readonly expiresAt?: number;
  readonly owner: string;
}): CceCredential {
  const { accessKey, secretKey, securityToken, expiresAt, owner } = fields;
  return {
    accessKey,
    secretKey: new Redacted(secretKey),
    ...(securityToken !== undefined && { securityToken: new Redacted(securityToken) }),
    ...(expiresAt !== undefined && { expiresAt }),
    owner,
    digest: digestOf(accessKey, secretKey, securityToken),
  };
}

/** The texts that must not appear in a message. */
export function secretsOf({ accessKey, secretKey, securityToken }: CceCredential): string[] {
  return [
    accessKey,
    secretKey.reveal(),
    ...(securityToken === undefined ? [] : [securityToken.reveal()]),
  ];
}

/**
 * A time as Huawei Cloud writes it, `2026-11-22T03:00:00.121000Z`, with any number of fractional
 * digits. Parsed to milliseconds since the epoch.
 */
export const time = z
  .string()
  .transform((text) => Date.parse(text))
  .refine((at) => !Number.isNaN(at));

/** `{credential}` of the responses of IAM and of the metadata service. */
export const temporaryKeys = z
  .object({
    credential: z.object({
      access: z.string().min(1),
      secret: z.string().min(1),
      securitytoken: z.string().min(1),
      expires_at: time,
    }),
  })
  .transform(({ credential }) => ({
    accessKey: credential.access,
    secretKey: credential.secret,
    securityToken: credential.securitytoken,
    expiresAt: credential.expires_at,
  }));
