import { dirname, join } from 'node:path';
import { DriverClient } from '../../src/csi/client.ts';
import type { RawMountRequest } from '../../src/csi/mount-request.ts';
import { mountRequest } from '../driver/request.ts';
import { awsRegion } from '../fakes/aws-cloud.ts';
import { startAwsFixture, type AwsFixture } from '../fakes/aws-fixture.ts';
import { startServer, type ServerProcess } from './server-process.ts';

const bareServerBundle = join(dirname(process.argv[1] ?? ''), 'bare-aws-server.cjs');
const concurrency = 16;
const latencyMs = 10;

/** One row of the table. */
type Case = {
  readonly identity: 'IRSA' | 'Pod Identity';
  readonly secrets: number;
  /** Whether the rate limits are raised. Default: the limits that the product ships with. */
  readonly limits: 'raised' | 'default';
};

const cases: readonly Case[] = [
  { identity: 'IRSA', secrets: 1, limits: 'raised' },
  { identity: 'IRSA', secrets: 10, limits: 'raised' },
  { identity: 'Pod Identity', secrets: 1, limits: 'raised' },
  { identity: 'Pod Identity', secrets: 10, limits: 'raised' },
  { identity: 'IRSA', secrets: 1, limits: 'default' },
];

/**
 * Measurements of secrets-store-csi-driver-provider-aws 3.1.1 (Go) under the same load, on two
 * cores; with Pod Identity on a busier machine.
 */
const goProviderResults: readonly (Case & {
  readonly perSecond: number;
  readonly cpu: number;
  readonly calls: number;
})[] = [
  { identity: 'IRSA', secrets: 1, limits: 'raised', perSecond: 283, cpu: 2.0, calls: 1 },
  { identity: 'IRSA', secrets: 10, limits: 'raised', perSecond: 99, cpu: 3.7, calls: 10 },
  { identity: 'IRSA', secrets: 1, limits: 'default', perSecond: 6, cpu: 2.0, calls: 1 },
  { identity: 'Pod Identity', secrets: 1, limits: 'raised', perSecond: 140, cpu: 3.7, calls: 1 },
  { identity: 'Pod Identity', secrets: 10, limits: 'raised', perSecond: 45, cpu: 10.6, calls: 10 },
];
const goProviderMemory: Readonly<Record<Case['identity'], string>> = {
  IRSA: '114 (930 mounts)',
  'Pod Identity': '494 (5,200 mounts)',
};

/** `count` mounts warm up, and as many are measured. Each mount belongs to its own pod. */
export async function benchAws(
  serveArgs: readonly string[],
  dir: string,
  count: number,
): Promise<void> {
  const rows: object[] = goProviderResults.map(({ perSecond, cpu, calls, ...each }) => ({
    ...{ provider: 'the Go peer', ...each, 'mounts/s': perSecond },
    ...{ 'CPU ms a mount': cpu.toFixed(1), 'store calls a mount': calls, 'logins a mount': 1 },
    ...{ 'Kubernetes calls a mount': each.identity === 'IRSA' ? 1 : '' },
    ...{ 'idle MiB': 26.5, 'MiB after': goProviderMemory[each.identity] },
    'sockets left open': '2 a mount',
  }));
  for (const each of cases)
    for (const provider of each.identity === 'IRSA' ? ['Keyferry'] : ['Keyferry', 'bare']) {
      const fixture = await startAwsFixture();
      const start = provider === 'bare' ? startBareServer : startKeyferry;
      try {
        const row = await measure(fixture, each, { dir, count, start, serveArgs });
        rows.push({ provider, ...row });
      } finally {
        await fixture.close();
      }
    }
  console.log(
    `\naws: ${count} mounts after ${count} others, each of a new pod, ${concurrency} at once, before a fake over TLS that takes ${latencyMs} ms for each call`,
  );
  console.table(rows);
}

async function measure(
  fixture: AwsFixture,
  { identity, secrets, limits }: Case,
  {
    start,
    count,
    ...options
  }: StartOptions & { readonly start: typeof startKeyferry; readonly count: number },
): Promise<object> {
  const names = Array.from({ length: secrets }, (_, n) => `secret-${n}`);
  for (const name of names) fixture.secretsManager.put(name, 'x'.repeat(100));
  const stores = [fixture.secretsManager, fixture.sts, fixture.agent.ipv4];
  for (const store of stores) store.injectFault({ delayMs: latencyMs });
  const requests = Array.from({ length: 2 * count }, (_, n) =>
    createRequest(fixture, `pod-${n}`, identity, names),
  );
  const server = await start(fixture, { ...options, limits, names });
  const client = new DriverClient({ socketPath: server.socketPath });
  const run = async (batch: readonly RawMountRequest[]): Promise<void> => {
    const remaining = [...batch];
    const worker = async (): Promise<void> => {
      for (let request = remaining.pop(); request !== undefined; request = remaining.pop()) {
        const result = await client.mount(request, { timeoutMs: 120_000 });
        if (result.code !== 'OK') throw new Error(`${result.code}: ${result.message}`);
      }
    };
    await Promise.all(Array.from({ length: concurrency }, worker));
  };
  try {
    await new Promise((resolve) => setTimeout(resolve, 300));
    const idle = server.rss();
    const sockets = server.sockets();
    // Node compiles during the first mounts, which takes a fifth of their CPU time.
    await run(requests.slice(0, count));
    const before = { cpu: server.cpu(), at: performance.now(), calls: countCalls(fixture) };
    await run(requests.slice(count));
    const seconds = (performance.now() - before.at) / 1_000;
    const calls = countCalls(fixture);
    const perMount = (counter: keyof ReturnType<typeof countCalls>): string =>
      ((calls[counter] - before.calls[counter]) / count).toFixed(2);
    return {
      ...{ identity, secrets, limits, 'mounts/s': Math.round(count / seconds) },
      'CPU ms a mount': ((server.cpu() - before.cpu) / 1_000 / count).toFixed(2),
      'store calls a mount': perMount('store'),
      'logins a mount': perMount('logins'),
      'Kubernetes calls a mount': perMount('kubernetes'),
      'idle MiB': idle.toFixed(1),
      'MiB after': server.rss().toFixed(1),
      'sockets left open': server.sockets() - sockets,
    };
  } finally {
    client.close();
    await server.stop();
  }
}

type StartOptions = { readonly serveArgs: readonly string[]; readonly dir: string };
type ServerOptions = StartOptions & Pick<Case, 'limits'> & { readonly names: readonly string[] };

/** Only grpc-js, undici and AWS's signer. */
function startBareServer(
  fixture: AwsFixture,
  { dir, names }: ServerOptions,
): Promise<ServerProcess> {
  const socket = join(dir, 'bare-aws.sock');
  const stores = [fixture.agent.ipv4.url.href, fixture.secretsManager.url.href, fixture.caFile];
  return startServer([bareServerBundle, socket, ...stores, awsRegion, names.join(',')], socket);
}

function startKeyferry(
  fixture: AwsFixture,
  { serveArgs, dir, limits }: ServerOptions,
): Promise<ServerProcess> {
  const { server, tokenFile, caFile } = fixture.kubernetes;
  const kube = [
    '--kube-server',
    server.href,
    '--kube-token-file',
    tokenFile,
    '--kube-ca-file',
    caFile,
  ];
  const raisedLimits = {
    KEYFERRY_AWS_RATE_SECRETSMANAGER: '10000',
    KEYFERRY_AWS_BURST_SECRETSMANAGER: '10000',
  };
  const env = {
    ...(fixture.env as Record<string, string>),
    ...(limits === 'raised' && raisedLimits),
  };
  return startServer(
    [...serveArgs, '--ca-file', fixture.caFile, ...kube],
    join(dir, 'aws.sock'),
    env,
  );
}

function createRequest(
  fixture: AwsFixture,
  name: string,
  identity: Case['identity'],
  names: readonly string[],
): RawMountRequest {
  const objects = names
    .map((each) => `- {objectName: ${each}, objectType: secretsmanager}`)
    .join('\n');
  const podIdentity = identity === 'Pod Identity' ? { usePodIdentity: 'true' } : {};
  return mountRequest({
    trigger: 'publish',
    class: {
      metadata: { name: 'bench' },
      spec: { provider: 'aws', parameters: { region: awsRegion, objects, ...podIdentity } },
    },
    pod: { name, namespace: 'team-a', uid: `uid-${name}`, serviceAccount: 'app' },
    attributes: {},
    tokens: fixture.podTokens({ name }),
    nodePublishSecret: undefined,
    tokensInSecrets: false,
    targetPath: `/pods/${name}`,
    versions: [],
  });
}

function countCalls({ secretsManager, sts, agent, kubernetes }: AwsFixture) {
  return {
    store: secretsManager.count(),
    logins: sts.count() + agent.ipv4.count(),
    kubernetes: kubernetes.reads(),
  };
}
