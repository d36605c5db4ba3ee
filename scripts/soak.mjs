// Bundles the soak test and runs it against dist/keyferry.js.
import { build } from 'esbuild';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const dir = mkdtempSync(join(tmpdir(), 'keyferry-soak-bundle-'));
try {
  await build({
    entryPoints: ['test/bench/soak.ts'],
    outfile: join(dir, 'soak.cjs'),
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'cjs',
    external: ['@swc/*', 'jest*', '@jest/*'],
    logLevel: 'error',
  });
  const { status } = spawnSync(
    process.execPath,
    [join(dir, 'soak.cjs'), ...process.argv.slice(2)],
    {
      stdio: 'inherit',
    },
  );
  process.exitCode = status ?? 1;
} finally {
  rmSync(dir, { recursive: true, force: true });
}
