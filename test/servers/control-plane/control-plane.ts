import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createKubeClient, type KubeClient } from '../../driver/kube-client.ts';
import { createTestCa } from '../../fakes/tls.ts';
import { buildGoProgram, programInPath } from '../go-program.ts';
import { freePorts, startProgram, type StartedProgram } from '../started-program.ts';

/** A Kubernetes API server with its store. There are no controllers, no scheduler and no nodes. */
export type ControlPlane = {
  readonly server: URL;
  /** Its CA certificate in PEM, as text and as a file. */
  readonly ca: string;
  readonly caFile: string;
  /** The token of an administrator. */
  readonly kube: KubeClient;
  readonly kubeconfig: string;
  /** The `iss` of its tokens. A cloud can read its keys without a credential. */
  readonly issuer: string;
  /** The requests of a user so far: `get serviceaccounts shop/web: 200`, sorted, each once. */
  auditedRequests(user: string): Promise<readonly string[]>;
  /** Stops the API server, like a reboot of its node, until {@link ControlPlane.restart}. */
  kill(): Promise<void>;
  /** Starts it again at its old address if it does not run. */
  restart(): Promise<void>;
  /** Makes it accept connections but send no responses, until {@link ControlPlane.resume}. */
  freeze(): void;
  resume(): void;
  stop(): Promise<void>;
};

/** What this machine lacks to run one, as text for the log; undefined if nothing. */
export async function missingControlPlaneDependencies(): Promise<readonly string[]> {
  const missing: string[] = [];
  if ((await programInPath('etcd')) === undefined)
    missing.push('etcd (Debian: apt-get install etcd-server)');
  if ((await programInPath('go')) === undefined)
    missing.push('go >= 1.24, to build kube-apiserver');
  return missing;
}

/**
 * Builds kube-apiserver if it is not built yet. The first build takes five minutes on two cores.
 */
export async function buildApiServer(): Promise<string> {
  const directory = import.meta.dirname;
  const [, version = ''] =
    /k8s\.io\/kubernetes (v\S+)/.exec(await readFile(join(directory, 'go.mod'), 'utf8')) ?? [];
  // Without it the server reports v0.0.0, and the kubeVersion checks of charts fail.
  const ldflags = `-X k8s.io/component-base/version.gitVersion=${version}`;
  return buildGoProgram({ directory, name: 'kube-apiserver', target: 'tool', ldflags });
}

/** Records who requested what, without bodies, because bodies contain tokens. */
const auditPolicy = `
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata}]
`;

/** Starts one on free ports, in a temporary directory that is removed with it. */
export async function startControlPlane(): Promise<ControlPlane> {
  const apiServer = await buildApiServer();
  const directory = await mkdtemp(join(tmpdir(), 'kf-control-plane-'));
  const file = (name: string): string => join(directory, name);
  const [port = 0, etcdPort = 0, peerPort = 0] = await freePorts(3);
  const server = new URL(`https://127.0.0.1:${port}`);
  const adminToken = randomBytes(16).toString('hex');
  const testCa = createTestCa('Control Plane CA');
  const servingCertificate = testCa.issue();
  const accountKey = generateKeyPairSync('rsa', { modulusLength: 2048 });
  await Promise.all([
    writeFile(file('ca.crt'), testCa.cert),
    writeFile(file('tls.crt'), servingCertificate.cert),
    writeFile(file('tls.key'), servingCertificate.key),
    writeFile(file('sa.key'), accountKey.privateKey.export({ type: 'pkcs8', format: 'pem' })),
    writeFile(file('sa.pub'), accountKey.publicKey.export({ type: 'spki', format: 'pem' })),
    writeFile(file('tokens.csv'), `${adminToken},admin,admin,"system:masters"\n`),
    writeFile(file('audit-policy.yaml'), auditPolicy),
    writeFile(file('kubeconfig'), kubeconfig(server, file('ca.crt'), adminToken), { mode: 0o600 }),
  ]);
  const kube = createKubeClient({ server, ca: testCa.cert, token: adminToken });

  const startApiServer = (): Promise<StartedProgram> =>
    startProgram({
      program: apiServer,
      args: [
        `--etcd-servers=http://127.0.0.1:${etcdPort}`,
        ...['--bind-address=127.0.0.1', `--secure-port=${port}`, `--cert-dir=${file('certs')}`],
        ...[`--tls-cert-file=${file('tls.crt')}`, `--tls-private-key-file=${file('tls.key')}`],
        ...[
          `--service-account-key-file=${file('sa.pub')}`,
          `--service-account-issuer=${server.origin}`,
        ],
        `--service-account-signing-key-file=${file('sa.key')}`,
        `--service-account-jwks-uri=${server.origin}/openid/v1/jwks`,
        '--api-audiences=https://kubernetes.default.svc',
        ...['--authorization-mode=RBAC', `--token-auth-file=${file('tokens.csv')}`],
        ...['--service-cluster-ip-range=10.0.0.0/24', '--allow-privileged=true'],
        ...[
          `--audit-policy-file=${file('audit-policy.yaml')}`,
          `--audit-log-path=${file('audit.log')}`,
        ],
      ],
      isReady: async () => (await kube.request('GET', '/readyz')).status === 200,
    });

  const etcd = await startProgram({
    program: (await programInPath('etcd')) ?? 'etcd',
    args: [
      ...[`--data-dir=${file('etcd')}`, `--listen-client-urls=http://127.0.0.1:${etcdPort}`],
      `--advertise-client-urls=http://127.0.0.1:${etcdPort}`,
      ...[`--listen-peer-urls=http://127.0.0.1:${peerPort}`, '--log-level=error', '--logger=zap'],
      `--initial-advertise-peer-urls=http://127.0.0.1:${peerPort}`,
      `--initial-cluster=default=http://127.0.0.1:${peerPort}`,
    ],
    isReady: async () => (await fetch(`http://127.0.0.1:${etcdPort}/health`)).ok,
  });
  let apiServerProcess: StartedProgram | undefined = await startApiServer().catch(
    async (error: unknown) => {
      await etcd.stop();
      throw error;
    },
  );

  await kube.apply(publicIssuer);
  return {
    server,
    ca: testCa.cert,
    caFile: file('ca.crt'),
    kube,
    kubeconfig: file('kubeconfig'),
    issuer: server.origin,
    auditedRequests: async (user) =>
      auditedRequests(await readFile(file('audit.log'), 'utf8'), user),
    async kill() {
      await apiServerProcess?.stop('SIGKILL');
      apiServerProcess = undefined;
    },
    async restart() {
      apiServerProcess ??= await startApiServer();
    },
    freeze: () => apiServerProcess?.signal('SIGSTOP'),
    resume: () => apiServerProcess?.signal('SIGCONT'),
    async stop() {
      await kube.close();
      await apiServerProcess?.stop('SIGKILL');
      await etcd.stop('SIGKILL');
      await rm(directory, { recursive: true });
    },
  };
}

/**
 * As in managed clusters: every service that trusts the tokens of the cluster may read its public
 * keys.
 */
const publicIssuer = `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: public-issuer}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: system:service-account-issuer-discovery}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: system:unauthenticated}]
`;

function kubeconfig(server: URL, caFile: string, token: string): string {
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [
      { name: 'test', cluster: { server: server.origin, 'certificate-authority': caFile } },
    ],
    users: [{ name: 'admin', user: { token } }],
    contexts: [{ name: 'test', context: { cluster: 'test', user: 'admin' } }],
    'current-context': 'test',
  });
}

type AuditEvent = {
  readonly user: { readonly username: string };
  readonly verb: string;
  readonly requestURI: string;
  readonly objectRef?: {
    readonly resource: string;
    readonly subresource?: string;
    readonly namespace?: string;
    readonly name?: string;
  };
  readonly responseStatus?: { readonly code: number };
};

function auditedRequests(log: string, user: string): readonly string[] {
  const events = log
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as AuditEvent)
    .filter((event) => event.user.username === user);
  const lines = events.map(({ verb, requestURI, objectRef, responseStatus }) => {
    const { resource = requestURI, subresource, namespace, name } = objectRef ?? {};
    const kind = [resource, subresource].filter((part) => part !== undefined).join('/');
    const object = [namespace, name].filter((part) => part !== undefined).join('/');
    return `${verb} ${kind} ${object}: ${responseStatus?.code ?? '?'}`;
  });
  return [...new Set(lines)].sort();
}
