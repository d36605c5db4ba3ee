import { sanitizeUserText } from '../../core/safe-text.ts';
import type { SecretConfig } from '../config/types.ts';
import { type DsoRef, formatReference } from './reference.ts';
import type { SecretRequest } from './types.ts';

/** What the mappings of a secret ask for. */
export function mappedRequests(secret: SecretConfig): readonly SecretRequest[] {
  return Array.from(secret.mappings, ([field, name]) => ({
    ...{ name, ref: { ...refOf(secret), field, orWhole: true as const }, inject: secret.inject },
  }));
}

/** The whole secret. */
export function refOf({ provider, name }: SecretConfig): DsoRef {
  return { ...(provider !== undefined && { provider }), path: name };
}

/** Whether a reference is to the secret, or to a field of it. */
export function isSecretOf(ref: DsoRef, { provider, name }: SecretConfig): boolean {
  return ref.path === name && ref.provider === provider;
}

/** The reference that asks for the same, safe to show. */
export function nameOf({ ref, inject }: SecretRequest): string {
  const kind = inject.type === 'env' ? 'variable' : 'file';
  return sanitizeUserText(formatReference({ kind, ref }));
}
