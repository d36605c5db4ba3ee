import * as z from 'zod';
import { SecretError, toSecretError } from '../../core/errors.ts';
import type { SecretRef } from '../../core/plan.ts';
import type { FetchRequest, FetchResult, SecretValue } from '../../core/provider.ts';
import type { AuthenticatedCall } from '../shared/reads/authenticated-call.ts';
import { readInBatches, shouldReadIndividually } from '../shared/reads/batches.ts';
import type { DeniedShortcuts } from '../shared/reads/denied-shortcuts.ts';
import {
  type AwsCallContext,
  type AwsCallDeps,
  type ReadOperation,
  outputOf,
  resourceOf,
} from './call.ts';
import type { AwsCredential } from './types.ts';

/** The limit of BatchGetSecretValue. */
const maxBatchSize = 20;

const secretSchema = z.object({
  ARN: z.string().nullish(),
  Name: z.string().nullish(),
  VersionId: z.string().regex(/^[\x21-\x7e]{1,256}$/),
  SecretString: z.string().nullish(),
  SecretBinary: z.instanceof(Uint8Array).nullish(),
});

const batchSchema = z.object({ SecretValues: z.array(secretSchema).nullish() });

const descriptionSchema = z.object({
  VersionIdsToStages: z.record(z.string(), z.array(z.string())).nullish(),
  DeletedDate: z.date().nullish(),
});

/** Reads one version of a secret. @throws SecretError; see {@link outputOf} */
async function getSecretValue(
  deps: AwsCallDeps,
  context: AwsCallContext,
  ref: SecretRef,
): Promise<SecretValue> {
  const { name, version, stage } = ref;
  const { module, client } = await deps.sdk.secretsManager(context);
  const command = new module.GetSecretValueCommand({
    SecretId: name,
    ...(version !== undefined && { VersionId: version }),
    ...(stage !== undefined && { VersionStage: stage }),
  });
  const operation = operationOf('GetSecretValue', name, context);
  const output = await outputOf(deps, context, operation, (options) =>
    client.send(command, options),
  );
  return parseSecret(output, ref);
}

/**
 * Returns the id of the version that has the ref's stage now. Undefined if no version has it, or
 * the secret is scheduled for deletion.
 * @throws SecretError; see {@link outputOf}
 */
async function getStagedVersion(
  deps: AwsCallDeps,
  context: AwsCallContext,
  { name, stage = 'AWSCURRENT' }: SecretRef,
): Promise<string | undefined> {
  const { module, client } = await deps.sdk.secretsManager(context);
  const command = new module.DescribeSecretCommand({ SecretId: name });
  const operation = operationOf('DescribeSecret', name, context);
  const output = await outputOf(deps, context, operation, (options) =>
    client.send(command, options),
  );
  const parsed = descriptionSchema.safeParse(output);
  if (!parsed.success) throw invalidResponseError('a response that Keyferry does not understand');
  const { VersionIdsToStages: stagesByVersion, DeletedDate: deletedAt } = parsed.data;
  if (deletedAt instanceof Date) return undefined;
  return Object.entries(stagesByVersion ?? {}).find(([, stages]) => stages.includes(stage))?.[0];
}

/**
 * Reads the current versions of up to 20 secrets, in the order of the refs. Undefined for a secret
 * that the response does not contain, for any cause.
 * @throws SecretError; see {@link outputOf}
 */
async function batchGetSecretValue(
  deps: AwsCallDeps,
  context: AwsCallContext,
  refs: readonly SecretRef[],
): Promise<readonly (SecretValue | undefined)[]> {
  const { module, client } = await deps.sdk.secretsManager(context);
  const command = new module.BatchGetSecretValueCommand({
    SecretIdList: refs.map(({ name }) => name),
  });
  const operation = { ...operationOf('BatchGetSecretValue', '*', context), resource: '*' };
  const output = await outputOf(deps, context, operation, (options) =>
    client.send(command, options),
  );
  const secrets = batchSchema.safeParse(output).data?.SecretValues ?? [];
  return refs.map((ref) => {
    const secret = secrets.find((each) => isSecretOf(each, ref.name));
    return secret && parseSecret(secret, ref);
  });
}

/** The value of a secret, after a check that it is the version that was requested. */
function parseSecret(output: unknown, { name, version }: SecretRef): SecretValue {
  const parsed = secretSchema.safeParse(output);
  if (!parsed.success) throw invalidResponseError('a response that Keyferry does not understand');
  const { VersionId: versionId, SecretString: text, SecretBinary: bytes } = parsed.data;
  if (!isSecretOf(parsed.data, name))
    throw invalidResponseError('another secret than the requested one');
  if (version !== undefined && versionId !== version)
    throw invalidResponseError('another version than the requested one');
  return {
    bytes: bytesOf(text, bytes),
    version: versionId,
    ...(version !== undefined && { immutable: true }),
  };
}

function bytesOf(
  text: string | null | undefined,
  bytes: Uint8Array | null | undefined,
): Uint8Array {
  if (typeof text === 'string') {
    if (!text.isWellFormed()) throw invalidResponseError('a text that is not Unicode');
    return Buffer.from(text);
  }
  if (!(bytes instanceof Uint8Array)) throw invalidResponseError('neither text nor bytes');
  return bytes;
}

/**
 * Whether a secret of a response has the requested name, the requested ARN, or the requested ARN
 * and the six characters that AWS adds to the name.
 */
function isSecretOf(
  { Name: name, ARN: arn }: Pick<z.infer<typeof secretSchema>, 'Name' | 'ARN'>,
  requestedName: string,
): boolean {
  if (!requestedName.startsWith('arn:')) return name === requestedName;
  return arn === requestedName || arn?.replace(/-[A-Za-z0-9]{6}$/, '') === requestedName;
}

function operationOf(
  operation: string,
  name: string,
  { region, credential }: AwsCallContext,
): ReadOperation {
  return {
    service: 'Secrets Manager',
    action: `secretsmanager:${operation}`,
    resource: resourceOf('secretsmanager', region, credential.account, name),
  };
}

function invalidResponseError(description: string): SecretError {
  return new SecretError('STORE_ANSWER_INVALID', `Secrets Manager sent ${description}`);
}

type Request = FetchRequest<AwsCredential>;
type Shortcut = 'BatchGetSecretValue' | 'DescribeSecret';

/** See {@link createSecretsFetch}. */
type SecretsFetchDeps = AwsCallDeps & {
  readonly authenticatedCall: AuthenticatedCall<AwsCredential>;
  readonly deniedShortcuts: DeniedShortcuts<Shortcut>;
};

/**
 * Reads secrets of Secrets Manager. It uses two operations that save calls, unless AWS denied them
 * within the last hour: BatchGetSecretValue for the secrets that a mount waits for, and
 * DescribeSecret, by which a refresh first checks whether the version changed.
 */
export function createSecretsFetch(deps: SecretsFetchDeps) {
  const { authenticatedCall, deniedShortcuts } = deps;

  /** Whether a plain read can still succeed after a shortcut failed. Records a denied shortcut. */
  const canReadPlainly = (shortcut: Shortcut, thrown: unknown, request: Request): boolean => {
    const error = toSecretError(thrown);
    if (error.code === 'ACCESS_DENIED') deniedShortcuts.recordDenied(shortcut, request);
    return shouldReadIndividually(error);
  };

  const isUnchanged = async (request: Request, version: string): Promise<boolean> => {
    const { ref } = request.grant;
    try {
      const stagedVersion = await authenticatedCall(request, (context) =>
        getStagedVersion(deps, context, ref),
      );
      return stagedVersion === version;
    } catch (thrown) {
      if (canReadPlainly('DescribeSecret', thrown, request)) return false;
      throw thrown;
    }
  };

  const readSingle = async (request: Request): Promise<FetchResult> => {
    const { ref } = request.grant;
    const version = request.known?.version;
    const canDescribe =
      version !== undefined &&
      ref.version === undefined &&
      deniedShortcuts.isAllowed('DescribeSecret', request);
    if (canDescribe && (await isUnchanged(request, version))) return { kind: 'unchanged', version };
    const value = await authenticatedCall(request, (context) => getSecretValue(deps, context, ref));
    return { kind: 'value', value };
  };

  return (requests: readonly Request[]) =>
    readInBatches(requests, {
      ...{ max: maxBatchSize, authenticatedCall, readSingle },
      isBatchable: (request) =>
        request.urgency === 'first' &&
        isCurrentVersion(request) &&
        deniedShortcuts.isAllowed('BatchGetSecretValue', request),
      async readBatch(batch, context) {
        const refs = batch.map(({ grant }) => grant.ref);
        const values = await batchGetSecretValue(deps, context, refs);
        return values.map((value) => value && { kind: 'value', value });
      },
      onBatchFailure: (error, [first]) =>
        canReadPlainly('BatchGetSecretValue', error, first) ? 'alone' : 'fail',
    });
}

/** BatchGetSecretValue reads no other version. */
function isCurrentVersion({ grant }: Request): boolean {
  const { version, stage = 'AWSCURRENT' } = grant.ref;
  return version === undefined && stage === 'AWSCURRENT';
}
