import { SecretError, toSecretError } from '../../errors/secret-error.ts';
import type { Retry } from '../../flow/retry.ts';
import type { Http } from '../../http/http.ts';
import type { SecretRef } from '../../plan/plan.ts';
import type { FetchResult } from '../provider.ts';
import { createAttempts, type AttemptsDeps } from './attempts.ts';
import type { Request } from './batches.ts';
import type { AwsCloudConfig } from './config-type.ts';
import { createParametersFetch } from './parameters-fetch.ts';
import { createRights } from './rights.ts';
import { createSdk } from './sdk.ts';
import { createSecretsFetch } from './secrets-fetch.ts';

/** See {@link createAwsFetch}. */
export type AwsFetchDeps = AttemptsDeps & {
  readonly config: AwsCloudConfig;
  readonly http: Http;
  readonly retry: Retry;
};

/** Reads secrets of Secrets Manager and parameters of SSM, each from the region its ref names. */
export function createAwsFetch(deps: AwsFetchDeps) {
  const { config, http, retry, now } = deps;
  const common = { way: { sdk: createSdk({ config, http }), retry }, attempts: createAttempts(deps) };
  const secrets = createSecretsFetch({ ...common, rights: createRights({ now }) });
  const parameters = createParametersFetch(common);

  return (requests: readonly Request[]): readonly Promise<FetchResult>[] => {
    const isParameter = ({ grant }: Request): boolean => grant.ref.service === 'ssm';
    const answers = new Map([
      ...secrets(requests.filter((request) => !isParameter(request))),
      ...parameters(requests.filter(isParameter)),
    ]);
    return requests.map(async (request) => settle(request, answers.get(request)));
  };
}

async function settle({ grant }: Request, answer: Promise<FetchResult> | undefined): Promise<FetchResult> {
  try {
    const result = await answer;
    if (result === undefined) throw new SecretError('INTERNAL', 'it was not asked for');
    return 'error' in result ? failure(result.error, grant.ref) : result;
  } catch (thrown) {
    return failure(toSecretError(thrown), grant.ref);
  }
}

/** With what the user needs to find it; errors from below name no secret, for they may be told to many. */
function failure({ code, message, hint, cause }: SecretError, ref: SecretRef): FetchResult {
  const { service, name, region, version, stage } = ref;
  const which = [version, stage === 'AWSCURRENT' ? undefined : stage]
    .filter((part) => part !== undefined)
    .join(', ');
  const kind = service === 'ssm' ? 'SSM parameter' : 'Secrets Manager secret';
  const what = `${kind} ${name}${which === '' ? '' : ` (${which})`} in ${region ?? 'no region'}`;
  const error = new SecretError(code, `aws: ${what}: ${message}`, {
    ...(hint !== undefined && { hint }),
    ...(cause !== undefined && { cause }),
  });
  return { kind: code === 'OBJECT_NOT_FOUND' || code === 'OBJECT_DISABLED' ? 'absent' : 'failed', error };
}
