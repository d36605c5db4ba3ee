import { digestOf } from '../../digest.ts';
import type { AwsCredential } from '../identity.ts';

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
