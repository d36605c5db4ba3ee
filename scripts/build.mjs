// Bundles src/main.ts into dist/keyferry.js: one CommonJS file that needs nothing but Node beside it.
import { build } from 'esbuild';
import { chmod, readFile } from 'node:fs/promises';

const { version } = JSON.parse(await readFile(new URL('../package.json', import.meta.url), 'utf8'));
await build({
  entryPoints: ['src/main.ts'],
  outfile: 'dist/keyferry.js',
  bundle: true,
  platform: 'node',
  target: 'node20',
  format: 'cjs',
  minifySyntax: true,
  minifyWhitespace: true,
  legalComments: 'linked',
  mainFields: ['module', 'main'],
  // grpc-js loads it for its introspection service alone, which nobody starts.
  external: ['@grpc/proto-loader'],
  define: { KEYFERRY_VERSION: JSON.stringify(version) },
  banner: { js: '#!/usr/bin/env node' },
  logLevel: 'warning',
});
await chmod('dist/keyferry.js', 0o755);
