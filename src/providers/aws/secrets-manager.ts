import * as z from 'zod';
import { SecretError, toSecretError } from '../../core/errors.ts';
import type { ListedSecret } from '../../core/host-store.ts';
import type { SecretRef } from '../../core/plan.ts';
import type { FetchRequest, FetchResult, SecretValue } from '../../core/provider.ts';
import { readBody } from '../../http/response.ts';
import type { AuthenticatedCall } from '../shared/reads/authenticated-call.ts';
import { readInBatches, shouldReadIndividually } from '../shared/reads/batches.ts';
import type { DeniedShortcuts } from '../shared/reads/denied-shortcuts.ts';
import { type Api, type AwsCallContext, callStore, resourceOf } from './call.ts';
import type { AwsCredential } from './types.ts';

/** The limit of BatchGetSecretValue. */
const maxBatchSize = 20;

const secretSchema = z.object({
  ARN: z.string().nullish(),
  Name: z.string().nullish(),
  VersionId: z.string().regex(/^[\x21-\x7e]{1,256}$/),
  SecretString: z.string().nullish(),
  /** Base64. */
  SecretBinary: z.string().nullish(),
});

type Secret = z.infer<typeof secretSchema>;

const batchSchema = z.object({ SecretValues: z.array(z.unknown()).nullish() });

const descriptionSchema = z.object({
  VersionIdsToStages: z.record(z.string(), z.array(z.string())).nullish(),
  /** Seconds since the epoch. */
  DeletedDate: z.number().nullish(),
});

const serviceName = 'Secrets Manager';

/** Reads one version of a secret. @throws SecretError; see {@link callStore} */
async function getSecretValue(
  api: Api,
  context: AwsCallContext,
  ref: SecretRef,
): Promise<SecretValue> {
  const { name, version, stage } = ref;
  const response = await callStore(api, context, {
    ...{ service: 'secretsmanager', operation: 'GetSecretValue' },
    input: {
      SecretId: name,
      ...(version !== undefined && { VersionId: version }),
      ...(stage !== undefined && { VersionStage: stage }),
    },
    resource: resourceOf('secretsmanager', context, name),
  });
  return valueOf(readBody(response, secretSchema, serviceName), ref);
}

/**
 * Returns the id of the version that has the ref's stage now. Undefined if no version has it, or
 * the secret is scheduled for deletion.
 * @throws SecretError; see {@link callStore}
 */
async function getStagedVersion(
  api: Api,
  context: AwsCallContext,
  { name, stage = 'AWSCURRENT' }: SecretRef,
): Promise<string | undefined> {
  const response = await callStore(api, context, {
    ...{ service: 'secretsmanager', operation: 'DescribeSecret', input: { SecretId: name } },
    resource: resourceOf('secretsmanager', context, name),
  });
  const description = readBody(response, descriptionSchema, serviceName);
  const { VersionIdsToStages: stagesByVersion, DeletedDate: deletedAt } = description;
  if (typeof deletedAt === 'number') return undefined;
  return versionOf(stagesByVersion, stage);
}

/**
 * Reads the current versions of up to 20 secrets, in the order of the refs. Undefined for a secret
 * that the response does not contain, for any cause.
 * @throws SecretError; see {@link callStore}
 */
async function batchGetSecretValue(
  api: Api,
  context: AwsCallContext,
  refs: readonly SecretRef[],
): Promise<readonly (SecretValue | undefined)[]> {
  const response = await callStore(api, context, {
    ...{ service: 'secretsmanager', operation: 'BatchGetSecretValue', resource: '*' },
    input: { SecretIdList: refs.map(({ name }) => name) },
  });
  const { SecretValues: items } = readBody(response, batchSchema, serviceName);
  const secrets = (items ?? []).flatMap((item) => secretSchema.safeParse(item).data ?? []);
  return refs.map((ref) => {
    const secret = secrets.find((each) => isSecretOf(each, ref.name));
    return secret && valueOf(secret, ref);
  });
}

const listSchema = z.object({
  SecretList: z
    .array(
      z.object({
        Name: z.string(),
        /** Seconds since the epoch, with a fraction; within what Date can hold. */
        LastChangedDate: z.number().min(0).max(8.64e12).nullish(),
        SecretVersionsToStages: z.record(z.string(), z.array(z.string())).nullish(),
      }),
    )
    .nullish(),
  NextToken: z.string().nullish(),
});

/**
 * Reads a page of the list of secrets, without those that are scheduled for deletion.
 * @param page.limit from 1 to 100
 * @param page.marker from the page before
 * @throws SecretError; see {@link callStore}
 */
export async function listSecrets(
  api: Api,
  context: AwsCallContext,
  { limit, marker }: { readonly limit: number; readonly marker?: string | undefined },
): Promise<{ readonly items: readonly ListedSecret[]; readonly next: string | undefined }> {
  const response = await callStore(api, context, {
    ...{ service: 'secretsmanager', operation: 'ListSecrets', resource: '*' },
    input: { MaxResults: limit, ...(marker !== undefined && { NextToken: marker }) },
  });
  const { SecretList: secrets, NextToken: next } = readBody(response, listSchema, serviceName);
  return { items: (secrets ?? []).map(toListedSecret), next: next ?? undefined };
}

function toListedSecret({
  Name: path,
  LastChangedDate: changedAt,
  SecretVersionsToStages: stagesByVersion,
}: NonNullable<z.infer<typeof listSchema>['SecretList']>[number]): ListedSecret {
  const version = versionOf(stagesByVersion, 'AWSCURRENT');
  return {
    path,
    ...(version !== undefined && { version }),
    ...(typeof changedAt === 'number' && { changedAt: Math.round(changedAt * 1_000) }),
  };
}

function versionOf(
  stagesByVersion: Readonly<Record<string, readonly string[]>> | null | undefined,
  stage: string,
): string | undefined {
  return Object.entries(stagesByVersion ?? {}).find(([, stages]) => stages.includes(stage))?.[0];
}

/** The value of a secret, after a check that it is the version that was requested. */
function valueOf(secret: Secret, { name, version }: SecretRef): SecretValue {
  const { VersionId: versionId, SecretString: text, SecretBinary: base64 } = secret;
  if (!isSecretOf(secret, name))
    throw invalidResponseError('another secret than the requested one');
  if (version !== undefined && versionId !== version)
    throw invalidResponseError('another version than the requested one');
  return {
    bytes: bytesOf(text, base64),
    version: versionId,
    ...(version !== undefined && { immutable: true }),
  };
}

function bytesOf(text: Secret['SecretString'], base64: Secret['SecretBinary']): Uint8Array {
  if (typeof text === 'string') {
    if (!text.isWellFormed()) throw invalidResponseError('a text that is not Unicode');
    return Buffer.from(text);
  }
  if (typeof base64 !== 'string') throw invalidResponseError('neither text nor bytes');
  const bytes = Buffer.from(base64, 'base64');
  if (bytes.toString('base64') !== base64)
    throw invalidResponseError('a binary secret that is not base64');
  return bytes;
}

/**
 * Whether a secret of a response has the requested name, the requested ARN, or the requested ARN
 * and the six characters that AWS adds to the name.
 */
function isSecretOf(
  { Name: name, ARN: arn }: Pick<Secret, 'Name' | 'ARN'>,
  requestedName: string,
): boolean {
  if (!requestedName.startsWith('arn:')) return name === requestedName;
  return arn === requestedName || arn?.replace(/-[A-Za-z0-9]{6}$/, '') === requestedName;
}

function invalidResponseError(description: string): SecretError {
  return new SecretError('STORE_ANSWER_INVALID', `${serviceName} sent ${description}`);
}

type Request = FetchRequest<AwsCredential>;
type Shortcut = 'BatchGetSecretValue' | 'DescribeSecret';

/** See {@link createSecretsFetch}. */
type SecretsFetchDeps = {
  readonly api: Api;
  readonly authenticatedCall: AuthenticatedCall<AwsCredential>;
  readonly deniedShortcuts: DeniedShortcuts<Shortcut>;
};

/**
 * Reads secrets of Secrets Manager. It uses two operations that save calls, unless AWS denied them
 * within the last hour: BatchGetSecretValue for the secrets that a mount waits for, and
 * DescribeSecret, by which a refresh first checks whether the version changed.
 */
export function createSecretsFetch(deps: SecretsFetchDeps) {
  const { api, authenticatedCall, deniedShortcuts } = deps;

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
        getStagedVersion(api, context, ref),
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
    const value = await authenticatedCall(request, (context) => getSecretValue(api, context, ref));
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
        const values = await batchGetSecretValue(api, context, refs);
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
