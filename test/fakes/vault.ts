import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createHttpClient } from '../../src/http/client.ts';
import type { VaultLogin } from '../../src/providers/vault/types.ts';
import {
  startFakeServer,
  type FakeResponse,
  type FakeRequest,
  type FakeServer,
} from './http-server.ts';
import { createTestCa } from './tls.ts';
import { vaultErrorResponse } from './vault-responses.ts';
import { createTokenIssuer } from './vault-jwt.ts';
import { createFakeNamespace, type FakeVaultNamespace } from './vault-namespace.ts';

/** See {@link startFakeVault}. */
export type FakeVaultOptions = {
  /** Default 1. The first one is the active one. */
  readonly nodes?: number;
  /** Namespaces, as in Enterprise and OpenBao. Without any, the header is ignored. */
  readonly namespaces?: readonly string[];
  /** Listens on unix sockets, plain, as an Agent does. */
  readonly socket?: boolean;
  /** Plain http. */
  readonly http?: boolean;
};

/** The state of a node. `standby` forwards calls; `redirecting` redirects to the active node. */
export type NodeState =
  | 'active'
  | 'standby'
  | 'redirecting'
  | 'performance-standby'
  | 'no-active'
  | 'dr-secondary'
  | 'cut-off'
  | 'uninitialised'
  | 'sealed'
  | 'removed';

/** A node: a server that can inject faults, with a state. */
export type FakeVaultNode = FakeServer & {
  state: NodeState;
  /** The address, as in a login. */
  readonly address: string;
  /** Processes that many requests and then breaks the connection, so that the response is lost. */
  dropResponses(times: number): void;
};

const healthStatus: Readonly<Record<NodeState, number>> = {
  active: 200,
  standby: 429,
  redirecting: 429,
  'no-active': 429,
  'dr-secondary': 472,
  'performance-standby': 473,
  'cut-off': 474,
  uninitialised: 501,
  sealed: 503,
  removed: 530,
};

const noActive = vaultErrorResponse(500, 'local node not active but active cluster node not found');

/** The response of a node in such a state to every call. */
const stateErrors: Readonly<Partial<Record<NodeState, FakeResponse>>> = {
  'no-active': noActive,
  'dr-secondary': vaultErrorResponse(400, 'path disabled in replication DR secondary mode'),
  'cut-off': vaultErrorResponse(503, 'Vault is sealed'),
  uninitialised: vaultErrorResponse(503, 'Vault is sealed'),
  sealed: vaultErrorResponse(503, 'Vault is sealed'),
  removed: vaultErrorResponse(503, 'Vault is sealed'),
};

/** A fake Vault or OpenBao: one cluster with HTTPS, whose clock and configuration a test sets. */
export async function startFakeVault(options: FakeVaultOptions = {}) {
  const { nodes: count = 1, namespaces = [] } = options;
  const clock = { ms: 0 };
  const now = (): number => Date.now() + clock.ms;
  const issuer = createTokenIssuer({ now });
  const ca = createTestCa();
  const namespacesByName = new Map(
    ['', ...namespaces].map((name) => [name, createFakeNamespace({ issuer, now })]),
  );
  const directory = mkdtempSync(join(tmpdir(), 'keyferry-vault-'));
  const isPlaintext = options.socket === true || options.http === true;

  function serve(node: FakeVaultNode, request: FakeRequest): FakeResponse {
    const { path, query, headers } = request;
    if (path === '/v1/sys/health')
      return { status: healthStatus[node.state], body: { state: node.state } };
    // An Agent can require this header.
    if (headers['x-vault-request'] !== 'true')
      return vaultErrorResponse(412, "missing 'X-Vault-Request' header");
    const stateError = stateErrors[node.state];
    if (stateError !== undefined) return stateError;
    if (node.state !== 'redirecting')
      return namespaceOf(request)?.serve(request) ?? vaultErrorResponse(404, 'namespace not found');
    const active = nodes.find(({ state }) => state === 'active');
    if (active === undefined) return noActive;
    const location = new URL(`${path}${query === '' ? '' : `?${query}`}`, active.url).href;
    return { status: 307, headers: { location } };
  }

  function namespaceOf({ headers }: FakeRequest): FakeVaultNamespace | undefined {
    const name = String(headers['x-vault-namespace'] ?? '').replace(/^\/|\/$/g, '');
    return namespacesByName.get(namespaces.length === 0 ? '' : name);
  }

  async function startNode(index: number): Promise<FakeVaultNode> {
    const socketPath = join(directory, `${index}.sock`);
    const server = await startFakeServer({
      ...(options.socket === true && { socketPath }),
      ...(!isPlaintext && { tls: { ...ca.issue(), requestCert: true, rejectUnauthorized: false } }),
      handler: (request) => serve(node, request),
    });
    const node: FakeVaultNode = Object.defineProperties(server as FakeVaultNode, {
      state: { value: index === 0 ? 'active' : 'standby', writable: true },
      address: { value: options.socket === true ? `unix://${socketPath}` : server.url.origin },
      dropResponses: {
        value: (times: number) =>
          server.injectFault({ route: /^(?!GET .v1.sys.health)/, times, truncate: true }),
      },
    });
    return node;
  }

  const nodes = await Promise.all(Array.from({ length: count }, (_, index) => startNode(index)));
  const [first] = nodes;
  const root = namespacesByName.get('');
  if (first === undefined || root === undefined) throw new Error('a cluster has a node and a root');
  const http = createHttpClient({ ca: [ca.cert] });
  const addresses = nodes.map(({ address }) => address);

  return {
    /** The root namespace. */
    ...root,
    nodes,
    node: first,
    url: first.url,
    addresses,
    /** The CA of the nodes, PEM; `http` trusts it. */
    ca: ca.cert,
    authority: ca,
    issuer,
    http,
    now,
    /** A temporary directory, removed at the end. */
    directory,
    advanceClock: (ms: number) => void (clock.ms += ms),
    /** Returns another namespace. */
    inNamespace(namespace: string): FakeVaultNamespace {
      const vaultNamespace = namespacesByName.get(namespace);
      if (vaultNamespace === undefined) throw new Error(`no namespace ${namespace}`);
      return vaultNamespace;
    },
    /** Counts the requests to all nodes by `METHOD path`: a prefix or a pattern. */
    count: (route?: string | RegExp): number =>
      nodes.reduce((sum, node) => sum + node.count(route), 0),
    /** A login of role `app` by the method kubernetes, at all addresses, by default. */
    login: (login: Partial<VaultLogin> = {}): VaultLogin => ({
      dialect: 'vault',
      addresses,
      method: 'kubernetes',
      mount: 'kubernetes',
      role: 'app',
      audience: 'vault',
      tls: {},
      leaseScope: 'pod',
      ...login,
    }),
    async close() {
      await http.close();
      await Promise.all(nodes.map((node) => node.close()));
      rmSync(directory, { recursive: true });
    },
  };
}

export type FakeVault = Awaited<ReturnType<typeof startFakeVault>>;
