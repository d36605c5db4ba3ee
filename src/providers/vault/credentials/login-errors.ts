import { SecretError } from '../../../core/errors.ts';
import { sanitizeExternalText } from '../../../core/safe-text.ts';
import {
  type VaultErrorResponse,
  describeErrorResponse,
  productName,
  describeIdentity,
} from '../errors.ts';
import type { VaultLogin } from '../types.ts';

/** That a login was refused, and what to do about it. `secrets` are those of the login: its answer may repeat them. */
export function loginRefusedError(
  errorResponse: VaultErrorResponse,
  login: VaultLogin,
  secrets: readonly string[],
): SecretError {
  const details = describeErrorResponse(errorResponse, secrets);
  return new SecretError(
    'CREDENTIALS_REFUSED',
    `${productName(login)} refused the login of ${describeIdentity({ login })} ${details}`,
    {
      hint: hintFor(errorResponse, login),
    },
  );
}

function hintFor(errorResponse: VaultErrorResponse, login: VaultLogin): string {
  const text = errorResponse.errors.join('; ');
  const matchingHint = hints.find(({ pattern }) =>
    typeof pattern === 'string' ? pattern === text : pattern.test(text),
  );
  return (
    matchingHint?.hint(login) ??
    `check the method at auth/${sanitizeExternalText(login.mount)} and its role`
  );
}

type Hint = { readonly pattern: string | RegExp; readonly hint: (login: VaultLogin) => string };

const quoteRole = ({ role = '' }: VaultLogin): string => `role "${sanitizeExternalText(role)}"`;

/** Whole texts come before pieces of texts. */
const hints: readonly Hint[] = [
  {
    pattern: 'invalid secret id',
    hint: () =>
      'the secret id is wrong, has expired, or has been used as often as it may be: make a new one',
  },
  {
    pattern: /^invalid role( or secret)? id$/i,
    hint: ({ mount }) =>
      `compare role_id with "read auth/${sanitizeExternalText(mount)}/role/NAME/role-id"; the secret id may be of another role`,
  },
  {
    pattern: 'service account name not authorized',
    hint: (login) =>
      `the ServiceAccount must be among bound_service_account_names of ${quoteRole(login)}`,
  },
  {
    pattern: 'namespace not authorized',
    hint: (login) =>
      `the pod's namespace must be among bound_service_account_namespaces of ${quoteRole(login)}`,
  },
  {
    pattern: 'permission denied',
    hint: ({ method, mount, namespace }) =>
      `is a method mounted at auth/${sanitizeExternalText(mount)}${namespace === undefined ? '' : ', in this namespace'}?` +
      (method === 'kubernetes'
        ? ' may it review tokens (system:auth-delegator), of this cluster?'
        : ''),
  },
  { pattern: 'namespace not found', hint: () => 'check vaultNamespace' },
  {
    pattern: /^(client certificate must be supplied|tls connection required)$/,
    hint: () =>
      'the login needs a client certificate and its key, and no proxy that ends TLS on the way',
  },
  {
    pattern: /^invalid certificate or no client certificate supplied/,
    hint: ({ role }) =>
      role === undefined
        ? 'no role of the method trusts the authority of the client certificate'
        : `the role "${sanitizeExternalText(role)}" must trust the authority of the client certificate and its names`,
  },
  {
    pattern: /^no handler for route /,
    hint: ({ mount }) => `no method is mounted at auth/${sanitizeExternalText(mount)}`,
  },
  {
    pattern: /^(role ".*" could not be found|invalid role name ".*")$/s,
    hint: (login) =>
      `make ${quoteRole(login)} at auth/${sanitizeExternalText(login.mount)}, or correct roleName`,
  },
  {
    pattern: /\baudience\b/,
    hint: (login) =>
      `${quoteRole(login)} must have the audience "${sanitizeExternalText(login.audience)}", or the class must name that of the role`,
  },
  {
    pattern: /\(sub\) claim/,
    hint: (login) => `bound_subject of ${quoteRole(login)} must be the pod's ServiceAccount`,
  },
  {
    pattern: /\b(is expired|not before|issued at)\b/,
    hint: () => 'compare the clock of this node with that of Vault',
  },
  {
    pattern: /\bsignature\b/,
    hint: ({ mount }) =>
      `auth/${sanitizeExternalText(mount)} must know the keys of this cluster (its issuer's JWKS)`,
  },
  {
    pattern: /\bCIDR\b/i,
    hint: (login) => `the bound CIDRs of ${quoteRole(login)} leave out this node`,
  },
];
