import { currentCaller } from '../concurrency/caller.ts';
import { FairPlaces } from '../concurrency/fair-places.ts';
import { SecretError } from '../core/errors.ts';
import { Dispatchers, type TlsSettings } from './connections.ts';
import { toHttpError } from './errors.ts';
import { exchange } from './exchange.ts';
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

  async function send(request: HttpRequest): Promise<HttpResponse> {
    const { method, url, headers = {}, body = null, tls, socketPath, signal, onData } = request;
    const { timeoutMs = 10_000, maxBytes = 1_048_576, direct = false } = request;
    const proxyUrl = direct || socketPath !== undefined ? undefined : proxyFor(url);
    const target = describeTarget(request, proxyUrl);
    if (closed)
      throw new SecretError('SHUTTING_DOWN', `${target} gets no more requests: Keyferry stops`);
    try {
      const dispatcher = await dispatchers.to({ proxy: proxyUrl, tls, socketPath });
      signal.throwIfAborted();
      const response = await exchange(
        dispatcher,
        {
          origin: url.origin,
          path: `${url.pathname}${url.search}`,
          method: method,
          // A copy: undici's ProxyAgent adds the host to this object, and callers reuse their
          // headers for other hosts.
          headers: { ...headers },
          body:
            body instanceof Uint8Array
              ? Buffer.from(body.buffer, body.byteOffset, body.byteLength)
              : body,
        },
        {
          ...{ signal, timeoutMs, maxBytes, onData },
          onTimeout: () =>
            new SecretError(
              'STORE_TIMEOUT',
              `${target} did not respond within ${timeoutMs / 1_000} s`,
            ),
          onTooLarge: () =>
            new SecretError('STORE_ANSWER_TOO_LARGE', `${target} sent more than ${maxBytes} bytes`),
        },
      );
      return { ...response, headers: joinHeaderValues(response.headers) };
    } catch (thrown) {
      signal.throwIfAborted();
      throw toHttpError(thrown, target);
    }
  }

  return {
    async request(request) {
      const releasePlace = await takePlace(request);
      try {
        return await send(request);
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

function joinHeaderValues(
  headers: Readonly<Record<string, string | string[] | undefined>>,
): Record<string, string> {
  const flat = Object.create(null) as Record<string, string>;
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined) flat[name] = typeof value === 'string' ? value : value.join(', ');
  }
  return flat;
}
