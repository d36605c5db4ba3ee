// Bundles src/main.ts into dist/keyferry.js, one CommonJS file that needs only Node.
import { build } from 'esbuild';
import { chmod, readFile } from 'node:fs/promises';
import { deferredPackages } from './deferred-packages.mjs';
import { unusedParts } from './unused-parts.mjs';

const { version, dependencies, engines } = JSON.parse(
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
  // On Node 20 the AWS SDK would print a warning about its next versions into the log.
  define: { 'process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED': '"true"' },
};
await build({
  ...options,
  entryPoints: ['src/main.ts'],
  outfile: 'dist/keyferry.js',
  legalComments: 'linked',
  define: {
    ...options.define,
    KEYFERRY_VERSION: JSON.stringify(version),
    KEYFERRY_MIN_NODE: JSON.stringify(engines.node.replace('>=', '')),
  },
  banner: { js: '#!/usr/bin/env node' },
  plugins: [...options.plugins, deferredPackages(options, Object.keys(dependencies))],
});
await chmod('dist/keyferry.js', 0o755);
