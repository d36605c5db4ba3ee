import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { DriverClient } from '../../src/csi/client.ts';
import { startCceFixture } from '../fakes/cce-fixture.ts';
import { benchAws } from './aws.ts';
import { missingDockerDependencies } from '../servers/docker/engine.ts';
import { benchCrowd, crowdSecret } from './crowd.ts';
import { benchDocker } from './docker.ts';
import { mountRequest, runMounts, type Run } from './load.ts';
import { productionFlags, startServer, type ServerProcess } from './server-process.ts';

/**
 * The measures that a release must meet. Each is printed beside the bare grpc-js server of the same
 * run, because absolute times depend on the machine.
 */
const bundle = 'dist/keyferry.js';
const bareServerBundle = join(dirname(process.argv[1] ?? ''), 'bare-server.cjs');
const bareStoreClientBundle = join(dirname(process.argv[1] ?? ''), 'bare-store-client.cjs');
const quick = process.argv.includes('--quick');
const selected = process.argv.find((argument) =>
  ['cached', 'cold', 'memory', 'crowd', 'aws', 'docker'].includes(argument),
);
const dir = mkdtempSync(join(tmpdir(), 'kf-'));
const store = join(dir, 'store.age');
const key = join(dir, 'store.key');
const grants = join(dir, 'grants.yaml');

function prepare(): void {
  const local = (args: string[], input?: string): void => {
    execFileSync(process.execPath, [bundle, 'local', '--store', store, '--key', key, ...args], {
      input: input ?? '',
      stdio: ['pipe', 'ignore', 'inherit'],
    });
  };
  local(['init']);
  for (let n = 0; n < 5; n++) local(['set', `secret-${n}`], 'x'.repeat(100));
  for (let n = 0; n < 10; n++) local(['set', `crowd-${n}`], crowdSecret);
  writeFileSync(
    grants,
    'grants:\n  - namespaces: ["**"]\n    serviceAccounts: ["**"]\n    provider: local\n    names: ["**"]\n',
  );
}

function serveArgs(provider: string): string[] {
  const args = [
    'serve',
    '--providers',
    provider,
    '--providers-dir',
    dir,
    '--health-address',
    '127.0.0.1:0',
  ];
  return [...args, '--log-level', 'warn'];
}

function startKeyferry(): Promise<ServerProcess> {
  const local = ['--local-store', store, '--local-key', key, '--shared-identity-grants', grants];
  return startServer([bundle, ...serveArgs('local'), ...local], join(dir, 'local.sock'));
}

function startBareServer(files: number): Promise<ServerProcess> {
  const socket = join(dir, 'bare.sock');
  return startServer([bareServerBundle, socket, String(files), '100'], socket);
}

function objects(count: number): string {
  return Array.from({ length: count }, (_, n) => `- objectName: secret-${n}`).join('\n');
}

async function benchCached(): Promise<void> {
  const count = quick ? 2_000 : 10_000;
  const rows: object[] = [];
  for (const files of [1, 5]) {
    const keyferry = await startKeyferry();
    const baseline = await startBareServer(files);
    const request = mountRequest(objects(files));
    // Warms up both servers, so that the compiler has finished: measures the cost of a process that
    // has run for a while.
    for (const server of [keyferry, baseline])
      for (const concurrency of [16, 1, 64])
        await runMounts(server, request, { count, concurrency });
    for (const concurrency of [1, 16, 64]) {
      // The servers alternate, three times each, so that a drift of the machine affects both.
      const runs = { keyferry: [] as Run[], baseline: [] as Run[] };
      for (let round = 0; round < 3; round++) {
        runs.baseline.push(await runMounts(baseline, request, { count, concurrency }));
        runs.keyferry.push(await runMounts(keyferry, request, { count, concurrency }));
      }
      const lowest = (samples: Run[], measure: keyof Run): number =>
        Math.min(...samples.map((run) => run[measure]));
      const highestRate = (samples: Run[]): number =>
        Math.max(...samples.map(({ perSecond }) => perSecond));
      rows.push({
        objects: files,
        concurrency,
        'mounts/s': Math.round(highestRate(runs.keyferry)),
        'bare mounts/s': Math.round(highestRate(runs.baseline)),
        ratio: (highestRate(runs.keyferry) / highestRate(runs.baseline)).toFixed(2),
        'p50 ms': lowest(runs.keyferry, 'p50').toFixed(2),
        'p99 ms': lowest(runs.keyferry, 'p99').toFixed(2),
        'bare p99 ms': lowest(runs.baseline, 'p99').toFixed(2),
        'CPU us': lowest(runs.keyferry, 'cpu').toFixed(0),
        'bare CPU us': lowest(runs.baseline, 'cpu').toFixed(0),
        'beyond bare us': (lowest(runs.keyferry, 'cpu') - lowest(runs.baseline, 'cpu')).toFixed(0),
      });
    }
    await Promise.all([keyferry.stop(), baseline.stop()]);
  }
  console.log(
    '\nCached mounts against bare grpc-js serving the same bytes (5 objects: <= 60 us beyond bare, p99 <= 1 ms at 1)',
  );
  console.table(rows);
}

async function benchMemory(): Promise<void> {
  const total = quick ? 5_000 : 50_000;
  const rows: object[] = [];
  for (const [name, start] of [
    ['Keyferry', startKeyferry],
    ['bare grpc-js', () => startBareServer(5)],
  ] as const) {
    const starts: number[] = [];
    for (let round = 0; round < 5; round++) {
      const server = await start();
      starts.push(server.startupMs);
      await server.stop();
    }
    const server = await start();
    await new Promise((resolve) => setTimeout(resolve, 500));
    const idle = server.rss();
    for (let pod = 0; pod < 50; pod++) {
      await runMounts(server, mountRequest(objects(5), pod), {
        count: total / 50,
        concurrency: 16,
      });
    }
    rows.push({
      server: name,
      'start ms, median of 5': starts.sort((a, b) => a - b)[2]?.toFixed(0),
      'idle RSS MiB': idle.toFixed(1),
      [`RSS MiB after ${total}`]: server.rss().toFixed(1),
    });
    await server.stop();
  }
  console.log(
    '\nMemory and start (<= 55 MB idle, <= 85 MB after 50,000 mounts, <= 150 ms to listening)',
  );
  console.table(rows);
}

/**
 * 200 pods that start at the same moment. Each has its own secret, and none is cached. The store
 * takes 200 ms for each read.
 */
async function benchCold(): Promise<void> {
  const names = Array.from({ length: 200 }, (_, n) => `secret-${n}`);
  const fixture = await startCceFixture({ realTime: true });
  const rows: object[] = [];
  try {
    for (const name of names) fixture.csms.put(name, 'x'.repeat(100));
    fixture.annotate(names, { namespace: 'bench', account: 'bench' });
    fixture.csms.injectFault({ delayMs: 200 });
    for (const limits of ['lifted', 'default'] as const) {
      const { server, tokenFile, caFile } = fixture.kubernetes;
      const kube = [
        '--kube-server',
        server.href,
        '--kube-token-file',
        tokenFile,
        '--kube-ca-file',
        caFile,
      ];
      const rate =
        limits === 'lifted' ? { KEYFERRY_CCE_RATE: '10000', KEYFERRY_CCE_BURST: '10000' } : {};
      const keyferry = await startServer(
        [bundle, ...serveArgs('cce'), '--ca-file', fixture.caFile, ...kube],
        join(dir, 'cce.sock'),
        { ...(fixture.env as Record<string, string>), ...rate },
      );
      const client = new DriverClient({ socketPath: keyferry.socketPath });
      const readsBefore = { store: fixture.csms.count(), kubernetes: fixture.kubernetes.reads() };
      const startedAt = performance.now();
      const results = await Promise.all(
        names.map((name, pod) =>
          client.mount(
            mountRequest(`- {objectName: ${name}, objectType: csms, objectVersion: latest}`, pod),
            {
              timeoutMs: 120_000,
            },
          ),
        ),
      );
      const ms = performance.now() - startedAt;
      rows.push({
        budget: limits,
        succeeded: results.filter(({ code }) => code === 'OK').length,
        'all done ms': Math.round(ms),
        'store reads': fixture.csms.count() - readsBefore.store,
        'Kubernetes reads': fixture.kubernetes.reads() - readsBefore.kubernetes,
        'bare undici ms': Math.round(
          await runBareStoreClient(fixture.csms.url, fixture.caFile, names.length),
        ),
      });
      client.close();
      await keyferry.stop();
    }
  } finally {
    await fixture.close();
  }
  console.log(
    '\n200 pods at once, 200 secrets, nothing cached, a store that takes 200 ms, beside undici alone (lifted: <= 600 ms)',
  );
  console.table(rows);
}

/**
 * Milliseconds that undici alone needs for the same number of calls under the same rules: one call
 * to check the key, then the others over 100 connections.
 */
async function runBareStoreClient(store: URL, caFile: string, calls: number): Promise<number> {
  const args = [
    ...productionFlags,
    bareStoreClientBundle,
    store.origin,
    caFile,
    String(calls),
    '100',
  ];
  const { stdout } = await promisify(execFile)(process.execPath, args);
  return Number(stdout);
}

async function benchDockerIfAvailable(): Promise<void> {
  const missing = await missingDockerDependencies();
  if (missing.length === 0) return benchDocker(quick ? 3 : 5);
  console.log(`\ndocker is not measured: this machine has no ${missing.join(', and no ')}`);
}

async function main(): Promise<void> {
  try {
    prepare();
    console.log(`Node ${process.versions.node}, ${productionFlags.join(' ')}`);
    if (selected === undefined || selected === 'cached') await benchCached();
    if (selected === undefined || selected === 'cold') await benchCold();
    if (selected === undefined || selected === 'memory') await benchMemory();
    if (selected === undefined || selected === 'crowd') await benchCrowd(startKeyferry, objects(5));
    if (selected === undefined || selected === 'aws')
      await benchAws([bundle, ...serveArgs('aws')], dir, quick ? 200 : 1_000);
    if (selected === undefined || selected === 'docker') await benchDockerIfAvailable();
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

main().catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
