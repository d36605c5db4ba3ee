import * as z from 'zod';
import { SecretError } from '../../core/errors.ts';
import type { SecretRef } from '../../core/plan.ts';
import type { FetchRequest, FetchResult, SecretValue } from '../../core/provider.ts';
import { readBody } from '../../http/response.ts';
import type { AuthenticatedCall } from '../shared/reads/authenticated-call.ts';
import { readInBatches } from '../shared/reads/batches.ts';
import { classify } from '../shared/reads/store-errors.ts';
import { type Api, type AwsCallContext, callStore, resourceOf } from './call.ts';
import { invalidParameterErrors, requestIdOf } from './errors.ts';
import type { AwsCredential } from './types.ts';

/** The limit of GetParameters. */
const maxBatchSize = 10;

const parameterSchema = z.object({
  ARN: z.string().nullish(),
  Name: z.string(),
  /** `:3`, `:production`. Missing if the request has none, and in emulators of SSM. */
  Selector: z.string().nullish(),
  Value: z.string(),
  Version: z.number().int(),
  /** Seconds since the epoch, with a fraction; within what Date can hold. */
  LastModifiedDate: z.number().min(0).max(8.64e12).nullish(),
});

type Parameter = z.infer<typeof parameterSchema>;

const outputSchema = z.object({
  Parameters: z.array(parameterSchema).nullish(),
  InvalidParameters: z.array(z.string()).nullish(),
});

/**
 * Reads parameters by name, decrypted. The result has the order of the refs. A parameter that SSM
 * does not know is an error of its own.
 * @param refs at most ten, of different names
 * @throws SecretError; see {@link callStore}. SSM rejects the whole call if it rejects one name.
 */
async function getParameters(
  api: Api,
  context: AwsCallContext,
  refs: readonly SecretRef[],
): Promise<readonly (SecretValue | SecretError)[]> {
  const name = refs.length === 1 ? (refs[0]?.name ?? '') : '*';
  const response = await callStore(api, context, {
    ...{ service: 'ssm', operation: 'GetParameters' },
    input: { Names: refs.map(requestedName), WithDecryption: true },
    resource: resourceOf('ssm', context, name),
  });
  const output = readBody(response, outputSchema, 'SSM');
  const { Parameters: parameters, InvalidParameters: invalidNames } = output;
  return refs.map((ref) => {
    const parameter = parameters?.find((each) => isParameterOf(each, ref));
    if (parameter !== undefined) return valueOf(parameter, ref);
    return invalidNames?.includes(requestedName(ref)) === true
      ? notFoundError(ref, context.region, requestIdOf(response))
      : invalidResponseError('nothing about the parameter');
  });
}

/** `/app/db:3`, `/app/db:production` */
function requestedName({ name, version, stage }: SecretRef): string {
  const selector = version ?? stage;
  return selector === undefined ? name : `${name}:${selector}`;
}

function isParameterOf(parameter: Parameter, ref: SecretRef): boolean {
  const { Name: name, ARN: arn, Selector: selector, Version: version } = parameter;
  if (name !== ref.name && arn !== ref.name) return false;
  if (typeof selector === 'string') return selector === requestedName(ref).slice(ref.name.length);
  return ref.version === undefined || String(version) === ref.version;
}

function valueOf(parameter: Parameter, { version }: SecretRef): SecretValue | SecretError {
  const { Value: text, Version: number, LastModifiedDate: modifiedAt } = parameter;
  if (!text.isWellFormed()) return invalidResponseError('a text that is not Unicode');
  return {
    bytes: Buffer.from(text),
    version: String(number),
    // The numbers of a parameter that was deleted and created again start at 1 again.
    ...(typeof modifiedAt === 'number' && { modified: toIsoDate(modifiedAt) }),
    ...(version !== undefined && { immutable: true }),
  };
}

function notFoundError(
  { version, stage }: SecretRef,
  region: string,
  requestId: string | undefined,
): SecretError {
  const response = { status: undefined, code: 'InvalidParameters', text: '', requestId };
  const selector = version !== undefined ? 'version' : stage !== undefined ? 'label' : undefined;
  return classify(invalidParameterErrors, response, { region, selector }, []);
}

/** The clock of SSM has milliseconds. */
function toIsoDate(seconds: number): string {
  return new Date(Math.round(seconds * 1_000)).toISOString();
}

function invalidResponseError(description: string): SecretError {
  return new SecretError('STORE_ANSWER_INVALID', `SSM sent ${description}`);
}

/** Reads parameters of SSM, up to ten in one call. */
export function createParametersFetch({
  api,
  authenticatedCall,
}: {
  readonly api: Api;
  readonly authenticatedCall: AuthenticatedCall<AwsCredential>;
}) {
  return (requests: readonly FetchRequest<AwsCredential>[]) =>
    readInBatches(requests, {
      ...{ max: maxBatchSize, authenticatedCall },
      async readBatch(batch, context) {
        const refs = batch.map(({ grant }) => grant.ref);
        return (await getParameters(api, context, refs)).map(resultOf);
      },
      async readSingle(request) {
        const [value] = await authenticatedCall(request, (context) =>
          getParameters(api, context, [request.grant.ref]),
        );
        return resultOf(value ?? new SecretError('INTERNAL', 'SSM returned no result'));
      },
    });
}

function resultOf(value: SecretValue | SecretError): FetchResult {
  return value instanceof SecretError ? { kind: 'failed', error: value } : { kind: 'value', value };
}
