// Bundles the benchmark and its reference server, and runs it against dist/keyferry.js.
import { build } from 'esbuild';
import { spawnSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const dir = await mkdtemp(join(tmpdir(), 'keyferry-bench-'));
try {
  await build({
    entryPoints: ['bench', 'bare-server', 'bare-store-client'].map(
      (name) => `test/bench/${name}.ts`,
    ),
    outdir: dir,
    outExtension: { '.js': '.cjs' },
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'cjs',
    external: ['@swc/*', 'jest*', '@jest/*'],
    logLevel: 'error',
  });
  const { status } = spawnSync(
    process.execPath,
    [join(dir, 'bench.cjs'), ...process.argv.slice(2)],
    {
      stdio: 'inherit',
    },
  );
  process.exitCode = status ?? 1;
} finally {
  await rm(dir, { recursive: true, force: true });
}
