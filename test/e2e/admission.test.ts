import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { parse } from 'yaml';
import { driverName } from '../driver/node.ts';
import {
  createKubeClient,
  parseObjects,
  type KubeClient,
  type KubeObject,
} from '../driver/kube-client.ts';
import {
  buildApiServer,
  missingControlPlaneDependencies,
} from '../servers/control-plane/control-plane.ts';
import { programInPath } from '../servers/go-program.ts';
import { parseClassAddress, splitList } from '../../src/providers/vault/class/connection.ts';
import { readVaultSettings } from '../../src/providers/vault/config.ts';
import { missingChartDependencies, renderChart } from './chart-objects.ts';
import { startCluster, type Cluster } from './cluster.ts';
import { eventually } from './test-environment.ts';
import { describeIfAvailable } from '../if-available.ts';

const missingDependencies = [
  ...(await missingControlPlaneDependencies()),
  ...(await missingChartDependencies()),
];
const describe = describeIfAvailable(import.meta.filename, missingDependencies);

const deploy = join(import.meta.dirname, '../../deploy');
const everyProvider = ['alibabacloud', 'aws', 'cce', 'local', 'openbao', 'vault'];
/** All that can be switched on at once. */
const everything = {
  providers: everyProvider,
  alibabacloud: { oidc: true, gatewayCaConfigMap: 'gateways' },
  cce: { oidcAudience: 'keyferry' },
  vault: {
    mintTokens: true,
    filesSecret: 'vault-files',
    env: { VAULT_ADDR: 'https://vault:8200' },
  },
  admissionPolicies: {
    ...{
      mode: 'deny',
      regions: ['eu-.*'],
      roles: ['app-.*'],
      podOverrides: false,
      selfGrants: false,
    },
  },
  events: { enabled: true },
  podWatch: { enabled: true },
  ca: { configMap: 'authorities' },
  networkPolicy: { enabled: true },
  monitoring: {
    dashboard: { enabled: true },
    rules: { enabled: true },
    podMonitor: { enabled: true },
  },
};

let cluster: Cluster;

if (missingDependencies.length === 0) {
  // The first build takes minutes.
  beforeAll(() => buildApiServer(), 1_200_000);
  beforeAll(async () => {
    cluster = await startCluster();
    await cluster.applyServiceAccount('shop/web');
  }, 60_000);
  afterAll(() => cluster.stop());
}

/**
 * The responses of the API server to the objects: one line for each rejected one. The API server
 * does not have the kinds of the Prometheus operator.
 */
async function rejections(objects: readonly KubeObject[]): Promise<readonly string[]> {
  const supportedObjects = objects.filter(
    ({ apiVersion }) => !apiVersion.startsWith('monitoring.coreos.com/'),
  );
  expect(supportedObjects).not.toEqual([]);
  const lines = supportedObjects.map((object) =>
    cluster.kube.apply([object], { validateOnly: true }).then(
      () => '',
      (error: unknown) => `${object.kind} ${object.metadata.name}: ${(error as Error).message}`,
    ),
  );
  return (await Promise.all(lines)).filter((line) => line !== '');
}

function classOf(provider: string, parameters: Readonly<Record<string, string>>): KubeObject {
  const object = {
    ...{ apiVersion: 'secrets-store.csi.x-k8s.io/v1', kind: 'SecretProviderClass' },
    ...{ metadata: { name: 'web', namespace: 'shop' }, spec: { provider, parameters } },
  };
  return object;
}

function podOf(volumeAttributes: Readonly<Record<string, string>>): KubeObject {
  const object = {
    ...{ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'web', namespace: 'shop' } },
    spec: {
      serviceAccountName: 'web',
      containers: [{ name: 'web', image: 'web' }],
      volumes: [{ name: 'secrets', csi: { driver: driverName, readOnly: true, volumeAttributes } }],
    },
  };
  return object;
}

describe('the API server accepts', () => {
  test('the chart with all features enabled', async () => {
    expect(await rejections(await renderChart(everything))).toEqual([]);
  });

  test.each(everyProvider)(
    "the chart for %s alone, what is rendered of it, and the provider's example",
    async (provider) => {
      const values = parse(
        await readFile(join(deploy, 'values', `${provider}.yaml`), 'utf8'),
      ) as object;
      expect(await rejections(await renderChart(values))).toEqual([]);
      for (const directory of ['manifests', `examples/${provider}`]) {
        const files = (await readdir(join(deploy, directory))).filter((file) =>
          file.endsWith('.yaml'),
        );
        expect(files).not.toEqual([]);
        for (const file of files) {
          const objects = parseObjects(await readFile(join(deploy, directory, file), 'utf8'));
          expect({ file, refused: await rejections(objects) }).toEqual({ file, refused: [] });
        }
      }
    },
  );
});

const objects = '- {objectName: db}';
const appPath = '/api/v1/namespaces/shop/serviceaccounts/app';
const annotated = (names: string | null): object => ({
  metadata: { annotations: { 'cce.io/dew-resource': names } },
});

/** A client of a user with only these rights, in the namespace `shop`. */
async function createUser(name: string, rules: readonly object[]): Promise<KubeClient> {
  await cluster.applyServiceAccount(`shop/${name}`);
  const metadata = { name, namespace: 'shop' };
  const rbac = { apiVersion: 'rbac.authorization.k8s.io/v1', metadata };
  await cluster.kube.apply([
    { ...rbac, kind: 'Role', rules },
    {
      ...{ ...rbac, kind: 'RoleBinding', subjects: [{ kind: 'ServiceAccount', ...metadata }] },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name },
    },
  ]);
  const { status } = await cluster.kube.post<{ status: { token: string } }>(
    `/api/v1/namespaces/shop/serviceaccounts/${name}/token`,
    { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: {} },
  );
  const { server, caFile } = cluster.controlPlane;
  return createKubeClient({ server, ca: await readFile(caFile, 'utf8'), token: status.token });
}

type InstallOptions = {
  /** Runs while no policies are installed. */
  readonly before?: () => Promise<unknown>;
  /** Further values of the chart. */
  readonly values?: object;
};

describe('the admission policies', () => {
  async function install(
    policies: object,
    { before = () => Promise.resolve(), values = {} }: InstallOptions = {},
  ): Promise<void> {
    const rendered = await renderChart({
      providers: everyProvider,
      admissionPolicies: { mode: 'deny', ...policies },
      ...values,
    });
    const admission = rendered.filter(({ apiVersion }) =>
      apiVersion.startsWith('admissionregistration'),
    );
    expect(admission).toHaveLength('selfGrants' in policies ? 6 : 4);
    // Creates the policies again, so that every later rejection comes from these.
    for (const object of admission) await cluster.kube.delete(await cluster.kube.pathOf(object));
    await eventually(
      () => rejections([classOf('local', {}), podOf({})]),
      (lines) => expect(lines).toEqual([]),
    );
    await before();
    await cluster.kube.apply(admission);
    await eventually(
      () => rejections([classOf('local', {}), podOf({})]),
      (lines) => expect(lines).toHaveLength(2),
    );
  }

  if (missingDependencies.length === 0) beforeAll(() => install({}), 60_000);

  test.each(everyProvider)('accept the example of %s', async (provider) => {
    const directory = join(deploy, 'examples', provider);
    for (const file of await readdir(directory)) {
      const example = parseObjects(await readFile(join(directory, file), 'utf8'));
      expect(await rejections(example)).toEqual([]);
    }
  });

  test.each<[string, KubeObject]>([
    ['a class of another provider', classOf('azure', { anything: 'goes' })],
    [
      'a class without a spec',
      {
        ...{ apiVersion: 'secrets-store.csi.x-k8s.io/v1', kind: 'SecretProviderClass' },
        metadata: { name: 'empty', namespace: 'shop' },
      },
    ],
    [
      'parameters in any letter case',
      classOf('alibabacloud', { Objects: objects, REGION: 'cn-hangzhou' }),
    ],
    ['a pod that changes what it may', podOf({ secretProviderClass: 'web', region: 'eu-west-1' })],
    [
      'a pod of another driver',
      {
        ...podOf({}),
        spec: {
          serviceAccountName: 'web',
          containers: [{ name: 'a', image: 'a' }],
          volumes: [{ name: 's', csi: { driver: 'other' } }],
        },
      } as KubeObject,
    ],
  ])('let %s pass', async (_, object) => {
    expect(await rejections([object])).toEqual([]);
  });

  test.each<[string, KubeObject, string]>([
    ['a misspelt parameter', classOf('cce', { objects, agencyUr: 'x' }), 'agencyUr'],
    [
      'objects in a letter case that cce does not accept',
      classOf('cce', { Objects: objects }),
      'Objects',
    ],
    [
      'a role in a letter case that Vault does not accept',
      classOf('vault', { objects, RoleName: 'web' }),
      'RoleName',
    ],
    ['no objects', classOf('aws', { region: 'eu-west-1' }), 'objects'],
    ['empty objects', classOf('aws', { objects: ' ' }), 'objects'],
    ['an invalid region', classOf('aws', { objects, region: 'evil.example/' }), 'region'],
    ['an invalid switch', classOf('cce', { objects, usePodOIDC: 'yes' }), 'usePodOIDC'],
    [
      'TLS that is not verified',
      classOf('vault', { objects, vaultSkipTLSVerify: 'true' }),
      'TLS is verified',
    ],
    [
      'an address of its own',
      classOf('vault', { objects, vaultAddress: 'https://evil.example' }),
      'this address is not allowed to classes',
    ],
    [
      "a file of Keyferry's",
      classOf('openbao', { objects, baoCACertPath: '/etc/keyferry/vault/ca.crt' }),
      'classes may name no files',
    ],
    [
      'objects beyond their cap',
      classOf('local', { objects: 'x'.repeat(1_048_577) }),
      'more than 1 MiB',
    ],
    ['a provider in capitals', classOf('Vault', { objects }), 'small letters'],
    [
      "a pod that forges its driver's keys",
      podOf({ secretProviderClass: 'web', 'csi.storage.k8s.io/serviceAccount.tokens': '{}' }),
      'no pod writes them',
    ],
    [
      'a pod that forges its namespace',
      podOf({ secretProviderClass: 'web', 'csi.storage.k8s.io/pod.namespace': 'other' }),
      'no pod writes them',
    ],
    ['a pod without a class', podOf({}), 'secretProviderClass'],
    [
      'a pod that verifies no TLS',
      podOf({ secretProviderClass: 'web', vaultSkipTLSVerify: 'true' }),
      'TLS is verified',
    ],
    [
      'a pod with an invalid region',
      podOf({ secretProviderClass: 'web', region: '../x' }),
      'region',
    ],
  ])('refuse %s', async (_, object, expectedText) => {
    const [line, ...more] = await rejections([object]);
    expect(more).toEqual([]);
    expect(line).toContain("ValidatingAdmissionPolicy 'keyferry-");
    expect(line).toContain(expectedText);
  });

  test('reject classes and pods that exceed what the operator allows', async () => {
    const addresses = ['https://vault\\.shop(:8200)?'];
    await install(
      { regions: ['eu-.*'], roles: ['app-.*'], addresses, podOverrides: false },
      {
        values: {
          vault: { env: { VAULT_ADDR: 'https://vault.shop:8200,https://vaultXshop:8200' } },
        },
      },
    );
    expect(
      await rejections([
        classOf('aws', { objects, region: 'eu-west-1' }),
        classOf('vault', { objects, roleName: 'app-web', vaultAddress: 'https://vault.shop:8200' }),
        podOf({ secretProviderClass: 'web' }),
      ]),
    ).toEqual([]);
    const lines = await rejections([
      classOf('aws', { objects, region: 'us-east-1' }),
      classOf('aws', { objects, region: 'me-eu-west-1' }),
      classOf('vault', { objects, roleName: 'admin-app-' }),
      classOf('cce', {
        objects,
        usePodOIDC: 'true',
        agencyUrn: 'iam::1:agency:x',
        providerUrn: 'p',
      }),
      classOf('vault', { objects, vaultAddress: 'https://vaultXshop:8200' }),
      podOf({ secretProviderClass: 'web', objects }),
    ]);
    expect(
      lines.map((line) => /admissionPolicies\.\w+|pods may not change/.exec(line)?.[0]),
    ).toEqual([
      ...['admissionPolicies.regions', 'admissionPolicies.regions'],
      ...['admissionPolicies.roles', 'admissionPolicies.roles', 'admissionPolicies.addresses'],
      'pods may not change',
    ]);
  });

  describe('check the addresses of Vault in classes and pods', () => {
    const withAddress = (address: string): readonly KubeObject[] => [
      classOf('vault', { objects, vaultAddress: address }),
      classOf('openbao', { objects, baoAddress: address }),
      podOf({ secretProviderClass: 'web', vaultAddress: address }),
    ];

    test('as Keyferry does with VAULT_ADDR and KEYFERRY_VAULT_ALLOWED_ADDRESSES', async () => {
      const env = {
        VAULT_ADDR: 'https://vault.vault:8200, https://vault-2.vault,https://[fd00::8]:8200',
        KEYFERRY_VAULT_ALLOWED_ADDRESSES:
          'dev-vault.dev:8443/,http://dev-vault.dev,*.vault.example,unix:///run/a.sock',
      };
      const { allowedAddresses } = readVaultSettings('vault', env).nodeFacts;
      function isAllowedByKeyferry(text: string): boolean {
        try {
          return splitList(text).every((one) => parseClassAddress(one, allowedAddresses) !== '');
        } catch {
          return false;
        }
      }
      const allowed = [
        ...['https://vault.vault:8200', 'vault.vault:8200', 'https://VAULT.vault:8200/'],
        ...['https://vault-2.vault', 'vault-2.vault:443', 'vault-2.vault:0443'],
        ...['https://[FD00::8]:8200', 'dev-vault.dev:8443', 'https://dev-vault.dev:8443'],
        ...['http://dev-vault.dev', 'http://dev-vault.dev:80', 'unix:///run/a.sock'],
        ...['https://eu.vault.example', 'a.b.vault.example:443'],
        ' https://vault.vault:8200 ,, vault-2.vault,',
      ];
      const refused = [
        ...['https://evil.example', 'http://vault.vault:8200', 'https://vault.vault'],
        ...['https://vaultXvault:8200', 'https://vault.vault:8200/v1', 'HTTPS://vault.vault:8200'],
        ...['https://dev-vault.dev', 'http://dev-vault.dev:8443', 'unix:///run/b.sock'],
        ...['https://vault.example', 'http://eu.vault.example', 'eu.vault.example:8200'],
        ...['https://evil.example#.vault.example', 'https://evil.example/.vault.example'],
        ...[
          'https://vault.vault:8200,https://evil.example',
          'https://vault.vault:8200@evil.example',
        ],
      ];
      expect(allowed.filter((address) => !isAllowedByKeyferry(address))).toEqual([]);
      expect(refused.filter(isAllowedByKeyferry)).toEqual([]);
      await install({}, { values: { vault: { env } } });
      expect(await rejections(allowed.flatMap(withAddress))).toEqual([]);
      for (const address of refused) {
        const lines = await rejections(withAddress(address));
        expect({ address, lines }).toEqual({
          address,
          lines: Array.from({ length: 3 }, () =>
            expect.stringContaining('this address is not allowed to classes (VAULT_ADDR'),
          ),
        });
      }
    });

    test('not where the chart sees no addresses, or the placeholder of deploy/manifests', async () => {
      const fromSecret = { valueFrom: { secretKeyRef: { name: 'vault', key: 'address' } } };
      for (const address of [
        fromSecret,
        { value: 'https://$(HOST):8200' },
        { value: 'https://vault.example.com:8200' },
      ]) {
        await install({}, { values: { extraEnv: [{ name: 'BAO_ADDR', ...address }] } });
        expect(await rejections(withAddress('https://other.example'))).toEqual([]);
      }
    });
  });

  test('reject grants by users who may only write ServiceAccounts, if the operator enables this', async () => {
    const accounts = (...verbs: readonly string[]) => ({
      apiGroups: [''],
      resources: ['serviceaccounts'],
      verbs,
    });
    const tenant = await createUser('tenant', [accounts('get', 'create', 'patch')]);
    const operator = await createUser('operator', [
      accounts('get', 'create', 'patch', 'grant-secrets'),
    ]);
    const granted = (names: string): KubeObject => ({
      ...{ apiVersion: 'v1', kind: 'ServiceAccount' },
      metadata: { name: 'app', namespace: 'shop', annotations: { 'cce.io/dew-resource': names } },
    });
    const expectedText = /takes the verb grant-secrets/;

    await install({});
    await tenant.apply([granted('["others"]')], { validateOnly: true });

    await install({ selfGrants: false });
    const tryGrant = () =>
      tenant.apply([granted('["others"]')], { validateOnly: true }).then(() => '', String);
    await eventually(tryGrant, (line) => expect(line).toMatch(expectedText));
    await tenant.apply([{ ...granted(''), metadata: { name: 'app', namespace: 'shop' } }]);
    await expect(tenant.apply([granted('["others"]')])).rejects.toThrow(expectedText);
    await operator.apply([granted('["db"]')]);
    await expect(tenant.patch(appPath, annotated('["db","others"]'))).rejects.toThrow(expectedText);
    // Every user who may write the account may also remove a grant, or make a change that affects
    // no grant.
    await tenant.patch(appPath, { metadata: { labels: { team: 'web' } } });
    await tenant.patch(appPath, annotated(null));
    await tenant.close();
    await operator.close();
  });

  test('only warn by default: everything is accepted, and kubectl shows the warnings', async () => {
    const kubectl = await programInPath('kubectl');
    if (kubectl === undefined)
      return void process.stderr.write('\nSKIPPED: this machine has no kubectl\n');
    await install({});
    const invalidObjects = [classOf('cce', { objects, agencyUr: 'x', region: 'x' }), podOf({})];
    await cluster.kube.apply(
      (await renderChart({ providers: everyProvider })).filter(({ apiVersion }) =>
        apiVersion.startsWith('admissionregistration'),
      ),
    );
    await eventually(
      () => rejections(invalidObjects),
      (lines) => expect(lines).toEqual([]),
    );
    const flags = ['--kubeconfig', cluster.controlPlane.kubeconfig, '--dry-run=server', '-f', '-'];
    const running = promisify(execFile)(kubectl, ['apply', ...flags]);
    running.child.stdin?.end(
      JSON.stringify({ apiVersion: 'v1', kind: 'List', items: invalidObjects }),
    );
    const { stderr } = await running;
    for (const expectedText of [
      'keyferry-classes',
      'agencyUr',
      'keyferry-pods',
      'secretProviderClass',
    ])
      expect(stderr).toMatch(new RegExp(`Warning: .*${expectedText}`));
    // `cce` takes no region in a class, so its form is not the fault.
    expect(stderr).not.toContain('regions look like');
  });

  test('ignore existing objects whose spec does not change', async () => {
    const existingClass = classOf('cce', { objects, usePodOIDC: 'yes' });
    await install({}, { before: () => cluster.kube.apply([existingClass]) });
    const labelled = {
      ...existingClass,
      metadata: { ...existingClass.metadata, labels: { team: 'web' } },
    };
    expect(await rejections([labelled])).toEqual([]);
    expect(await rejections([classOf('cce', { objects, usePodOIDC: 'no' })])).toHaveLength(1);
    expect(await rejections([classOf('cce', { objects, usePodOIDC: 'false' })])).toEqual([]);
  });
});
