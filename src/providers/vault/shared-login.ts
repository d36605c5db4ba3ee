import { SecretError } from '../../errors/secret-error.ts';
import { quoteForeign } from '../../errors/status-text.ts';
import type { VaultFacts } from './facts.ts';
import type { VaultLogin, VaultTls } from './login.ts';

const tlsKeys = ['skipVerify', 'caFile', 'caDirectory', 'serverName', 'certFile', 'keyFile'] as const;

/**
 * An identity that is not the workload's own shows itself where the operator configured it to, and nowhere else: an address that is allowed to workloads with
 * their own tokens may be another team's, and a grant's names are those of the configured namespace.
 * @throws SecretError NOT_ALLOWED_FROM_CLASS, naming what the class may not say
 */
export function checkSharedLogin(login: VaultLogin, facts: VaultFacts, description: string): void {
  const others = [
    ...(login.addresses.every((address) => facts.addresses.includes(address)) ? [] : ['address']),
    ...(login.namespace === facts.namespace ? [] : ['namespace']),
    ...(login.mount === facts.mounts[login.method] ? [] : ['auth mount']),
    ...(isSameTls(login.tls, facts.tls) ? [] : ['TLS settings']),
  ];
  if (others.length === 0) return;
  throw new SecretError(
    'NOT_ALLOWED_FROM_CLASS',
    `${login.dialect}: the class names ${others.join(', ')} other than those Keyferry is configured with, but would log in by ${description}`,
    {
      hint: 'leave them out of the class, or give the workload an identity of its own',
    },
  );
}

/**
 * Who looks up or renews the token of a request is answered with the token itself, worth all that its policies allow and not what is granted; who revokes
 * it takes it from all. Not for any grant, nor with `--shared-identities all`.
 * @param path without its query
 * @throws SecretError NOT_GRANTED
 */
export function checkSharedPath(path: string, { dialect }: VaultLogin, description: string): void {
  if (!/(^|\/)auth\/token\/(lookup|renew|revoke)(-self)?$/.test(path)) return;
  throw new SecretError(
    'NOT_GRANTED',
    `${dialect}: ${quoteForeign(path)} is about ${description} itself, which is for nobody`,
    { hint: 'give the workload an identity of its own' },
  );
}

function isSameTls(one: VaultTls, other: VaultTls): boolean {
  return tlsKeys.every((key) => one[key] === other[key]);
}
