import { randomBytes } from 'node:crypto';

/** A value that no file of this machine has by chance. */
export const secretValue = (): string => `planted-${randomBytes(12).toString('hex')}`;
