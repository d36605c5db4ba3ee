import { readFile } from 'node:fs/promises';
import { isIPv6 } from 'node:net';
import * as z from 'zod';
import { createRetry } from '../concurrency/retry.ts';
import { SecretError } from '../core/errors.ts';
import { sanitizeExternalText } from '../core/safe-text.ts';
import type { HttpClient, HttpResponse, HttpRequest } from '../http/client.ts';
import { encodeSegment } from '../http/endpoint.ts';

/** Where the API server is, and what shows us to it. */
export type KubeAccess = {
  readonly server: URL;
  /** A bearer token, renewed in place by the kubelet. */
  readonly tokenFile: string;
  /** PEM: the authority of the API server's certificate, and no other. */
  readonly caFile: string;
};

const serviceAccountDirectory = '/var/run/secrets/kubernetes.io/serviceaccount';

/**
 * What Kubernetes gives every pod (https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/).
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
        hint: 'run it in a pod, or give all of --kube-server, --kube-token-file and --kube-ca-file',
      },
    );
  }
  return {
    server: new URL(address),
    tokenFile: `${serviceAccountDirectory}/token`,
    caFile: `${serviceAccountDirectory}/ca.crt`,
  };
}

/** Of one line, in bytes. */
const maxLineBytes = 1_048_576;

/**
 * Cuts a stream into lines, however its pieces fall; empty ones are left out, and so is what follows the last line break.
 * @throws SecretError STORE_ANSWER_TOO_LARGE where a line does not end
 */
export function createLineReader(onLine: (line: Buffer) => void): (piece: Uint8Array) => void {
  let unfinished: Buffer = Buffer.alloc(0);
  return (piece) => {
    const text = Buffer.concat([unfinished, piece]);
    let start = 0;
    for (let end = text.indexOf(10); end !== -1; end = text.indexOf(10, start)) {
      if (end > start) onLine(text.subarray(start, end));
      start = end + 1;
    }
    unfinished = text.subarray(start);
    if (unfinished.length > maxLineBytes)
      throw new SecretError(
        'STORE_ANSWER_TOO_LARGE',
        `a line of more than ${maxLineBytes} bytes came`,
      );
  };
}

const timeoutMs = 5_000;
/** A list of a node's pods, of which the API server keeps some kilobytes of metadata each. */
const maxListBytes = 16_777_216;
/** What the API server is asked to end a watch after, and what we do it after. */
const watchSeconds = 290;
const watchMs = 300_000;
const metadataOnly = (kind: string): string =>
  `application/json;as=${kind};g=meta.k8s.io;v=v1,application/json`;

/** The Kubernetes API server, as far as Keyferry asks it. */
export type KubeApi = {
  /**
   * Reads one object, given the segments of its path: `['api', 'v1', ...]`.
   * @throws SecretError OBJECT_NOT_FOUND; ACCESS_DENIED, with the server's words; NOT_CONFIGURED where we do not know the server or have
   *   no token; ADMISSION_UNAVAILABLE for all else; the signal's reason when it fires
   */
  get(path: readonly string[], signal: AbortSignal): Promise<unknown>;
  /** Creates what `body` describes, given the segments of the path of its kind; what was created. @throws SecretError as `get` does */
  post(path: readonly string[], body: object, signal: AbortSignal): Promise<unknown>;
  /** Lists objects of a kind, of each its metadata alone. @throws SecretError as `get` does */
  list(path: readonly string[], query: Query, signal: AbortSignal): Promise<unknown>;
  /**
   * Hands on what changes among them, event by event, until the server ends it, which it does within five minutes.
   * @throws SecretError as `get` does, and what `onEvent` throws; nothing is asked twice
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

/** See {@link createKubeApi}. Without `server`, `tokenFile` or `caFile`: what Kubernetes gives every pod. */
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
  /** Not asked again where nobody answers. */
  readonly noRetry?: true;
};

/** What the API server says when it does not give what was asked. */
const statusSchema = z.object({ kind: z.literal('Status'), message: z.string().default('') });

/**
 * Asks directly, never by a proxy. The token and the authority are read anew for each question: they are small, questions are rare, and
 * both are replaced while we run. Missing settings fail the question, not the start: other providers need no cluster.
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
      `${file} cannot be read: Keyferry cannot show itself to the API server`,
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
      'the Kubernetes API server answered something that is not JSON',
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
    return new SecretError('STORE_UNAVAILABLE', `${host} answered ${status}${text}`);
  }
  if (status === 401) {
    return new SecretError(
      'ADMISSION_UNAVAILABLE',
      `${host} does not take Keyferry's own token${text}`,
      {
        hint: 'is the token of this cluster, and its ServiceAccount still there?',
      },
    );
  }
  return new SecretError('ADMISSION_UNAVAILABLE', `${host} answered ${status}${text}`, {
    hint: 'is it the Kubernetes API server?',
  });
}

function statusMessage(body: Buffer): string | undefined {
  try {
    return statusSchema.parse(JSON.parse(body.toString())).message;
  } catch {
    return undefined;
  }
}

/** Whatever kept the API server from answering says nothing about a store: it must not look like a store's outage. */
function toAdmissionError(thrown: unknown): unknown {
  if (!(thrown instanceof SecretError) || !thrown.code.startsWith('STORE_')) return thrown;
  return new SecretError('ADMISSION_UNAVAILABLE', `the Kubernetes API server ${thrown.message}`, {
    ...(thrown.hint !== undefined && { hint: thrown.hint }),
    cause: thrown,
  });
}
