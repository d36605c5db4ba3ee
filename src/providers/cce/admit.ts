import { SecretError } from '../../errors/secret-error.ts';
import { quoteForeign } from '../../errors/status-text.ts';
import type { ServiceAccounts } from '../../kube/service-accounts.ts';
import type { Plan } from '../../plan/plan.ts';
import type { Workload } from '../../plan/workload.ts';
import { grant } from '../grant.ts';
import type { Admission, Grant, Principal } from '../provider.ts';
import type { SharedIdentityMode } from '../shared-identity.ts';
import { annotationLine, annotationName, readAnnotation } from './annotation.ts';
import type { CceCredential } from './credentials/credential.ts';
import type { CceLogin } from './parameters.ts';

/** A line longer than this would push the rest out of the event. */
const longestLine = 300;

/** See {@link createAdmit}. */
export type AdmitDeps = {
  readonly serviceAccounts: ServiceAccounts;
  readonly sharedIdentities: SharedIdentityMode;
  /** Whom CSMS will see. @throws SecretError TOKEN_MISSING, TOKEN_INVALID */
  readonly principalOf: (workload: Workload, login: CceLogin) => Principal<CceCredential>;
};

/**
 * Grants what the ServiceAccount's annotation lists, whatever the identity. With the cluster's identity it is the only rule there is for a pod,
 * so it fails closed: what cannot be read lists nothing. The operator's grants file is not consulted, and no mode lifts the annotation.
 */
export function createAdmit(deps: AdmitDeps) {
  return async (
    workload: Workload,
    plan: Plan<CceLogin>,
    { signal, notBefore }: Admission,
  ): Promise<readonly Grant<CceCredential>[]> => {
    if (plan.login.identity === 'cluster' && deps.sharedIdentities === 'none')
      throw new SecretError(
        'NOT_GRANTED',
        "cce: the class uses the cluster's identity, and this node runs with --shared-identities none",
        { hint: 'give the pods an identity of their own: usePodOIDC, see docs/providers/cce.md' },
      );
    const principal = deps.principalOf(workload, plan.login);
    const { namespace, serviceAccount } = workload;
    const account = await deps.serviceAccounts.get({
      namespace,
      name: serviceAccount.name,
      notBefore,
      signal,
    });
    const { names, fault } = readAnnotation(account.annotations.get(annotationName));
    const wanted = plan.refs.map(({ name }) => name).filter((name) => !names.has(name));
    if (wanted.length > 0) throw notListed(workload, wanted, names, fault);
    return plan.refs.map((ref) => grant({ ref, principal, workload }));
  };
}

function notListed(
  { namespace, serviceAccount }: Workload,
  wanted: readonly string[],
  granted: ReadonlySet<string>,
  fault = wanted.length === 1 ? 'does not list it' : 'does not list them',
): SecretError {
  const [first = '', ...others] = wanted;
  const secrets = others.length > 3 ? [first, `${others.length} others`] : wanted;
  const line = annotationLine(granted, wanted);
  return new SecretError(
    'NOT_GRANTED',
    `cce: ServiceAccount ${quoteForeign(namespace)}/${quoteForeign(serviceAccount.name)} may not use ${secrets.join(', ')}: ` +
      `its annotation ${annotationName} ${fault}`,
    { hint: line.length > longestLine ? 'add the names to its JSON array' : `annotate it with ${line}` },
  );
}
