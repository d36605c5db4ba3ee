import { withTimeout } from '../concurrency/single-flight.ts';
import { SecretError } from '../core/errors.ts';
import { type TlsSettings, createDispatchers } from './connections.ts';
import { toHttpError } from './errors.ts';
import { type ProxyOptions, createProxyChoice } from './proxy.ts';

/** One request. */
export type HttpRequest = {
  readonly method: string;
  /** User name, password and fragment are not sent. */
  readonly url: URL;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
  readonly signal: AbortSignal;
  /** For all of it, connecting and the last byte included. Default 10 s. */
  readonly timeoutMs?: number;
  /** The longest body that is taken. Default 1 MiB. */
  readonly maxBytes?: number;
  /** Takes the body of a 200 as it comes, however long it is: the answer then has none. What it throws ends the request. */
  readonly onData?: (piece: Uint8Array) => void;
  /** Never by a proxy: metadata services, the API server. */
  readonly direct?: boolean;
  readonly tls?: TlsSettings;
  /** A unix socket to ask instead of the host, never by a proxy. */
  readonly socketPath?: string;
};

/** What came back, whatever its status. */
export type HttpResponse = {
  readonly status: number;
  /** Names in lower case; of several values one, joined by `, `. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
};

/** Outgoing HTTP/1.1. Follows no redirect and tries nothing twice. */
export type HttpClient = {
  /**
   * @throws SecretError STORE_UNAVAILABLE (DNS, connection, TLS), STORE_TIMEOUT, STORE_ANSWER_INVALID (not HTTP),
   *   STORE_ANSWER_TOO_LARGE, NOT_CONFIGURED (TLS settings), SHUTTING_DOWN after `close`; the signal's reason when it fires.
   *   Messages name host and cause, never path, query, headers or body.
   */
  request(request: HttpRequest): Promise<HttpResponse>;
  /** Breaks what is under way; afterwards nothing is asked any more. */
  close(): Promise<void>;
};

/** See {@link createHttpClient}. */
export type HttpClientOptions = {
  readonly proxy?: ProxyOptions;
  /** PEM: authorities trusted beside those Node trusts by default. */
  readonly ca?: readonly string[];
  /** For each connection, TLS included. */
  readonly connectTimeoutMs?: number;
  /** At once, to one origin; further requests wait for one of them. */
  readonly connections?: number;
};

/**
 * Makes the one outgoing door. Connections are kept for some seconds after use.
 * @throws SecretError NOT_CONFIGURED for a proxy setting that cannot be understood
 */
export function createHttpClient(options: HttpClientOptions = {}): HttpClient {
  const { proxy = {}, ca = [], connectTimeoutMs = 3_000, connections = 100 } = options;
  const proxyFor = createProxyChoice(proxy);
  const dispatchers = createDispatchers({ ca, connectTimeoutMs, connections });
  let closed = false;

  async function exchange(
    request: HttpRequest,
    proxyUrl: URL | undefined,
    signal: AbortSignal,
  ): Promise<HttpResponse> {
    const {
      method,
      url,
      headers = {},
      body = null,
      tls,
      socketPath,
      maxBytes = 1_048_576,
      onData,
    } = request;
    const target = describeTarget(request, proxyUrl);
    if (closed)
      throw new SecretError('SHUTTING_DOWN', `${target} is not asked any more: Keyferry stops`);
    try {
      const dispatcher = await dispatchers.to({ proxy: proxyUrl, tls, socketPath });
      const response = await dispatcher.request({
        origin: url.origin,
        path: `${url.pathname}${url.search}`,
        method,
        // A copy: undici's proxy agent writes the host into what it is given, and callers use their headers again, for other hosts.
        headers: { ...headers },
        body:
          body instanceof Uint8Array
            ? Buffer.from(body.buffer, body.byteOffset, body.byteLength)
            : body,
        signal,
      });
      const isStreamed = onData !== undefined && response.statusCode === 200;
      if (isStreamed)
        for await (const piece of response.body as AsyncIterable<Uint8Array>) onData(piece);
      return {
        status: response.statusCode,
        headers: joinHeaderValues(response.headers),
        body: isStreamed ? Buffer.alloc(0) : await collectBody(response.body, maxBytes, target),
      };
    } catch (thrown) {
      signal.throwIfAborted();
      throw toHttpError(thrown, target);
    }
  }

  return {
    async request(request) {
      const { url, signal, timeoutMs = 10_000, direct = false, socketPath } = request;
      const proxyUrl = direct || socketPath !== undefined ? undefined : proxyFor(url);
      const onTimeout = (): SecretError =>
        new SecretError(
          'STORE_TIMEOUT',
          `${describeTarget(request, proxyUrl)} did not answer within ${timeoutMs / 1_000} s`,
        );
      return withTimeout(timeoutMs, signal, onTimeout, (combined) =>
        exchange(request, proxyUrl, combined),
      );
    },
    async close() {
      closed = true;
      await dispatchers.close();
    },
  };
}

function describeTarget({ url, socketPath }: HttpRequest, proxyUrl: URL | undefined): string {
  if (socketPath !== undefined) return socketPath;
  return proxyUrl === undefined ? url.host : `${url.host} (by the proxy ${proxyUrl.host})`;
}

/** Leaving the loop early destroys the body, and with it the connection. */
async function collectBody(
  body: AsyncIterable<Uint8Array>,
  maxBytes: number,
  target: string,
): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of body) {
    length += chunk.length;
    if (length > maxBytes) {
      throw new SecretError(
        'STORE_ANSWER_TOO_LARGE',
        `${target} answered with more than ${maxBytes} bytes`,
      );
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, length);
}

function joinHeaderValues(
  headers: Readonly<Record<string, string | string[] | undefined>>,
): Record<string, string> {
  const flat = Object.create(null) as Record<string, string>;
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined) flat[name] = typeof value === 'string' ? value : value.join(', ');
  }
  return flat;
}
