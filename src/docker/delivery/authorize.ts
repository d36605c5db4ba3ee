import { SecretError } from '../../core/errors.ts';
import { grant } from '../../core/grant.ts';
import type { HostStore } from '../../core/host-store.ts';
import type { Provider } from '../../core/provider.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import type { Workload } from '../../core/workload.ts';
import { type NameGlob, compileNameGlob } from '../../formats/name-glob.ts';
import type { HostGrant } from '../config/types.ts';
import { type HostConfig, remedyIn } from './effective-store.ts';
import type { HostPlan } from './items.ts';

/** Whether an application may read a path. */
export type CheckGrant = (request: {
  readonly workload: Pick<Workload, 'tenant' | 'identity'>;
  readonly store: string;
  readonly path: string;
}) => boolean;

/** Compiles the grants of a host. Without grants, everything is allowed. */
export function compileGrants(grants: readonly HostGrant[] | undefined): CheckGrant {
  if (grants === undefined) return () => true;
  const compiled = grants.map(({ projects, services, stores, paths }) => ({
    isProject: anyOf(projects),
    isService: anyOf(services ?? ['**']),
    isStore: anyOf(stores ?? ['**']),
    isPath: anyOf(paths),
  }));
  return ({ workload: { tenant, identity }, store, path }) =>
    compiled.some(
      ({ isProject, isService, isStore, isPath }) =>
        isProject(tenant) && isService(identity.name) && isStore(store) && isPath(path),
    );
}

function anyOf(globs: readonly string[]): NameGlob {
  const compiled = globs.map(compileNameGlob);
  return (name) => compiled.some((matches) => matches(name));
}

/** What {@link createAuthorize} needs. */
export type AuthorizeDeps = {
  readonly store: Pick<HostStore, 'principal' | 'grantScope'>;
  /** The name of the store in the host's configuration. */
  readonly name: string;
  readonly isGranted: CheckGrant;
  /** The host's configuration, for remedies. */
  readonly host: Pick<HostConfig, 'file' | 'isOfUser'>;
};

/** Allows what the grants of the host allow, with the host's identity. */
export function createAuthorize(deps: AuthorizeDeps): Provider<HostPlan>['authorize'] {
  const { store, name, isGranted, host } = deps;
  return async (workload, { refs, login: { pathsOf } }, { signal }) => {
    for (const ref of refs)
      for (const path of pathsOf.get(ref) ?? [ref.name])
        if (!isGranted({ workload, store: name, path }))
          throw notGranted(workload, name, path, host);
    const principal = await store.principal(signal);
    return refs.map((ref) =>
      grant({ ref, principal, workload, scope: store.grantScope ?? 'principal' }),
    );
  };
}

function notGranted(
  { tenant, identity }: Workload,
  store: string,
  path: string,
  host: AuthorizeDeps['host'],
): SecretError {
  const service = sanitizeUserText(`${tenant}/${identity.name}`);
  const secret = sanitizeUserText(path);
  return new SecretError(
    'NOT_GRANTED',
    `service ${service} may not read ${secret} of store ${store}: no grant of this host allows it`,
    {
      hint: remedyIn(host, `add a grant under agent.grants of ${sanitizeUserText(host.file)}`),
    },
  );
}
