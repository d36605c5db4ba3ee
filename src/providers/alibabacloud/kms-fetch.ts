import type { SecretRef } from '../../plan/plan.ts';
import type { Attempts } from '../attempts.ts';
import { isAboutOne, readInBatches } from '../batches.ts';
import type { FetchRequest, FetchResult, SecretValue } from '../provider.ts';
import type { Rights } from '../rights.ts';
import type { Api } from './api.ts';
import type { AlibabaCloudConfig } from './config-type.ts';
import { isSharedGateway, kmsEndpoint, serviceEndpoint, type Endpoint } from './endpoints.ts';
import type { AlibabaCredential } from './identity.ts';
import { batchGetSecretValue, getSecretValue, maxBatch, nameInKms } from './kms.ts';

/** See {@link createKmsFetch}. */
type KmsFetchDeps = {
  readonly api: Api;
  readonly config: AlibabaCloudConfig;
  readonly attempts: Attempts<AlibabaCredential>;
  readonly rights: Rights<'BatchGetSecretValue'>;
};

/**
 * Reads secrets of KMS: several by one call where that works, which is learnt. What a batch as a whole fails by (a policy, an endpoint that
 * does not know the operation, an answer we do not understand or that is too large) is never told: plain reads have to tell.
 */
export function createKmsFetch({ api, config, attempts, rights }: KmsFetchDeps) {
  const endpointOf = ({ endpoint, region = '' }: SecretRef): Endpoint =>
    endpoint === undefined ? serviceEndpoint(config.kms, region) : kmsEndpoint(endpoint, config);

  return (requests: readonly FetchRequest<AlibabaCredential>[]) =>
    readInBatches(requests, {
      ...{ max: maxBatch, nameOf: nameInKms, attempts },
      mayJoin: (request) => isBatchable(request.grant.ref) && rights.mayTake('BatchGetSecretValue', request),
      async together(batch, asker) {
        const names = batch.map(({ grant }) => grant.ref.name);
        const values = await batchGetSecretValue(api, asker, endpointOf(batch[0].grant.ref), names);
        return values.map((value) => value && valueResult(value));
      },
      async alone(request) {
        const { ref } = request.grant;
        const read = attempts(request, async (asker) => getSecretValue(api, asker, endpointOf(ref), ref));
        return valueResult(await read);
      },
      afterFailure(error, [first]) {
        if (!isAboutOne(error) && error.code !== 'STORE_ANSWER_INVALID') return 'fail';
        rights.isDenied('BatchGetSecretValue', first);
        return 'alone';
      },
    });
}

/** What is current, from where the operation is documented. */
function isBatchable({ version, stage = 'ACSCurrent', endpoint }: SecretRef): boolean {
  const isRegional = endpoint === undefined || isSharedGateway(endpoint);
  return version === undefined && stage === 'ACSCurrent' && isRegional;
}

function valueResult(value: SecretValue): FetchResult {
  return { kind: 'value', value };
}
