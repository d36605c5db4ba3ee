import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  startFakeServer,
  type FakeResponse,
  type FakeRequest,
  type FakeServer,
} from './http-server.ts';
import { createTestCa } from './tls.ts';

/** A ServiceAccount to be served. */
export type FakeServiceAccount = {
  readonly uid?: string;
  readonly annotations?: Readonly<Record<string, string>>;
};

/** The content of a TokenRequest. */
export type FakeTokenRequest = {
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly audience: string;
  readonly podName: string;
  readonly podUid: string;
  readonly expirationSeconds: number;
};

/** An API server over HTTPS that has ServiceAccounts and accepts one token. */
export type FakeKubernetes = {
  readonly server: URL;
  /** As Kubernetes gives them to a pod: `token` and `ca.crt`. */
  readonly directory: string;
  readonly tokenFile: string;
  readonly caFile: string;
  /** Its ServiceAccounts, by `namespace/name`. A test may edit them at any time. */
  readonly serviceAccounts: Map<string, FakeServiceAccount>;
  /** Labels of nodes, by name. Edit it at any time. */
  readonly nodes: Map<string, Readonly<Record<string, string>>>;
  /** Events that were written, oldest first. */
  readonly events: readonly object[];
  /**
   * Signs tokens from now on, each with the requested lifetime. `undefined`: there is no such pod.
   */
  issueTokens(mint: (request: FakeTokenRequest) => string | undefined): void;
  /** The number of reads of ServiceAccounts, with any response; of one account or of all. */
  reads(account?: string): number;
  /** How many times a node was read. */
  nodeReads(): number;
  /** Whether RBAC rejects requests from now on. */
  deny(denied: boolean): void;
  /** Replaces the accepted token, in the file and in the server. */
  rotateToken(token: string): Promise<void>;
  /** See {@link FakeServer.injectFault}. */
  readonly injectFault: FakeServer['injectFault'];
  readonly requests: FakeServer['requests'];
  close(): Promise<void>;
};

const accountPath = /^\/api\/v1\/namespaces\/([^/]+)\/serviceaccounts\/([^/]+)$/;
const nodePath = /^\/api\/v1\/nodes\/([^/]+)$/;
const tokenPath = /^\/api\/v1\/namespaces\/([^/]+)\/serviceaccounts\/([^/]+)\/token$/;
const eventsPath = /^\/api\/v1\/namespaces\/([^/]+)\/events$/;

/** Starts one. Its certificate is for 127.0.0.1, by its own CA. */
export async function startFakeKubernetes(
  accounts: Readonly<Record<string, FakeServiceAccount>> = {},
): Promise<FakeKubernetes> {
  const serviceAccounts = new Map(Object.entries(accounts));
  const nodes: FakeKubernetes['nodes'] = new Map();
  const events: object[] = [];
  const ca = createTestCa('Test Kubernetes CA');
  const directory = await mkdtemp(join(tmpdir(), 'fake-kubernetes-'));
  const [tokenFile, caFile] = [join(directory, 'token'), join(directory, 'ca.crt')];
  let acceptedToken = 'first-token';
  let denied = false;
  let mint: (request: FakeTokenRequest) => string | undefined = () => undefined;

  function writeEvent(path: string, { headers, body }: FakeRequest): FakeResponse {
    const [, namespace] = eventsPath.exec(path) ?? [];
    const event = JSON.parse(body.toString()) as { metadata?: { namespace?: string } };
    const isValid =
      headers['content-type'] === 'application/json' && event.metadata?.namespace === namespace;
    if (!isValid)
      return status(400, 'BadRequest', 'the namespace of the object does not match the request');
    events.push(event);
    return { status: 201, body: event };
  }

  function readNode(path: string): FakeResponse {
    const [, name = ''] = (nodePath.exec(path) ?? []).map(decodeURIComponent);
    if (denied)
      return status(403, 'Forbidden', `nodes "${name}" is forbidden: cannot get resource "nodes"`);
    const labels = nodes.get(name);
    if (labels === undefined) return status(404, 'NotFound', `nodes "${name}" not found`);
    return { body: { kind: 'Node', apiVersion: 'v1', metadata: { name, labels } } };
  }

  function issueToken(path: string, { body }: FakeRequest): FakeResponse {
    const [, namespace = '', serviceAccount = ''] = (tokenPath.exec(path) ?? []).map(
      decodeURIComponent,
    );
    if (denied) return status(403, 'Forbidden', 'cannot create resource "serviceaccounts/token"');
    if (!serviceAccounts.has(`${namespace}/${serviceAccount}`))
      return status(404, 'NotFound', `serviceaccounts "${serviceAccount}" not found`);
    const { kind, spec } = JSON.parse(body.toString()) as TokenRequestBody;
    const { audiences, expirationSeconds, boundObjectRef: pod } = spec;
    const [audience = ''] = audiences;
    if (kind !== 'TokenRequest' || pod.kind !== 'Pod' || audience === '' || expirationSeconds < 600)
      return status(422, 'Invalid', 'TokenRequest.authentication.k8s.io "" is invalid');
    const token = mint({
      ...{ namespace, serviceAccount, audience, expirationSeconds },
      ...{ podName: pod.name, podUid: pod.uid },
    });
    if (token === undefined) return status(404, 'NotFound', `pods "${pod.name}" not found`);
    const { exp } = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as {
      exp: number;
    };
    const expirationTimestamp = new Date(exp * 1_000).toISOString();
    return { status: 201, body: { kind: 'TokenRequest', status: { token, expirationTimestamp } } };
  }

  function handler(request: FakeRequest): FakeResponse {
    const { method, path, headers } = request;
    if (headers.authorization !== `Bearer ${acceptedToken}`)
      return status(401, 'Unauthorized', 'Unauthorized');
    if (method === 'POST' && tokenPath.test(path)) return issueToken(path, request);
    if (method === 'POST' && eventsPath.test(path) && !denied) return writeEvent(path, request);
    if (method === 'GET' && nodePath.test(path)) return readNode(path);
    const [, namespace = '', name = ''] = (accountPath.exec(path) ?? []).map(decodeURIComponent);
    if (denied && eventsPath.test(path))
      return status(403, 'Forbidden', 'cannot create resource "events"');
    if (method !== 'GET' || name === '') return { status: 404, body: '404 page not found\n' };
    if (denied) {
      const message =
        `serviceaccounts "${name}" is forbidden: User "system:serviceaccount:keyferry:keyferry" cannot get resource ` +
        `"serviceaccounts" in API group "" in the namespace "${namespace}"`;
      return status(403, 'Forbidden', message);
    }
    const account = serviceAccounts.get(`${namespace}/${name}`);
    if (account === undefined)
      return status(404, 'NotFound', `serviceaccounts "${name}" not found`);
    const { uid = `uid-of-${namespace}-${name}`, annotations } = account;
    return {
      body: {
        kind: 'ServiceAccount',
        apiVersion: 'v1',
        metadata: { namespace, name, uid, annotations },
      },
    };
  }

  const server = await startFakeServer({ handler, tls: ca.issue() });
  await Promise.all([writeFile(tokenFile, `${acceptedToken}\n`), writeFile(caFile, ca.cert)]);
  return {
    server: server.url,
    directory,
    tokenFile,
    caFile,
    serviceAccounts,
    nodes,
    events,
    issueTokens(newMint) {
      mint = newMint;
    },
    reads(account) {
      if (account === undefined) return server.count(accountPathOf('[^/]+', '[^/]+'));
      const [namespace = '', name = ''] = account.split('/');
      return server.count(accountPathOf(namespace, name));
    },
    nodeReads: () => server.count(/^GET \/api\/v1\/nodes\//),
    deny(isDenied) {
      denied = isDenied;
    },
    async rotateToken(token) {
      await writeFile(tokenFile, token);
      acceptedToken = token;
    },
    injectFault: (fault) => server.injectFault(fault),
    requests: server.requests,
    async close() {
      await server.close();
      await rm(directory, { recursive: true });
    },
  };
}

type TokenRequestBody = {
  readonly kind: string;
  readonly spec: {
    readonly audiences: readonly string[];
    readonly expirationSeconds: number;
    readonly boundObjectRef: { readonly kind: string; readonly name: string; readonly uid: string };
  };
};

function accountPathOf(namespace: string, name: string): RegExp {
  return new RegExp(`^GET /api/v1/namespaces/${namespace}/serviceaccounts/${name}$`);
}

function status(code: number, reason: string, message: string): FakeResponse {
  return {
    status: code,
    body: { kind: 'Status', apiVersion: 'v1', status: 'Failure', code, reason, message },
  };
}
