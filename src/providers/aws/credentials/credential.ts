import { createHash } from 'node:crypto';
import type { AwsCredential } from '../identity.ts';

/** Stands for exactly these texts, and tells nothing of them. */
export function digestOf(...texts: readonly (string | undefined)[]): string {
  return createHash('sha256').update(JSON.stringify(texts)).digest('base64url');
}

/** See {@link digestOf}. */
export function credentialDigest({ accessKeyId, secretAccessKey, sessionToken }: AwsCredential): string {
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
