import { SecretError } from '../../errors/secret-error.ts';
import type { Attempts } from '../attempts.ts';
import { readInBatches } from '../batches.ts';
import type { FetchRequest, FetchResult, SecretValue } from '../provider.ts';
import type { AwsCredential } from './identity.ts';
import type { Way } from './question.ts';
import { getParameters, maxNames } from './ssm.ts';

/** Reads parameters of SSM, ten at a time. */
export function createParametersFetch(deps: {
  readonly way: Way;
  readonly attempts: Attempts<AwsCredential>;
}) {
  const { way, attempts } = deps;
  return (requests: readonly FetchRequest<AwsCredential>[]) =>
    readInBatches(requests, {
      ...{ max: maxNames, attempts },
      async together(batch, asker) {
        const refs = batch.map(({ grant }) => grant.ref);
        return (await getParameters(way, asker, refs)).map(resultOf);
      },
      async alone(request) {
        const [found] = await attempts(request, (asker) => getParameters(way, asker, [request.grant.ref]));
        return resultOf(found ?? new SecretError('INTERNAL', 'SSM was asked for nothing'));
      },
    });
}

function resultOf(found: SecretValue | SecretError): FetchResult {
  return found instanceof SecretError ? { kind: 'failed', error: found } : { kind: 'value', value: found };
}
