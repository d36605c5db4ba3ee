import { randomUUID } from 'node:crypto';
import type { Logger } from 'pino';
import { CircuitBreaker } from '../../../concurrency/circuit-breaker.ts';
import { type Retry, isTransient as isRetryableError } from '../../../concurrency/retry.ts';
import { SecretError } from '../../../core/errors.ts';
import type { Redacted } from '../../../core/redacted.ts';
import { sanitizeExternalText } from '../../../core/safe-text.ts';
import { type JsonValue, parseJsonText } from '../../../formats/json.ts';
import type { HttpClient, HttpResponse } from '../../../http/client.ts';
import { retryAfterOf } from '../../../http/response.ts';
import type { VaultLogin } from '../types.ts';
import { type NodeResponse, createCluster } from './cluster.ts';
import {
  isUnknownNamespace,
  classifyErrorResponse,
  transientError,
  describePath,
  productName,
  parseErrorResponse,
} from '../errors.ts';
import { type Node, createNodes } from './nodes.ts';
import { createTlsFiles } from './tls-files.ts';

/** One question to Vault. */
export type VaultCall = {
  readonly login: VaultLogin;
  readonly token?: Redacted;
  /** `LIST` goes as a GET with `list=true`. */
  readonly method: string;
  /** Below `v1/`, percent-encoded already, with its query: `secret/data/app?version=3`. */
  readonly path: string;
  /** JSON. */
  readonly body?: string;
  readonly signal: AbortSignal;
  /** It may issue something (a token, a lease, a certificate): never sent again unless it is sure that nobody has seen it. */
  readonly mayIssue: boolean;
  /** Instead of the login's; the empty text: none. */
  readonly namespace?: string;
  /** Awaited before each attempt: the rate limiter. */
  readonly beforeAttempt?: () => Promise<void>;
  /** Statuses below 500 that are returned too, for the caller to judge: `[400]`. */
  readonly accept?: readonly number[];
};

/** Method and path as they go over the wire: proxies let no method LIST through. */
export function toWireRequest({ method, path }: VaultCall): {
  readonly method: string;
  readonly path: string;
} {
  if (method !== 'LIST') return { method, path };
  return { method: 'GET', path: `${path}${path.includes('?') ? '&' : '?'}list=true` };
}

/** An Agent that is told to refuses whoever does not send it: so no web page can be made to ask it. */
export const fixedHeaders = { 'x-vault-request': 'true' };

/** @throws SecretError for what no header can hold */
export function headersOf({
  login,
  token,
  body,
  mayIssue,
  namespace = login.namespace ?? '',
}: VaultCall): Record<string, string> {
  if (!isHeader(namespace))
    throw new SecretError('INVALID_CLASS', `"${sanitizeExternalText(namespace)}" is no namespace`);
  const secret = token?.reveal() ?? '';
  if (!isHeader(secret))
    throw new SecretError(
      'NOT_CONFIGURED',
      'the token has characters in it that no token of Vault has',
      {
        hint: 'look for a line break or a space in what it comes from',
      },
    );
  return {
    ...fixedHeaders,
    ...(secret !== '' && { 'x-vault-token': secret }),
    ...(namespace !== '' && { 'x-vault-namespace': namespace }),
    ...(body !== undefined && { 'content-type': 'application/json' }),
    // An Agent or a Proxy that caches gives the same lease, or token, to whoever asks the same with the same headers; each of ours is asked for anew.
    ...(mayIssue && { 'x-request-id': randomUUID() }),
  };
}

function isHeader(text: string): boolean {
  return /^[\x21-\x7e]*$/.test(text);
}

/** Where a request goes, and how. */
export type Target = {
  readonly url: URL;
  readonly socketPath?: string;
};

/**
 * A path of Vault at one of its addresses.
 * @param address as a login has it: `https://vault:8200`, `unix:///run/agent.sock`
 * @param path below `v1/`, percent-encoded, with its query
 * @throws SecretError INVALID_CLASS for a path that would be sent as another, as `a/../../b` would
 */
export function targetOf(address: string, path: string): Target {
  const [, socketPath] = /^unix:\/\/(\/.+)$/.exec(address) ?? [];
  const origin = socketPath === undefined ? address : 'http://localhost';
  const url = new URL(`${origin}/v1/${path}`);
  if (`${url.pathname}${url.search}` !== `/v1/${path}`)
    throw new SecretError(
      'INVALID_CLASS',
      `${sanitizeExternalText(path.replace(/\?.*$/s, ''))} is no path of Vault`,
      {
        hint: 'a path must be percent-encoded, and has no "." or ".." in it',
      },
    );
  return { url, ...(socketPath !== undefined && { socketPath }) };
}

/** What Vault answered: 200 to 299, 404, or a status the call accepts. */
export type VaultResponse = {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
  /** Which of the login's addresses answered. */
  readonly address: string;
  /** The body, every number as it stood. @throws SecretError STORE_ANSWER_INVALID */
  json(): JsonValue;
};

/** See {@link createVaultApi}. */
export type VaultApi = {
  /**
   * Asks the addresses of the login, by turns where that helps.
   * @throws SecretError, its text naming path, role, mount and namespace and never a token:
   *   CREDENTIALS_REFUSED (403: the token itself is bad: expired, revoked, over its max TTL), ACCESS_DENIED (403: its policies),
   *   STORE_REFUSED_REQUEST (other 4xx), STORE_UNAVAILABLE (nobody there, sealed, 5xx), STORE_TIMEOUT, STORE_THROTTLED (429),
   *   STORE_ANSWER_INVALID (no Vault; a redirect that is not followed), STORE_ANSWER_TOO_LARGE, NOT_CONFIGURED (TLS files),
   *   INVALID_CLASS (a path that is none); the signal's reason
   */
  call(call: VaultCall): Promise<VaultResponse>;
};

/** What {@link createVaultApi} needs. */
export type VaultApiDeps = {
  readonly http: HttpClient;
  readonly retry: Retry;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** From 0 up to, but not, 1. */
  readonly random?: () => number;
  readonly log: Logger;
};

/** A read that is slow may be asked of another node in time; what issues (a user in a slow database) gets nearly all there is. */
const timeouts = { readMs: 10_000, issueMs: 25_000, healthMs: 3_000 };

/** The one way to Vault: by turns over its addresses, tried again where that helps, errors told without what they repeat of a secret. */
export function createVaultApi(deps: VaultApiDeps): VaultApi {
  const { http, retry, now, random, log } = deps;
  const tlsFiles = createTlsFiles({ now });

  const send = async (
    { login, address }: Node,
    path: string,
    request: Omit<Parameters<HttpClient['request']>[0], 'url'>,
  ): Promise<HttpResponse> => {
    const target = targetOf(address, path);
    const tls = target.url.protocol === 'https:' ? await tlsFiles.read(login.tls) : undefined;
    return http.request({ ...request, ...target, ...(tls !== undefined && { tls }) });
  };

  const health = async (node: Node, signal: AbortSignal): Promise<number> => {
    const { healthMs: timeoutMs } = timeouts;
    const { status } = await send(node, 'sys/health', {
      method: 'GET',
      headers: fixedHeaders,
      signal,
      timeoutMs,
    });
    return status;
  };

  const breaker = new CircuitBreaker({ now, ...(random !== undefined && { random }) });
  const cluster = createCluster({
    nodes: createNodes({ breaker, health }),
    onFailover: (from, to) => log.warn({ from, to }, 'another address of vault answers'),
  });

  const attempt = (call: VaultCall): Promise<NodeResponse> => {
    const { login, mayIssue, signal, body } = call;
    const { method, path } = toWireRequest(call);
    const headers = headersOf(call);
    return cluster.request({ login, mayIssue, signal }, (address) =>
      send({ login, address }, path, {
        ...{ method, headers, signal, ...(body !== undefined && { body }) },
        timeoutMs: mayIssue ? timeouts.issueMs : timeouts.readMs,
      }),
    );
  };

  return {
    async call(call) {
      const { login, mayIssue, signal, accept = [] } = call;
      const isRetryable = (error: SecretError): boolean =>
        isRetryableError(error) && (error.unsent || !mayIssue);
      const { response, address } = await retry.run(
        login.addresses.join(','),
        signal,
        async () => {
          try {
            await call.beforeAttempt?.();
            const nodeResponse = await attempt(call);
            const { response, address } = nodeResponse;
            if (!isTransient(response)) return nodeResponse;
            const retryAfterMs = retryAfterOf(response.headers, now()) ?? 0;
            const error = transientError(parseErrorResponse(response), call, address);
            throw withMinRetryAfter(error, retryAfterMs);
          } catch (thrown) {
            if (!(thrown instanceof SecretError)) throw thrown;
            // A node that the circuit breaker just opened takes no request before its cooldown ends.
            throw withMinRetryAfter(thrown, cluster.cooldownMs(login));
          }
        },
        isRetryable,
      );
      const { status, headers, body } = response;
      if (status >= 300) {
        const errorResponse = parseErrorResponse(response);
        const isAccepted =
          accept.includes(status) || (status === 404 && !isUnknownNamespace(errorResponse));
        if (!isAccepted || !errorResponse.isFromVault)
          throw classifyErrorResponse(errorResponse, call);
      }
      return { status, headers, body, address, json: () => parse(body, call) };
    },
  };
}

/** What is worth another attempt in a moment: a node that has not caught up, a quota, trouble inside. */
function isTransient({ status }: HttpResponse): boolean {
  return status === 412 || status === 429 || status >= 500;
}

function withMinRetryAfter(error: SecretError, minMs: number): SecretError {
  const { code, message, hint, unsent, retryAfterMs = 0 } = error;
  if (retryAfterMs >= minMs) return error;
  return new SecretError(code, message, { hint, unsent, retryAfterMs: minMs });
}

function parse(body: Buffer, { login, ...call }: VaultCall): JsonValue {
  try {
    return parseJsonText(new TextDecoder('utf-8', { fatal: true }).decode(body));
  } catch {
    throw new SecretError(
      'STORE_ANSWER_INVALID',
      `${productName(login)} answered ${describePath(call)} with something that is not JSON`,
      { hint: 'check that the address is the right one, and no proxy answers in its place' },
    );
  }
}
