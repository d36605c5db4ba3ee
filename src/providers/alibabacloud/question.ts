import { SecretError } from '../../errors/secret-error.ts';
import type { HttpAnswer } from '../../http/http.ts';
import type { Asker as AnyAsker } from '../attempts.ts';
import type { Api, Call } from './api.ts';
import { secretsOf } from './credentials/credential.ts';
import { describeFault, isRefusal, judge, readFault } from './fault.ts';
import type { AlibabaCredential } from './identity.ts';

/** Who asks a store. */
export type Asker = Pick<AnyAsker<AlibabaCredential>, 'credential' | 'owner' | 'signal' | 'turn'>;

/**
 * The answer to a call, once its turn has come, if it is a success.
 * @throws SecretError saying what the service's code means; names no secret
 */
export async function answerOf(
  api: Api,
  { credential, owner, signal, turn }: Asker,
  call: Omit<Call, 'credential' | 'signal'> & {
    /** Who is asked, for messages. */
    readonly service: string;
    /** What it takes to be answered. */
    readonly permission: string;
  },
): Promise<HttpAnswer> {
  await turn();
  const answer = await api.call({ ...call, credential, signal });
  if (answer.status === 200) return answer;
  const fault = readFault(answer);
  if (isRefusal(fault)) throw api.refusal(answer, credential, owner);
  const { code, says, hint } = judge(fault, call.service, call.permission);
  const told = describeFault(fault, secretsOf(credential));
  throw new SecretError(code, `${says} ${told}`, hint === undefined ? {} : { hint });
}
