import { setTimeout as sleep } from 'node:timers/promises';
import { Agent, request as send } from 'undici';
import { parseAllDocuments } from 'yaml';

/** Any Kubernetes object. */
export type KubeObject = {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly uid?: string;
    readonly resourceVersion?: string;
    readonly deletionTimestamp?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly ownerReferences?: readonly OwnerReference[];
  };
};

export type OwnerReference = {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly uid: string;
};

/** A response of the API server with any status. */
export type KubeResponse = { readonly status: number; readonly body: unknown };

/** One line of a watch. */
export type WatchEvent<T> = { readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'; readonly object: T };

/**
 * A small client of the API server. Paths are as in its URLs: `/api/v1/namespaces/shop/pods/web`.
 */
export type KubeClient = {
  /** Sends an object as JSON, and a string unchanged. */
  request(
    method: string,
    path: string,
    body?: object | string,
    contentType?: string,
  ): Promise<KubeResponse>;
  /** @throws KubeError unless it succeeds */
  get<T = KubeObject>(path: string): Promise<T>;
  list<T = KubeObject>(path: string): Promise<readonly T[]>;
  post<T = KubeObject>(path: string, body: object): Promise<T>;
  /** A JSON merge patch. */
  patch<T = KubeObject>(path: string, body: object): Promise<T>;
  /** Deletes without a grace period. A missing object is not an error. */
  delete(path: string): Promise<void>;
  /**
   * Applies the objects, or those of a YAML text, in order, as `kubectl apply --server-side` does.
   * Returns the applied objects. `validateOnly`: the server validates and stores nothing.
   */
  apply(
    objects: string | readonly object[],
    options?: { readonly namespace?: string; readonly validateOnly?: boolean },
  ): Promise<readonly KubeObject[]>;
  /** The path of an object. */
  pathOf(object: KubeObject, namespace?: string): Promise<string>;
  /**
   * Reports all objects of a list and every later change, until the signal fires. Restarts when the
   * connection ends.
   */
  watch<T extends KubeObject>(
    path: string,
    signal: AbortSignal,
    onEvent: (event: WatchEvent<T>) => void,
  ): Promise<void>;
  close(): Promise<void>;
};

/** An error with the API server's message. */
export class KubeError extends Error {
  override readonly name = 'KubeRefusal';
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

const accept = 'application/json, */*;q=0.5';

type Resource = { readonly name: string; readonly kind: string; readonly namespaced: boolean };

export function createKubeClient(options: {
  readonly server: URL;
  /** PEM. Default: plain HTTP, or the authorities of the system. */
  readonly ca?: string;
  readonly token?: string;
  /** A Unix socket on which the server listens. */
  readonly socketPath?: string;
}): KubeClient {
  const { server, ca, token, socketPath } = options;
  const connect = {
    ...(ca !== undefined && { ca }),
    ...(socketPath !== undefined && { socketPath }),
  };
  const dispatcher = new Agent({ connect, bodyTimeout: 0 });
  const authorization = token === undefined ? {} : { authorization: `Bearer ${token}` };
  const resources = new Map<string, Promise<readonly Resource[]>>();

  async function request(
    method: string,
    path: string,
    body?: object | string,
    contentType = 'application/json',
  ): Promise<KubeResponse> {
    const response = await send(new URL(path, server), {
      ...{ method: method as 'GET', dispatcher },
      headers: {
        ...{ accept, ...authorization },
        ...(body !== undefined && { 'content-type': contentType }),
      },
      body: body === undefined || typeof body === 'string' ? (body ?? null) : JSON.stringify(body),
    });
    const text = await response.body.text();
    return {
      status: response.statusCode,
      body: isJson(text) ? (JSON.parse(text) as unknown) : text,
    };
  }

  async function succeed<T>(...args: Parameters<typeof request>): Promise<T> {
    const { status, body } = await request(...args);
    if (status < 300) return body as T;
    const { message } = body as { message?: string };
    throw new KubeError(status, message ?? `${args[0]} ${args[1]}: ${status} ${String(body)}`);
  }

  /**
   * Reads each version once, and again while the kind is unknown: a new definition takes a moment.
   */
  async function resourceOf({ apiVersion, kind }: KubeObject): Promise<Resource> {
    for (const deadline = Date.now() + 10_000; ; await sleep(100)) {
      const known = resources.get(apiVersion) ?? resourcesOf(apiVersion);
      resources.set(apiVersion, known);
      const found = (await known).find((one) => one.kind === kind && !one.name.includes('/'));
      if (found !== undefined) return found;
      resources.delete(apiVersion);
      if (Date.now() > deadline)
        throw new Error(`the API server knows no ${kind} of ${apiVersion}`);
    }
  }

  async function resourcesOf(apiVersion: string): Promise<readonly Resource[]> {
    const { status, body } = await request('GET', versionPath(apiVersion));
    return status === 200 ? (body as { resources: Resource[] }).resources : [];
  }

  async function pathOf(object: KubeObject, namespace = 'default'): Promise<string> {
    const { name, namespaced } = await resourceOf(object);
    const scope = namespaced ? `/namespaces/${object.metadata.namespace ?? namespace}` : '';
    return `${versionPath(object.apiVersion)}${scope}/${name}/${object.metadata.name}`;
  }

  async function watchOnce<T extends KubeObject>(
    path: string,
    signal: AbortSignal,
    known: Map<string, T>,
    onEvent: (event: WatchEvent<T>) => void,
  ): Promise<void> {
    const { items, metadata } = await succeed<{
      items: T[];
      metadata: { resourceVersion: string };
    }>('GET', path);
    const here = new Map(items.map((object) => [object.metadata.uid ?? '', object]));
    for (const [uid, object] of known) if (!here.has(uid)) onEvent({ type: 'DELETED', object });
    for (const [uid, object] of here) {
      const before = known.get(uid);
      if (before?.metadata.resourceVersion === object.metadata.resourceVersion) continue;
      onEvent({ type: before === undefined ? 'ADDED' : 'MODIFIED', object });
    }
    known.clear();
    for (const [uid, object] of here) known.set(uid, object);
    const url = new URL(path, server);
    url.searchParams.set('watch', '1');
    url.searchParams.set('resourceVersion', metadata.resourceVersion);
    const { statusCode, body } = await send(url, {
      ...{ dispatcher, signal, headers: { accept, ...authorization } },
    });
    if (statusCode !== 200) throw new KubeError(statusCode, await body.text());
    let unfinished = '';
    for await (const chunk of body.setEncoding('utf8')) {
      const lines = (unfinished + String(chunk)).split('\n');
      unfinished = lines.pop() ?? '';
      for (const line of lines) {
        const event = JSON.parse(line) as WatchEvent<T> | { type: 'ERROR' };
        if (event.type === 'ERROR') return;
        const uid = event.object.metadata.uid ?? '';
        if (event.type === 'DELETED') known.delete(uid);
        else known.set(uid, event.object);
        onEvent(event);
      }
    }
  }

  return {
    request,
    get: (path) => succeed('GET', path),
    list: async <T>(path: string) => (await succeed<{ items: readonly T[] }>('GET', path)).items,
    post: (path, body) => succeed('POST', path, body),
    patch: (path, body) => succeed('PATCH', path, body, 'application/merge-patch+json'),
    async delete(path) {
      const { status, body } = await request('DELETE', path, { gracePeriodSeconds: 0 });
      if (status >= 300 && status !== 404) throw new KubeError(status, JSON.stringify(body));
    },
    pathOf,
    async apply(objects, { namespace, validateOnly = false } = {}) {
      const query = `?fieldManager=test&force=true${validateOnly ? '&dryRun=All' : ''}`;
      const applied: KubeObject[] = [];
      for (const object of typeof objects === 'string' ? parseObjects(objects) : objects) {
        const path = await pathOf(object as KubeObject, namespace);
        const body = JSON.stringify(object);
        applied.push(await succeed('PATCH', path + query, body, 'application/apply-patch+yaml'));
      }
      return applied;
    },
    async watch<T extends KubeObject>(
      path: string,
      signal: AbortSignal,
      onEvent: (event: WatchEvent<T>) => void,
    ) {
      const known = new Map<string, T>();
      while (!signal.aborted) {
        await watchOnce(path, signal, known, onEvent).catch(() => undefined);
        await sleep(100, undefined, { signal }).catch(() => undefined);
      }
    },
    close: () => dispatcher.destroy(),
  };
}

/**
 * All objects of a YAML text, with lists flattened.
 * @throws on invalid YAML, such as a duplicate key
 */
export function parseObjects(text: string): readonly KubeObject[] {
  return parseAllDocuments(text)
    .map((document) => {
      for (const error of document.errors) throw error;
      return document.toJS() as (KubeObject & { items?: KubeObject[] }) | null;
    })
    .flatMap((object) => (object === null ? [] : (object.items ?? [object])));
}

function versionPath(apiVersion: string): string {
  return apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
}

function isJson(text: string): boolean {
  return text.startsWith('{');
}
