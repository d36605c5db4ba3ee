import * as z from 'zod';
import type { RateLimiter } from '../../concurrency/rate-limiter.ts';
import { SecretError } from '../../core/errors.ts';
import type { FetchRequest, FetchResult, SecretValue } from '../../core/provider.ts';
import { encodeSegment } from '../../http/endpoint.ts';
import type { HttpResponse } from '../../http/client.ts';
import { readBody } from '../../http/response.ts';
import type { CredentialGate } from '../shared/credentials/credential-gate.ts';
import { createAuthenticatedCall } from '../shared/reads/authenticated-call.ts';
import { toReadResult } from '../shared/reads/read-result.ts';
import { classify } from '../shared/reads/store-errors.ts';
import type { Api, CallResult } from './api.ts';
import type { Credentials } from './credentials/index.ts';
import { csmsErrors, isUndocumentedCsmsCode } from './errors.ts';
import type { Projects } from './projects.ts';
import { type CceCredential, secretsOf } from './types.ts';

/** Which version of which secret, and with which credential. */
export type SecretVersionRequest = {
  /** Matches CSMS's pattern, and is neither `.` nor `..`. */
  readonly name: string;
  /** `v1`, ... or `latest`. */
  readonly version: string;
  readonly project: string;
  readonly credential: CceCredential;
  readonly signal: AbortSignal;
  /** Awaited before each attempt: the rate limiter. */
  readonly beforeAttempt: () => Promise<void>;
};

/** See {@link createCsmsClient}. */
export type CsmsClient = {
  /**
   * Reads a version of a secret. A fixed version never changes.
   * @throws SecretError; its message contains neither the secret's name nor a part of its value
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

/** The Cloud Secret Management Service of one region, API v1. */
export function createCsmsClient({
  api,
  endpoint,
}: {
  readonly api: Api;
  readonly endpoint: URL;
}): CsmsClient {
  const get = (versionRequest: SecretVersionRequest, path: string): Promise<CallResult> => {
    const { project, name, credential, signal, beforeAttempt } = versionRequest;
    return api.call({
      method: 'GET',
      url: new URL(`/v1/${encodeSegment(project)}/secrets/${encodeSegment(name)}${path}`, endpoint),
      headers: { 'X-Project-Id': project },
      credential,
      signal,
      beforeAttempt,
    });
  };

  /** The state of the secret itself, such as `FROZEN`. Undefined if it cannot be read. */
  const readState = async (versionRequest: SecretVersionRequest): Promise<string | undefined> => {
    const { response } = { response: undefined, ...(await get(versionRequest, '')) };
    if (response === undefined) return undefined;
    const { state } = readBody(response, secretResponseSchema, 'CSMS').secret;
    return /^[A-Z_]{1,40}$/.test(state) ? state : undefined;
  };

  return {
    async showVersion(versionRequest) {
      const { version, credential } = versionRequest;
      const result = await get(versionRequest, `/versions/${encodeSegment(version)}`);
      if (result.error === undefined) return parseVersion(result.response, versionRequest);
      const { error, context } = result;
      const secrets = secretsOf(credential);
      if (isUndocumentedCsmsCode(error)) {
        const state = await readState(versionRequest).catch(() => undefined);
        if (state !== undefined && state !== 'ENABLED')
          throw classify(notEnabled(state), error, context, secrets);
      }
      throw classify(csmsErrors, error, context, secrets);
    },
  };
}

function notEnabled(state: string): typeof csmsErrors {
  const message = `it is not enabled but ${state}`;
  return [{ match: () => true, code: 'OBJECT_DISABLED', message }];
}

/** The value of a response, after a check that it is the version that was requested. */
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
  return new SecretError('STORE_ANSWER_INVALID', `CSMS answered with ${description}`);
}

/** See {@link createFetch}. */
export type FetchDeps = {
  readonly csms: CsmsClient;
  readonly credentials: Pick<Credentials, 'invalidate'>;
  readonly projects: Projects;
  readonly credentialGate: CredentialGate;
  readonly rateLimiter: RateLimiter;
  /** For messages. */
  readonly region: string;
};

type Request = FetchRequest<CceCredential>;

/** Reads each secret by a call of its own (docs/adr/0011). */
export function createFetch(deps: FetchDeps) {
  const { csms, credentials, projects, credentialGate, rateLimiter, region } = deps;
  const authenticatedCall = createAuthenticatedCall<CceCredential>({
    gate: { credentialGate, digestOf: ({ digest }) => digest },
    credentials,
    rateLimiterOf: () => rateLimiter,
  });

  const readSecret = async (request: Request): Promise<FetchResult> => {
    const { name, version = 'latest' } = request.grant.ref;
    const value = await authenticatedCall(request, async ({ principal, ...context }) => {
      const { credential, signal, beforeAttempt } = context;
      const project = await projects.find(principal, credential, signal);
      return csms.showVersion({ name, version, project, credential, signal, beforeAttempt });
    });
    return { kind: 'value', value };
  };

  return (requests: readonly Request[]): readonly Promise<FetchResult>[] =>
    requests.map((request) => {
      const { name, version = 'latest' } = request.grant.ref;
      return toReadResult(readSecret(request), `cce: secret ${name} (${version}) in ${region}`);
    });
}
