import { toSecretError } from '../../errors/secret-error.ts';
import type { FetchResult, SecretValue } from '../provider.ts';
import type { Attempts } from './attempts.ts';
import { askTogether, batchesOf, isAboutOne, type AskAlone, type Request } from './batches.ts';
import type { Way } from './question.ts';
import type { Rights, Shortcut } from './rights.ts';
import { batchGetSecretValue, getSecretValue, maxBatch, stagedVersion } from './secrets-manager.ts';

/** See {@link createSecretsFetch}. */
type SecretsFetchDeps = { readonly way: Way; readonly attempts: Attempts; readonly rights: Rights };

/**
 * Reads secrets of Secrets Manager. Several that a mount waits for come by one call, and a refresh first asks whether the version moved: both
 * where policies allow it, which is learnt.
 */
export function createSecretsFetch({ way, attempts, rights }: SecretsFetchDeps) {
  /** Takes a shortcut; nothing where plain reads have to tell. */
  const take = async <T>(
    shortcut: Shortcut,
    request: Request,
    answer: Promise<T>,
  ): Promise<T | undefined> => {
    try {
      return await answer;
    } catch (thrown) {
      const error = toSecretError(thrown);
      if (!isAboutOne(error)) throw error;
      if (error.code === 'ACCESS_DENIED') rights.isDenied(shortcut, request);
      return undefined;
    }
  };

  const isUnmoved = async (request: Request, version: string): Promise<boolean> => {
    const { ref } = request.grant;
    const ask = attempts(request, (asker) => stagedVersion(way, asker, ref));
    return (await take('DescribeSecret', request, ask)) === version;
  };

  const alone: AskAlone = async (request) => {
    const { ref } = request.grant;
    const version = request.known?.version;
    const mayBeUnmoved =
      version !== undefined && ref.version === undefined && rights.mayTake('DescribeSecret', request);
    if (mayBeUnmoved && (await isUnmoved(request, version))) return { kind: 'unchanged', version };
    return valueResult(await attempts(request, (asker) => getSecretValue(way, asker, ref)));
  };

  const together = (batch: readonly [Request, ...Request[]]): readonly Promise<FetchResult>[] =>
    askTogether(batch, {
      ...{ attempts, alone },
      call: async (asker) => {
        const refs = batch.map(({ grant }) => grant.ref);
        const values = await take('BatchGetSecretValue', batch[0], batchGetSecretValue(way, asker, refs));
        return values?.map((value) => value && valueResult(value)) ?? [];
      },
    });

  return (requests: readonly Request[]): ReadonlyMap<Request, Promise<FetchResult>> => {
    const isBatchable = (request: Request): boolean =>
      request.urgency === 'first' && isCurrent(request) && rights.mayTake('BatchGetSecretValue', request);
    const answers = new Map<Request, Promise<FetchResult>>();
    for (const batch of batchesOf(requests.filter(isBatchable), maxBatch)) {
      if (batch.length === 1) continue;
      together(batch).forEach((result, index) => answers.set(batch[index] ?? batch[0], result));
    }
    for (const request of requests) if (!answers.has(request)) answers.set(request, alone(request));
    return answers;
  };
}

/** All that BatchGetSecretValue can be asked for. */
function isCurrent({ grant }: Request): boolean {
  const { version, stage = 'AWSCURRENT' } = grant.ref;
  return version === undefined && stage === 'AWSCURRENT';
}

function valueResult(value: SecretValue): FetchResult {
  return { kind: 'value', value };
}
