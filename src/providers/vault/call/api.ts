import type { Logger } from 'pino';
import { CircuitBreaker } from '../../../concurrency/circuit-breaker.ts';
import { type Retry, isTransient } from '../../../concurrency/retry.ts';
import { SecretError } from '../../../core/errors.ts';
import { type JsonValue, parseJsonText } from '../../../formats/json.ts';
import type { HttpClient, HttpResponse } from '../../../http/client.ts';
import { classify, isKnownError } from '../../shared/reads/store-errors.ts';
import { describePath, productName } from '../describe.ts';
import {
  callErrors,
  isUnknownNamespace,
  parseErrorResponse,
  proxyHint,
  transientErrors,
} from '../errors.ts';
import { isPage } from '../plain-response.ts';
import { Cluster, type NodeResponse } from './cluster.ts';
import { type Node, Nodes, checkHealthStatus } from './nodes.ts';
import { type VaultCall, fixedHeaders, headersOf, targetOf, toWireRequest } from './request.ts';
import { type TlsFiles, createTlsFiles } from './tls-files.ts';

/** A success (200 to 299), a 404, or a response whose status the call accepts. */
export type VaultResponse = {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
  /** The address of the login that responded. */
  readonly address: string;
  /** Parses the body; numbers keep their characters. @throws SecretError STORE_ANSWER_INVALID */
  json(): JsonValue;
};

/** What the other parts of the provider need of {@link VaultClient}. */
export type VaultApi = {
  /**
   * Sends a call to the addresses of the login, in turn where that helps.
   * @throws SecretError. Its message names the path, role, mount and namespace, and never a token:
   *   CREDENTIALS_REFUSED (the token is bad: expired, revoked, over its max TTL), ACCESS_DENIED
   *   (its policies), STORE_REFUSED_REQUEST (other 4xx), STORE_UNAVAILABLE (no connection, sealed,
   *   5xx), STORE_TIMEOUT, STORE_THROTTLED (429), STORE_ANSWER_INVALID (not Vault; a redirect to
   *   another address), STORE_ANSWER_TOO_LARGE, NOT_CONFIGURED (TLS files), INVALID_CLASS (not a
   *   path); what `beforeAttempt` throws; the signal's reason
   */
  call(call: VaultCall): Promise<VaultResponse>;
};

/** See {@link VaultClient}. */
export type VaultClientOptions = {
  readonly http: HttpClient;
  readonly retry: Retry;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** From 0 up to, but not including, 1. Default Math.random. */
  readonly random?: () => number;
  readonly log: Logger;
};

/**
 * A slow read leaves time for another node. A call that may issue something (a user in a slow
 * database) gets nearly all the time there is.
 */
const timeouts = { readMs: 10_000, issueMs: 25_000, healthMs: 3_000 };
/** The longest time for which a node that failed gets no request: first mounts wait for it. */
const maxOpenMs = 2_000;

/** The client of Vault: failover between addresses, retries, and errors without secrets. */
export class VaultClient implements VaultApi {
  readonly #http: HttpClient;
  readonly #retry: Retry;
  readonly #now: () => number;
  readonly #tlsFiles: TlsFiles;
  readonly #cluster: Cluster;

  constructor({ http, retry, now, random, log }: VaultClientOptions) {
    this.#http = http;
    this.#retry = retry;
    this.#now = now;
    this.#tlsFiles = createTlsFiles({ now });
    const breaker = new CircuitBreaker({ now, maxOpenMs, ...(random !== undefined && { random }) });
    const health = (node: Node, signal: AbortSignal): Promise<number> => this.#health(node, signal);
    this.#cluster = new Cluster({
      nodes: new Nodes({ breaker, health, now }),
      onFailover: (login, { from, to }) =>
        log.warn(
          { provider: login.dialect, from, to },
          `another address of ${productName(login)} responds`,
        ),
    });
  }

  async call(call: VaultCall): Promise<VaultResponse> {
    const { login, mayIssue, isRepeatable = !mayIssue, signal, accept = [] } = call;
    const isRetryable = (error: SecretError): boolean =>
      isTransient(error) && (error.unsent || isRepeatable);
    const { response, address } = await this.#retry.run(
      login.addresses.join(','),
      signal,
      () => this.#attempt(call),
      isRetryable,
    );
    const { status, headers, body } = response;
    if (status >= 300) {
      const errorResponse = parseErrorResponse(response, this.#now());
      const isAccepted =
        accept.includes(status) || (status === 404 && !isUnknownNamespace(errorResponse));
      if (!isAccepted || !errorResponse.isFromVault)
        throw classify(callErrors, errorResponse, call, secretsOf(call));
    }
    return { status, headers, body, address, json: () => parse(response, call) };
  }

  /** Asks one node for its health, once. @throws SecretError where it serves no request */
  async checkHealth(node: Node, signal: AbortSignal): Promise<void> {
    checkHealthStatus(await this.#health(node, signal), node);
  }

  async #attempt(call: VaultCall): Promise<NodeResponse> {
    await call.beforeAttempt?.();
    try {
      const nodeResponse = await this.#sendToCluster(call);
      const { response, address } = nodeResponse;
      if (response.status < 300) return nodeResponse;
      const errorResponse = parseErrorResponse(response, this.#now());
      if (!isKnownError(transientErrors, errorResponse)) return nodeResponse;
      throw classify(transientErrors, errorResponse, { ...call, address }, secretsOf(call));
    } catch (thrown) {
      if (!(thrown instanceof SecretError)) throw thrown;
      // A node whose circuit breaker just opened gets no request before its cooldown ends.
      throw withMinRetryAfter(thrown, this.#cluster.cooldownMs(call.login));
    }
  }

  #sendToCluster(call: VaultCall): Promise<NodeResponse> {
    const { login, mayIssue, signal, waitSignal, body } = call;
    const { method, path } = toWireRequest(call);
    const headers = headersOf(call);
    const secrets = secretsOf(call);
    return this.#cluster.request({ login, mayIssue, secrets, signal }, (address) =>
      this.#send({ login, address }, path, {
        ...{ method, headers, signal, ...(body !== undefined && { body }) },
        ...(waitSignal !== undefined && { waitSignal }),
        timeoutMs: mayIssue ? timeouts.issueMs : timeouts.readMs,
      }),
    );
  }

  async #health(node: Node, signal: AbortSignal): Promise<number> {
    const { healthMs: timeoutMs } = timeouts;
    const { status } = await this.#send(node, 'sys/health', {
      method: 'GET',
      headers: fixedHeaders,
      signal,
      timeoutMs,
    });
    return status;
  }

  async #send(
    { login, address }: Node,
    path: string,
    request: Omit<Parameters<HttpClient['request']>[0], 'url'>,
  ): Promise<HttpResponse> {
    const target = targetOf(address, path);
    const isTls = target.url.protocol === 'https:';
    const tls = isTls ? await this.#tlsFiles.read(login.tls) : undefined;
    return this.#http.request({ ...request, ...target, ...(tls !== undefined && { tls }) });
  }
}

function secretsOf({ token, secrets = [] }: VaultCall): readonly string[] {
  return token === undefined ? secrets : [token.reveal(), ...secrets];
}

function withMinRetryAfter(error: SecretError, minMs: number): SecretError {
  const { retryAfterMs = 0 } = error;
  return retryAfterMs >= minMs ? error : error.with({ retryAfterMs: minMs });
}

function parse(response: HttpResponse, { login, path }: VaultCall): JsonValue {
  try {
    return parseJsonText(new TextDecoder('utf-8', { fatal: true }).decode(response.body));
  } catch {
    throw new SecretError(
      'STORE_ANSWER_INVALID',
      `${productName(login)} sent a response to ${describePath({ path })} that is not JSON`,
      { hint: isPage(response) ? proxyHint(login) : 'check the address, the path and the method' },
    );
  }
}
