import { createHash } from 'node:crypto';

/** Stands for exactly these texts, in this order, and tells nothing of them: what was refused is remembered by it. */
export function digestOf(...texts: readonly (string | undefined)[]): string {
  return createHash('sha256').update(JSON.stringify(texts)).digest('base64url');
}
