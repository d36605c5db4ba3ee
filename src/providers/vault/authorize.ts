import { SecretError } from '../../core/errors.ts';
import { grant } from '../../core/grant.ts';
import type { Plan } from '../../core/plan.ts';
import type { AuthorizeContext, Grant } from '../../core/provider.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import type { Workload } from '../../core/workload.ts';
import { resolveIdentity } from '../shared/identity/identity-source.ts';
import type { SharedIdentity } from '../shared/identity/shared-identity.ts';
import { withoutQuery } from './class/object-ref.ts';
import {
  type IdentitySourcesDeps,
  type PrincipalOf,
  type VaultBaseIdentity,
  createIdentitySources,
} from './principals.ts';
import type { VaultNodeFacts, VaultLogin, VaultSession, VaultTls } from './types.ts';

const tlsKeys = [
  'skipVerify',
  'caFile',
  'caDirectory',
  'serverName',
  'certFile',
  'keyFile',
] as const;

/**
 * A shared identity logs in only where the operator configured it to. An address that is allowed to
 * workloads with their own tokens may be another team's Vault. The names in a grant are those of
 * the configured namespace.
 * @throws SecretError NOT_ALLOWED_FROM_CLASS, naming what the class must leave out
 */
function checkSharedLogin(login: VaultLogin, nodeFacts: VaultNodeFacts, description: string): void {
  const mismatches = [
    ...(login.addresses.every((address) => nodeFacts.addresses.includes(address))
      ? []
      : ['address']),
    ...(login.namespace === nodeFacts.namespace ? [] : ['namespace']),
    ...(login.mount === nodeFacts.mounts[login.method] ? [] : ['auth mount']),
    ...(isSameTls(login.tls, nodeFacts.tls) ? [] : ['TLS settings']),
  ];
  if (mismatches.length === 0) return;
  throw new SecretError(
    'NOT_ALLOWED_FROM_CLASS',
    `${login.dialect}: the class names ${mismatches.join(', ')} other than those Keyferry is configured with, but would log in by ${description}`,
    { hint: 'leave them out of the class, or give the workload an identity of its own' },
  );
}

function isSameTls(one: VaultTls, other: VaultTls): boolean {
  return tlsKeys.every((key) => one[key] === other[key]);
}

/** Whether a path is about the token of the request itself. @param path without its query */
export function isTokenPath(path: string): boolean {
  return /(^|\/)auth\/token\/(lookup|renew|revoke)(-self)?$/.test(path);
}

/**
 * A response to a lookup or renewal of the token holds the token itself, which allows all of its
 * policies and not only what is granted. A revocation ends it for every workload. So no grant
 * allows these paths, and `--shared-identities all` does not either.
 * @param path without its query
 * @throws SecretError NOT_GRANTED
 */
function checkSharedPath(path: string, { dialect }: VaultLogin, description: string): void {
  if (!isTokenPath(path)) return;
  throw new SecretError(
    'NOT_GRANTED',
    `${dialect}: ${sanitizeUserText(path)} is about ${description} itself, so no grant allows it`,
    { hint: 'give the workload an identity of its own' },
  );
}

/** See {@link createAuthorize}. */
export type AuthorizeDeps = IdentitySourcesDeps & {
  readonly sharedIdentity: Pick<SharedIdentity, 'check'>;
  readonly principalOf: PrincipalOf;
};

/**
 * Decides whose identity serves a pod. With the workload's own identity Vault decides about paths
 * and methods. A shared identity serves only what the operator granted, by the operator's own
 * login. It never replaces an own identity that fails.
 */
export function createAuthorize({ sharedIdentity, principalOf, ...deps }: AuthorizeDeps) {
  const identitySources = createIdentitySources(deps);

  function checkSharedAccess(
    workload: Workload,
    { refs, login }: Plan<VaultLogin>,
    { description }: VaultBaseIdentity,
  ): void {
    checkSharedLogin(login, deps.settings.nodeFacts, description);
    // A certificate may log in to several roles. The class names the role.
    const { dialect: provider, role } = login;
    for (const { service, name: path, method } of refs) {
      const name = withoutQuery(path);
      checkSharedPath(name, login, description);
      sharedIdentity.check({ workload, provider, service, name, role, method });
    }
  }

  return async (
    workload: Workload,
    plan: Plan<VaultLogin>,
    context: AuthorizeContext,
  ): Promise<readonly Grant<VaultSession>[]> => {
    const { login, refs } = plan;
    const identity = await resolveIdentity(identitySources, workload, login, context);
    if (identity === undefined)
      throw new SecretError('INTERNAL', `no identity is known for the auth method ${login.method}`);
    if (identity.kind === 'shared') checkSharedAccess(workload, plan, identity);
    const principal = principalOf(identity, login, workload);
    // Only the response shows whether a path leases. Until then each pod reads for itself.
    const scope = login.leaseScope === 'serviceAccount' ? 'principal' : 'pod';
    return refs.map((ref) => grant({ ref, principal, workload, scope }));
  };
}
