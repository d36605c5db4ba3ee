import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { mountRequest, mounts, type Run } from './load.ts';
import { startServer, type ServerProcess } from './server-process.ts';

/**
 * The measures a release has to meet, each printed beside the bare grpc-js server of the same run: absolute times say as much about the
 * machine as about us.
 */
const bundle = 'dist/keyferry.js';
const bare = join(dirname(process.argv[1] ?? ''), 'bare-server.cjs');
const quick = process.argv.includes('--quick');
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

function keyferry(): Promise<ServerProcess> {
  const args = ['serve', '--providers', 'local', '--providers-dir', dir, '--health-address', '127.0.0.1:0'];
  const local = ['--local-store', store, '--local-key', key, '--shared-identity-grants', grants];
  return startServer([bundle, ...args, ...local], join(dir, 'local.sock'));
}

function objects(count: number): string {
  return Array.from({ length: count }, (_, n) => `- objectName: secret-${n}`).join('\n');
}

async function compareCached(): Promise<void> {
  const count = quick ? 2_000 : 10_000;
  const rows: object[] = [];
  for (const files of [1, 5]) {
    const ours = await keyferry();
    const theirs = await startServer(
      [bare, join(dir, 'bare.sock'), String(files), '100'],
      join(dir, 'bare.sock'),
    );
    const request = mountRequest(objects(files));
    for (const server of [ours, theirs]) await mounts(server, request, { count, concurrency: 16 });
    for (const concurrency of [1, 16, 64]) {
      // In turn, twice each, so that a drift of the machine meets both.
      const runs = { ours: [] as Run[], theirs: [] as Run[] };
      for (let turn = 0; turn < 2; turn++) {
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
  const starts: number[] = [];
  for (let turn = 0; turn < 5; turn++) {
    const server = await keyferry();
    starts.push(server.startedIn);
    await server.stop();
  }
  const server = await keyferry();
  await new Promise((resolve) => setTimeout(resolve, 500));
  const idle = server.rss();
  for (let pod = 0; pod < 50; pod++) {
    await mounts(server, mountRequest(objects(5), pod), { count: total / 50, concurrency: 16 });
  }
  const loaded = server.rss();
  await server.stop();
  console.log('\nMemory and start (<= 55 MB idle, <= 85 MB after 50,000 mounts, <= 150 ms to listening)');
  console.table([
    {
      'start ms, median of 5': starts.sort((a, b) => a - b)[2]?.toFixed(0),
      'idle RSS MiB': idle.toFixed(1),
      [`RSS MiB after ${total}`]: loaded.toFixed(1),
    },
  ]);
}

async function main(): Promise<void> {
  try {
    prepare();
    await compareCached();
    await measureMemory();
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

main().catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
