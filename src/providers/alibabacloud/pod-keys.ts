import type { Redacted } from '../../errors/redacted.ts';
import { SecretError } from '../../errors/secret-error.ts';
import { quoteForeign } from '../../errors/status-text.ts';
import type { Workload } from '../../plan/workload.ts';

/** Keys that a pod brings. */
export type PodKeys = {
  readonly accessKeyId: Redacted;
  readonly accessKeySecret: Redacted;
  readonly securityToken?: Redacted;
};

const hint = 'give the Secret of nodePublishSecretRef the keys access_key and access_secret';

/**
 * The keys in the Secret of `nodePublishSecretRef`: `access_key` and `access_secret`, `security_token` for a session, in any letter case;
 * nothing where the pod has no such Secret. One that holds no keys is an error: who brings a Secret means to use it, and must not
 * run under a shared identity because of a misspelt name.
 * @throws SecretError INVALID_REQUEST
 */
export function readPodKeys({ secrets }: Pick<Workload, 'secrets'>): PodKeys | undefined {
  if (secrets.size === 0) return undefined;
  const find = (wanted: string): Redacted | undefined => {
    const found = [...secrets].filter(([name]) => name.toLowerCase() === wanted);
    const [first, second] = found;
    if (first !== undefined && second !== undefined && first[1].reveal() !== second[1].reveal())
      throw refusal(`has both ${quoteForeign(first[0])} and ${quoteForeign(second[0])}, which differ`);
    return first === undefined || first[1].reveal() === '' ? undefined : first[1];
  };
  const accessKeyId = find('access_key');
  const accessKeySecret = find('access_secret');
  const securityToken = find('security_token');
  if (accessKeyId === undefined) throw refusal('has no access_key');
  if (accessKeySecret === undefined) throw refusal('has no access_secret');
  return { accessKeyId, accessKeySecret, ...(securityToken !== undefined && { securityToken }) };
}

function refusal(why: string): SecretError {
  return new SecretError('INVALID_REQUEST', `alibabacloud: the Secret of nodePublishSecretRef ${why}`, {
    hint,
  });
}
