import * as z from 'zod';
import { SecretError } from '../../core/errors.ts';
import { grant } from '../../core/grant.ts';
import type { Plan } from '../../core/plan.ts';
import type { AuthorizeContext, Grant } from '../../core/provider.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import type { Workload } from '../../core/workload.ts';
import type { ServiceAccounts } from '../../kube/service-accounts.ts';
import { type IdentitySource, resolveIdentity } from '../shared/identity/identity-source.ts';
import type { PrincipalOf } from './principals.ts';
import {
  type CceCredential,
  type CceCredentialSource,
  type CceLogin,
  secretNamePattern,
} from './types.ts';

/**
 * The annotation of a ServiceAccount that lists the secrets that its pods may use: a JSON array of
 * names, as a string.
 */
const annotationName = 'cce.io/dew-resource';

const names = z.array(z.string());

/** The names that an annotation lists. No names if it is missing or malformed, with the reason. */
function parseAnnotation(text: string | undefined): {
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
 * Formats the annotation that grants the requested names in addition to the granted ones. Leaves
 * out names that CSMS does not allow, because they grant nothing.
 */
function formatAnnotation(
  grantedNames: Iterable<string>,
  requestedNames: readonly string[],
): string {
  const all = new Set(
    [...grantedNames, ...requestedNames].filter((name) => secretNamePattern.test(name)),
  );
  return `${annotationName}: '${JSON.stringify([...all])}'`;
}

/** A longer line would leave no space in the event for the rest of the message. */
const maxAnnotationHintLength = 300;

/** See {@link createAuthorize}. */
export type AuthorizeDeps = {
  readonly serviceAccounts: ServiceAccounts;
  readonly identitySources: readonly IdentitySource<CceLogin, CceCredentialSource>[];
  readonly principalOf: PrincipalOf;
};

/**
 * Grants what the annotation of the ServiceAccount lists, for every identity. With the cluster's
 * identity the annotation is the only rule for a pod, so it fails closed: an annotation that cannot
 * be read lists nothing. The grants file has no effect, and no mode replaces the annotation.
 */
export function createAuthorize(deps: AuthorizeDeps) {
  const { serviceAccounts, identitySources, principalOf } = deps;
  return async (
    workload: Workload,
    { refs, login }: Plan<CceLogin>,
    context: AuthorizeContext,
  ): Promise<readonly Grant<CceCredential>[]> => {
    const identity = await resolveIdentity(identitySources, workload, login, context);
    if (identity === undefined)
      throw new SecretError('INTERNAL', 'cce: no source of identities serves the class');
    const { tenant: namespace, identity: serviceAccount } = workload;
    const { name } = serviceAccount;
    const { notBefore, signal } = context;
    const account = await serviceAccounts.get({ namespace, name, notBefore, signal });
    const { names, problem } = parseAnnotation(account.annotations.get(annotationName));
    const missingNames = refs.map((ref) => ref.name).filter((refName) => !names.has(refName));
    if (missingNames.length > 0) throw notListedError(workload, missingNames, names, problem);
    const principal = principalOf(identity);
    return refs.map((ref) => grant({ ref, principal, workload }));
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
  const account = `${sanitizeUserText(namespace)}/${sanitizeUserText(serviceAccount.name)}`;
  const line = formatAnnotation(grantedNames, missingNames);
  return new SecretError(
    'NOT_GRANTED',
    `cce: ServiceAccount ${account} may not use ${secrets.join(', ')}: ` +
      `its annotation ${annotationName} ${problem}`,
    {
      hint:
        line.length > maxAnnotationHintLength
          ? 'add the names to its JSON array'
          : `annotate it with ${line}`,
    },
  );
}
