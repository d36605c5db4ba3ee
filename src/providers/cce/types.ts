import * as z from 'zod';
import { Redacted } from '../../core/redacted.ts';
import { digestOf } from '../shared/identity/fingerprint.ts';
import type { SigningKey } from './sign.ts';

/** Keys of Huawei Cloud. */
export type CceCredential = SigningKey & {
  /** Temporary keys come with one. */
  readonly securityToken?: Redacted;
  /** Milliseconds since the epoch. */
  readonly expiresAt?: number;
  /** Whose they are, for messages: `the agency of this node`. No part of the keys. */
  readonly owner: string;
  /** See {@link digestOf}. */
  readonly digest: string;
};

/** Puts keys together. */
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

/** What must not appear in a message. */
export function secretsOf({ accessKey, secretKey, securityToken }: CceCredential): string[] {
  return [
    accessKey,
    secretKey.reveal(),
    ...(securityToken === undefined ? [] : [securityToken.reveal()]),
  ];
}

/** A time as Huawei Cloud writes it, `2026-11-22T03:00:00.121000Z`, with any number of fractional digits: milliseconds since the epoch. */
export const time = z
  .string()
  .transform((text) => Date.parse(text))
  .refine((at) => !Number.isNaN(at));

/** `{credential}` as IAM and the metadata service answer it. */
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
