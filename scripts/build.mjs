// Bundles src/main.ts into dist/keyferry.js: one CommonJS file that needs nothing but Node beside it.
import { build } from 'esbuild';
import { chmod, readFile } from 'node:fs/promises';
import { deferredPackages } from './deferred-packages.mjs';
import { unusedParts } from './unused-parts.mjs';

const { version, dependencies } = JSON.parse(
  await readFile(new URL('../package.json', import.meta.url), 'utf8'),
);
const options = {
  bundle: true,
  platform: 'node',
  target: 'node20',
  format: 'cjs',
  minifySyntax: true,
  minifyWhitespace: true,
  mainFields: ['module', 'main'],
  logLevel: 'warning',
  plugins: [unusedParts],
  // What the AWS SDK has to say of coming versions of itself, on Node 20, would stand among the lines of the log.
  define: { 'process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED': '"true"' },
};
await build({
  ...options,
  entryPoints: ['src/main.ts'],
  outfile: 'dist/keyferry.js',
  legalComments: 'linked',
  define: { ...options.define, KEYFERRY_VERSION: JSON.stringify(version) },
  banner: { js: '#!/usr/bin/env node' },
  plugins: [...options.plugins, deferredPackages(options, Object.keys(dependencies))],
});
await chmod('dist/keyferry.js', 0o755);
