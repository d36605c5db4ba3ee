import * as z from 'zod';
import { SecretError } from '../../core/errors.ts';
import type { SecretRef } from '../../core/plan.ts';
import type { FetchRequest, FetchResult, SecretValue } from '../../core/provider.ts';
import type { HttpResponse } from '../../http/client.ts';
import { readBody } from '../../http/response.ts';
import type { AuthenticatedCall } from '../shared/reads/authenticated-call.ts';
import { shouldReadIndividually, readInBatches } from '../shared/reads/batches.ts';
import type { DeniedShortcuts } from '../shared/reads/denied-shortcuts.ts';
import { type Api, type ReadContext, callStore } from './call.ts';
import { type Endpoint, isSharedGateway, kmsEndpoint, serviceEndpoint } from './endpoints.ts';
import type { AlibabaCloudConfig, AlibabaCredential } from './types.ts';

/** What BatchGetSecretValue takes. */
export const maxBatch = 20;

const secretValue = z.object({
  SecretName: z.string().nullish(),
  SecretData: z.string(),
  SecretDataType: z.enum(['text', 'binary']),
  VersionId: z.string().regex(/^[\x21-\x7e]{1,256}$/),
  SecretType: z.string().nullish(),
});
const named = z.object({ SecretName: z.string() });
const batchAnswer = z.object({
  SecretValues: z.array(z.unknown()).nullish(),
  Errors: z.array(z.unknown()).nullish(),
});

/**
 * GetSecretValue of KMS, 2016-01-20. A pin is sent alone: KMS looks for ACSCurrent by itself where neither version nor stage is given, and
 * refuses the two where they name different versions.
 * @param ref its name may be a whole ARN: another account's secret needs that
 * @throws SecretError; its message names no secret
 */
export async function getSecretValue(
  api: Api,
  context: ReadContext,
  endpoint: Endpoint,
  ref: SecretRef,
): Promise<SecretValue> {
  const { name, version, stage } = ref;
  const answer = await ask(api, context, endpoint, 'GetSecretValue', {
    SecretName: name,
    ...(version !== undefined && { VersionId: version }),
    ...(stage !== undefined && { VersionStage: stage }),
  });
  const shown = readBody(answer, secretValue, 'KMS');
  if (typeof shown.SecretName === 'string' && !isSame(shown.SecretName, name))
    throw invalid('another secret than the one it was asked for');
  if (version !== undefined && shown.VersionId !== version && !isManaged(shown.SecretType))
    throw invalid('another version than the one it was asked for');
  return {
    ...valueOf(shown),
    // A managed secret ignores the pin and answers with what is current: the pin is the user's word that nothing is to change.
    ...(version !== undefined && { immutable: true }),
  };
}

/**
 * What is current of up to 20 secrets, by BatchGetSecretValue, in the order of the names. Nothing for what was not delivered, or not beyond
 * doubt: to be asked for alone, so that the cause is told.
 * @param names as {@link nameInKms} tells them apart
 * @throws SecretError; STORE_ANSWER_INVALID for an answer that is about none of them
 */
export async function batchGetSecretValue(
  api: Api,
  context: ReadContext,
  endpoint: Endpoint,
  names: readonly string[],
): Promise<readonly (SecretValue | undefined)[]> {
  const answer = await ask(api, context, endpoint, 'BatchGetSecretValue', {
    SecretsList: JSON.stringify(names.map((SecretName) => ({ SecretName }))),
  });
  const { SecretValues: shown, Errors: errors } = readBody(answer, batchAnswer, 'KMS');
  const values = names.map((name) => {
    const isIt = (entry: unknown): boolean => {
      const { data } = named.safeParse(entry);
      return data !== undefined && isSame(data.SecretName, name);
    };
    const [entry, ...others] = (shown ?? []).filter(isIt);
    return others.length > 0 || errors?.some(isIt) === true ? undefined : valueIn(entry);
  });
  if ((errors ?? []).length === 0 && values.every((value) => value === undefined))
    throw invalid('nothing that it was asked for');
  return values;
}

/** A secret's name without its account: all that an answer may show of it. */
export function nameInKms({ name }: SecretRef): string {
  return name.replace(/^acs:kms:[^:]*:[^:]*:secret\//, '');
}

function ask(
  api: Api,
  context: ReadContext,
  endpoint: Endpoint,
  action: string,
  query: Readonly<Record<string, string>>,
): Promise<HttpResponse> {
  return callStore(api, context, {
    ...{ service: 'KMS', permission: 'kms:GetSecretValue, and kms:Decrypt for the key' },
    ...{ endpoint: endpoint.url, ...(endpoint.tls !== undefined && { tls: endpoint.tls }) },
    ...{ action, version: '2016-01-20', query },
  });
}

/** Rds, Redis, PolarDB, RAMCredentials, ECS, ... */
function isManaged(secretType: string | null | undefined): boolean {
  return typeof secretType === 'string' && secretType !== 'Generic';
}

/** Asked by ARN, KMS may answer with the name alone. */
function isSame(shown: string, asked: string): boolean {
  return shown === asked || asked.endsWith(`:secret/${shown}`);
}

function valueIn(entry: unknown): SecretValue | undefined {
  const { data } = secretValue.safeParse(entry);
  try {
    return data && valueOf(data);
  } catch {
    return undefined;
  }
}

/** @throws SecretError STORE_ANSWER_INVALID */
function valueOf({
  SecretData,
  SecretDataType,
  VersionId,
}: z.infer<typeof secretValue>): SecretValue {
  return { bytes: decode(SecretDataType, SecretData), version: VersionId };
}

function decode(type: 'text' | 'binary', data: string): Uint8Array {
  if (type === 'text') {
    if (!data.isWellFormed()) throw invalid('a text that is not Unicode');
    return Buffer.from(data);
  }
  const bytes = Buffer.from(data, 'base64');
  if (bytes.toString('base64') !== data) throw invalid('a binary secret that is not base64');
  return bytes;
}

function invalid(what: string): SecretError {
  return new SecretError('STORE_ANSWER_INVALID', `KMS answered with ${what}`);
}

/** See {@link createKmsFetch}. */
type KmsFetchDeps = {
  readonly api: Api;
  readonly config: AlibabaCloudConfig;
  readonly authenticatedCall: AuthenticatedCall<AlibabaCredential>;
  readonly deniedShortcuts: DeniedShortcuts<'BatchGetSecretValue'>;
};

/**
 * Reads secrets of KMS: several by one call where that works, which is learnt. What a batch as a whole fails by (a policy, an endpoint that
 * does not know the operation, an answer we do not understand or that is too large) is never told: plain reads have to tell.
 */
export function createKmsFetch({
  api,
  config,
  authenticatedCall: attempts,
  deniedShortcuts: rights,
}: KmsFetchDeps) {
  const endpointOf = ({ endpoint, region = '' }: SecretRef): Endpoint =>
    endpoint === undefined ? serviceEndpoint(config.kms, region) : kmsEndpoint(endpoint, config);

  return (requests: readonly FetchRequest<AlibabaCredential>[]) =>
    readInBatches(requests, {
      ...{ max: maxBatch, nameOf: nameInKms, authenticatedCall: attempts },
      isBatchable: (request) =>
        isBatchable(request.grant.ref) && rights.isAllowed('BatchGetSecretValue', request),
      async readBatch(batch, context) {
        const names = batch.map(({ grant }) => grant.ref.name);
        const values = await batchGetSecretValue(
          api,
          context,
          endpointOf(batch[0].grant.ref),
          names,
        );
        return values.map((value) => value && valueResult(value));
      },
      async readSingle(request) {
        const { ref } = request.grant;
        const read = attempts(request, async (context) =>
          getSecretValue(api, context, endpointOf(ref), ref),
        );
        return valueResult(await read);
      },
      onBatchFailure(error, [first]) {
        if (!shouldReadIndividually(error) && error.code !== 'STORE_ANSWER_INVALID') return 'fail';
        rights.recordDenied('BatchGetSecretValue', first);
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
