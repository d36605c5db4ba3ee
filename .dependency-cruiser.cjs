/*
 * The rules of imports in src/ (docs/adr/0001). CONTRIBUTING.md lists all of them under "Where
 * things are": change both. `from.pathNot` says which files are exempt from a rule, such as
 * `*.test.ts`. A rule without it holds for test files as well.
 */

const allButCli = [
  'app',
  'csi',
  'docker',
  'mount',
  'cache',
  'providers',
  'kube',
  'http',
  'sockets',
  'config',
  'telemetry',
  'formats',
  'files',
  'concurrency',
  'core',
];

/**
 * The folders of src/ that each folder may import, in addition to itself. No folder may import
 * src/main.ts.
 */
const mayImport = {
  cli: allButCli,
  app: allButCli,
  csi: ['mount', 'sockets', 'concurrency', 'core'],
  docker: ['mount', 'http', 'sockets', 'formats', 'files', 'concurrency', 'core'],
  mount: ['cache', 'formats', 'concurrency', 'core'],
  cache: ['formats', 'concurrency', 'core'],
  providers: ['kube', 'http', 'config', 'formats', 'files', 'concurrency', 'core'],
  kube: ['http', 'formats', 'concurrency', 'core'],
  http: ['concurrency', 'core'],
  sockets: ['core'],
  config: ['telemetry', 'core'],
  telemetry: ['formats', 'core'],
  formats: ['core'],
  files: ['core'],
  concurrency: ['core'],
  core: [],
};
const folders = Object.entries(mayImport).map(([folder, allowed]) => ({
  name: `${folder}-imports-only-what-it-may`,
  severity: 'error',
  from: { path: `^src/${folder}/`, pathNot: '\\.test\\.ts$' },
  to: { path: '^src/', pathNot: `^src/(${[folder, ...allowed].join('|')})/` },
}));

module.exports = {
  forbidden: [
    ...folders,
    { name: 'no-circles', severity: 'error', from: {}, to: { circular: true } },
    {
      name: 'grpc-imports-nothing-of-keyferry',
      severity: 'error',
      from: { path: '^src/csi/grpc/', pathNot: '\\.test\\.ts$' },
      to: { path: '^src/', pathNot: '^src/csi/grpc/' },
    },
    {
      name: 'the-model-and-the-configuration-of-docker-are-pure',
      severity: 'error',
      from: { path: '^src/docker/(model|config)/', pathNot: '\\.test\\.ts$' },
      to: {
        path: '^src/',
        pathNot: '^src/(core|formats|docker/(model|config)|docker/problem\\.ts$)',
      },
    },
    {
      name: 'providers-do-not-import-each-other',
      severity: 'error',
      from: { path: '^src/providers/([^/]+)/' },
      to: { path: '^src/providers/[^/]+/', pathNot: '^src/providers/($1|shared)/' },
    },
    {
      name: 'shared-provider-code-knows-no-provider',
      severity: 'error',
      from: { path: '^src/providers/shared/' },
      to: { path: '^src/providers/', pathNot: '^src/providers/shared/' },
    },
    {
      name: 'only-the-composition-root-and-commands-import-the-registry',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/(cli|app)/|\\.test\\.ts$' },
      to: { path: '^src/providers/registry\\.ts$' },
    },
    {
      name: 'of-providers-only-the-registry-imports-the-configuration',
      severity: 'error',
      from: {
        path: '^src/providers/',
        pathNot: '^src/providers/registry\\.ts$|\\.test\\.ts$',
      },
      to: { path: '^src/config/' },
    },
    {
      name: 'only-authorize-makes-grants',
      severity: 'error',
      from: {
        path: '^src/',
        pathNot: '^src/(providers/[^/]+|docker/delivery)/authorize\\.ts$|\\.test\\.ts$',
      },
      to: { path: '^src/core/grant\\.ts$' },
    },
    {
      name: 'the-product-imports-no-tests',
      severity: 'error',
      from: { path: '^src/', pathNot: '\\.test\\.ts$' },
      to: { path: '^test/|\\.test\\.ts$' },
    },
    {
      name: 'the-product-imports-no-development-dependencies',
      severity: 'error',
      from: { path: '^src/', pathNot: '\\.test\\.ts$' },
      to: { dependencyTypes: ['npm-dev'] },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'require', 'node', 'default', 'types'],
    },
  },
};
