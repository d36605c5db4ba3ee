import type { AuthorizeContext, Principal } from '../../../core/provider.ts';
import type { Workload } from '../../../core/workload.ts';
import type { FingerprintField } from './fingerprint.ts';

/** Whose rights serve a workload. `Credential` is what the provider needs to log in. */
export type Identity<Credential> = {
  /** `own`: the workload's tokens, or keys of its pod. `shared`: an identity of the operator. */
  readonly kind: Principal['kind'];
  /** For logs and messages: `the role arn:aws:iam::1:role/app as shop.web`. No secret. */
  readonly description: string;
  readonly credential: Credential;
  /** Every value that can change the store's response. Secrets may be among them. */
  readonly fingerprintFields: Readonly<Record<string, FingerprintField>>;
};

/**
 * One way to get an identity: a pod's token, keys of the pod, the node, the operator.
 * @returns undefined where the class and the workload do not use this source
 * @throws SecretError where they use it, but it gives no identity
 */
export type IdentitySource<Login, Credential> = (
  workload: Workload,
  login: Login,
  context: AuthorizeContext,
) => Promise<Identity<Credential> | undefined>;

/**
 * Returns the identity of the first source that the workload uses. A source that fails ends the
 * search: a shared identity never replaces an own one that fails.
 * @param sources own identities come before shared ones
 * @returns undefined if the workload uses no source
 * @throws SecretError of the source
 */
export async function resolveIdentity<Login, Credential>(
  sources: readonly IdentitySource<Login, Credential>[],
  workload: Workload,
  login: Login,
  context: AuthorizeContext,
): Promise<Identity<Credential> | undefined> {
  for (const source of sources) {
    const identity = await source(workload, login, context);
    if (identity !== undefined) return identity;
  }
  return undefined;
}
