import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { createDriverClient } from '../../src/csi/client.ts';
import { startCceRig } from '../fakes/cce-rig.ts';
import { benchAws } from './aws.ts';
import { mountRequest, mounts, type Run } from './load.ts';
import { productionFlags, startServer, type ServerProcess } from './server-process.ts';

/**
 * The measures a release has to meet, each printed beside the bare grpc-js server of the same run: absolute times say as much about the
 * machine as about us.
 */
const bundle = 'dist/keyferry.js';
const bare = join(dirname(process.argv[1] ?? ''), 'bare-server.cjs');
const bareStoreClient = join(dirname(process.argv[1] ?? ''), 'bare-store-client.cjs');
const quick = process.argv.includes('--quick');
const only = process.argv.find((argument) => ['cached', 'cold', 'memory', 'aws'].includes(argument));
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
  writeFileSync(
    grants,
    'grants:\n  - namespaces: ["**"]\n    serviceAccounts: ["**"]\n    provider: local\n    names: ["**"]\n',
  );
}

function serve(provider: string): string[] {
  const args = ['serve', '--providers', provider, '--providers-dir', dir, '--health-address', '127.0.0.1:0'];
  return [...args, '--log-level', 'warn'];
}

function keyferry(): Promise<ServerProcess> {
  const local = ['--local-store', store, '--local-key', key, '--shared-identity-grants', grants];
  return startServer([bundle, ...serve('local'), ...local], join(dir, 'local.sock'));
}

function bareServer(files: number): Promise<ServerProcess> {
  const socket = join(dir, 'bare.sock');
  return startServer([bare, socket, String(files), '100'], socket);
}

function objects(count: number): string {
  return Array.from({ length: count }, (_, n) => `- objectName: secret-${n}`).join('\n');
}

async function compareCached(): Promise<void> {
  const count = quick ? 2_000 : 10_000;
  const rows: object[] = [];
  for (const files of [1, 5]) {
    const ours = await keyferry();
    const theirs = await bareServer(files);
    const request = mountRequest(objects(files));
    // Until the compiler has done with both: what a process costs that has run for a while.
    for (const server of [ours, theirs])
      for (const concurrency of [16, 1, 64]) await mounts(server, request, { count, concurrency });
    for (const concurrency of [1, 16, 64]) {
      // In turn, three times each, so that a drift of the machine meets both.
      const runs = { ours: [] as Run[], theirs: [] as Run[] };
      for (let turn = 0; turn < 3; turn++) {
        runs.theirs.push(await mounts(theirs, request, { count, concurrency }));
        runs.ours.push(await mounts(ours, request, { count, concurrency }));
      }
      const best = (of: Run[], what: keyof Run): number => Math.min(...of.map((run) => run[what]));
      const most = (of: Run[]): number => Math.max(...of.map(({ perSecond }) => perSecond));
      rows.push({
        objects: files,
        concurrency,
        'mounts/s': Math.round(most(runs.ours)),
        'bare mounts/s': Math.round(most(runs.theirs)),
        ratio: (most(runs.ours) / most(runs.theirs)).toFixed(2),
        'p50 ms': best(runs.ours, 'p50').toFixed(2),
        'p99 ms': best(runs.ours, 'p99').toFixed(2),
        'bare p99 ms': best(runs.theirs, 'p99').toFixed(2),
        'CPU us': best(runs.ours, 'cpu').toFixed(0),
        'bare CPU us': best(runs.theirs, 'cpu').toFixed(0),
        'beyond bare us': (best(runs.ours, 'cpu') - best(runs.theirs, 'cpu')).toFixed(0),
      });
    }
    await Promise.all([ours.stop(), theirs.stop()]);
  }
  console.log(
    '\nCached mounts against bare grpc-js serving the same bytes (5 objects: <= 60 us beyond bare, p99 <= 1 ms at 1)',
  );
  console.table(rows);
}

async function measureMemory(): Promise<void> {
  const total = quick ? 5_000 : 50_000;
  const rows: object[] = [];
  for (const [name, start] of [
    ['Keyferry', keyferry],
    ['bare grpc-js', () => bareServer(5)],
  ] as const) {
    const starts: number[] = [];
    for (let turn = 0; turn < 5; turn++) {
      const server = await start();
      starts.push(server.startedIn);
      await server.stop();
    }
    const server = await start();
    await new Promise((resolve) => setTimeout(resolve, 500));
    const idle = server.rss();
    for (let pod = 0; pod < 50; pod++) {
      await mounts(server, mountRequest(objects(5), pod), { count: total / 50, concurrency: 16 });
    }
    rows.push({
      server: name,
      'start ms, median of 5': starts.sort((a, b) => a - b)[2]?.toFixed(0),
      'idle RSS MiB': idle.toFixed(1),
      [`RSS MiB after ${total}`]: server.rss().toFixed(1),
    });
    await server.stop();
  }
  console.log('\nMemory and start (<= 55 MB idle, <= 85 MB after 50,000 mounts, <= 150 ms to listening)');
  console.table(rows);
}

/** 200 pods that start at the same moment, each with a secret of its own, none cached; the store takes 200 ms for each read. */
async function mountCold(): Promise<void> {
  const names = Array.from({ length: 200 }, (_, n) => `secret-${n}`);
  const rig = await startCceRig();
  const rows: object[] = [];
  try {
    for (const name of names) rig.csms.put(name, 'x'.repeat(100));
    rig.annotate(names, { namespace: 'bench', account: 'bench' });
    rig.csms.behave({ delayMs: 200 });
    for (const budget of ['lifted', 'default'] as const) {
      const { server, tokenFile, caFile } = rig.kubernetes;
      const kube = ['--kube-server', server.href, '--kube-token-file', tokenFile, '--kube-ca-file', caFile];
      const rate = budget === 'lifted' ? { KEYFERRY_CCE_RATE: '10000', KEYFERRY_CCE_BURST: '10000' } : {};
      const ours = await startServer(
        [bundle, ...serve('cce'), '--ca-file', rig.caFile, ...kube],
        join(dir, 'cce.sock'),
        { ...(rig.env as Record<string, string>), ...rate },
      );
      const client = createDriverClient({ socketPath: ours.socketPath });
      const reads = { store: rig.csms.count(), kubernetes: rig.kubernetes.reads() };
      const began = performance.now();
      const answers = await Promise.all(
        names.map((name, pod) =>
          client.mount(
            mountRequest(`- {objectName: ${name}, objectType: csms, objectVersion: latest}`, pod),
            {
              timeoutMs: 120_000,
            },
          ),
        ),
      );
      const ms = performance.now() - began;
      rows.push({
        budget,
        succeeded: answers.filter(({ code }) => code === 'OK').length,
        'all answered ms': Math.round(ms),
        'store reads': rig.csms.count() - reads.store,
        'Kubernetes reads': rig.kubernetes.reads() - reads.kubernetes,
        'bare undici ms': Math.round(await askBare(rig.csms.url, rig.caFile, names.length)),
      });
      client.close();
      await ours.stop();
    }
  } finally {
    await rig.close();
  }
  console.log(
    '\n200 pods at once, 200 secrets, nothing cached, a store that takes 200 ms, beside undici alone (lifted: <= 600 ms)',
  );
  console.table(rows);
}

/** Milliseconds that undici alone takes for as many calls, by the same rules: one to prove the key, then the others over 100 connections. */
async function askBare(store: URL, caFile: string, calls: number): Promise<number> {
  const args = [...productionFlags, bareStoreClient, store.origin, caFile, String(calls), '100'];
  const { stdout } = await promisify(execFile)(process.execPath, args);
  return Number(stdout);
}

async function main(): Promise<void> {
  try {
    prepare();
    console.log(`Node ${process.versions.node}, ${productionFlags.join(' ')}`);
    if (only === undefined || only === 'cached') await compareCached();
    if (only === undefined || only === 'cold') await mountCold();
    if (only === undefined || only === 'memory') await measureMemory();
    if (only === undefined || only === 'aws')
      await benchAws([bundle, ...serve('aws')], dir, quick ? 200 : 1_000);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

main().catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
