import { createHash } from 'node:crypto';
import * as z from 'zod';
import type { AlibabaCredential } from '../identity.ts';

/** Stands for exactly these texts, and tells nothing of them. */
export function digestOf(...texts: readonly (string | undefined)[]): string {
  return createHash('sha256').update(JSON.stringify(texts)).digest('base64url');
}

/** See {@link digestOf}. */
export function credentialDigest({ accessKeyId, accessKeySecret, securityToken }: AlibabaCredential): string {
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
