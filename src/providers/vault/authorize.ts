import { SecretError } from '../../core/errors.ts';
import { grant } from '../../core/grant.ts';
import type { Plan } from '../../core/plan.ts';
import type { AuthorizeContext, Grant } from '../../core/provider.ts';
import { sanitizeExternalText } from '../../core/safe-text.ts';
import type { Workload } from '../../core/workload.ts';
import type { SharedIdentity } from '../shared/identity/shared-identity.ts';
import {
  type ResolvedIdentity,
  type ResolveIdentityDeps,
  createResolveIdentity,
} from './credentials/keys.ts';
import type { PrincipalOf } from './principals.ts';
import { withoutQuery } from './class/object-ref.ts';
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
 * An identity that is not the workload's own shows itself where the operator configured it to, and nowhere else: an address that is allowed to workloads with
 * their own tokens may be another team's, and a grant's names are those of the configured namespace.
 * @throws SecretError NOT_ALLOWED_FROM_CLASS, naming what the class may not say
 */
export function checkSharedLogin(
  login: VaultLogin,
  nodeFacts: VaultNodeFacts,
  description: string,
): void {
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
    `${dialect}: ${sanitizeExternalText(path)} is about ${description} itself, which is for nobody`,
    { hint: 'give the workload an identity of its own' },
  );
}

function isSameTls(one: VaultTls, other: VaultTls): boolean {
  return tlsKeys.every((key) => one[key] === other[key]);
}

/** See {@link createAuthorize}. */
export type AuthorizeDeps = ResolveIdentityDeps & {
  readonly sharedIdentity: Pick<SharedIdentity, 'check'>;
  readonly principalOf: PrincipalOf;
};

/**
 * Decides whose rights serve a pod. With the workload's own identity Vault decides about paths and methods. What the operator configured for all serves only
 * what the operator granted, by the operator's own login; it never stands in for an identity of the pod's own that does not do.
 */
export function createAuthorize({ sharedIdentity, principalOf, ...deps }: AuthorizeDeps) {
  const resolveIdentity = createResolveIdentity(deps);

  function checkSharedAccess(
    workload: Workload,
    { refs, login }: Plan<VaultLogin>,
    identity: ResolvedIdentity,
  ): void {
    checkSharedLogin(login, deps.settings.nodeFacts, identity.description);
    // A certificate may log in to several roles; which one, the class says.
    const { dialect: provider, role } = login;
    for (const { service, name: path, method } of refs) {
      const name = withoutQuery(path);
      checkSharedPath(name, login, identity.description);
      sharedIdentity.check({ workload, provider, service, name, role, method });
    }
  }

  return async (
    workload: Workload,
    plan: Plan<VaultLogin>,
    { signal }: AuthorizeContext,
  ): Promise<readonly Grant<VaultSession>[]> => {
    const { login, refs } = plan;
    const identity = await resolveIdentity(workload, login, signal);
    if (identity.kind === 'shared') checkSharedAccess(workload, plan, identity);
    const principal = principalOf(identity, login, workload);
    // Whether a path leases only its answer tells: until then each pod asks for itself.
    const scope = login.leaseScope === 'serviceAccount' ? 'principal' : 'pod';
    return refs.map((ref) => grant({ ref, principal, workload, scope }));
  };
}
