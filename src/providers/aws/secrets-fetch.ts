import { toSecretError } from '../../errors/secret-error.ts';
import type { Attempts } from '../attempts.ts';
import { isAboutOne, readInBatches } from '../batches.ts';
import type { FetchRequest, FetchResult, SecretValue } from '../provider.ts';
import type { Rights } from '../rights.ts';
import type { AwsCredential } from './identity.ts';
import type { Way } from './question.ts';
import { batchGetSecretValue, getSecretValue, maxBatch, stagedVersion } from './secrets-manager.ts';

type Request = FetchRequest<AwsCredential>;
type Shortcut = 'BatchGetSecretValue' | 'DescribeSecret';

/** See {@link createSecretsFetch}. */
type SecretsFetchDeps = {
  readonly way: Way;
  readonly attempts: Attempts<AwsCredential>;
  readonly rights: Rights<Shortcut>;
};

/**
 * Reads secrets of Secrets Manager. Several that a mount waits for come by one call, and a refresh first asks whether the version moved: both
 * where policies allow it, which is learnt.
 */
export function createSecretsFetch({ way, attempts, rights }: SecretsFetchDeps) {
  /** Whether plain reads have to tell, after a shortcut failed. */
  const isNoWay = (shortcut: Shortcut, thrown: unknown, request: Request): boolean => {
    const error = toSecretError(thrown);
    if (error.code === 'ACCESS_DENIED') rights.isDenied(shortcut, request);
    return isAboutOne(error);
  };

  const isUnmoved = async (request: Request, version: string): Promise<boolean> => {
    const { ref } = request.grant;
    try {
      return (await attempts(request, (asker) => stagedVersion(way, asker, ref))) === version;
    } catch (thrown) {
      if (isNoWay('DescribeSecret', thrown, request)) return false;
      throw thrown;
    }
  };

  const alone = async (request: Request): Promise<FetchResult> => {
    const { ref } = request.grant;
    const version = request.known?.version;
    const mayBeUnmoved =
      version !== undefined && ref.version === undefined && rights.mayTake('DescribeSecret', request);
    if (mayBeUnmoved && (await isUnmoved(request, version))) return { kind: 'unchanged', version };
    return valueResult(await attempts(request, (asker) => getSecretValue(way, asker, ref)));
  };

  return (requests: readonly Request[]) =>
    readInBatches(requests, {
      ...{ max: maxBatch, attempts, alone },
      mayJoin: (request) =>
        request.urgency === 'first' && isCurrent(request) && rights.mayTake('BatchGetSecretValue', request),
      async together(batch, asker) {
        const refs = batch.map(({ grant }) => grant.ref);
        const values = await batchGetSecretValue(way, asker, refs);
        return values.map((value) => value && valueResult(value));
      },
      afterFailure: (error, [first]) => (isNoWay('BatchGetSecretValue', error, first) ? 'alone' : 'fail'),
    });
}

/** All that BatchGetSecretValue can be asked for. */
function isCurrent({ grant }: Request): boolean {
  const { version, stage = 'AWSCURRENT' } = grant.ref;
  return version === undefined && stage === 'AWSCURRENT';
}

function valueResult(value: SecretValue): FetchResult {
  return { kind: 'value', value };
}
