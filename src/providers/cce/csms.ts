import * as z from 'zod';
import { SecretError } from '../../core/errors.ts';
import type { ListedSecret } from '../../core/host-store.ts';
import type { SecretValue } from '../../core/provider.ts';
import { encodeSegment } from '../../http/endpoint.ts';
import type { HttpResponse } from '../../http/client.ts';
import { readBody } from '../../http/response.ts';
import { classify } from '../shared/reads/store-errors.ts';
import type { ApiCall, ApiResult } from './call.ts';
import { csmsErrors, isUndocumentedCsmsCode } from './errors.ts';
import { type CceCredential, secretsOf } from './types.ts';

/** Where a call goes, and the credential of it. */
export type CsmsRequest = {
  readonly project: string;
  readonly credential: CceCredential;
  readonly signal: AbortSignal;
  /** Awaited before each attempt: the rate limiter. */
  readonly beforeAttempt: () => Promise<void>;
};

/** A version of a secret. */
export type SecretVersionRequest = CsmsRequest & {
  /** Matches CSMS's pattern, and is neither `.` nor `..`. */
  readonly name: string;
  /** `v1`, ... or `latest`. */
  readonly version: string;
};

/** A page of the list of secrets. */
export type SecretListRequest = CsmsRequest & {
  readonly limit: number;
  /** Of the page before. Absent: the first page. */
  readonly marker?: string | undefined;
};

/** The secrets of a page that can be read. */
export type SecretList = {
  readonly items: readonly ListedSecret[];
  /** The marker of the next page. */
  readonly next: string | undefined;
};

/** See {@link createCsmsClient}. */
export type CsmsClient = {
  /**
   * Reads a version of a secret. A fixed version never changes.
   * @throws SecretError; its message contains neither the secret's name nor a part of its value
   */
  showVersion(versionRequest: SecretVersionRequest): Promise<SecretValue>;
  /** @throws SecretError */
  listSecrets(listRequest: SecretListRequest): Promise<SecretList>;
};

const nullableString = z.string().nullish();
const versionResponseSchema = z.object({
  version: z.object({
    version_metadata: z.object({ id: z.string(), secret_name: z.string() }),
    secret_string: nullableString,
    secret_binary: nullableString,
  }),
});
const listResponseSchema = z.object({
  secrets: z.array(
    z.object({ name: z.string(), state: z.string(), update_time: z.number().nullish() }),
  ),
  page_info: z.object({ next_marker: nullableString }).nullish(),
});
const secretResponseSchema = z.object({ secret: z.object({ state: z.string() }) });

const readPermission = 'csms:secret:getVersion, and kms:cmk:decryptDataKey for the key';

/** The Cloud Secret Management Service of one region, API v1. */
export function createCsmsClient({
  call,
  endpoint,
  endpointHint,
}: {
  readonly call: ApiCall;
  readonly endpoint: URL;
  /** The remedy where another server responds. */
  readonly endpointHint: string;
}): CsmsClient {
  const get = (
    { project, credential, signal, beforeAttempt }: CsmsRequest,
    path: string,
  ): Promise<ApiResult> =>
    call({
      method: 'GET',
      url: new URL(`/v1/${encodeSegment(project)}/secrets${path}`, endpoint),
      headers: { 'X-Project-Id': project },
      credential,
      signal,
      beforeAttempt,
    });

  /** Reads the state of the secret, such as `FROZEN`. Undefined if CSMS does not allow it. */
  const readState = async (versionRequest: SecretVersionRequest): Promise<string | undefined> => {
    const result = await get(versionRequest, `/${encodeSegment(versionRequest.name)}`);
    if (result.error !== undefined) return undefined;
    const { state } = readBody(result.response, secretResponseSchema, 'CSMS').secret;
    return /^[A-Z_]{1,40}$/.test(state) ? state : undefined;
  };

  return {
    async showVersion(versionRequest) {
      const { name, version, credential } = versionRequest;
      const path = `/${encodeSegment(name)}/versions/${encodeSegment(version)}`;
      const result = await get(versionRequest, path);
      if (result.error === undefined) return parseVersion(result.response, versionRequest);
      const { error } = result;
      const context = { ...result.context, version, permission: readPermission, endpointHint };
      const secrets = secretsOf(credential);
      if (isUndocumentedCsmsCode(error)) {
        const state = await readState(versionRequest).catch(() => undefined);
        if (state !== undefined && state !== 'ENABLED')
          throw classify(notEnabled(state), error, context, secrets);
      }
      throw classify(csmsErrors, error, context, secrets);
    },
    async listSecrets(listRequest) {
      const { limit, marker, credential } = listRequest;
      const query = new URLSearchParams({
        limit: String(limit),
        ...(marker !== undefined && { marker }),
      });
      const result = await get(listRequest, `?${query.toString()}`);
      if (result.error === undefined) return parseList(result.response);
      const permission = 'csms:secret:list';
      const context = { ...result.context, version: 'latest', permission, endpointHint };
      throw classify(csmsErrors, result.error, context, secretsOf(credential));
    },
  };
}

function parseList(response: HttpResponse): SecretList {
  const { secrets, page_info: page } = readBody(response, listResponseSchema, 'CSMS');
  const marker = page?.next_marker;
  return {
    items: secrets
      .filter(({ state }) => state === 'ENABLED')
      .map(({ name, update_time: updatedAt }) => ({
        path: name,
        ...(typeof updatedAt === 'number' && { changedAt: toMilliseconds(updatedAt) }),
      })),
    next: typeof marker === 'string' && marker !== '' ? marker : undefined,
  };
}

/** The API reference says seconds, and the service sends milliseconds. */
function toMilliseconds(time: number): number {
  return time < 100_000_000_000 ? time * 1_000 : time;
}

function notEnabled(state: string): typeof csmsErrors {
  const message = `it is not enabled but ${state}`;
  return [{ match: () => true, code: 'OBJECT_DISABLED', message }];
}

/** Checks that the response has the requested version, and returns its value. */
function parseVersion(
  response: HttpResponse,
  { name, version }: SecretVersionRequest,
): SecretValue {
  const versionBody = readBody(response, versionResponseSchema, 'CSMS').version;
  const { id, secret_name: secretName } = versionBody.version_metadata;
  if (secretName !== name) throw invalidResponseError('another secret than the requested one');
  if (version === 'latest' ? !/^v[0-9]{1,10}$/.test(id) : id !== version)
    throw invalidResponseError('another version than the requested one');
  return {
    bytes: parseValue(versionBody),
    version: id,
    ...(version !== 'latest' && { immutable: true }),
  };
}

function parseValue(versionBody: z.infer<typeof versionResponseSchema>['version']): Uint8Array {
  const { secret_string: string, secret_binary: binary } = versionBody;
  // A secret is created as text or as binary. The other field is missing, null or empty.
  if (typeof binary === 'string' && binary !== '') {
    if (typeof string === 'string' && string !== '')
      throw invalidResponseError('a secret that is text and binary at once');
    const bytes = Buffer.from(binary, 'base64');
    if (bytes.toString('base64') !== binary)
      throw invalidResponseError('a binary secret that is not base64');
    return bytes;
  }
  if (typeof string === 'string') {
    if (!string.isWellFormed()) throw invalidResponseError('a text that is not Unicode');
    return Buffer.from(string);
  }
  if (binary === '') return Buffer.alloc(0);
  throw invalidResponseError('a version without a value');
}

function invalidResponseError(description: string): SecretError {
  return new SecretError('STORE_ANSWER_INVALID', `CSMS sent ${description}`);
}
