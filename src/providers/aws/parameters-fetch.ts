import { SecretError } from '../../errors/secret-error.ts';
import type { FetchResult, SecretValue } from '../provider.ts';
import type { Attempts } from './attempts.ts';
import { askTogether, batchesOf, type AskAlone, type Request } from './batches.ts';
import type { Way } from './question.ts';
import { getParameters, maxNames } from './ssm.ts';

/** Reads parameters of SSM, ten at a time. */
export function createParametersFetch({ way, attempts }: { readonly way: Way; readonly attempts: Attempts }) {
  const alone: AskAlone = async (request) => {
    const [found] = await attempts(request, (asker) => getParameters(way, asker, [request.grant.ref]));
    return resultOf(found ?? new SecretError('INTERNAL', 'SSM was asked for nothing'));
  };

  return (requests: readonly Request[]): ReadonlyMap<Request, Promise<FetchResult>> => {
    const answers = new Map<Request, Promise<FetchResult>>();
    for (const batch of batchesOf(requests, maxNames)) {
      const refs = batch.map(({ grant }) => grant.ref);
      const results = askTogether(batch, {
        ...{ attempts, alone },
        call: async (asker) => (await getParameters(way, asker, refs)).map(resultOf),
      });
      results.forEach((result, index) => answers.set(batch[index] ?? batch[0], result));
    }
    return answers;
  };
}

function resultOf(found: SecretValue | SecretError): FetchResult {
  return found instanceof SecretError ? { kind: 'failed', error: found } : { kind: 'value', value: found };
}
