import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { builtBundle } from '../driver/bundle.ts';
import type { PodView } from '../driver/cluster.ts';
import { startKeyferry, type KeyferryProcess } from '../driver/keyferry-process.ts';
import type { KubeObject } from '../driver/kube-client.ts';
import { startNode, type PlayedNode } from '../driver/node.ts';
import { builtApiServer, controlPlaneLacks } from '../servers/control-plane/control-plane.ts';
import { issuedTokens } from '../servers/control-plane/issued-tokens.ts';
import { programInPath } from '../servers/go-program.ts';
import { chartLacks, renderChart } from './chart-objects.ts';
import { agency, appRole, oidcProvider, startClouds, type Clouds } from './clouds.ts';
import { keyferryUser, startCluster, type Cluster } from './cluster.ts';
import { describeWhere } from './where-possible.ts';

const lacks = [...(await controlPlaneLacks()), ...(await chartLacks())];
const describe = describeWhere(import.meta.filename, lacks);

const providers = ['alibabacloud', 'cce', 'local'];
const audiences = ['sts.aliyuncs.com', 'sts.huaweicloud.com'];
const generations = ['1.5', '1.6'] as const;

let cluster: Cluster;
let clouds: Clouds;
let keyferry: KeyferryProcess;
let rbac: readonly KubeObject[];
let dir: string;
const nodes: Partial<Record<'1.5' | '1.6', PlayedNode>> = {};

type Status = {
  readonly status: {
    readonly mounted: boolean;
    readonly objects: readonly { readonly id: string; readonly version: string }[];
  };
} & KubeObject;
type Secret = KubeObject & { readonly type: string; readonly data: Readonly<Record<string, string>> };

async function local(input: string, ...args: string[]): Promise<void> {
  const files = ['--store', join(dir, 'store'), '--key', join(dir, 'key')];
  const running = promisify(execFile)(process.execPath, [await builtBundle(), 'local', ...files, ...args]);
  running.child.stdin?.end(input);
  await running;
}

/** Makes a class of a namespace. `secret`: a file that a Kubernetes Secret of the class's name is made of. */
async function applyClass(
  name: string,
  namespace: string,
  provider: string,
  parameters: Readonly<Record<string, string>>,
  secret?: string,
): Promise<void> {
  const data = [{ objectName: secret ?? '', key: 'value' }];
  await cluster.kube.apply([
    {
      apiVersion: 'secrets-store.csi.x-k8s.io/v1',
      kind: 'SecretProviderClass',
      metadata: { name, namespace },
      spec: {
        provider,
        parameters,
        ...(secret && { secretObjects: [{ secretName: name, type: 'Opaque', data }] }),
      },
    },
  ]);
}

/** Starts a pod of team-a/app, and waits until its volume was tried. */
async function podOf(
  generation: '1.5' | '1.6',
  name: string,
  className: string,
  more: Partial<Parameters<Cluster['startPod']>[0]> = {},
): Promise<PodView> {
  const namespace = more.namespace ?? 'team-a';
  const wish = {
    namespace,
    name,
    node: `node-${generation}`,
    class: className,
    serviceAccount: 'app',
    ...more,
  };
  await cluster.startPod(wish);
  return node(generation).until(`${namespace}/${name}`, ({ last }) => last !== 'skipped');
}

function node(generation: '1.5' | '1.6'): PlayedNode {
  return nodes[generation]!;
}

async function eventually<T>(
  look: () => Promise<T>,
  wished: (found: T) => void,
  timeoutMs = 10_000,
): Promise<void> {
  for (const late = Date.now() + timeoutMs; ; await sleep(50)) {
    const found = await look();
    try {
      wished(found);
      return;
    } catch (error) {
      if (Date.now() > late) throw error;
    }
  }
}

async function start(...more: readonly string[]): Promise<KeyferryProcess> {
  return startKeyferry({
    providers,
    args: [
      ...[...cluster.keyferryArgs, '--ca-file', clouds.caFile, '--refresh-interval', '0', '--events', 'on'],
      ...['--local-store', join(dir, 'store'), '--local-key', join(dir, 'key')],
      ...['--shared-identity-grants', join(dir, 'grants'), ...more],
    ],
    env: clouds.env,
  });
}

if (lacks.length === 0) {
  // The first build takes minutes.
  beforeAll(() => builtApiServer(), 1_200_000);
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'kf-e2e-'));
    cluster = await startCluster();
    const isIssued = await issuedTokens(cluster.controlPlane);
    clouds = await startClouds(isIssued);
    await local('', 'init');
    await local('{"user":"shop","password":"CANARY-local-1"}', 'set', 'db');
    const grant = { namespaces: ['team-a'], serviceAccounts: ['app'] };
    const grants = [
      { ...grant, provider: 'local', names: ['local/**'] },
      { ...grant, provider: 'alibabacloud', names: ['kms/**'] },
    ];
    await writeFile(join(dir, 'grants'), JSON.stringify({ grants }));
    rbac = await renderChart({ providers, events: { enabled: true } });
    await cluster.grant(rbac);
    await cluster.setAudiences(audiences);
    await cluster.account('team-a/app', { 'ack.alibabacloud.com/role-arn': appRole });
    await cluster.account('team-b/app');
    keyferry = await start();
    for (const generation of generations)
      nodes[generation] = startNode({
        ...{ kube: cluster.kube, name: `node-${generation}`, generation, dir: join(dir, generation) },
        providersDir: keyferry.providersDir,
      });
  }, 120_000);
  afterAll(async () => {
    for (const one of Object.values(nodes)) await one.stop();
    await keyferry.stop();
    await clouds.close();
    await cluster.stop();
    await rm(dir, { recursive: true });
  });
}

/** What each provider is asked for in the tests of all: a class with one file `password`, and how its value changes. */
const stores: readonly {
  readonly provider: string;
  readonly parameters: (name: string) => Readonly<Record<string, string>>;
  readonly put: (name: string, password: string) => Promise<void> | void;
}[] = [
  {
    provider: 'local',
    parameters: (name) => ({
      objects: `- {objectName: ${name}, jmesPath: [{path: password, objectAlias: password}]}`,
    }),
    put: (name, password) => local(JSON.stringify({ password }), 'set', name),
  },
  {
    provider: 'cce',
    parameters: (name) => ({
      ...{ usePodOIDC: 'true', agencyUrn: agency.urn, providerUrn: agency.providerUrn },
      objects: `- {objectName: ${name}, objectType: csms, objectVersion: latest, jmesPath: [{path: password, objectAlias: password}]}`,
    }),
    async put(name, password) {
      clouds.cce.csms.put(name, JSON.stringify({ password }));
    },
  },
  {
    provider: 'alibabacloud',
    parameters: (name) => ({
      usePodServiceAccountToken: 'true',
      objects: `- {objectName: ${name}, objectAlias: whole, jmesPath: [{path: password, objectAlias: password}]}`,
    }),
    async put(name, password) {
      clouds.alibaba.kms.put(name, JSON.stringify({ password }));
    },
  },
];

describe.each(generations)('under a driver of %s', (generation) => {
  test.each(stores)(
    '$provider: files, statuses and Secrets as kubectl shows them, and a rotation',
    async ({ provider, parameters, put }) => {
      const name = `${provider}-${generation.replace('.', '-')}`;
      await put(name, 'CANARY-one');
      await cluster.account('team-a/app', {
        'ack.alibabacloud.com/role-arn': appRole,
        'cce.io/dew-resource': JSON.stringify([name]),
      });
      await applyClass(name, 'team-a', provider, parameters(name), 'password');
      const view = await podOf(generation, name, name);
      expect({ events: view.events, text: view.files.password?.text }).toEqual({
        events: [],
        text: 'CANARY-one',
      });

      const status = (): Promise<Status | undefined> =>
        cluster.find<Status>('team-a', 'secretproviderclasspodstatuses', `${name}-team-a-${name}`);
      const secret = (): Promise<Secret | undefined> => cluster.find<Secret>('team-a', 'secrets', name);
      await eventually(status, (found) =>
        expect(found).toMatchObject({
          metadata: { ownerReferences: [{ kind: 'Pod', name }] },
          status: {
            mounted: true,
            objects: expect.arrayContaining([{ id: 'password', version: expect.any(String) }]),
          },
        }),
      );
      await eventually(secret, (found) =>
        expect(found).toMatchObject({ data: { value: Buffer.from('CANARY-one').toString('base64') } }),
      );
      await eventually(
        () => cluster.find<KubeObject & { status: { phase: string } }>('team-a', 'pods', name),
        (pod) => expect(pod?.status.phase).toBe('Running'),
      );
      const before = (await status())!.status.objects;

      await node(generation).round();
      expect((await status())!.status.objects).toEqual(before);

      await put(name, 'CANARY-two');
      await node(generation).round();
      const [rotated] = node(generation).volumes(`team-a/${name}`);
      expect(rotated!.files.password?.text).toBe('CANARY-two');
      expect((await status())!.status.objects).not.toEqual(before);
      const changed = await secret();
      expect(Buffer.from(changed!.data.value!, 'base64').toString()).toBe('CANARY-two');
      expect(changed!.metadata.ownerReferences).toHaveLength(1);

      await cluster.endPod('team-a', name);
      await eventually(status, (found) => expect(found).toBeUndefined());
      await eventually(secret, (found) => expect(found).toBeUndefined());
    },
  );
});
