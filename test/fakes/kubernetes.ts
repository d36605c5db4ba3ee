import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startFakeServer, type FakeAnswer, type FakeRequest, type FakeServer } from './http-server.ts';
import { createTestCa } from './tls.ts';

/** A ServiceAccount to be served. */
export type FakeServiceAccount = {
  readonly uid?: string;
  readonly annotations?: Readonly<Record<string, string>>;
};

/** An API server over HTTPS that knows ServiceAccounts and believes in one token. */
export type FakeKubernetes = {
  readonly server: URL;
  /** As Kubernetes gives them to a pod: `token` and `ca.crt`. */
  readonly directory: string;
  readonly tokenFile: string;
  readonly caFile: string;
  /** What it knows, by `namespace/name`. Edit it at any time. */
  readonly serviceAccounts: Map<string, FakeServiceAccount>;
  /** Events that were written, oldest first. */
  readonly events: readonly object[];
  /** How many ServiceAccounts were read, whatever the answer; of one account, or of all. */
  reads(account?: string): number;
  /** Whether RBAC refuses from now on. */
  deny(denied: boolean): void;
  /** Replaces the token, in the file and in what it believes. */
  rotateToken(token: string): Promise<void>;
  /** See {@link FakeServer.behave}. */
  readonly behave: FakeServer['behave'];
  readonly requests: FakeServer['requests'];
  close(): Promise<void>;
};

const accountPath = /^\/api\/v1\/namespaces\/([^/]+)\/serviceaccounts\/([^/]+)$/;
const eventsPath = /^\/api\/v1\/namespaces\/([^/]+)\/events$/;

/** Starts one. Its certificate is for 127.0.0.1, by an authority of its own. */
export async function startFakeKubernetes(
  accounts: Readonly<Record<string, FakeServiceAccount>> = {},
): Promise<FakeKubernetes> {
  const serviceAccounts = new Map(Object.entries(accounts));
  const events: object[] = [];
  const ca = createTestCa('Test Kubernetes CA');
  const directory = await mkdtemp(join(tmpdir(), 'fake-kubernetes-'));
  const [tokenFile, caFile] = [join(directory, 'token'), join(directory, 'ca.crt')];
  let believed = 'first-token';
  let denied = false;

  function writeEvent(path: string, { headers, body }: FakeRequest): FakeAnswer {
    const [, namespace] = eventsPath.exec(path) ?? [];
    const event = JSON.parse(body.toString()) as { metadata?: { namespace?: string } };
    const fits = headers['content-type'] === 'application/json' && event.metadata?.namespace === namespace;
    if (!fits) return status(400, 'BadRequest', 'the namespace of the object does not match the request');
    events.push(event);
    return { status: 201, body: event };
  }

  function handler(request: FakeRequest): FakeAnswer {
    const { method, path, headers } = request;
    if (headers.authorization !== `Bearer ${believed}`) return status(401, 'Unauthorized', 'Unauthorized');
    if (method === 'POST' && eventsPath.test(path) && !denied) return writeEvent(path, request);
    const [, namespace = '', name = ''] = (accountPath.exec(path) ?? []).map(decodeURIComponent);
    if (denied && eventsPath.test(path)) return status(403, 'Forbidden', 'cannot create resource "events"');
    if (method !== 'GET' || name === '') return { status: 404, body: '404 page not found\n' };
    if (denied) {
      const words =
        `serviceaccounts "${name}" is forbidden: User "system:serviceaccount:keyferry:keyferry" cannot get resource ` +
        `"serviceaccounts" in API group "" in the namespace "${namespace}"`;
      return status(403, 'Forbidden', words);
    }
    const account = serviceAccounts.get(`${namespace}/${name}`);
    if (account === undefined) return status(404, 'NotFound', `serviceaccounts "${name}" not found`);
    const { uid = `uid-of-${namespace}-${name}`, annotations } = account;
    return {
      body: { kind: 'ServiceAccount', apiVersion: 'v1', metadata: { namespace, name, uid, annotations } },
    };
  }

  const server = await startFakeServer({ handler, tls: ca.issue() });
  await Promise.all([writeFile(tokenFile, `${believed}\n`), writeFile(caFile, ca.cert)]);
  return {
    server: server.url,
    directory,
    tokenFile,
    caFile,
    serviceAccounts,
    events,
    reads(account) {
      if (account === undefined) return server.count(accountPathOf('[^/]+', '[^/]+'));
      const [namespace = '', name = ''] = account.split('/');
      return server.count(accountPathOf(namespace, name));
    },
    deny(now) {
      denied = now;
    },
    async rotateToken(token) {
      await writeFile(tokenFile, token);
      believed = token;
    },
    behave: (trouble) => server.behave(trouble),
    requests: server.requests,
    async close() {
      await server.close();
      await rm(directory, { recursive: true });
    },
  };
}

function accountPathOf(namespace: string, name: string): RegExp {
  return new RegExp(`^GET /api/v1/namespaces/${namespace}/serviceaccounts/${name}$`);
}

function status(code: number, reason: string, message: string): FakeAnswer {
  return {
    status: code,
    body: { kind: 'Status', apiVersion: 'v1', status: 'Failure', code, reason, message },
  };
}
