import * as z from 'zod';
import { SecretError } from '../../core/errors.ts';
import type { SecretRef } from '../../core/plan.ts';
import type { FetchRequest, FetchResult, SecretValue } from '../../core/provider.ts';
import { sanitizeExternalText } from '../../core/safe-text.ts';
import type { AuthenticatedCall } from '../shared/reads/authenticated-call.ts';
import { readInBatches } from '../shared/reads/batches.ts';
import { type Asker, type Way, outputOf } from './call.ts';
import { resourceOf, wrongPlace } from './errors.ts';
import type { AwsCredential } from './types.ts';

/** What GetParameters takes. */
export const maxNames = 10;

const parameter = z.object({
  ARN: z.string().nullish(),
  Name: z.string(),
  /** `:3`, `:production`; absent where none was asked for, and at some who only look like SSM. */
  Selector: z.string().nullish(),
  Value: z.string(),
  Version: z.number().int(),
  LastModifiedDate: z.date().nullish(),
});

const answer = z.object({
  $metadata: z.object({ requestId: z.string().nullish() }),
  Parameters: z.array(parameter).nullish(),
  InvalidParameters: z.array(z.string()).nullish(),
});

/**
 * Parameters by name, decrypted, in the order of the refs, whatever the order of the answer; each that SSM does not know is an error of its own.
 * @param refs at most ten, of different names
 * @throws SecretError; see {@link outputOf}. SSM refuses all where it refuses one.
 */
export async function getParameters(
  { sdk, retry }: Way,
  asker: Asker,
  refs: readonly SecretRef[],
): Promise<readonly (SecretValue | SecretError)[]> {
  const { module, client } = await sdk.ssm(asker);
  const command = new module.GetParametersCommand({
    Names: refs.map(askedName),
    WithDecryption: true,
  });
  const output = await outputOf(retry, asker, needOf(refs, asker), (options) =>
    client.send(command, options),
  );
  const read = answer.safeParse(output);
  if (!read.success) throw invalid('something we do not understand');
  const { Parameters: shown, InvalidParameters: unknown, $metadata: metadata } = read.data;
  return refs.map((ref) => {
    const found = shown?.find((each) => answers(each, ref));
    if (found !== undefined) return valueOf(found, ref);
    return unknown?.includes(askedName(ref)) === true
      ? notFound(ref, asker.region, metadata.requestId ?? 'unknown')
      : invalid('nothing about it');
  });
}

/** `/app/db:3`, `/app/db:production` */
function askedName({ name, version, stage }: SecretRef): string {
  const selector = version ?? stage;
  return selector === undefined ? name : `${name}:${selector}`;
}

function answers(
  { Name: name, ARN: arn, Selector: selector, Version: number }: z.infer<typeof parameter>,
  ref: SecretRef,
): boolean {
  const asked = askedName(ref).slice(ref.name.length);
  return (
    (name === ref.name || arn === ref.name) &&
    (typeof selector === 'string'
      ? selector === asked
      : ref.version === undefined || String(number) === ref.version)
  );
}

/** Numbers start again when a parameter is made anew, so the time of its last change goes with them. */
function valueOf(
  shown: z.infer<typeof parameter>,
  { version }: SecretRef,
): SecretValue | SecretError {
  if (!shown.Value.isWellFormed()) return invalid('a text that is not Unicode');
  return {
    bytes: Buffer.from(shown.Value),
    version: String(shown.Version),
    ...(shown.LastModifiedDate instanceof Date && {
      modified: shown.LastModifiedDate.toISOString(),
    }),
    ...(version !== undefined && { immutable: true }),
  };
}

function notFound({ version, stage }: SecretRef, region: string, requestId: string): SecretError {
  const which =
    version !== undefined
      ? ', or not this version'
      : stage !== undefined
        ? ', or not this label'
        : '';
  const told = `(InvalidParameters, request id ${sanitizeExternalText(requestId)})`;
  return new SecretError('OBJECT_NOT_FOUND', `there is no such parameter${which} ${told}`, {
    hint: wrongPlace(region),
  });
}

function needOf(refs: readonly SecretRef[], { region, credential }: Asker) {
  const name = refs.length === 1 ? (refs[0]?.name ?? '') : '*';
  const resource = resourceOf('ssm', region, credential.account, name);
  return { service: 'SSM', action: 'ssm:GetParameters', resource, region };
}

function invalid(what: string): SecretError {
  return new SecretError('STORE_ANSWER_INVALID', `SSM answered with ${what}`);
}

/** Reads parameters of SSM, ten at a time. */
export function createParametersFetch(deps: {
  readonly way: Way;
  readonly attempts: AuthenticatedCall<AwsCredential>;
}) {
  const { way, attempts } = deps;
  return (requests: readonly FetchRequest<AwsCredential>[]) =>
    readInBatches(requests, {
      ...{ max: maxNames, authenticatedCall: attempts },
      async readBatch(batch, asker) {
        const refs = batch.map(({ grant }) => grant.ref);
        return (await getParameters(way, asker, refs)).map(resultOf);
      },
      async readSingle(request) {
        const [found] = await attempts(request, (asker) =>
          getParameters(way, asker, [request.grant.ref]),
        );
        return resultOf(found ?? new SecretError('INTERNAL', 'SSM was asked for nothing'));
      },
    });
}

function resultOf(found: SecretValue | SecretError): FetchResult {
  return found instanceof SecretError
    ? { kind: 'failed', error: found }
    : { kind: 'value', value: found };
}
