import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { Command } from 'commander';
import { execFile } from 'node:child_process';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import {
  parseSettings,
  settingFlags,
  type RawSettings,
  type Settings,
} from '../../src/config/settings.ts';
import { parseObjects, type KubeObject } from '../driver/kube-client.ts';
import { missingChartDependencies, findHelm, renderChart } from './chart-objects.ts';
import { describeIfAvailable } from '../if-available.ts';

const describe = describeIfAvailable(import.meta.filename, await missingChartDependencies());
const run = promisify(execFile);

const names = ['alibabacloud', 'aws', 'cce', 'local', 'openbao', 'vault'];
const image = { repository: 'registry.example/keyferry' };
/** Everything that can be switched on. */
const everythingOn = {
  providers: names,
  image: { ...image, digest: `sha256:${'a'.repeat(64)}` },
  imagePullSecrets: [{ name: 'registry' }],
  hostNetwork: true,
  alibabacloud: { oidc: true, gatewayCaConfigMap: 'kms-ca' },
  aws: { credentials: { secret: 'aws-keys' } },
  cce: { oidcAudience: 'keyferry', env: { HUAWEICLOUD_SDK_IDP_ID: 'idp' } },
  vault: { mintTokens: true, filesSecret: 'files', env: { VAULT_ADDR: 'https://vault:8200' } },
  podWatch: { enabled: true },
  events: { enabled: true },
  ca: { configMap: 'authorities' },
  refreshInterval: '1m',
  sharedIdentities: {
    mode: 'all',
    grants: [
      { provider: 'aws', namespaces: ['shop'], serviceAccounts: ['web'], names: ['ssm/**'] },
    ],
  },
  admissionPolicies: { mode: 'deny', regions: ['eu-.*'], roles: ["o'brien"], podOverrides: false },
  extraEnv: [
    { name: 'HTTPS_PROXY', value: 'http://proxy:3128' },
    { name: 'VAULT_ADDR', value: 'https://other:8200' },
  ],
  extraVolumes: [{ name: 'more', emptyDir: {} }],
  extraVolumeMounts: [{ name: 'more', mountPath: '/more' }],
  extraArgs: ['--log-level=debug'],
  runAsUser: 65532,
  seLinuxOptions: { type: 'spc_t' },
  podLabels: { team: 'platform' },
  podAnnotations: { note: 'x' },
  serviceAccount: { annotations: { 'eks.amazonaws.com/role-arn': 'arn:aws:iam::1:role/keyferry' } },
  networkPolicy: { enabled: true, from: [{ namespaceSelector: {} }] },
  monitoring: {
    podMonitor: { enabled: true },
    rules: { enabled: true },
    dashboard: { enabled: true },
  },
};
/** What can be switched off. */
const everythingOff = {
  providers: ['local'],
  admissionPolicies: { mode: 'none' },
  monitoring: { annotations: false },
  affinity: null,
  tolerations: [],
  resources: {},
  priorityClassName: '',
};
const singleProviders = names.map((provider): [string, object] => [
  `${provider} alone`,
  { providers: [provider] },
]);
const allValues: readonly [string, object][] = [
  ...singleProviders,
  ['every provider', { providers: names }],
  ['every provider in the node’s network', { providers: names, hostNetwork: true }],
  ['everything on', everythingOn],
  ['everything off', everythingOff],
];

type Container = {
  readonly image: string;
  readonly args: readonly string[];
  readonly env: readonly { readonly name: string; readonly value?: string }[];
  readonly ports?: unknown;
  readonly resources: unknown;
  readonly securityContext: unknown;
  readonly volumeMounts: readonly {
    readonly name: string;
    readonly mountPath: string;
    readonly readOnly?: boolean;
  }[];
  readonly readinessProbe: { readonly exec?: unknown; readonly httpGet?: unknown };
};
type DaemonSet = KubeObject & {
  readonly spec: {
    readonly updateStrategy: unknown;
    readonly template: {
      readonly spec: {
        readonly containers: readonly [Container];
        readonly volumes: readonly { readonly name: string }[];
        readonly securityContext: object;
        readonly terminationGracePeriodSeconds: number;
        readonly automountServiceAccountToken: boolean;
        readonly hostNetwork?: boolean;
      };
    };
  };
};
type Rule = {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly verbs: readonly string[];
};

async function podOf(values: object): Promise<DaemonSet['spec']['template']['spec']> {
  const objects = await renderChart(values);
  return (objects.find(({ kind }) => kind === 'DaemonSet') as DaemonSet).spec.template.spec;
}

async function permissionsOf(values: object): Promise<readonly string[]> {
  const roles = (await renderChart(values)).filter(({ kind }) =>
    kind.endsWith('Role'),
  ) as unknown as {
    rules: Rule[];
  }[];
  return roles.flatMap(({ rules }) =>
    rules.flatMap(({ apiGroups, resources, verbs }) =>
      verbs.flatMap((verb) =>
        resources.map(
          (resource) => `${verb} ${[...apiGroups, resource].filter(Boolean).join('/')}`,
        ),
      ),
    ),
  );
}

/** What a process would make of its flags. */
function settingsOf({ args, env }: Container): Settings {
  const serve = new Command('serve').exitOverride();
  for (const option of settingFlags) serve.addOption(option);
  const rawSettings = serve.parse(args.slice(1), { from: 'user' }).opts<RawSettings>();
  return parseSettings({
    ...rawSettings,
    healthAddress: env.find(({ name }) => name === 'KEYFERRY_HEALTH_ADDRESS')?.value,
  });
}

describe('the chart', () => {
  test.each(allValues)('passes helm lint with %s', async (_, values) => {
    const directory = await mkdtemp(join(tmpdir(), 'kf-chart-'));
    const file = join(directory, 'values.json');
    await writeFile(file, JSON.stringify({ image, ...values }));
    const { stdout } = await run((await findHelm())!, [
      'lint',
      '--strict',
      'charts/keyferry',
      '--values',
      file,
    ]);
    await rm(directory, { recursive: true });
    expect(stdout).toContain('0 chart(s) failed');
  });

  test('passes helm lint with its own values alone', async () => {
    const { stdout } = await run((await findHelm())!, ['lint', '--strict', 'charts/keyferry']);
    expect(stdout).toContain('0 chart(s) failed');
  });

  test('says first what to set, in one message for both values that have no default', async () => {
    const rendered = run((await findHelm())!, ['template', 'keyferry', 'charts/keyferry']);
    await expect(rendered).rejects.toThrow(
      /set image\.repository \(.*\) and providers \(.*\): --set image\.repository=\S+ --set 'providers=\{aws\}'/,
    );
  });

  describe('in a chart that depends on it', () => {
    let directory: string;
    beforeEach(async () => {
      directory = await mkdtemp(join(tmpdir(), 'kf-chart-'));
      await cp('charts/keyferry', join(directory, 'charts/keyferry'), { recursive: true });
    });
    afterEach(() => rm(directory, { recursive: true }));

    /** What `helm template` prints for the chart `platform` with this dependency. */
    async function renderPlatform(dependency: object, sets: readonly string[]): Promise<string> {
      const dependencies = [{ name: 'keyferry', version: '0.1.0', ...dependency }];
      const chart = { apiVersion: 'v2', name: 'platform', version: '1.0.0', dependencies };
      await writeFile(join(directory, 'Chart.yaml'), JSON.stringify(chart));
      const flags = sets.flatMap((set) => ['--set', set]);
      const { stdout } = await run((await findHelm())!, [
        ...['template', 'keyferry', directory],
        ...flags,
      ]);
      return stdout;
    }

    test.each([
      [true, ['keyferry.providers={local}', 'keyferry.image.repository=r'], ['keyferry']],
      [false, [], []],
    ])('follows keyferry.enabled=%s', async (enabled, sets, names) => {
      const condition = { condition: 'keyferry.enabled' };
      const stdout = await renderPlatform(condition, [`keyferry.enabled=${enabled}`, ...sets]);
      const daemonSets = parseObjects(stdout).filter(({ kind }) => kind === 'DaemonSet');
      expect(daemonSets.map(({ metadata }) => metadata.name)).toEqual(names);
    });

    test.each<[string, object, readonly string[], string]>([
      [
        'the values without a default',
        {},
        [],
        "--set keyferry.image.repository=registry.example.com/keyferry --set 'keyferry.providers={aws}'",
      ],
      [
        'the alias',
        { alias: 'secrets' },
        ['secrets.providers={aws}'],
        'set secrets.image.repository (',
      ],
      [
        'the account',
        {},
        [
          'keyferry.providers={aws}',
          'keyferry.image.repository=r',
          'keyferry.serviceAccount.create=false',
        ],
        'set keyferry.serviceAccount.name',
      ],
    ])('names %s as the values of that chart have it', async (_, dependency, sets, text) => {
      await expect(renderPlatform(dependency, sets)).rejects.toThrow(text);
    });

    test('names the values of that chart in refusals of mounts and of the policies', async () => {
      const stdout = await renderPlatform({ alias: 'secrets' }, [
        'secrets.providers={aws}',
        'secrets.image.repository=r',
        'secrets.admissionPolicies.regions={eu-.*}',
      ]);
      expect(stdout).toMatch(
        /name: KEYFERRY_SHARED_IDENTITIES_VALUE\n +value: secrets\.sharedIdentities\n/,
      );
      expect(stdout).toContain('does not allow this region (secrets.admissionPolicies.regions)');
    });
  });

  test.each([
    ['a protocol', { image: { repository: 'https://r.example/keyferry' } }, '/image/repository'],
    ['a space', { image: { repository: 'r.example/key ferry' } }, '/image/repository'],
    [
      'no tag behind a colon',
      { image: { repository: 'r.example/keyferry:' } },
      '/image/repository',
    ],
    ['a short digest', { image: { repository: 'r/keyferry@sha256:abc' } }, '/image/repository'],
    ['a plus sign in a tag', { image: { repository: 'r', tag: '1+2' } }, '/image/tag'],
    [
      'a label that selects the pods',
      { podLabels: { 'app.kubernetes.io/name': 'x' } },
      '/podLabels',
    ],
  ])('refuses %s', async (_, values, place) => {
    await expect(renderChart({ providers: ['local'], ...values })).rejects.toThrow(`at '${place}`);
  });

  test('gives annotations of your own priority over its own', async () => {
    const podAnnotations = { 'prometheus.io/scrape': 'false', note: 'x' };
    const objects = await renderChart({ providers: ['local'], podAnnotations });
    expect(objects.find(({ kind }) => kind === 'DaemonSet')).toMatchObject({
      spec: { template: { metadata: { annotations: podAnnotations } } },
    });
  });

  test.each([
    ['a repository', { repository: 'r.example/keyferry' }, 'r.example/keyferry:0.1.0'],
    ['a port', { repository: 'localhost:5000/keyferry' }, 'localhost:5000/keyferry:0.1.0'],
    ['a tag', { repository: 'r.example/keyferry', tag: '2' }, 'r.example/keyferry:2'],
    [
      'a tag and a digest',
      { repository: 'r.example/keyferry', tag: '2', digest: `sha256:${'a'.repeat(64)}` },
      `r.example/keyferry@sha256:${'a'.repeat(64)}`,
    ],
    ['a reference with a tag', { repository: 'r:5000/keyferry:2' }, 'r:5000/keyferry:2'],
    [
      'a reference with a digest',
      { repository: `r/keyferry@sha256:${'a'.repeat(64)}` },
      `r/keyferry@sha256:${'a'.repeat(64)}`,
    ],
  ])('runs the image of %s', async (_, values, reference) => {
    const pod = await podOf({ providers: ['local'], image: values });
    expect(pod.containers[0].image).toBe(reference);
  });

  test('runs as a ServiceAccount of your own, with rights of your own', async () => {
    const serviceAccount = { create: false, name: 'mine' };
    const objectsOf = (values: object) =>
      renderChart({ providers: ['aws'], serviceAccount, ...values });
    const kinds = (objects: readonly KubeObject[]) => objects.map(({ kind }) => kind);
    expect(await podOf({ providers: ['aws'], serviceAccount })).toMatchObject({
      serviceAccountName: 'mine',
    });
    const withRole = await objectsOf({});
    expect(kinds(withRole)).not.toContain('ServiceAccount');
    expect(withRole.find(({ kind }) => kind === 'ClusterRoleBinding')).toMatchObject({
      subjects: [{ kind: 'ServiceAccount', name: 'mine' }],
    });
    const values = { providers: ['aws'], rbac: { create: false } };
    expect(kinds(await renderChart(values)).filter((kind) => kind.includes('Role'))).toEqual([]);
    expect(kinds(await renderChart(values))).toContain('ServiceAccount');
    // The rights exist, made by someone else, so the pod needs its token.
    expect((await podOf(values)).automountServiceAccountToken).toBe(true);
  });

  test('creates the ServiceAccount under another name', async () => {
    const objects = await renderChart({ providers: ['aws'], serviceAccount: { name: 'other' } });
    const account = objects.find(({ kind }) => kind === 'ServiceAccount');
    expect(account).toMatchObject({ metadata: { name: 'other', namespace: 'kube-system' } });
  });

  test.each([
    [
      'more nodes at a time',
      { rollingUpdate: { maxSurge: '10%' } },
      { type: 'RollingUpdate', rollingUpdate: { maxSurge: '10%', maxUnavailable: 0 } },
    ],
    [
      'one pod on a node at a time',
      { rollingUpdate: { maxSurge: 0, maxUnavailable: 1 } },
      { type: 'RollingUpdate', rollingUpdate: { maxSurge: 0, maxUnavailable: 1 } },
    ],
    ['only when a pod is deleted', { type: 'OnDelete' }, { type: 'OnDelete' }],
  ])('updates %s', async (_, updateStrategy, expected) => {
    const objects = await renderChart({ providers: ['local'], updateStrategy });
    const { spec } = objects.find(({ kind }) => kind === 'DaemonSet') as DaemonSet;
    expect(spec.updateStrategy).toEqual(expected);
  });

  test.each(allValues)('has with %s a pod with minimal privileges', async (_, values) => {
    const pod = await podOf(values);
    const [container] = pod.containers;
    expect(container.securityContext).toEqual({
      readOnlyRootFilesystem: true,
      allowPrivilegeEscalation: false,
      capabilities: { drop: ['ALL'] },
    });
    expect(pod.securityContext).toMatchObject({ seccompProfile: { type: 'RuntimeDefault' } });
    const writable = container.volumeMounts.filter(
      ({ readOnly, name }) => readOnly !== true && name !== 'more',
    );
    expect(writable.map(({ name }) => name)).toEqual(
      pod.hostNetwork === true ? ['providers', 'run'] : ['providers'],
    );
    expect(container.volumeMounts.map(({ name }) => name).sort()).toEqual(
      pod.volumes.map(({ name }) => name).sort(),
    );
    const variables = container.env.map(({ name }) => name);
    expect(new Set(variables).size).toBe(variables.length);
  });

  test.each(allValues)('starts with %s a process that accepts its flags', async (_, values) => {
    const pod = await podOf(values);
    const settings = settingsOf(pod.containers[0]);
    expect(settings.providers).toEqual((values as { providers: string[] }).providers);
    expect(pod.terminationGracePeriodSeconds * 1_000).toBeGreaterThanOrEqual(
      settings.grace + 2_000,
    );
  });

  test.each<[string, object, readonly string[]]>([
    ['alibabacloud', { providers: ['alibabacloud'] }, ['get serviceaccounts']],
    ['aws', { providers: ['aws'] }, ['get serviceaccounts', 'get nodes']],
    [
      'aws with a region',
      { providers: ['aws'], aws: { env: { AWS_REGION: 'eu-west-1' } } },
      ['get serviceaccounts'],
    ],
    ['cce', { providers: ['cce'] }, ['get serviceaccounts']],
    ['local', { providers: ['local'] }, []],
    ['vault', { providers: ['vault'] }, []],
    [
      'vault that mints',
      { providers: ['openbao'], vault: { mintTokens: true } },
      ['create serviceaccounts/token'],
    ],
    [
      'vault that watches',
      { providers: ['vault'], podWatch: { enabled: true } },
      ['list pods', 'watch pods'],
    ],
    [
      'settings of vault without it',
      { providers: ['local'], vault: { mintTokens: true }, podWatch: { enabled: true } },
      [],
    ],
    ['events', { providers: ['local'], events: { enabled: true } }, ['create events']],
    [
      'everything',
      everythingOn,
      [
        'get serviceaccounts',
        'get nodes',
        'create serviceaccounts/token',
        'list pods',
        'watch pods',
        'create events',
      ],
    ],
  ])(
    'grants only the rights that %s needs, and mounts no token without any',
    async (_, values, permissions) => {
      expect(await permissionsOf(values)).toEqual(permissions);
      expect((await podOf(values)).automountServiceAccountToken).toBe(permissions.length > 0);
    },
  );

  test.each([
    ['by default it creates', {}, 'keyferry-version-key', true],
    ['of your own', { secretName: 'mine' }, 'mine', false],
    ['of each node', { create: false }, undefined, false],
  ])('reads the version key %s', async (_, versionKey, secretName, isCreated) => {
    const values = { providers: ['local'], versionKey };
    const secret = (await renderChart(values)).find(({ kind }) => kind === 'Secret');
    expect(secret !== undefined).toBe(isCreated);
    if (isCreated)
      expect(secret).toMatchObject({
        metadata: { name: secretName, annotations: { 'helm.sh/resource-policy': 'keep' } },
        data: { key: expect.stringMatching(/^[A-Za-z0-9+/=]{80,}$/) },
      });
    const { containers, volumes } = await podOf(values);
    const isMounted = secretName !== undefined;
    expect(containers[0].args.includes('--version-key-file=/etc/keyferry/version-key/key')).toBe(
      isMounted,
    );
    expect(volumes).toEqual(
      isMounted
        ? expect.arrayContaining([
            { name: 'version-key', secret: expect.objectContaining({ secretName }) },
          ])
        : expect.not.arrayContaining([expect.objectContaining({ name: 'version-key' })]),
    );
  });

  test('replaces pods without a gap; with hostNetwork each pod has its own health socket', async () => {
    const objects = await renderChart({ providers: ['aws'] });
    const { updateStrategy } = (objects.find(({ kind }) => kind === 'DaemonSet') as DaemonSet).spec;
    expect(updateStrategy).toEqual({
      type: 'RollingUpdate',
      rollingUpdate: { maxSurge: 1, maxUnavailable: 0 },
    });
    const [inPodNetwork] = (await podOf({ providers: ['aws'] })).containers;
    expect(inPodNetwork).toMatchObject({
      ports: [{ containerPort: 8095 }],
      readinessProbe: { httpGet: { port: 'health' } },
    });
    // A declared port would be a port of the node, and the scheduler would place no second pod
    // there.
    const [inNodeNetwork] = (await podOf({ providers: ['aws'], hostNetwork: true })).containers;
    expect(inNodeNetwork.ports).toBeUndefined();
    expect(inNodeNetwork.readinessProbe.exec).toEqual({
      command: ['/usr/bin/node', '/keyferry.js', 'health', 'ready'],
    });
    expect(settingsOf(inNodeNetwork).healthAddress).toBe('unix:/run/keyferry/health.sock,:8095');
  });

  test('takes credentials from Secrets, each variable once; extraEnv has priority', async () => {
    const [{ env }] = (await podOf(everythingOn)).containers;
    const secret = (name: string, key: string, optional: boolean) => ({
      valueFrom: { secretKeyRef: { name, key, optional } },
    });
    expect(env).toEqual(
      expect.arrayContaining([
        { name: 'ACCESS_KEY_ID', ...secret('alibaba-credentials', 'id', true) },
        { name: 'AWS_SECRET_ACCESS_KEY', ...secret('aws-keys', 'aws_secret_access_key', false) },
        { name: 'HUAWEICLOUD_SDK_ID_TOKEN_FILE', value: '/var/run/secrets/tokens/cce' },
        { name: 'VAULT_ADDR', value: 'https://other:8200' },
      ]),
    );
  });

  test('accepts in extraEnv variables that the chart sets itself, and variables without a value', async () => {
    const extraEnv = [{ name: 'KEYFERRY_NODE_NAME', value: 'other' }, { name: 'EMPTY' }];
    const [{ env }] = (await podOf({ providers: ['local'], extraEnv })).containers;
    expect(env.filter(({ name }) => !name.endsWith('ADDRESS'))).toEqual([
      { name: 'EMPTY' },
      { name: 'KEYFERRY_NODE_NAME', value: 'other' },
      { name: 'KEYFERRY_SHARED_IDENTITIES_VALUE', value: 'sharedIdentities' },
    ]);
  });

  test('treats a variable in extraEnv as set', async () => {
    const extraEnv = [
      { name: 'AWS_REGION', value: 'eu-west-1' },
      { name: 'VAULT_ADDR', value: 'https://vault:8200' },
      { name: 'VAULT_CACERT', value: '/etc/keyferry/vault/ca.crt' },
    ];
    const values = { providers: ['aws', 'vault'], extraEnv };
    expect(await permissionsOf(values)).toEqual(['get serviceaccounts']);
    expect(await permissionsOf({ providers: ['aws'], aws: { env: { AWS_REGION: '' } } })).toContain(
      'get nodes',
    );
    const policies = JSON.stringify(await renderChart(values));
    expect(policies).toContain('TLS is verified here');
    expect(policies).toContain('(?i:vault)(:0*8200)');
    expect(policies).not.toContain('classes may name no files');
  });

  test('renders large numbers and names that look like numbers unchanged', async () => {
    const pod = await podOf({
      providers: ['local'],
      runAsUser: 1_000_650_000,
      maxMounts: 1_000_000,
    });
    expect(pod.securityContext).toMatchObject({ runAsUser: 1_000_650_000, fsGroup: 1_000_650_000 });
    expect(settingsOf(pod.containers[0]).maxMounts).toBe(1_000_000);
    const objects = await renderChart({ providers: ['aws'], nameOverride: '1' });
    for (const { metadata } of objects)
      expect(metadata.labels).toMatchObject({ 'app.kubernetes.io/name': '1' });
  });

  test('schedules to every node, with priority and with all taints tolerated', async () => {
    const pod = await podOf({ providers: ['local'] });
    expect(pod).toMatchObject({
      priorityClassName: 'system-node-critical',
      tolerations: [{ operator: 'Exists' }],
      nodeSelector: { 'kubernetes.io/os': 'linux' },
    });
    expect(pod.containers[0].resources).toMatchObject({
      requests: expect.anything(),
      limits: { memory: expect.any(String) },
    });
  });

  test('selects Linux nodes exactly once', async () => {
    const nodeSelector = { 'kubernetes.io/os': 'linux', pool: 'a' };
    expect(await podOf({ providers: ['local'], nodeSelector })).toMatchObject({ nodeSelector });
  });

  test('runs as root only where no other user is named', async () => {
    const security = async (values: object) =>
      (await podOf({ providers: ['local'], ...values })).securityContext;
    expect(await security({})).toMatchObject({ runAsUser: 0, runAsNonRoot: false });
    expect(await security({ runAsUser: 65532 })).toMatchObject({
      runAsUser: 65532,
      runAsNonRoot: true,
      fsGroup: 65532,
    });
  });

  test('has alerts for its DaemonSet under any release name', async () => {
    const objects = await renderChart({
      providers: ['aws'],
      fullnameOverride: 'store-provider',
      monitoring: { podMonitor: { enabled: true }, rules: { enabled: true } },
    });
    const rules = JSON.stringify(objects.find(({ kind }) => kind === 'PrometheusRule'));
    expect(rules).toContain(
      JSON.stringify('kube_daemonset_status_number_unavailable{daemonset="store-provider"} > 0'),
    );
    expect(objects.find(({ kind }) => kind === 'PodMonitor')).toMatchObject({
      spec: { podMetricsEndpoints: [{ honorLabels: true }] },
    });
  });

  test('with a NetworkPolicy allows only the listed egress', async () => {
    const egressOf = async (provider: string, egressPorts: readonly number[]) => {
      const values = { providers: [provider], networkPolicy: { enabled: true, egressPorts } };
      const policy = (await renderChart(values)).find(({ kind }) => kind === 'NetworkPolicy');
      return (policy as unknown as { spec: { egress: { ports?: object[]; to?: object[] }[] } }).spec
        .egress;
    };
    const names = { ports: [53, 53].map((port) => expect.objectContaining({ port })) };
    expect(await egressOf('local', [443])).toEqual([
      names,
      { ports: [{ protocol: 'TCP', port: 443 }] },
    ]);
    // A rule without ports would allow all of them.
    expect(await egressOf('local', [])).toEqual([names]);
    const [, metadata] = await egressOf('aws', []);
    expect(metadata).toMatchObject({
      ports: [{ port: 80 }],
      to: ['169.254.169.254/32', 'fd00:ec2::254/128', '169.254.170.23/32', 'fd00:ec2::23/128'].map(
        (cidr) => ({ ipBlock: { cidr } }),
      ),
    });
  });

  test('has no admission policies for clusters that do not support them', async () => {
    const kinds = async (version: string) =>
      (await renderChart({ providers: ['aws'] }, version)).map(({ kind }) => kind);
    expect(await kinds('v1.29.4')).not.toContain('ValidatingAdmissionPolicy');
    expect(await kinds('v1.30.0-eks-1234')).toContain('ValidatingAdmissionPolicy');
  });

  test.each<[string, object, string]>([
    ['no provider', {}, 'set providers'],
    ['an unknown provider', { providers: ['azure'] }, 'providers'],
    ['a misspelt value', { providers: ['aws'], hostnetwork: true }, 'hostnetwork'],
    [
      'a misspelt variable',
      { providers: ['aws'], aws: { env: { AWS_REGOIN: 'eu-west-1' } } },
      'AWS_REGOIN',
    ],
    [
      'a number that YAML would change',
      {
        providers: ['alibabacloud'],
        alibabacloud: { env: { ALICLOUD_ACCOUNT_ID: 1234567890123456 } },
      },
      'ALICLOUD_ACCOUNT_ID',
    ],
    [
      'a misspelt key of a grant',
      { providers: ['aws'], sharedIdentities: { grants: [{ provider: 'aws', namespace: ['a'] }] } },
      'namespace',
    ],
    ['a duration without a unit', { providers: ['aws'], maxStale: '10' }, 'maxStale'],
    [
      'a rollout that cannot progress',
      { providers: ['aws'], updateStrategy: { rollingUpdate: { maxSurge: '0%' } } },
      'maxSurge and maxUnavailable',
    ],
    [
      'a rollout that Kubernetes refuses',
      { providers: ['aws'], updateStrategy: { rollingUpdate: { maxUnavailable: 1 } } },
      'maxSurge and maxUnavailable',
    ],
    [
      'the default ServiceAccount of the namespace',
      { providers: ['aws'], serviceAccount: { create: false } },
      'set serviceAccount.name',
    ],
    ['no image', { providers: ['aws'], image: { repository: '' } }, 'set image.repository'],
    [
      'two tags of an image',
      { providers: ['aws'], image: { repository: 'r/keyferry:1', tag: '2' } },
      'image.repository has a tag or a digest (r/keyferry:1)',
    ],
  ])('refuses %s', async (_, values, expectedText) => {
    await expect(renderChart(values)).rejects.toThrow(expectedText);
  });

  test('shows after the installation which values the driver needs', async () => {
    // Helm shows notes only where it can reach a cluster: here they are rendered as an object.
    const directory = await mkdtemp(join(tmpdir(), 'kf-chart-'));
    await cp('charts/keyferry', directory, { recursive: true });
    const notes = await readFile(join(directory, 'templates/NOTES.txt'), 'utf8');
    await writeFile(
      join(directory, 'templates/notes.yaml'),
      `{{- define "notes" -}}${notes}{{- end -}}\ntext: {{ include "notes" . | toJson }}\n`,
    );
    const args = [
      '--set',
      'image.repository=r',
      '--set',
      'providers={aws,vault,cce}',
      '--namespace',
      'kube-system',
    ];
    const { stdout } = await run((await findHelm())!, [
      'template',
      'keyferry',
      directory,
      ...args,
      '--show-only',
      'templates/notes.yaml',
    ]);
    await rm(directory, { recursive: true });
    const text = (JSON.parse(stdout.slice(stdout.indexOf('text: ') + 6)) as string).replaceAll(
      / {2,}/g,
      ' ',
    );
    for (const audience of [
      'pods.eks.amazonaws.com',
      'sts.amazonaws.com',
      'sts.huaweicloud.com',
      'vault',
    ])
      expect(text).toContain(`- audience: "${audience}"`);
    for (const expectedText of [
      'syncSecret',
      'enableSecretRotation',
      'rotationPollInterval',
      'Windows nodes are not supported',
      'cce.env.HUAWEICLOUD_SDK_REGION is not set',
    ])
      expect(text).toContain(expectedText);
  });
});

describe('the commands of the pages', () => {
  const pages = ['README.md', 'docs/install.md', 'charts/keyferry/values.yaml'];
  const runbooks = ['alibabacloud', 'aws', 'cce', 'vault'].map(
    (name) => `docs/migration/${name}.md`,
  );

  test.each([...pages, ...runbooks])('in %s installs the chart', async (page) => {
    const text = (await readFile(page, 'utf8')).replaceAll(/^#( |$)/gm, '');
    const commands = [...text.matchAll(/^ *helm install keyferry (?:.*\\\n)*.*$/gm)].map(
      ([command]) => command,
    );
    expect(commands).toHaveLength(1);
    const script = `helm() { shift; "$HELM" template "$@"; }\n${commands.join('\n')}`;
    const { stdout } = await run('bash', ['-euc', script], {
      env: { ...process.env, HELM: await findHelm() },
    });
    expect(stdout).toContain('kind: DaemonSet');
  });
});

describe('deploy/manifests', () => {
  test('is what the chart renders', async () => {
    await run(process.execPath, ['scripts/manifests.mjs', '--check'], {
      env: { ...process.env, HELM: await findHelm() },
    });
  });
});
