import type { FakeResponse, FakeRequest } from './http-server.ts';
import {
  deniedByPolicy,
  permissionDenied,
  vaultErrorResponse,
  vaultResponse,
  type VaultBackendRequest,
} from './vault-responses.ts';
import { createFakeAuth } from './vault-auth.ts';
import { createFakeDatabase, createFakePki, type FakeLeaseBackend } from './vault-dynamic.ts';
import type { TokenIssuer } from './vault-jwt.ts';
import { createFakeKv1, createFakeKv2 } from './vault-kv.ts';
import { createFakeLeases } from './vault-leases.ts';
import { createFakeTokens, type FakeVaultToken } from './vault-tokens.ts';

/** Capabilities by path, `*` at its end for all below: `{ 'secret/data/*': ['read'] }`. */
export type FakePolicy = Readonly<Record<string, readonly Capability[]>>;
export type Capability = 'read' | 'list' | 'update' | 'delete';

const capabilityOf: Readonly<Record<string, Capability>> = {
  GET: 'read',
  LIST: 'list',
  POST: 'update',
  PUT: 'update',
  DELETE: 'delete',
};

/**
 * The part of Vault's own `default` policy that tests need. It does not allow to revoke a lease.
 */
const defaultPolicy: FakePolicy = {
  'auth/token/lookup-self': ['read'],
  'auth/token/renew-self': ['update'],
  'auth/token/revoke-self': ['update'],
  'sys/internal/ui/mounts': ['read'],
  'sys/leases/renew': ['update'],
  'sys/leases/lookup': ['update'],
};

/** A namespace: its auth methods, policies and backends. */
export function createFakeNamespace({
  issuer,
  now,
}: {
  readonly issuer: TokenIssuer;
  readonly now: () => number;
}) {
  const leases = createFakeLeases(now);
  const tokens = createFakeTokens(now, leases.revokeByToken);
  const auth = createFakeAuth({ tokens, issuer, now });
  const policies = new Map<string, FakePolicy>([
    ['default', defaultPolicy],
    ['root', { '*': ['read', 'list', 'update', 'delete'] }],
  ]);
  const backends = new Map<string, FakeLeaseBackend>();
  const kvVersions = new Map<string, '1' | '2'>();
  const mount = <B extends { readonly handle: FakeLeaseBackend }>(path: string, backend: B): B => {
    backends.set(path, backend.handle);
    return backend;
  };

  const isAllowed = ({ policies: names }: FakeVaultToken, method: string, path: string): boolean =>
    ['default', ...names].some((name) =>
      Object.entries(policies.get(name) ?? {}).some(
        ([rule, allowed]) =>
          (rule.endsWith('*') ? path.startsWith(rule.slice(0, -1)) : path === rule) &&
          allowed.includes(capabilityOf[method] ?? 'delete'),
      ),
    );

  function login(
    path: string,
    request: FakeRequest,
    fields: VaultBackendRequest['fields'],
  ): FakeResponse | undefined {
    const [, name] = /^auth\/(.+)\/login$/.exec(path) ?? [];
    if (name === undefined) return undefined;
    const { certificate } = request;
    return (
      auth.mounts.get(name)?.({ fields, ...(certificate !== undefined && { certificate }) }) ??
      permissionDenied
    );
  }

  function serve(request: FakeRequest): FakeResponse {
    const query = new URLSearchParams(request.query);
    const method =
      request.method === 'GET' && query.get('list') === 'true' ? 'LIST' : request.method;
    const path = decodeURIComponent(request.path)
      .replace(/^\/v1\//, '')
      // As the real one does, before it looks for a policy.
      .replace(/\/*$/, method === 'LIST' ? '/' : '');
    const fields = fieldsOf(request.body);
    if (fields === undefined)
      return vaultErrorResponse(400, 'failed to parse JSON input: invalid character');
    const loginResponse = login(path, request, fields);
    if (loginResponse !== undefined) return loginResponse;
    const token = tokens.find(String(request.headers['x-vault-token'] ?? ''));
    if (token === undefined) return permissionDenied;
    if (!isAllowed(token, method, path)) return deniedByPolicy;
    const systemResponse =
      tokens.handle(method, path, token) ?? leases.handle({ method, path, query, fields });
    if (systemResponse !== undefined) return systemResponse;
    if (method === 'GET' && path === 'sys/internal/ui/mounts') {
      const mounts = [...backends.keys()].map((each) => {
        const version = kvVersions.get(each);
        const kv = { type: 'kv', options: version === '2' ? { version } : null };
        return [`${each}/`, version === undefined ? { type: 'database', options: null } : kv];
      });
      return vaultResponse(JSON.stringify({ auth: {}, secret: Object.fromEntries(mounts) }));
    }
    const [name, backend] = [...backends].find(([each]) => path.startsWith(`${each}/`)) ?? [];
    if (name === undefined || backend === undefined)
      return vaultErrorResponse(404, `no handler for route "${path}". route entry not found.`);
    const backendRequest = { method, path: path.slice(name.length + 1), query, fields };
    return (
      backend(backendRequest, token, name) ??
      vaultErrorResponse(405, '1 error occurred:\n\t* unsupported operation\n\n')
    );
  }

  return {
    auth,
    tokens,
    leases,
    serve,
    policy: (name: string, policy: FakePolicy) => void policies.set(name, policy),
    /** Mounts a backend of the test. */
    backend: (path: string, handler: FakeLeaseBackend) => void backends.set(path, handler),
    kv2(path = 'secret') {
      kvVersions.set(path, '2');
      return mount(path, createFakeKv2(now));
    },
    kv1(path = 'kv') {
      kvVersions.set(path, '1');
      return mount(path, createFakeKv1());
    },
    database: (path = 'database') => mount(path, createFakeDatabase(leases)),
    pki: (path = 'pki') => mount(path, createFakePki(leases, now)),
    /** A token that allows everything and never ends. */
    rootToken: (): string =>
      tokens.issue({ ttlMs: Infinity, maxTtlMs: Infinity, policies: ['root'] }).id,
  };
}

export type FakeVaultNamespace = ReturnType<typeof createFakeNamespace>;

function fieldsOf(body: Buffer): VaultBackendRequest['fields'] | undefined {
  if (body.length === 0) return {};
  try {
    const value: unknown = JSON.parse(body.toString());
    return typeof value === 'object' && value !== null
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}
