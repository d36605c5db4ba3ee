import * as z from 'zod';
import type { RateLimiter } from '../../concurrency/rate-limiter.ts';
import { type ErrorCode, SecretError } from '../../core/errors.ts';
import type { FetchRequest, FetchResult, SecretValue } from '../../core/provider.ts';
import type { HttpResponse } from '../../http/client.ts';
import { readBody } from '../../http/response.ts';
import { encodeSegment } from '../../http/endpoint.ts';
import type { CredentialGate } from '../shared/credentials/credential-gate.ts';
import { createAuthenticatedCall } from '../shared/reads/authenticated-call.ts';
import { toReadResult } from '../shared/reads/read-result.ts';
import { type Api, isCredentialRejection } from './api.ts';
import type { Credentials } from './credentials/index.ts';
import {
  type CceErrorResponse,
  describeCceErrorResponse,
  parseCceErrorResponse,
} from './errors.ts';
import type { Projects } from './projects.ts';
import { type CceCredential, secretsOf } from './types.ts';

/** Which version of which secret, and by whose rights. */
export type SecretVersionRequest = {
  /** Fits CSMS's pattern, and is neither `.` nor `..`. */
  readonly name: string;
  /** `v1`, ... or `latest`. */
  readonly version: string;
  readonly project: string;
  readonly credential: CceCredential;
  readonly signal: AbortSignal;
  /** Awaited before each call: the rate budget. */
  readonly beforeCall: () => Promise<void>;
};

/** See {@link createCsmsClient}. */
export type CsmsClient = {
  /**
   * A version of a secret. A fixed one never changes.
   * @throws SecretError; its message says neither the secret's name nor a word of its value
   */
  showVersion(versionRequest: SecretVersionRequest): Promise<SecretValue>;
};

const nullableString = z.string().nullish();
const versionResponseSchema = z.object({
  version: z.object({
    version_metadata: z.object({ id: z.string(), secret_name: z.string() }),
    secret_string: nullableString,
    secret_binary: nullableString,
  }),
});
const secretResponseSchema = z.object({ secret: z.object({ state: z.string() }) });

type ErrorMapping = { readonly code: ErrorCode; readonly summary: string; readonly hint?: string };

const notFound: ErrorMapping = {
  code: 'OBJECT_NOT_FOUND',
  summary: 'CSMS has no such secret, or not this version',
};
const pendingDeletion: ErrorMapping = { code: 'OBJECT_DISABLED', summary: 'it is to be deleted' };
const badRequest: ErrorMapping = {
  code: 'STORE_REFUSED_REQUEST',
  summary: 'CSMS refused the request',
};
const accessDenied: ErrorMapping = {
  code: 'ACCESS_DENIED',
  summary: 'access is denied',
  hint: 'it needs csms:secret:getVersion, and kms:cmk:decryptDataKey for the key',
};

/** Exact codes come before classes: what is not found is HTTP 400. */
const errorMappings: ReadonlyMap<string | undefined, ErrorMapping> = new Map([
  ['CSMS.0106', notFound],
  ['CSMS.0005', notFound],
  ['CSMS.0103', pendingDeletion],
  ['CSMS.0107', pendingDeletion],
  ['CSMS.0002', badRequest],
  ['CSMS.0003', badRequest],
  ['CSMS.0004', badRequest],
  ['CSMS.0401', { ...accessDenied, summary: 'KMS did not decrypt it' }],
]);

/** The Cloud Secret Management Service of one region, API v1. */
export function createCsmsClient({
  api,
  endpoint,
}: {
  readonly api: Api;
  readonly endpoint: URL;
}): CsmsClient {
  const get = async (versionRequest: SecretVersionRequest, path: string): Promise<HttpResponse> => {
    const { project, name, credential, signal, beforeCall } = versionRequest;
    await beforeCall();
    return api.call({
      method: 'GET',
      url: new URL(`/v1/${encodeSegment(project)}/secrets/${encodeSegment(name)}${path}`, endpoint),
      headers: { 'X-Project-Id': project },
      credential,
      signal,
    });
  };

  /** The codes of disabled and frozen secrets are not documented, so the secret itself is asked. */
  const classifyError = async (
    versionRequest: SecretVersionRequest,
    errorResponse: CceErrorResponse,
  ): Promise<ErrorMapping> => {
    const isCsmsCode = errorResponse.code?.startsWith('CSMS.') === true;
    const state = isCsmsCode ? await stateOf(versionRequest).catch(() => undefined) : undefined;
    if (state !== undefined && state !== 'ENABLED')
      return { code: 'OBJECT_DISABLED', summary: `it is not enabled but ${state}` };
    if (errorResponse.status === 403) return accessDenied;
    if (errorResponse.status === 404 && isCsmsCode) return notFound;
    if (isCsmsCode || (errorResponse.status === 400 && errorResponse.code !== undefined))
      return badRequest;
    return {
      code: 'STORE_ANSWER_INVALID',
      summary: `${endpoint.host} does not answer as CSMS does`,
      hint: 'check HUAWEICLOUD_SDK_CSMS_ENDPOINT and the region',
    };
  };

  const stateOf = async (versionRequest: SecretVersionRequest): Promise<string | undefined> => {
    const response = await get(versionRequest, '');
    if (response.status !== 200) return undefined;
    const { state } = readBody(response, secretResponseSchema, 'CSMS').secret;
    return /^[A-Z_]{1,40}$/.test(state) ? state : undefined;
  };

  return {
    async showVersion(versionRequest) {
      const { version, credential } = versionRequest;
      const response = await get(versionRequest, `/versions/${encodeSegment(version)}`);
      if (response.status === 200) return parseVersion(response, versionRequest);
      const errorResponse = parseCceErrorResponse(response);
      const knownError = errorMappings.get(errorResponse.code);
      if (knownError === undefined && isCredentialRejection(response))
        throw api.credentialsRefusedError(response, credential);
      const { code, summary, hint } =
        knownError ?? (await classifyError(versionRequest, errorResponse));
      const description = describeCceErrorResponse(errorResponse, secretsOf(credential));
      throw new SecretError(code, `${summary} ${description}`, hint === undefined ? {} : { hint });
    },
  };
}

/** What was answered, if it is what was asked. */
function parseVersion(
  response: HttpResponse,
  { name, version }: SecretVersionRequest,
): SecretValue {
  const versionBody = readBody(response, versionResponseSchema, 'CSMS').version;
  const { id, secret_name: secretName } = versionBody.version_metadata;
  if (secretName !== name)
    throw invalidResponseError('another secret than the one it was asked for');
  if (version === 'latest' ? !/^v[0-9]{1,10}$/.test(id) : id !== version)
    throw invalidResponseError('another version than the one it was asked for');
  return {
    bytes: parseValue(versionBody),
    version: id,
    ...(version !== 'latest' && { immutable: true }),
  };
}

function parseValue(versionBody: z.infer<typeof versionResponseSchema>['version']): Uint8Array {
  const { secret_string: string, secret_binary: binary } = versionBody;
  // Which of the two a secret has is settled when it is made; the other one is missing, null or empty.
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
  return new SecretError('STORE_ANSWER_INVALID', `CSMS answered with ${description}`);
}

/** See {@link createFetch}. */
export type FetchDeps = {
  readonly csms: CsmsClient;
  readonly credentials: Pick<Credentials, 'refused'>;
  readonly projects: Projects;
  readonly credentialGate: CredentialGate;
  readonly rateLimiter: RateLimiter;
  /** For messages. */
  readonly region: string;
};

type Request = FetchRequest<CceCredential>;

/** Reads each secret by a call of its own (docs/adr/0011). */
export function createFetch({ csms, projects, rateLimiter, region, ...deps }: FetchDeps) {
  const authenticatedCall = createAuthenticatedCall<CceCredential>({
    ...deps,
    digestOf: ({ digest }) => digest,
    rateLimiterOf: () => rateLimiter,
  });

  const readSecret = async (request: Request): Promise<FetchResult> => {
    const { name, version = 'latest' } = request.grant.ref;
    const value = await authenticatedCall(
      request,
      async ({ principal, credential, signal, beforeCall }) => {
        const project = await projects.find(principal, credential, signal);
        return csms.showVersion({ name, version, project, credential, signal, beforeCall });
      },
    );
    return { kind: 'value', value };
  };

  return (requests: readonly Request[]): readonly Promise<FetchResult>[] =>
    requests.map((request) => {
      const { name, version = 'latest' } = request.grant.ref;
      return toReadResult(readSecret(request), `cce: secret ${name} (${version}) in ${region}`);
    });
}
