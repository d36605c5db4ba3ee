import * as z from 'zod';
import type { Budget } from '../../concurrency/rate-limiter.ts';
import { type ErrorCode, SecretError } from '../../core/errors.ts';
import type { FetchRequest, FetchResult, SecretValue } from '../../core/provider.ts';
import type { HttpAnswer } from '../../http/client.ts';
import { readBody } from '../../http/response.ts';
import { encodeSegment } from '../../http/endpoint.ts';
import type { Proving } from '../shared/credentials/credential-gate.ts';
import { createAttempts } from '../shared/reads/authenticated-call.ts';
import { settle } from '../shared/reads/read-result.ts';
import { type Api, isRefusal } from './api.ts';
import type { Credentials } from './credentials/index.ts';
import { type Fault, describeFault, readFault } from './errors.ts';
import type { Projects } from './projects.ts';
import { type CceCredential, secretsOf } from './types.ts';

/** Which version of which secret, and by whose rights. */
export type Question = {
  /** Fits CSMS's pattern, and is neither `.` nor `..`. */
  readonly name: string;
  /** `v1`, ... or `latest`. */
  readonly version: string;
  readonly project: string;
  readonly credential: CceCredential;
  readonly signal: AbortSignal;
  /** Awaited before each call: the rate budget. */
  readonly turn: () => Promise<void>;
};

/** See {@link createCsms}. */
export type Csms = {
  /**
   * A version of a secret. A fixed one never changes.
   * @throws SecretError; its message says neither the secret's name nor a word of its value
   */
  showVersion(question: Question): Promise<SecretValue>;
};

const text = z.string().nullish();
const shownVersion = z.object({
  version: z.object({
    version_metadata: z.object({ id: z.string(), secret_name: z.string() }),
    secret_string: text,
    secret_binary: text,
  }),
});
const shownSecret = z.object({ secret: z.object({ state: z.string() }) });

type Verdict = { readonly code: ErrorCode; readonly says: string; readonly hint?: string };

const notFound: Verdict = { code: 'OBJECT_NOT_FOUND', says: 'CSMS has no such secret, or not this version' };
const pendingDeletion: Verdict = { code: 'OBJECT_DISABLED', says: 'it is to be deleted' };
const badRequest: Verdict = { code: 'STORE_REFUSED_REQUEST', says: 'CSMS refused the request' };
const denied: Verdict = {
  code: 'ACCESS_DENIED',
  says: 'access is denied',
  hint: 'it needs csms:secret:getVersion, and kms:cmk:decryptDataKey for the key',
};

/** Exact codes come before classes: what is not found is HTTP 400. */
const verdicts: ReadonlyMap<string | undefined, Verdict> = new Map([
  ['CSMS.0106', notFound],
  ['CSMS.0005', notFound],
  ['CSMS.0103', pendingDeletion],
  ['CSMS.0107', pendingDeletion],
  ['CSMS.0002', badRequest],
  ['CSMS.0003', badRequest],
  ['CSMS.0004', badRequest],
  ['CSMS.0401', { ...denied, says: 'KMS did not decrypt it' }],
]);

/** The Cloud Secret Management Service of one region, API v1. */
export function createCsms({ api, endpoint }: { readonly api: Api; readonly endpoint: URL }): Csms {
  const get = async (question: Question, path: string): Promise<HttpAnswer> => {
    const { project, name, credential, signal, turn } = question;
    await turn();
    return api.call({
      method: 'GET',
      url: new URL(`/v1/${encodeSegment(project)}/secrets/${encodeSegment(name)}${path}`, endpoint),
      headers: { 'X-Project-Id': project },
      credential,
      signal,
    });
  };

  /** The codes of disabled and frozen secrets are not documented, so the secret itself is asked. */
  const explain = async (question: Question, fault: Fault): Promise<Verdict> => {
    const ofCsms = fault.code?.startsWith('CSMS.') === true;
    const state = ofCsms ? await stateOf(question).catch(() => undefined) : undefined;
    if (state !== undefined && state !== 'ENABLED')
      return { code: 'OBJECT_DISABLED', says: `it is not enabled but ${state}` };
    if (fault.status === 403) return denied;
    if (fault.status === 404 && ofCsms) return notFound;
    if (ofCsms || (fault.status === 400 && fault.code !== undefined)) return badRequest;
    return {
      code: 'STORE_ANSWER_INVALID',
      says: `${endpoint.host} does not answer as CSMS does`,
      hint: 'check HUAWEICLOUD_SDK_CSMS_ENDPOINT and the region',
    };
  };

  const stateOf = async (question: Question): Promise<string | undefined> => {
    const answer = await get(question, '');
    if (answer.status !== 200) return undefined;
    const { state } = readBody(answer, shownSecret, 'CSMS').secret;
    return /^[A-Z_]{1,40}$/.test(state) ? state : undefined;
  };

  return {
    async showVersion(question) {
      const { version, credential } = question;
      const answer = await get(question, `/versions/${encodeSegment(version)}`);
      if (answer.status === 200) return readVersion(answer, question);
      const fault = readFault(answer);
      const exact = verdicts.get(fault.code);
      if (exact === undefined && isRefusal(answer)) throw api.refusal(answer, credential);
      const { code, says, hint } = exact ?? (await explain(question, fault));
      const told = describeFault(fault, secretsOf(credential));
      throw new SecretError(code, `${says} ${told}`, hint === undefined ? {} : { hint });
    },
  };
}

/** What was answered, if it is what was asked. */
function readVersion(answer: HttpAnswer, { name, version }: Question): SecretValue {
  const shown = readBody(answer, shownVersion, 'CSMS').version;
  const { id, secret_name: shownName } = shown.version_metadata;
  if (shownName !== name) throw invalid('another secret than the one it was asked for');
  if (version === 'latest' ? !/^v[0-9]{1,10}$/.test(id) : id !== version)
    throw invalid('another version than the one it was asked for');
  return { bytes: readValue(shown), version: id, ...(version !== 'latest' && { immutable: true }) };
}

function readValue(shown: z.infer<typeof shownVersion>['version']): Uint8Array {
  const { secret_string: string, secret_binary: binary } = shown;
  // Which of the two a secret has is settled when it is made; the other one is missing, null or empty.
  if (typeof binary === 'string' && binary !== '') {
    if (typeof string === 'string' && string !== '')
      throw invalid('a secret that is text and binary at once');
    const bytes = Buffer.from(binary, 'base64');
    if (bytes.toString('base64') !== binary) throw invalid('a binary secret that is not base64');
    return bytes;
  }
  if (typeof string === 'string') {
    if (!string.isWellFormed()) throw invalid('a text that is not Unicode');
    return Buffer.from(string);
  }
  if (binary === '') return Buffer.alloc(0);
  throw invalid('a version without a value');
}

function invalid(what: string): SecretError {
  return new SecretError('STORE_ANSWER_INVALID', `CSMS answered with ${what}`);
}

/** See {@link createFetch}. */
export type FetchDeps = {
  readonly csms: Csms;
  readonly credentials: Pick<Credentials, 'refused'>;
  readonly projects: Projects;
  readonly proving: Proving;
  readonly budget: Budget;
  /** For messages. */
  readonly region: string;
};

type Request = FetchRequest<CceCredential>;

/** Reads each secret by a call of its own (docs/adr/0011). */
export function createFetch({ csms, projects, budget, region, ...deps }: FetchDeps) {
  const attempts = createAttempts<CceCredential>({
    ...deps,
    digestOf: ({ digest }) => digest,
    budgetOf: () => budget,
  });

  const read = async (request: Request): Promise<FetchResult> => {
    const { name, version = 'latest' } = request.grant.ref;
    const value = await attempts(request, async ({ principal, credential, signal, turn }) => {
      const project = await projects.find(principal, credential, signal);
      return csms.showVersion({ name, version, project, credential, signal, turn });
    });
    return { kind: 'value', value };
  };

  return (requests: readonly Request[]): readonly Promise<FetchResult>[] =>
    requests.map((request) => {
      const { name, version = 'latest' } = request.grant.ref;
      return settle(read(request), `cce: secret ${name} (${version}) in ${region}`);
    });
}
