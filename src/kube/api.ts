import { readFile } from 'node:fs/promises';
import { isIPv6 } from 'node:net';
import * as z from 'zod';
import { createRetry } from '../concurrency/retry.ts';
import { SecretError } from '../core/errors.ts';
import { sanitizeExternalText } from '../core/safe-text.ts';
import { createLineReader } from '../formats/lines.ts';
import type { HttpClient, HttpResponse, HttpRequest } from '../http/client.ts';
import { encodeSegment } from '../http/endpoint.ts';

/** The address of the API server and the credentials for it. */
export type KubeAccess = {
  readonly server: URL;
  /** A bearer token. The kubelet renews the file in place. */
  readonly tokenFile: string;
  /** PEM: the only authority that is trusted for the API server's certificate. */
  readonly caFile: string;
};

const serviceAccountDirectory = '/var/run/secrets/kubernetes.io/serviceaccount';

/**
 * The access that Kubernetes gives every pod
 * (https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/).
 * @throws SecretError NOT_CONFIGURED outside of a cluster
 */
export function inCluster(env: Readonly<Record<string, string | undefined>>): KubeAccess {
  const host = env.KUBERNETES_SERVICE_HOST;
  const port = env.KUBERNETES_SERVICE_PORT ?? '443';
  const address = `https://${host !== undefined && isIPv6(host) ? `[${host}]` : host}:${port}`;
  if (host === undefined || host === '' || !URL.canParse(address)) {
    throw new SecretError(
      'NOT_CONFIGURED',
      'Keyferry does not know where the Kubernetes API server is',
      {
        hint: 'run it in a pod, or set all of --kube-server, --kube-token-file and --kube-ca-file',
      },
    );
  }
  return {
    server: new URL(address),
    tokenFile: `${serviceAccountDirectory}/token`,
    caFile: `${serviceAccountDirectory}/ca.crt`,
  };
}

const timeoutMs = 5_000;
/** The largest list in bytes: the pods of a node, with some kilobytes of metadata each. */
const maxListBytes = 16_777_216;
/** The time after which the API server ends a watch, and after which Keyferry does. */
const watchSeconds = 290;
const watchMs = 300_000;
const metadataOnly = (kind: string): string =>
  `application/json;as=${kind};g=meta.k8s.io;v=v1,application/json`;

/** A client of the Kubernetes API server. */
export type KubeApi = {
  /**
   * Reads one object. `path` has the segments of its path: `['api', 'v1', ...]`.
   * @throws SecretError OBJECT_NOT_FOUND; ACCESS_DENIED, with the server's message; NOT_CONFIGURED
   *   without an address or a token; ADMISSION_UNAVAILABLE for any other failure; the reason of the
   *   signal when it fires
   */
  get(path: readonly string[], signal: AbortSignal): Promise<unknown>;
  /**
   * Creates the object `body` at the path of its kind.
   * @returns the created object
   * @throws SecretError as `get` does
   */
  post(path: readonly string[], body: object, signal: AbortSignal): Promise<unknown>;
  /** Lists the metadata of the objects of a kind. @throws SecretError as `get` does */
  list(path: readonly string[], query: Query, signal: AbortSignal): Promise<unknown>;
  /**
   * Watches objects of a kind until the server ends the watch, within five minutes.
   * @throws SecretError as `get` does, and the errors of `onEvent`. It never retries.
   */
  watch(
    path: readonly string[],
    query: Query,
    onEvent: (event: unknown) => void,
    signal: AbortSignal,
  ): Promise<void>;
};

/** `{ fieldSelector: 'spec.nodeName=a' }` */
type Query = Readonly<Record<string, string>>;

/** Options of {@link createKubeApi}. Defaults: {@link inCluster}. */
export type KubeApiOptions = Partial<KubeAccess> & {
  readonly http: HttpClient;
  readonly env?: Readonly<Record<string, string | undefined>>;
};

type KubeRequest = {
  readonly method: 'GET' | 'POST';
  readonly path: readonly string[];
  readonly query?: Query;
  readonly body?: object;
  readonly accept?: string;
  readonly signal: AbortSignal;
  readonly http?: Pick<HttpRequest, 'timeoutMs' | 'maxBytes' | 'onData'>;
  /** Set for a request that is not retried. */
  readonly noRetry?: true;
};

/** The response of the API server to a failed request. */
const statusSchema = z.object({ kind: z.literal('Status'), message: z.string().default('') });

/**
 * Creates a client that bypasses the proxy. It reads the token and the authority from their files
 * for each request: requests are rare, and both files are replaced while Keyferry runs. Missing
 * settings fail a request and not the start, because other providers need no cluster.
 */
export function createKubeApi({ http, env = {}, ...overrides }: KubeApiOptions): KubeApi {
  const retry = createRetry();

  function access(): KubeAccess {
    const { server, tokenFile, caFile } = overrides;
    if (server !== undefined && tokenFile !== undefined && caFile !== undefined)
      return { server, tokenFile, caFile };
    return { ...inCluster(env), ...overrides };
  }

  async function send(
    request: KubeRequest,
    url: URL,
    token: string,
    ca: string,
  ): Promise<HttpResponse> {
    const { method, body, accept = 'application/json', signal } = request;
    const response = await http.request({
      method,
      url,
      headers: {
        accept,
        authorization: `Bearer ${token}`,
        ...(body !== undefined && { 'content-type': 'application/json' }),
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
      tls: { ca },
      direct: true,
      signal,
      timeoutMs,
      ...request.http,
    });
    if (response.status === 200 || response.status === 201) return response;
    throw toKubeError(response, url, token);
  }

  async function call(request: KubeRequest): Promise<HttpResponse> {
    const { path, query = {}, noRetry = false, signal } = request;
    const { server, tokenFile, caFile } = access();
    const [token, ca] = await Promise.all([tokenFile, caFile].map(readText));
    const url = new URL(`/${path.map(encodeSegment).join('/')}`, server);
    url.search = new URLSearchParams(query).toString();
    try {
      return await retry.run(
        server.host,
        signal,
        () => send(request, url, token ?? '', ca ?? ''),
        ({ code }) => !noRetry && code === 'STORE_UNAVAILABLE',
      );
    } catch (thrown) {
      signal.throwIfAborted();
      throw toAdmissionError(thrown);
    }
  }

  return {
    get: async (path, signal) => parseJson(await call({ method: 'GET', path, signal })),
    post: async (path, body, signal) =>
      parseJson(await call({ method: 'POST', path, body, signal })),
    async list(path, query, signal) {
      const accept = metadataOnly('PartialObjectMetadataList');
      const http = { maxBytes: maxListBytes };
      return parseJson(await call({ method: 'GET', path, query, accept, http, signal }));
    },
    async watch(path, query, onEvent, signal) {
      const accept = metadataOnly('PartialObjectMetadata');
      const onData = createLineReader((line) => onEvent(parseJson({ body: line })));
      await call({
        ...{ method: 'GET', path, accept, signal, noRetry: true },
        query: {
          ...query,
          watch: 'true',
          allowWatchBookmarks: 'true',
          timeoutSeconds: `${watchSeconds}`,
        },
        http: { timeoutMs: watchMs, onData },
      });
    },
  };
}

async function readText(file: string): Promise<string> {
  try {
    return (await readFile(file, 'utf8')).trim();
  } catch (cause) {
    throw new SecretError(
      'NOT_CONFIGURED',
      `${file} cannot be read: Keyferry has no credentials for the API server`,
      {
        hint: 'mount the token of its ServiceAccount (automountServiceAccountToken)',
        cause,
      },
    );
  }
}

function parseJson({ body }: Pick<HttpResponse, 'body'>): unknown {
  try {
    return JSON.parse(body.toString()) as unknown;
  } catch {
    throw new SecretError(
      'ADMISSION_UNAVAILABLE',
      'the response of the Kubernetes API server is not JSON',
    );
  }
}

function toKubeError({ status, body }: HttpResponse, { host }: URL, token: string): SecretError {
  const message = statusMessage(body);
  const text = message === undefined ? '' : `: ${sanitizeExternalText(message, [token])}`;
  if (status === 404 && message !== undefined)
    return new SecretError('OBJECT_NOT_FOUND', sanitizeExternalText(message, [token]));
  if (status === 403 && message !== undefined)
    return new SecretError('ACCESS_DENIED', sanitizeExternalText(message, [token]));
  if (status === 429 || status >= 500) {
    return new SecretError('STORE_UNAVAILABLE', `${host} responded with HTTP ${status}${text}`);
  }
  if (status === 401) {
    return new SecretError(
      'ADMISSION_UNAVAILABLE',
      `${host} rejects the token of Keyferry${text}`,
      {
        hint: 'check that the token is of this cluster and that its ServiceAccount still exists',
      },
    );
  }
  return new SecretError('ADMISSION_UNAVAILABLE', `${host} responded with HTTP ${status}${text}`, {
    hint: 'check that this is the Kubernetes API server',
  });
}

function statusMessage(body: Buffer): string | undefined {
  try {
    return statusSchema.parse(JSON.parse(body.toString())).message;
  } catch {
    return undefined;
  }
}

/** A failure of the API server must not look like an outage of a store. */
function toAdmissionError(thrown: unknown): unknown {
  if (!(thrown instanceof SecretError) || !thrown.code.startsWith('STORE_')) return thrown;
  return new SecretError('ADMISSION_UNAVAILABLE', `the Kubernetes API server ${thrown.message}`, {
    ...(thrown.hint !== undefined && { hint: thrown.hint }),
    cause: thrown,
  });
}
