import * as z from 'zod';
import { digestOf } from '../../digest.ts';
import type { AlibabaCredential } from '../identity.ts';

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
