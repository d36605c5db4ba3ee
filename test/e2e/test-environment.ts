import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { builtBundle } from '../driver/bundle.ts';
import type { PodView } from '../driver/cluster.ts';
import { startKeyferry, type KeyferryProcess } from '../driver/keyferry-process.ts';
import { startNode, type SimulatedNode } from '../driver/node.ts';
import { createTokenVerifier } from '../servers/control-plane/token-verifier.ts';
import {
  audiences,
  cloudAnnotations,
  podIdentityParameters,
  startClouds,
  type Clouds,
} from './clouds.ts';
import { startCluster, type Cluster, type PodOptions } from './cluster.ts';
import { startVaultInCluster } from './vault-in-cluster.ts';

export const generations = ['1.5', '1.6'] as const;
export type Generation = (typeof generations)[number];

/**
 * A store for all tests: a secret with a `password`, and a class that writes it to the file
 * `password`.
 */
export type TestStore = {
  readonly provider: string;
  readonly parameters: (secret: string) => Readonly<Record<string, string>>;
  readonly put: (secret: string, password: string) => Promise<void> | void;
};

/** Keyferry, and beside it a node of each generation of the driver. */
export type Installation = {
  readonly keyferry: KeyferryProcess;
  readonly node: (generation: Generation) => SimulatedNode;
  /** Starts a pod and waits until its first mount has ended. Default: a pod of team-a/app. */
  startPod(generation: Generation, podOptions: Omit<PodOptions, 'node'>): Promise<PodView>;
  /** The value of the first line of the metrics that starts with this text. */
  metric(line: string): Promise<number | undefined>;
  stop(): Promise<void>;
};

/** A cluster, the clouds, and a node with Keyferry. */
export type TestEnvironment = Installation & {
  readonly cluster: Cluster;
  readonly clouds: Clouds;
  readonly vault: Awaited<ReturnType<typeof startVaultInCluster>>;
  readonly dir: string;
  readonly stores: readonly TestStore[];
  /** `keyferry local ...` on the store of the environment. */
  local(input: string, ...args: string[]): Promise<void>;
  /** Sets the annotations of team-a/app: those of the clouds, and these secrets for `cce`. */
  allowSecrets(...secrets: string[]): Promise<void>;
  /**
   * Creates a class. Default: in team-a. `synced`: the driver creates a Kubernetes Secret of the
   * same name from the file `password`.
   */
  applyClass(
    name: string,
    store: Pick<TestStore, 'provider'>,
    parameters: Readonly<Record<string, string>>,
    options?: { readonly synced?: boolean; readonly namespace?: string },
  ): Promise<void>;
  /** The options with which Keyferry is started, without its providers and addresses. */
  readonly settings: {
    readonly args: readonly string[];
    readonly env: Readonly<Record<string, string>>;
  };
  /** Another node in the same cluster, without any state. */
  startInstallation(name: string, options?: InstallationOptions): Promise<Installation>;
};

export type InstallationOptions = {
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
};

/** The options of {@link startTestEnvironment}. */
export type TestEnvironmentOptions = {
  readonly providers: readonly string[];
  readonly args?: readonly string[];
};

const jmesPath = '[{path: password, objectAlias: password}]';

/** Keyferry has no right in the cluster until the test grants it some. */
export async function startTestEnvironment({
  providers,
  args = [],
}: TestEnvironmentOptions): Promise<TestEnvironment> {
  const dir = await mkdtemp(join(tmpdir(), 'kf-environment-'));
  const cluster = await startCluster();
  const clouds = await startClouds(await createTokenVerifier(cluster.controlPlane));
  const local = (input: string, ...localArgs: string[]): Promise<void> =>
    runLocal(dir, input, ...localArgs);
  const account = { namespace: 'team-a', account: 'app' };
  const vault = await startVaultInCluster(cluster.controlPlane, [
    { ...account, name: 'app', audience: 'vault' },
    { ...account, name: 'bao-app', audience: 'openbao' },
  ]);
  const vaultStore = (provider: string, roleName: string): TestStore => ({
    provider,
    parameters: (name) => ({
      roleName,
      objects: `- {objectName: password, secretPath: secret/data/${name}, secretKey: password}`,
    }),
    async put(name, password) {
      await vault.put(name, { password });
    },
  });

  const stores: readonly TestStore[] = [
    vaultStore('vault', 'app'),
    vaultStore('openbao', 'bao-app'),
    {
      provider: 'local',
      parameters: (name) => ({ objects: `- {objectName: ${name}, jmesPath: ${jmesPath}}` }),
      put: (name, password) => local(JSON.stringify({ password }), 'set', name),
    },
    {
      provider: 'cce',
      parameters: (name) => ({
        ...podIdentityParameters.cce,
        objects: `- {objectName: ${name}, objectType: csms, objectVersion: latest, jmesPath: ${jmesPath}}`,
      }),
      put: (name, password) => void clouds.cce.csms.put(name, JSON.stringify({ password })),
    },
    {
      provider: 'alibabacloud',
      parameters: (name) => ({
        ...podIdentityParameters.alibabacloud,
        objects: `- {objectName: ${name}, objectAlias: whole, jmesPath: ${jmesPath}}`,
      }),
      put: (name, password) => void clouds.alibaba.kms.put(name, JSON.stringify({ password })),
    },
    {
      provider: 'aws',
      parameters: (name) => ({
        ...podIdentityParameters.aws,
        objects: `- {objectName: ${name}, objectType: secretsmanager, jmesPath: ${jmesPath}}`,
      }),
      put: (name, password) =>
        void clouds.aws.secretsManager.put(name, JSON.stringify({ password })),
    },
  ];

  await local('', 'init');
  const grants = [
    { namespaces: ['*'], serviceAccounts: ['app', 'web'], provider: 'local', names: ['local/**'] },
  ];
  await writeFile(join(dir, 'grants'), JSON.stringify({ grants }));
  await cluster.setAudiences(audiences);
  await cluster.createNode('node', { 'topology.kubernetes.io/region': 'eu-west-1' });
  await cluster.applyServiceAccount('team-a/app', cloudAnnotations);
  await cluster.applyServiceAccount('team-b/app');

  const [address, vaultCaFile] = [vault.url.origin, vault.caFile];
  const vaultEnv = {
    ...{
      VAULT_ADDR: address,
      VAULT_CACERT: vaultCaFile,
      BAO_ADDR: address,
      BAO_CACERT: vaultCaFile,
    },
  };
  const settings = {
    args: [
      ...[...cluster.keyferryArgs, '--ca-file', clouds.caFile, '--refresh-interval', '0'],
      ...['--local-store', join(dir, 'store'), '--local-key', join(dir, 'key')],
      ...['--shared-identity-grants', join(dir, 'grants'), ...args],
    ],
    env: { ...clouds.env, ...vaultEnv, KEYFERRY_NODE_NAME: 'node' },
  };

  const installations = new Set<Installation>();

  async function startInstallation(
    name: string,
    { args: extraArgs = [], env = {} }: InstallationOptions = {},
  ): Promise<Installation> {
    const healthSocket = join(dir, `${name}.sock`);
    const keyferry = await startKeyferry({
      providers,
      args: [...settings.args, '--health-address', `unix:${healthSocket}`, ...extraArgs],
      env: { ...settings.env, ...env },
    });
    const nodeName = (generation: Generation): string => `${name}-${generation}`;
    const nodes = new Map(
      generations.map((generation) => [
        generation,
        startNode({
          ...{ kube: cluster.kube, generation, providersDir: keyferry.providersDir },
          ...{ name: nodeName(generation), dir: join(dir, nodeName(generation)) },
        }),
      ]),
    );
    const node = (generation: Generation): SimulatedNode => nodes.get(generation)!;
    const installation: Installation = {
      ...{ keyferry, node },
      async startPod(generation, podOptions) {
        const { namespace = 'team-a', serviceAccount = 'app' } = podOptions;
        await cluster.startPod({
          ...podOptions,
          namespace,
          serviceAccount,
          node: nodeName(generation),
        });
        return node(generation).until(
          `${namespace}/${podOptions.name}`,
          ({ last }) => last !== 'skipped',
        );
      },
      async metric(line) {
        const found = (await metrics(healthSocket))
          .split('\n')
          .find((each) => each.startsWith(line));
        return found === undefined ? undefined : Number(found.split(' ').at(-1));
      },
      async stop() {
        installations.delete(installation);
        for (const one of nodes.values()) await one.stop();
        await keyferry.stop();
      },
    };
    installations.add(installation);
    return installation;
  }

  const installation = await startInstallation('node');
  return {
    ...installation,
    ...{
      cluster,
      clouds,
      vault,
      dir,
      stores,
      local,
      settings,
      startInstallation: startInstallation,
    },
    allowSecrets: (...secrets) =>
      cluster.applyServiceAccount('team-a/app', {
        ...cloudAnnotations,
        'cce.io/dew-resource': JSON.stringify(secrets),
      }),
    async applyClass(
      name,
      { provider },
      parameters,
      { synced = false, namespace = 'team-a' } = {},
    ) {
      const data = [{ objectName: 'password', key: 'value' }];
      const secretObjects = synced ? [{ secretName: name, type: 'Opaque', data }] : [];
      await cluster.kube.apply([
        {
          ...{ apiVersion: 'secrets-store.csi.x-k8s.io/v1', kind: 'SecretProviderClass' },
          ...{ metadata: { name, namespace }, spec: { provider, parameters, secretObjects } },
        },
      ]);
    },
    async stop() {
      // Also the pods of a test that failed.
      for (const one of installations) await one.stop();
      await clouds.close();
      await vault.stop();
      await cluster.stop();
      await rm(dir, { recursive: true });
    },
  };
}

/**
 * Runs `keyferry local ...` on the files `store` and `key` of a directory.
 * @throws Error with the output
 */
export async function runLocal(
  directory: string,
  input: string,
  ...localArgs: string[]
): Promise<void> {
  const files = ['--store', join(directory, 'store'), '--key', join(directory, 'key')];
  const execution = promisify(execFile)(process.execPath, [
    await builtBundle(),
    'local',
    ...files,
    ...localArgs,
  ]);
  execution.child.stdin?.end(input);
  await execution;
}

async function metrics(socketPath: string): Promise<string> {
  return new Promise((resolve, reject) => {
    request(
      { socketPath, path: '/metrics' },
      (response) => void text(response).then(resolve, reject),
    )
      .on('error', reject)
      .end();
  });
}

/**
 * Polls until the expectation holds. At the time limit it throws the failure of the expectation.
 */
export async function eventually<T>(
  probe: () => Promise<T>,
  assertion: (value: T) => void,
  timeoutMs = 10_000,
): Promise<void> {
  for (const deadline = Date.now() + timeoutMs; ; await sleep(50)) {
    const value = await probe();
    try {
      assertion(value);
      return;
    } catch (error) {
      if (Date.now() > deadline) throw error;
    }
  }
}
