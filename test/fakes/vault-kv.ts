import type { FakeResponse } from './http-server.ts';
import { notFound, vaultResponse, type VaultBackendRequest } from './vault-responses.ts';

type Version = {
  readonly data: string;
  readonly createdAt: number;
  deletedAt?: number;
  destroyed?: true;
};

/** A backend. Returns undefined for an unknown path. */
export type FakeBackend = (request: VaultBackendRequest) => FakeResponse | undefined;

const wrongPath =
  'Invalid path for a versioned K/V secrets engine. See the API docs for the appropriate API endpoints to use. ' +
  "If using the Vault CLI, use 'vault kv get' for this operation.";

/**
 * The names directly below a folder; those of folders end with a slash.
 * @param prefix the folder with its slash; empty: the root
 */
function listResponse(names: readonly string[], prefix: string): FakeResponse {
  const keys = names
    .filter((name) => name.startsWith(prefix))
    .map((name) => /^[^/]*\/?/.exec(name.slice(prefix.length))?.[0] ?? '');
  if (keys.length === 0) return notFound;
  return vaultResponse(JSON.stringify({ keys: [...new Set(keys)].sort() }));
}

const toText = (data: object | string): string =>
  typeof data === 'string' ? data : JSON.stringify(data);

/** KV version 2. Data can be JSON text, where characters matter. */
export function createFakeKv2(now: () => number) {
  const secrets = new Map<string, Version[]>();
  const time = (at: number | undefined): string =>
    at === undefined ? '' : new Date(at).toISOString().replace('Z', '123456Z');
  const version = (path: string, number?: number): Version => {
    const versions = secrets.get(path) ?? [];
    const found = versions[(number ?? versions.length) - 1];
    if (found === undefined) throw new Error(`no version ${number} of ${path}`);
    return found;
  };
  const metadataOf = (secretVersion: Version, number: number): object => ({
    created_time: time(secretVersion.createdAt),
    custom_metadata: null,
    deletion_time: time(secretVersion.deletedAt),
    destroyed: secretVersion.destroyed === true,
    version: number,
  });

  function read(path: string, query: URLSearchParams): FakeResponse {
    const versions = secrets.get(path) ?? [];
    const number = Number(query.get('version') ?? 0) || versions.length;
    const found = versions[number - 1];
    if (found === undefined) return notFound;
    const isDeleted = found.destroyed === true || found.deletedAt !== undefined;
    const metadata = JSON.stringify(metadataOf(found, number));
    return vaultResponse(
      `{"data":${isDeleted ? 'null' : found.data},"metadata":${metadata}}`,
      {},
      {
        status: isDeleted ? 404 : 200,
      },
    );
  }

  const handle: FakeBackend = ({ method, path, query }) => {
    if (method === 'LIST' && path.startsWith('metadata/'))
      return listResponse([...secrets.keys()], path.slice('metadata/'.length));
    if (method !== 'GET') return undefined;
    const [, kind, name = ''] = /^(data|metadata)\/(.+)$/.exec(path) ?? [];
    if (kind === 'data') return read(name, query);
    if (kind === 'metadata') {
      const versions = secrets.get(name);
      if (versions === undefined) return notFound;
      const listed = Object.fromEntries(
        versions.map((each, index) => [index + 1, metadataOf(each, index + 1)]),
      );
      return vaultResponse(JSON.stringify({ current_version: versions.length, versions: listed }));
    }
    return vaultResponse('null', {}, { warnings: [wrongPath], status: 404 });
  };

  return {
    handle,
    put(path: string, data: object | string): void {
      secrets.set(path, [...(secrets.get(path) ?? []), { data: toText(data), createdAt: now() }]);
    },
    /** Deletes a version, by default the latest. It can be undone: the metadata stays. */
    delete(path: string, number?: number): void {
      version(path, number).deletedAt = now();
    },
    destroy(path: string, number?: number): void {
      version(path, number).destroyed = true;
    },
    /** Deletes all versions: numbers restart. */
    deleteMetadata: (path: string) => void secrets.delete(path),
  };
}

/** KV version 1. */
export function createFakeKv1() {
  const secrets = new Map<string, string>();
  const handle: FakeBackend = ({ method, path }) => {
    if (method === 'LIST') return listResponse([...secrets.keys()], path);
    if (method !== 'GET') return undefined;
    const data = secrets.get(path);
    if (data === undefined) return notFound;
    const { ttl } = JSON.parse(data) as { ttl?: unknown };
    // Not a lease: there is a duration, but no id.
    const [, number = '2764800', unit] = /^(\d+)(s|m|h)?$/.exec(String(ttl)) ?? [];
    return vaultResponse(data, {
      seconds: Number(number) * ({ m: 60, h: 3_600 }[unit ?? ''] ?? 1),
    });
  };
  return {
    handle,
    put: (path: string, data: object | string) => void secrets.set(path, toText(data)),
    delete: (path: string) => void secrets.delete(path),
  };
}
