import { sanitizeUserText } from '../../core/safe-text.ts';
import type { VaultLogin } from './types.ts';

/** The name of the product, for messages. */
export function productName({ dialect }: Pick<VaultLogin, 'dialect'>): string {
  return dialect === 'openbao' ? 'OpenBao' : 'Vault';
}

/**
 * The identity that a call uses, for messages: `role app (auth/kubernetes, namespace team-a)`.
 * @param call.namespace replaces the login's
 */
export function describeIdentity({
  login,
  namespace = login.namespace ?? '',
}: {
  readonly login: VaultLogin;
  readonly namespace?: string;
}): string {
  const { method, mount, role } = login;
  const qualifiers = [
    ...(method === 'token' ? [] : [`auth/${sanitizeUserText(mount)}`]),
    ...(namespace === '' ? [] : [`namespace ${sanitizeUserText(namespace)}`]),
  ];
  const subject =
    method === 'token'
      ? 'the given token'
      : role === undefined
        ? `the ${method} login`
        : `role ${sanitizeUserText(role)}`;
  return qualifiers.length === 0 ? subject : `${subject} (${qualifiers.join(', ')})`;
}

/** Milliseconds since the epoch, in the form of ISO 8601. Vault counts further than a date. */
export function isoTime(ms: number): string {
  return new Date(Math.min(ms, 8.64e15)).toISOString();
}

/**
 * A path as a policy names it, for messages: decoded, without its query, which can hold a secret.
 */
export function describePath({ path }: { readonly path: string }): string {
  const [plain = ''] = path.split('?');
  try {
    return sanitizeUserText(decodeURIComponent(plain));
  } catch {
    return sanitizeUserText(plain);
  }
}
