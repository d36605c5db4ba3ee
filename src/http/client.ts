import { currentCaller } from '../concurrency/caller.ts';
import { withTimeout } from '../concurrency/deadline.ts';
import { FairPlaces } from '../concurrency/fair-places.ts';
import { SecretError } from '../core/errors.ts';
import { Dispatchers, type TlsSettings } from './connections.ts';
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
  /** Ends the request while it waits for other requests; once sent, only `signal` ends it. */
  readonly waitSignal?: AbortSignal;
  /**
   * The time limit from the connection to the last byte, without the wait for other requests.
   * Default 10 s.
   */
  readonly timeoutMs?: number;
  /** The largest body that is accepted. Default 1 MiB. */
  readonly maxBytes?: number;
  /**
   * Receives the body of a 200 in pieces, without a size limit. The response then has no body. An
   * error that it throws ends the request.
   */
  readonly onData?: (piece: Uint8Array) => void;
  /** Bypasses the proxy: for metadata services and the API server. */
  readonly direct?: boolean;
  readonly tls?: TlsSettings;
  /** A unix socket that replaces the host. It bypasses the proxy. */
  readonly socketPath?: string;
};

/** A response with any status. */
export type HttpResponse = {
  readonly status: number;
  /** Names in lower case; several values are joined by `, `. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
};

/** A client for HTTP/1.1. It follows no redirects and never retries. */
export type HttpClient = {
  /**
   * @throws SecretError STORE_UNAVAILABLE (DNS, connection, TLS), STORE_TIMEOUT,
   *   STORE_ANSWER_INVALID (not HTTP), STORE_ANSWER_TOO_LARGE, NOT_CONFIGURED (TLS settings),
   *   RATE_BUDGET_EXHAUSTED (too many requests wait), SHUTTING_DOWN after `close`; the reason of
   *   the signal when it fires.
   *   Messages name the host and the cause, never path, query, headers or body.
   */
  request(request: HttpRequest): Promise<HttpResponse>;
  /** Aborts the requests in flight. Later requests fail. */
  close(): Promise<void>;
};

/** Options of {@link createHttpClient}. */
export type HttpClientOptions = {
  readonly proxy?: ProxyOptions;
  /** PEM: certificate authorities, in addition to those that Node trusts by default. */
  readonly ca?: readonly string[];
  /** The time limit to open a connection, TLS included. Default 3 s. */
  readonly connectTimeoutMs?: number;
  /**
   * The limit of connections to one origin. Further requests wait, fairly between namespaces; see
   * `FairPlaces`. Default 133: a namespace alone gets 100.
   */
  readonly connections?: number;
};

/**
 * Creates the client that all outgoing requests use. It keeps a connection for some seconds after
 * its last request.
 * @throws SecretError NOT_CONFIGURED for an invalid proxy setting
 */
export function createHttpClient(options: HttpClientOptions = {}): HttpClient {
  const { proxy = {}, ca = [], connectTimeoutMs = 3_000, connections = 133 } = options;
  const proxyFor = createProxyChoice(proxy);
  const dispatchers = new Dispatchers({ ca, connectTimeoutMs, connections });
  const placesByOrigin = new Map<string, FairPlaces>();
  let closed = false;

  /** Takes part in the connections to the origin of a request. The result gives the part back. */
  async function takePlace(request: HttpRequest): Promise<() => void> {
    const { url, socketPath, signal, waitSignal = signal } = request;
    waitSignal.throwIfAborted();
    const origin = socketPath ?? url.origin;
    const places =
      placesByOrigin.get(origin) ??
      new FairPlaces({ name: socketPath ?? url.host, limit: connections });
    placesByOrigin.set(origin, places);
    const release = await places.acquire(currentCaller().namespace, waitSignal);
    return () => {
      release();
      if (places.isIdle) placesByOrigin.delete(origin);
    };
  }

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
      throw new SecretError('SHUTTING_DOWN', `${target} gets no more requests: Keyferry stops`);
    try {
      const dispatcher = await dispatchers.to({ proxy: proxyUrl, tls, socketPath });
      const response = await dispatcher.request({
        origin: url.origin,
        path: `${url.pathname}${url.search}`,
        method,
        // A copy: undici's ProxyAgent adds the host to this object, and callers reuse their headers
        // for other hosts.
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
          `${describeTarget(request, proxyUrl)} did not respond within ${timeoutMs / 1_000} s`,
        );
      const releasePlace = await takePlace(request);
      try {
        return await withTimeout(timeoutMs, signal, onTimeout, (combined) =>
          exchange(request, proxyUrl, combined),
        );
      } finally {
        releasePlace();
      }
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

/** An error in the loop destroys the body, and with it the connection. */
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
      throw new SecretError('STORE_ANSWER_TOO_LARGE', `${target} sent more than ${maxBytes} bytes`);
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
