import { createHash, createHmac, randomBytes } from 'node:crypto';

/** One field of a fingerprint: everything that could change the store's answer. */
export type FingerprintField = string | undefined;

/** See {@link createFingerprint}. */
export type Fingerprint = (fields: Readonly<Record<string, FingerprintField>>) => string;

/**
 * Makes fingerprints of principals: HMAC-SHA256, base64url, under a key made for this process, over length-prefixed names and values in
 * the order of the names. Secrets may be among the fields: without the key, which never leaves this closure, a fingerprint tells nothing about them.
 * An absent field differs from an empty one.
 */
export function createFingerprint(key: Uint8Array = randomBytes(32)): Fingerprint {
  return (fields) => {
    const hmac = createHmac('sha256', key);
    for (const name of Object.keys(fields).sort()) {
      const value = fields[name];
      const text = value === undefined ? '-' : `${Buffer.byteLength(value)}:${value}`;
      hmac.update(`${Buffer.byteLength(name)}:${name}=${text};`);
    }
    return hmac.digest('base64url');
  };
}

/** Stands for exactly these texts, in this order, and tells nothing of them: what was refused is remembered by it. */
export function digestOf(...texts: readonly (string | undefined)[]): string {
  return createHash('sha256').update(JSON.stringify(texts)).digest('base64url');
}
