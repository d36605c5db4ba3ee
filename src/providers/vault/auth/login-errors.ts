import { SecretError } from '../../../core/errors.ts';
import { quoteForeign } from '../../../core/safe-text.ts';
import { type Fault, describeFault, productOf, whose } from '../client/errors.ts';
import type { VaultLogin } from '../types.ts';

/** That a login was refused, and what to do about it. `secrets` are those of the login: its answer may repeat them. */
export function refusal(fault: Fault, login: VaultLogin, secrets: readonly string[]): SecretError {
  const told = describeFault(fault, secrets);
  return new SecretError(
    'CREDENTIALS_REFUSED',
    `${productOf(login)} refused the login of ${whose({ login })} ${told}`,
    {
      hint: hintFor(fault, login),
    },
  );
}

function hintFor(fault: Fault, login: VaultLogin): string {
  const text = fault.errors.join('; ');
  const found = hints.find(({ words }) => (typeof words === 'string' ? words === text : words.test(text)));
  return found?.hint(login) ?? `check the method at auth/${quoteForeign(login.mount)} and its role`;
}

type Hint = { readonly words: string | RegExp; readonly hint: (login: VaultLogin) => string };

const roleOf = ({ role = '' }: VaultLogin): string => `role "${quoteForeign(role)}"`;

/** Whole texts come before pieces of texts. */
const hints: readonly Hint[] = [
  {
    words: 'invalid secret id',
    hint: () => 'the secret id is wrong, has expired, or has been used as often as it may be: make a new one',
  },
  {
    words: /^invalid role( or secret)? id$/i,
    hint: ({ mount }) =>
      `compare role_id with "read auth/${quoteForeign(mount)}/role/NAME/role-id"; the secret id may be of another role`,
  },
  {
    words: 'service account name not authorized',
    hint: (login) => `the ServiceAccount must be among bound_service_account_names of ${roleOf(login)}`,
  },
  {
    words: 'namespace not authorized',
    hint: (login) => `the pod's namespace must be among bound_service_account_namespaces of ${roleOf(login)}`,
  },
  {
    words: 'permission denied',
    hint: ({ method, mount, namespace }) =>
      `is a method mounted at auth/${quoteForeign(mount)}${namespace === undefined ? '' : ', in this namespace'}?` +
      (method === 'kubernetes' ? ' may it review tokens (system:auth-delegator), of this cluster?' : ''),
  },
  { words: 'namespace not found', hint: () => 'check vaultNamespace' },
  {
    words: /^(client certificate must be supplied|tls connection required)$/,
    hint: () => 'the login needs a client certificate and its key, and no proxy that ends TLS on the way',
  },
  {
    words: /^invalid certificate or no client certificate supplied/,
    hint: ({ role }) =>
      role === undefined
        ? 'no role of the method trusts the authority of the client certificate'
        : `the role "${quoteForeign(role)}" must trust the authority of the client certificate and its names`,
  },
  {
    words: /^no handler for route /,
    hint: ({ mount }) => `no method is mounted at auth/${quoteForeign(mount)}`,
  },
  {
    words: /^(role ".*" could not be found|invalid role name ".*")$/s,
    hint: (login) => `make ${roleOf(login)} at auth/${quoteForeign(login.mount)}, or correct roleName`,
  },
  {
    words: /\baudience\b/,
    hint: (login) =>
      `${roleOf(login)} must have the audience "${quoteForeign(login.audience)}", or the class must name that of the role`,
  },
  {
    words: /\(sub\) claim/,
    hint: (login) => `bound_subject of ${roleOf(login)} must be the pod's ServiceAccount`,
  },
  {
    words: /\b(is expired|not before|issued at)\b/,
    hint: () => 'compare the clock of this node with that of Vault',
  },
  {
    words: /\bsignature\b/,
    hint: ({ mount }) => `auth/${quoteForeign(mount)} must know the keys of this cluster (its issuer's JWKS)`,
  },
  { words: /\bCIDR\b/i, hint: (login) => `the bound CIDRs of ${roleOf(login)} leave out this node` },
];
