import * as z from 'zod';
import { SecretError } from '../../core/errors.ts';
import type { ListedSecret } from '../../core/host-store.ts';
import type { SecretRef } from '../../core/plan.ts';
import type { FetchRequest, FetchResult, SecretValue } from '../../core/provider.ts';
import type { HttpResponse } from '../../http/client.ts';
import { readBody } from '../../http/response.ts';
import type { AuthenticatedCall } from '../shared/reads/authenticated-call.ts';
import { readInBatches, shouldReadIndividually } from '../shared/reads/batches.ts';
import type { DeniedShortcuts } from '../shared/reads/denied-shortcuts.ts';
import { type Api, type ReadContext, type StoreCall, callStore } from './call.ts';
import { type Endpoint, isSharedGateway, kmsEndpoint, serviceEndpoint } from './endpoints.ts';
import type { AlibabaCloudConfig, AlibabaCredential } from './types.ts';

/** How many secrets one BatchGetSecretValue takes. */
const maxBatch = 20;

const secretResponse = z.object({
  SecretName: z.string().nullish(),
  SecretData: z.string(),
  SecretDataType: z.enum(['text', 'binary']),
  VersionId: z.string().regex(/^[\x21-\x7e]{1,256}$/),
  SecretType: z.string().nullish(),
});
const namedEntry = z.object({ SecretName: z.string() });
const batchResponse = z.object({
  SecretValues: z.array(z.unknown()).nullish(),
  Errors: z.array(z.unknown()).nullish(),
});

/** See {@link createKmsFetch}. */
type KmsFetchDeps = {
  readonly api: Api;
  readonly config: AlibabaCloudConfig;
  readonly authenticatedCall: AuthenticatedCall<AlibabaCredential>;
  readonly deniedShortcuts: DeniedShortcuts<'BatchGetSecretValue'>;
};

/**
 * Reads secrets of KMS, several by one call where the service serves such calls. If a batch fails
 * as a whole (a policy, an endpoint without the operation, an invalid or a too large response),
 * each secret is read on its own. Its own error is then the one that the user sees.
 */
export function createKmsFetch({ api, config, authenticatedCall, deniedShortcuts }: KmsFetchDeps) {
  const endpointOf = (ref: SecretRef): Endpoint => kmsEndpointOf(ref, config);

  return (requests: readonly FetchRequest<AlibabaCredential>[]) =>
    readInBatches(requests, {
      ...{ max: maxBatch, nameOf: nameWithoutAccount, authenticatedCall },
      isBatchable: (request) =>
        isBatchable(request.grant.ref) && deniedShortcuts.isAllowed('BatchGetSecretValue', request),
      async readBatch(batch, context) {
        const names = batch.map(({ grant }) => grant.ref.name);
        const endpoint = endpointOf(batch[0].grant.ref);
        const values = await batchGetSecretValue(api, context, endpoint, names);
        return values.map((value) => value && toValueResult(value));
      },
      async readSingle(request) {
        const { ref } = request.grant;
        const value = await authenticatedCall(request, async (context) =>
          getSecretValue(api, context, endpointOf(ref), ref),
        );
        return toValueResult(value);
      },
      onBatchFailure(error, [first]) {
        if (!shouldReadIndividually(error) && error.code !== 'STORE_ANSWER_INVALID') return 'fail';
        deniedShortcuts.recordDenied('BatchGetSecretValue', first);
        return 'alone';
      },
    });
}

/** The endpoint of a ref's own, or that of its region. */
export function kmsEndpointOf(
  { endpoint, region = '' }: Pick<SecretRef, 'endpoint' | 'region'>,
  config: AlibabaCloudConfig,
): Endpoint {
  return endpoint === undefined
    ? serviceEndpoint(config.kms, region)
    : kmsEndpoint(endpoint, config);
}

/** BatchGetSecretValue reads current versions only. It is documented for shared gateways only. */
function isBatchable({ version, stage = 'ACSCurrent', endpoint }: SecretRef): boolean {
  const isRegional = endpoint === undefined || isSharedGateway(endpoint);
  return version === undefined && stage === 'ACSCurrent' && isRegional;
}

function toValueResult(value: SecretValue): FetchResult {
  return { kind: 'value', value };
}

/**
 * Reads one secret: GetSecretValue of KMS, API version 2016-01-20. Without version and stage, KMS
 * takes ACSCurrent. It refuses a version and a stage that do not belong together.
 * @param ref its name can be an ARN, which secrets of another account need
 * @throws SecretError; its message does not contain the secret's name
 */
async function getSecretValue(
  api: Api,
  context: ReadContext,
  endpoint: Endpoint,
  ref: SecretRef,
): Promise<SecretValue> {
  const { name, version, stage } = ref;
  const query = {
    SecretName: name,
    ...(version !== undefined && { VersionId: version }),
    ...(stage !== undefined && { VersionStage: stage }),
  };
  const response = await callKms(api, context, endpoint, 'GetSecretValue', query, ref);
  const secret = readBody(response, secretResponse, 'KMS');
  if (typeof secret.SecretName === 'string' && !isNameOf(secret.SecretName, name))
    throw invalidResponseError('another secret than the requested one');
  if (version !== undefined && secret.VersionId !== version && !isManaged(secret.SecretType))
    throw invalidResponseError('another version than the requested one');
  return {
    ...parseValue(secret),
    // KMS ignores the version that is requested of a managed secret, and sends the current one. The
    // user pinned the version so that nothing changes. So this value does not change either.
    ...(version !== undefined && { immutable: true }),
  };
}

/**
 * Reads the current versions of up to 20 secrets: BatchGetSecretValue.
 * @param names all different without their accounts; see {@link nameWithoutAccount}
 * @returns in the order of the names; undefined for a secret that the response does not contain, or
 *   not unambiguously
 * @throws SecretError; STORE_ANSWER_INVALID for a response without any of the secrets
 */
async function batchGetSecretValue(
  api: Api,
  context: ReadContext,
  endpoint: Endpoint,
  names: readonly string[],
): Promise<readonly (SecretValue | undefined)[]> {
  const response = await callKms(api, context, endpoint, 'BatchGetSecretValue', {
    SecretsList: JSON.stringify(names.map((SecretName) => ({ SecretName }))),
  });
  const { SecretValues: entries, Errors: errors } = readBody(response, batchResponse, 'KMS');
  const values = names.map((name) => {
    const hasName = (entry: unknown): boolean => {
      const { data } = namedEntry.safeParse(entry);
      return data !== undefined && isNameOf(data.SecretName, name);
    };
    const [entry, ...others] = (entries ?? []).filter(hasName);
    return others.length > 0 || errors?.some(hasName) === true ? undefined : parseEntry(entry);
  });
  if ((errors ?? []).length === 0 && values.every((value) => value === undefined))
    throw invalidResponseError('none of the requested secrets');
  return values;
}

const listResponse = z.object({
  SecretList: z.object({
    Secret: z.array(
      z.object({
        SecretName: z.string(),
        UpdateTime: z.string().nullish(),
        PlannedDeleteTime: z.string().nullish(),
      }),
    ),
  }),
  TotalCount: z.coerce.number(),
});

/**
 * Reads a page of the list of secrets: ListSecrets. Leaves out those that are to be deleted.
 * @param page.limit from 1 to 100
 * @param page.number from 1
 * @throws SecretError
 */
export async function listSecrets(
  api: Api,
  context: ReadContext,
  endpoint: Endpoint,
  { limit, number }: { readonly limit: number; readonly number: number },
): Promise<{ readonly items: readonly ListedSecret[]; readonly isLast: boolean }> {
  const response = await callKms(api, context, endpoint, 'ListSecrets', {
    PageNumber: String(number),
    PageSize: String(limit),
  });
  const { SecretList: list, TotalCount: total } = readBody(response, listResponse, 'KMS');
  return {
    items: list.Secret.filter(({ PlannedDeleteTime: end }) => (end ?? '') === '').map(
      toListedSecret,
    ),
    isLast: list.Secret.length === 0 || number * limit >= total,
  };
}

function toListedSecret({
  SecretName: path,
  UpdateTime: updatedAt,
}: z.infer<typeof listResponse>['SecretList']['Secret'][number]): ListedSecret {
  const changedAt = Date.parse(updatedAt ?? '');
  return { path, ...(!Number.isNaN(changedAt) && { changedAt }) };
}

/** A secret's name without its account. Responses to an ARN can contain this name only. */
function nameWithoutAccount({ name }: SecretRef): string {
  return name.replace(/^acs:kms:[^:]*:[^:]*:secret\//, '');
}

function callKms(
  api: Api,
  context: ReadContext,
  endpoint: Endpoint,
  action: string,
  query: Readonly<Record<string, string>>,
  requested: StoreCall['requested'] = {},
): Promise<HttpResponse> {
  const permission =
    action === 'ListSecrets'
      ? 'kms:ListSecrets'
      : 'kms:GetSecretValue, and kms:Decrypt for the key';
  return callStore(api, context, {
    ...{ service: 'KMS', permission },
    ...{ endpoint: endpoint.url, ...(endpoint.tls !== undefined && { tls: endpoint.tls }) },
    ...{ action, version: '2016-01-20', query, requested },
  });
}

/** Rds, Redis, PolarDB, RAMCredentials, ECS, ... */
function isManaged(secretType: string | null | undefined): boolean {
  return typeof secretType === 'string' && secretType !== 'Generic';
}

/** Whether a response is about a secret. The response to an ARN can have the name alone. */
function isNameOf(responseName: string, requestedName: string): boolean {
  return responseName === requestedName || requestedName.endsWith(`:secret/${responseName}`);
}

/** Undefined for an entry that is not valid. */
function parseEntry(entry: unknown): SecretValue | undefined {
  const { data } = secretResponse.safeParse(entry);
  try {
    return data && parseValue(data);
  } catch {
    return undefined;
  }
}

/** @throws SecretError STORE_ANSWER_INVALID */
function parseValue({
  SecretData,
  SecretDataType,
  VersionId,
}: z.infer<typeof secretResponse>): SecretValue {
  return { bytes: decode(SecretDataType, SecretData), version: VersionId };
}

function decode(type: 'text' | 'binary', data: string): Uint8Array {
  if (type === 'text') {
    if (!data.isWellFormed()) throw invalidResponseError('a text that is not Unicode');
    return Buffer.from(data);
  }
  const bytes = Buffer.from(data, 'base64');
  if (bytes.toString('base64') !== data)
    throw invalidResponseError('a binary secret that is not base64');
  return bytes;
}

function invalidResponseError(description: string): SecretError {
  return new SecretError('STORE_ANSWER_INVALID', `KMS sent ${description}`);
}
