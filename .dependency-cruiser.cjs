/** The house's one-way streets (docs/adr/0001): cli -> csi -> mount -> store -> providers -> {kube, http} -> {plan, flow} -> {config, telemetry, errors}. */
const floors = [
  ['cli'],
  ['csi'],
  ['mount'],
  ['store'],
  ['providers'],
  ['kube', 'http'],
  ['plan', 'flow'],
  ['config', 'telemetry', 'errors'],
];
const upward = floors.slice(1).map((rooms, index) => ({
  name: `no-way-up-from-${rooms.join('-')}`,
  severity: 'error',
  from: { path: `^src/(${rooms.join('|')})/` },
  to: {
    path: `^src/(main\\.ts|(${floors
      .slice(0, index + 1)
      .flat()
      .join('|')})/)`,
  },
}));
module.exports = {
  forbidden: [
    ...upward,
    {
      name: 'no-circular',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    {
      name: 'providers-do-not-meet',
      comment: 'A provider never imports another one.',
      severity: 'error',
      from: { path: '^src/providers/([^/]+)/' },
      to: { path: '^src/providers/[^/]+/', pathNot: '^src/providers/$1/' },
    },
    {
      name: 'registry-only-for-cli',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/cli/|\\.test\\.ts$' },
      to: { path: '^src/providers/registry\\.ts$' },
    },
    {
      name: 'a-provider-is-known-by-its-contract',
      comment: 'mount and store see only the contract and what grants are made of.',
      severity: 'error',
      from: { path: '^src/(mount|store)/', pathNot: '\\.test\\.ts$' },
      to: { path: '^src/providers/', pathNot: '^src/providers/provider\\.ts$' },
    },
    {
      name: 'only-admit-makes-grants',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/providers/[^/]+/admit\\.ts$|\\.test\\.ts$' },
      to: { path: '^src/providers/grant\\.ts$' },
    },
    {
      name: 'no-tests-in-the-product',
      severity: 'error',
      from: { path: '^src/', pathNot: '\\.test\\.ts$' },
      to: { path: '^test/|\\.test\\.ts$' },
    },
    {
      name: 'not-to-dev-dependency',
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
