import * as z from 'zod';
import { SecretError, toSecretError } from '../../core/errors.ts';
import type { SecretRef } from '../../core/plan.ts';
import type { FetchRequest, FetchResult, SecretValue } from '../../core/provider.ts';
import type { AuthenticatedCall } from '../shared/reads/authenticated-call.ts';
import { shouldReadIndividually, readInBatches } from '../shared/reads/batches.ts';
import type { DeniedShortcuts } from '../shared/reads/denied-shortcuts.ts';
import { type Asker, type Way, outputOf } from './call.ts';
import { resourceOf } from './errors.ts';
import type { AwsCredential } from './types.ts';

/** What BatchGetSecretValue takes. */
export const maxBatch = 20;

const secretValue = z.object({
  ARN: z.string().nullish(),
  Name: z.string().nullish(),
  VersionId: z.string().regex(/^[\x21-\x7e]{1,256}$/),
  SecretString: z.string().nullish(),
  SecretBinary: z.instanceof(Uint8Array).nullish(),
});

const described = z.object({
  VersionIdsToStages: z.record(z.string(), z.array(z.string())).nullish(),
  DeletedDate: z.date().nullish(),
});

/** @throws SecretError; see {@link outputOf} */
export async function getSecretValue(
  { sdk, retry }: Way,
  asker: Asker,
  ref: SecretRef,
): Promise<SecretValue> {
  const { name, version, stage } = ref;
  const { module, client } = await sdk.secretsManager(asker);
  const command = new module.GetSecretValueCommand({
    SecretId: name,
    ...(version !== undefined && { VersionId: version }),
    ...(stage !== undefined && { VersionStage: stage }),
  });
  const output = await outputOf(retry, asker, needOf('GetSecretValue', name, asker), (options) =>
    client.send(command, options),
  );
  return readValue(output, ref);
}

/**
 * The id of the version that has the ref's stage now; nothing where there is none, or the secret is to be deleted.
 * @throws SecretError; see {@link outputOf}
 */
export async function stagedVersion(
  { sdk, retry }: Way,
  asker: Asker,
  { name, stage = 'AWSCURRENT' }: SecretRef,
): Promise<string | undefined> {
  const { module, client } = await sdk.secretsManager(asker);
  const command = new module.DescribeSecretCommand({ SecretId: name });
  const output = await outputOf(retry, asker, needOf('DescribeSecret', name, asker), (options) =>
    client.send(command, options),
  );
  const read = described.safeParse(output);
  if (!read.success) throw invalid('something we do not understand');
  const { VersionIdsToStages: stages, DeletedDate: deletedAt } = read.data;
  if (deletedAt instanceof Date) return undefined;
  return Object.entries(stages ?? {}).find(([, labels]) => labels.includes(stage))?.[0];
}

/**
 * What is current of up to 20 secrets, in the order of the refs; nothing for what was not delivered, whyever.
 * @throws SecretError; see {@link outputOf}
 */
export async function batchGetSecretValue(
  { sdk, retry }: Way,
  asker: Asker,
  refs: readonly SecretRef[],
): Promise<readonly (SecretValue | undefined)[]> {
  const { module, client } = await sdk.secretsManager(asker);
  const command = new module.BatchGetSecretValueCommand({
    SecretIdList: refs.map(({ name }) => name),
  });
  const need = { ...needOf('BatchGetSecretValue', '*', asker), resource: '*' };
  const output = await outputOf(retry, asker, need, (options) => client.send(command, options));
  const entries =
    z.object({ SecretValues: z.array(secretValue).nullish() }).safeParse(output).data
      ?.SecretValues ?? [];
  return refs.map((ref) => {
    const entry = entries.find(({ Name, ARN }) => isOf({ Name, ARN }, ref.name));
    return entry && readValue(entry, ref);
  });
}

function readValue(output: unknown, { name, version }: SecretRef): SecretValue {
  const read = secretValue.safeParse(output);
  if (!read.success) throw invalid('something we do not understand');
  const { VersionId, SecretString: text, SecretBinary: bytes } = read.data;
  if (!isOf(read.data, name)) throw invalid('another secret than the one it was asked for');
  if (version !== undefined && VersionId !== version)
    throw invalid('another version than the one it was asked for');
  return {
    bytes: contentOf(text, bytes),
    version: VersionId,
    ...(version !== undefined && { immutable: true }),
  };
}

function contentOf(
  text: string | null | undefined,
  bytes: Uint8Array | null | undefined,
): Uint8Array {
  if (typeof text === 'string') {
    if (!text.isWellFormed()) throw invalid('a text that is not Unicode');
    return Buffer.from(text);
  }
  if (!(bytes instanceof Uint8Array)) throw invalid('neither text nor bytes');
  return bytes;
}

/** By name, by ARN, or by an ARN without the six characters AWS adds to a name. */
function isOf(
  shown: { readonly Name?: string | null | undefined; readonly ARN?: string | null | undefined },
  asked: string,
): boolean {
  const { Name: name, ARN: arn } = shown;
  if (!asked.startsWith('arn:')) return name === asked;
  return arn === asked || arn?.replace(/-[A-Za-z0-9]{6}$/, '') === asked;
}

function needOf(operation: string, name: string, { region, credential }: Asker) {
  return {
    service: 'Secrets Manager',
    action: `secretsmanager:${operation}`,
    resource: resourceOf('secretsmanager', region, credential.account, name),
    region,
  };
}

function invalid(what: string): SecretError {
  return new SecretError('STORE_ANSWER_INVALID', `Secrets Manager answered with ${what}`);
}

type Request = FetchRequest<AwsCredential>;
type Shortcut = 'BatchGetSecretValue' | 'DescribeSecret';

/** See {@link createSecretsFetch}. */
type SecretsFetchDeps = {
  readonly way: Way;
  readonly attempts: AuthenticatedCall<AwsCredential>;
  readonly rights: DeniedShortcuts<Shortcut>;
};

/**
 * Reads secrets of Secrets Manager. Several that a mount waits for come by one call, and a refresh first asks whether the version moved: both
 * where policies allow it, which is learnt.
 */
export function createSecretsFetch({ way, attempts, rights }: SecretsFetchDeps) {
  /** Whether plain reads have to tell, after a shortcut failed. */
  const isNoWay = (shortcut: Shortcut, thrown: unknown, request: Request): boolean => {
    const error = toSecretError(thrown);
    if (error.code === 'ACCESS_DENIED') rights.recordDenied(shortcut, request);
    return shouldReadIndividually(error);
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
      version !== undefined &&
      ref.version === undefined &&
      rights.isAllowed('DescribeSecret', request);
    if (mayBeUnmoved && (await isUnmoved(request, version))) return { kind: 'unchanged', version };
    return valueResult(await attempts(request, (asker) => getSecretValue(way, asker, ref)));
  };

  return (requests: readonly Request[]) =>
    readInBatches(requests, {
      ...{ max: maxBatch, authenticatedCall: attempts, readSingle: alone },
      isBatchable: (request) =>
        request.urgency === 'first' &&
        isCurrent(request) &&
        rights.isAllowed('BatchGetSecretValue', request),
      async readBatch(batch, asker) {
        const refs = batch.map(({ grant }) => grant.ref);
        const values = await batchGetSecretValue(way, asker, refs);
        return values.map((value) => value && valueResult(value));
      },
      onBatchFailure: (error, [first]) =>
        isNoWay('BatchGetSecretValue', error, first) ? 'alone' : 'fail',
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
