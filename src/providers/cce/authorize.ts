import * as z from 'zod';
import { SecretError } from '../../core/errors.ts';
import { grant } from '../../core/grant.ts';
import type { Plan } from '../../core/plan.ts';
import type { AuthorizeContext, Grant, Principal } from '../../core/provider.ts';
import { sanitizeExternalText } from '../../core/safe-text.ts';
import type { Workload } from '../../core/workload.ts';
import type { ServiceAccounts } from '../../kube/service-accounts.ts';
import type { SharedIdentityMode } from '../shared/identity/shared-identity.ts';
import type { CceLogin } from './class.ts';
import type { CceCredential } from './types.ts';

/** The annotation of a ServiceAccount that lists the secrets its pods may use: a JSON array of names, as a string. */
export const annotationName = 'cce.io/dew-resource';

const names = z.array(z.string());

/** The names an annotation lists; none where it is missing or not what it should be, with the reason. */
export function parseAnnotation(text: string | undefined): {
  readonly names: ReadonlySet<string>;
  readonly problem?: string;
} {
  if (text === undefined) return { names: new Set(), problem: 'is missing' };
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return { names: new Set(), problem: 'is not JSON' };
  }
  const result = names.safeParse(value);
  if (!result.success) return { names: new Set(), problem: 'is not a JSON array of strings' };
  return { names: new Set(result.data) };
}

/**
 * The line that grants `wanted` beside what is granted already, as it has to stand in the ServiceAccount. Names that CSMS does not allow
 * grant nothing and are left out.
 */
export function formatAnnotation(
  grantedNames: Iterable<string>,
  requestedNames: readonly string[],
): string {
  const all = new Set(
    [...grantedNames, ...requestedNames].filter((name) => /^[a-zA-Z0-9_.-]{1,64}$/.test(name)),
  );
  return `${annotationName}: '${JSON.stringify([...all])}'`;
}

/** A line longer than this would push the rest out of the event. */
const maxAnnotationHintLength = 300;

/** See {@link createAuthorize}. */
export type AuthorizeDeps = {
  readonly serviceAccounts: ServiceAccounts;
  readonly sharedIdentityMode: SharedIdentityMode;
  /** Whom CSMS will see. @throws SecretError TOKEN_MISSING, TOKEN_INVALID */
  readonly resolvePrincipal: (workload: Workload, login: CceLogin) => Principal<CceCredential>;
};

/**
 * Grants what the ServiceAccount's annotation lists, whatever the identity. With the cluster's identity it is the only rule there is for a pod,
 * so it fails closed: what cannot be read lists nothing. The operator's grants file is not consulted, and no mode lifts the annotation.
 */
export function createAuthorize(deps: AuthorizeDeps) {
  return async (
    workload: Workload,
    plan: Plan<CceLogin>,
    { signal, notBefore }: AuthorizeContext,
  ): Promise<readonly Grant<CceCredential>[]> => {
    if (plan.login.identity === 'cluster' && deps.sharedIdentityMode === 'none')
      throw new SecretError(
        'NOT_GRANTED',
        "cce: the class uses the cluster's identity, and this node runs with --shared-identities none",
        { hint: 'give the pods an identity of their own: usePodOIDC, see docs/providers/cce.md' },
      );
    const principal = deps.resolvePrincipal(workload, plan.login);
    const { tenant: namespace, identity: serviceAccount } = workload;
    const account = await deps.serviceAccounts.get({
      namespace,
      name: serviceAccount.name,
      notBefore,
      signal,
    });
    const { names, problem } = parseAnnotation(account.annotations.get(annotationName));
    const missingNames = plan.refs.map(({ name }) => name).filter((name) => !names.has(name));
    if (missingNames.length > 0) throw notListedError(workload, missingNames, names, problem);
    return plan.refs.map((ref) => grant({ ref, principal, workload }));
  };
}

function notListedError(
  { tenant: namespace, identity: serviceAccount }: Workload,
  missingNames: readonly string[],
  grantedNames: ReadonlySet<string>,
  problem = missingNames.length === 1 ? 'does not list it' : 'does not list them',
): SecretError {
  const [first = '', ...others] = missingNames;
  const secrets = others.length > 3 ? [first, `${others.length} others`] : missingNames;
  const line = formatAnnotation(grantedNames, missingNames);
  return new SecretError(
    'NOT_GRANTED',
    `cce: ServiceAccount ${sanitizeExternalText(namespace)}/${sanitizeExternalText(serviceAccount.name)} may not use ${secrets.join(', ')}: ` +
      `its annotation ${annotationName} ${problem}`,
    {
      hint:
        line.length > maxAnnotationHintLength
          ? 'add the names to its JSON array'
          : `annotate it with ${line}`,
    },
  );
}
