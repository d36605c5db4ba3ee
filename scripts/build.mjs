// Bundles src/main.ts into dist/keyferry.js, one CommonJS file that needs only Node, and
// src/docker-main.ts into dist/docker-dso, the plugin of Docker's command line.
import { build } from 'esbuild';
import { chmod, readFile, rm } from 'node:fs/promises';
import { deferredPackages } from './deferred-packages.mjs';
import { unusedParts } from './unused-parts.mjs';

const { version, dependencies, engines } = JSON.parse(
  await readFile(new URL('../package.json', import.meta.url), 'utf8'),
);
const minimumNode = engines.node.replace('>=', '');
const options = {
  bundle: true,
  platform: 'node',
  target: 'node20',
  format: 'cjs',
  // `require` in place of `import()`, whose loader takes 6 MiB in an idle agent.
  supported: { 'dynamic-import': false },
  minifySyntax: true,
  minifyWhitespace: true,
  mainFields: ['module', 'main'],
  logLevel: 'warning',
  plugins: [unusedParts],
  // On Node 20 the AWS SDK would print a warning about its next versions into the log.
  define: { 'process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED': '"true"' },
};
const programOptions = {
  ...options,
  legalComments: 'linked',
  define: {
    ...options.define,
    KEYFERRY_VERSION: JSON.stringify(version),
    KEYFERRY_MIN_NODE: JSON.stringify(minimumNode),
  },
};
// The licenses of deferred packages are added to these files.
for (const name of ['keyferry.js', 'docker-dso'])
  await rm(`dist/${name}.LEGAL.txt`, { force: true });
const deferred = deferredPackages(options, Object.keys(dependencies));
await build({
  ...programOptions,
  entryPoints: ['src/main.ts'],
  outfile: 'dist/keyferry.js',
  banner: { js: '#!/usr/bin/env node' },
  plugins: [...options.plugins, deferred],
});
await chmod('dist/keyferry.js', 0o755);

// Docker asks each of its plugins for this text whenever it prints its help. A shell prints it in a
// millisecond, and Node in 40. So the file is both: Node sees a text and a comment in the second line.
const metadata = JSON.stringify({
  SchemaVersion: '0.1.0',
  Vendor: 'Keyferry',
  Version: version,
  ShortDescription: 'Docker Compose with secrets from a store',
});
const shell = [
  `[ "$1" = docker-cli-plugin-metadata ] && { printf '%s\\n' '${metadata}'; exit 0; }`,
  `command -v node >/dev/null || { echo 'docker dso: there is no node in PATH; install Node ${minimumNode} or newer' >&2; exit 1; }`,
  'exec node "$0" "$@"',
].join('; ');
await build({
  ...programOptions,
  entryPoints: ['src/docker-main.ts'],
  outfile: 'dist/docker-dso',
  banner: { js: `#!/bin/sh\n':' //; ${shell}` },
  plugins: [...options.plugins, deferred],
});
await chmod('dist/docker-dso', 0o755);
