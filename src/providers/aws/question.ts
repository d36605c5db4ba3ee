import { SecretError } from '../../errors/secret-error.ts';
import type { Retry } from '../../flow/retry.ts';
import type { Asker as AnyAsker } from '../attempts.ts';
import { callAws } from './api.ts';
import { secretsOf } from './credentials/credential.ts';
import { describeFault, isBadDate, isRefusal, judge, type Need } from './fault.ts';
import type { AwsCredential } from './identity.ts';
import type { Sdk } from './sdk.ts';

/** The way to the services. */
export type Way = { readonly sdk: Sdk; readonly retry: Retry };

/** Who asks a service, in which region. */
export type Asker = AnyAsker<AwsCredential>;

/**
 * The output of a call, once its turn has come, if it is a success.
 * @throws SecretError saying what the service's code means; that a credential was refused names nothing but its owner, for it is told to all who
 *   use it
 */
export async function outputOf<T>(
  retry: Retry,
  { region, credential, owner, signal, turn }: Asker,
  need: Need,
  send: (options: { readonly abortSignal: AbortSignal }) => Promise<T>,
): Promise<T> {
  await turn();
  const secrets = secretsOf(credential);
  const answer = await callAws(retry, { endpoint: `${need.service} in ${region}`, signal, secrets, send });
  if ('output' in answer) return answer.output;
  const { fault } = answer;
  const told = describeFault(fault, secrets);
  if (isRefusal(fault))
    throw new SecretError('CREDENTIALS_REFUSED', `AWS refused the credentials of ${owner} ${told}`, {
      hint: isBadDate(fault)
        ? 'set the clock of this node right'
        : `check that they are still valid, and that ${region} is enabled for their account`,
    });
  const { code, says, hint } = judge(fault, need);
  throw new SecretError(code, `${says} ${told}`, hint === undefined ? {} : { hint });
}
