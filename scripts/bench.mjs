// Bundles a program of test/bench and runs it against dist/keyferry.js: `soak`, or else the benchmark
// with its reference servers.
import { build } from 'esbuild';
import { spawnSync } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

const [first, ...rest] = process.argv.slice(2);
const [program, ...references] =
  first === 'soak' ? ['soak'] : ['bench', 'bare-server', 'bare-store-client', 'bare-aws-server'];
const args = first === 'soak' ? rest : process.argv.slice(2);
// CommonJS has no `import.meta`, with which the servers of test/servers find their files.
const ownDirectories = {
  name: 'own-directories',
  setup({ onLoad }) {
    onLoad({ filter: /\/test\/.*\.ts$/ }, async ({ path }) => {
      const code = await readFile(path, 'utf8');
      const directory = JSON.stringify(dirname(path));
      return { contents: code.replaceAll('import.meta.dirname', directory), loader: 'ts' };
    });
  },
};
const dir = await mkdtemp(join(tmpdir(), 'keyferry-bench-'));
try {
  await build({
    entryPoints: [program, ...references].map((name) => `test/bench/${name}.ts`),
    outdir: dir,
    outExtension: { '.js': '.cjs' },
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'cjs',
    external: ['@swc/*', 'jest*', '@jest/*'],
    plugins: [ownDirectories],
    logLevel: 'error',
  });
  const { status } = spawnSync(process.execPath, [join(dir, `${program}.cjs`), ...args], {
    stdio: 'inherit',
  });
  process.exitCode = status ?? 1;
} finally {
  await rm(dir, { recursive: true, force: true });
}
