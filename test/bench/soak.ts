import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { DriverClient } from '../../src/csi/client.ts';
import type { RawMountRequest } from '../../src/csi/mount-request.ts';
import { type MountRequestInput, mountRequest } from '../driver/request.ts';
import { startAlibabaFixture } from '../fakes/alibabacloud-fixture.ts';
import { startAwsFixture } from '../fakes/aws-fixture.ts';
import { agency, objectYaml, startCceFixture } from '../fakes/cce-fixture.ts';
import { startFakeKubernetes } from '../fakes/kubernetes.ts';
import { startVaultFixture } from '../fakes/vault-fixture.ts';
import { startServer } from './server-process.ts';

/**
 * Mounts one new pod after the other, each with five secrets, through every provider and identity,
 * in one process with the flags of the image. Memory must be flat after the warm-up.
 */

const { values: options } = parseArgs({
  options: {
    pods: { type: 'string', default: '100000' },
    concurrency: { type: 'string', default: '32' },
    only: { type: 'string', multiple: true },
  },
});
const pods = Number(options.pods);
const concurrency = Number(options.concurrency);
const dir = mkdtempSync(join(tmpdir(), 'keyferry-soak-'));
const names = ['s1', 's2', 's3', 's4', 's5'];
const valueOf = (name: string): string => `value of ${name} `.padEnd(100, '.');

/** One provider and identity under load. */
type Scenario = {
  readonly name: string;
  readonly provider: string;
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly caFile?: string;
  readonly args?: readonly string[];
  /** Annotations of ServiceAccount team-a/app. */
  readonly annotations?: Readonly<Record<string, string>>;
  readonly request: (pod: string) => Pick<MountRequestInput, 'tokens' | 'nodePublishSecret'> & {
    readonly parameters: Readonly<Record<string, string>>;
  };
  close(): Promise<void>;
};

async function awsScenarios(): Promise<readonly Scenario[]> {
  const fixture = await startAwsFixture();
  for (const name of names) fixture.secretsManager.put(name, valueOf(name));
  const objects = names.map((name) => `- {objectName: ${name}, objectType: secretsmanager}`);
  const common = {
    provider: 'aws',
    env: {
      ...fixture.env,
      KEYFERRY_AWS_RATE_SECRETSMANAGER: '10000',
      KEYFERRY_AWS_BURST_SECRETSMANAGER: '10000',
    },
    caFile: fixture.caFile,
    annotations: { 'eks.amazonaws.com/role-arn': 'arn:aws:iam::111122223333:role/team/app' },
    close: () => fixture.close(),
  };
  const parameters = { region: 'eu-west-1', objects: objects.join('\n') };
  const tokens = (name: string) => fixture.podTokens({ name });
  return [
    {
      ...{ ...common, name: 'aws, IRSA' },
      request: (pod) => ({ parameters, tokens: tokens(pod), nodePublishSecret: undefined }),
    },
    {
      ...{ ...common, name: 'aws, Pod Identity' },
      request: (pod) => ({
        parameters: { ...parameters, usePodIdentity: 'true' },
        ...{ tokens: tokens(pod), nodePublishSecret: undefined },
      }),
      close: () => Promise.resolve(),
    },
  ];
}

async function alibabaScenarios(): Promise<readonly Scenario[]> {
  const fixture = await startAlibabaFixture();
  for (const name of names) fixture.kms.put(name, valueOf(name));
  const common = {
    provider: 'alibabacloud',
    env: {
      ...fixture.env,
      KEYFERRY_ALIBABACLOUD_RATE: '10000',
      KEYFERRY_ALIBABACLOUD_BURST: '10000',
    },
    caFile: fixture.caFile,
    annotations: { 'ack.alibabacloud.com/role-arn': 'acs:ram::1234567890:role/app' },
    close: () => fixture.close(),
  };
  const objects = names.map((name) => `- {objectName: ${name}}`).join('\n');
  const parameters = { region: 'cn-hangzhou', objects };
  return [
    {
      ...{ ...common, name: 'alibabacloud, keys of the pod' },
      request: () => {
        const { accessKeyId, accessKeySecret } = fixture.account.issueKeys();
        const secret = { access_key: accessKeyId, access_secret: accessKeySecret };
        return { parameters, tokens: {}, nodePublishSecret: secret };
      },
    },
    {
      ...{ ...common, name: 'alibabacloud, RRSA' },
      request: () => ({
        parameters: { ...parameters, usePodServiceAccountToken: 'true' },
        ...{ tokens: fixture.podToken(), nodePublishSecret: undefined },
      }),
      close: () => Promise.resolve(),
    },
  ];
}

async function vaultScenarios(): Promise<readonly Scenario[]> {
  const fixture = await startVaultFixture({ http: true });
  fixture.policy('app', { 'secret/data/*': ['read'] });
  fixture.auth.kubernetes().role('app', { names: ['app'], audience: 'vault' });
  const kv = fixture.kv2();
  for (const name of names) kv.put(name, JSON.stringify({ value: valueOf(name) }));
  const objects = names.map(
    (name) => `- {objectName: ${name}, secretPath: secret/data/${name}, secretKey: value}`,
  );
  return [
    {
      ...{ name: 'vault, Kubernetes login', provider: 'vault', caFile: fixture.caFile },
      env: { ...fixture.env, KEYFERRY_VAULT_RATE: '10000', KEYFERRY_VAULT_BURST: '10000' },
      request: (pod) => ({
        parameters: { roleName: 'app', objects: objects.join('\n') },
        tokens: fixture.podToken({ serviceAccount: 'app', podUid: `uid-${pod}` }),
        nodePublishSecret: undefined,
      }),
      close: () => fixture.close(),
    },
  ];
}

async function cceScenarios(): Promise<readonly Scenario[]> {
  const fixture = await startCceFixture({ agencies: [agency] });
  for (const name of names) fixture.csms.put(name, valueOf(name));
  const common = {
    provider: 'cce',
    env: { ...fixture.env, KEYFERRY_CCE_RATE: '10000', KEYFERRY_CCE_BURST: '10000' },
    caFile: fixture.caFile,
    annotations: { 'cce.io/dew-resource': JSON.stringify(names) },
    close: () => fixture.close(),
  };
  const objects = names.map((name) => objectYaml(name)).join('');
  const { urn: agencyUrn, providerUrn } = agency;
  return [
    {
      ...{ ...common, name: 'cce, the keys of the cluster' },
      request: () => ({ parameters: { objects }, tokens: {}, nodePublishSecret: undefined }),
    },
    {
      ...{ ...common, name: 'cce, agency of the pod' },
      request: () => ({
        parameters: { objects, usePodOIDC: 'true', agencyUrn, providerUrn },
        ...{ tokens: fixture.podToken(), nodePublishSecret: undefined },
      }),
      close: () => Promise.resolve(),
    },
  ];
}

function localScenarios(): readonly Scenario[] {
  const [store, key, grants] = [join(dir, 's.age'), join(dir, 's.key'), join(dir, 'grants.yaml')];
  const local = (args: readonly string[], input = ''): void =>
    void execFileSync(
      process.execPath,
      ['dist/keyferry.js', 'local', '--store', store, '--key', key, ...args],
      { input, stdio: ['pipe', 'ignore', 'inherit'] },
    );
  local(['init']);
  for (const name of names) local(['set', name], valueOf(name));
  const grant = { provider: 'local', namespaces: ['**'], serviceAccounts: ['**'], names: ['**'] };
  writeFileSync(grants, JSON.stringify({ grants: [grant] }));
  const objects = names.map((name) => `- {objectName: ${name}}`).join('\n');
  return [
    {
      ...{ name: 'local', provider: 'local' },
      args: ['--local-store', store, '--local-key', key, '--shared-identity-grants', grants],
      request: () => ({ parameters: { objects }, tokens: {}, nodePublishSecret: undefined }),
      close: () => Promise.resolve(),
    },
  ];
}

function requestOf(scenario: Scenario, pod: string): RawMountRequest {
  const { parameters, tokens, nodePublishSecret } = scenario.request(pod);
  return mountRequest({
    trigger: 'publish',
    class: {
      metadata: { name: 'soak' },
      spec: { provider: scenario.provider, parameters },
    },
    pod: { name: pod, namespace: 'team-a', uid: `uid-${pod}`, serviceAccount: 'app' },
    ...{ attributes: {}, tokens, nodePublishSecret, tokensInSecrets: false, versions: [] },
    targetPath: `/var/lib/kubelet/pods/uid-${pod}/volumes/kubernetes.io~csi/secrets/mount`,
  });
}

async function main(): Promise<void> {
  const all = [
    ...(await awsScenarios()),
    ...(await alibabaScenarios()),
    ...(await vaultScenarios()),
    ...(await cceScenarios()),
    ...localScenarios(),
  ];
  const { only } = options;
  const scenarios = all.filter(({ name }) => only?.some((part) => name.includes(part)) ?? true);
  const annotations = Object.assign({}, ...all.map((each) => each.annotations)) as object;
  const kubernetes = await startFakeKubernetes({
    'team-a/app': { annotations: { ...annotations } },
  });
  const caFile = join(dir, 'ca.pem');
  const caFiles = new Set(scenarios.flatMap((each) => each.caFile ?? []));
  writeFileSync(caFile, [...caFiles].map((file) => readFileSync(file, 'utf8')).join('\n'));
  const env = Object.assign({}, ...scenarios.map((each) => each.env)) as Record<string, string>;
  const providers = [...new Set(scenarios.map(({ provider }) => provider))];
  const [first = ''] = providers;
  const server = await startServer(
    [
      ...(process.env.SOAK_NODE_FLAGS?.split(' ') ?? []),
      ...['dist/keyferry.js', 'serve', '--providers', providers.join(',')],
      ...['--providers-dir', dir, '--health-address', '127.0.0.1:0', '--log-level', 'error'],
      ...['--kube-server', kubernetes.server.href],
      ...['--kube-token-file', kubernetes.tokenFile, '--kube-ca-file', kubernetes.caFile],
      ...(caFiles.size > 0 ? ['--ca-file', caFile] : []),
      ...scenarios.flatMap(({ args = [] }) => args),
    ],
    join(dir, `${first}.sock`),
    env,
  );
  const clients = new Map(
    providers.map((name) => [name, new DriverClient({ socketPath: join(dir, `${name}.sock`) })]),
  );
  console.log(
    `${pods} pods of five secrets, ${concurrency} at once: ${scenarios.map(({ name }) => name).join('; ')}`,
  );
  for (const client of clients.values())
    while ((await client.version({ timeoutMs: 1_000 })).code !== 'OK')
      await new Promise((resolve) => setTimeout(resolve, 10));
  console.log(`idle: ${server.rss().toFixed(1)} MiB, process ${server.pid}`);
  const startedAt = performance.now();
  const samples: number[] = [];
  let next = 0;
  let lost = 0;
  const worker = async (): Promise<void> => {
    while (next < pods) {
      const number = next++;
      const scenario = scenarios[number % scenarios.length]!;
      const result = await clients
        .get(scenario.provider)!
        .mount(requestOf(scenario, `pod-${number}`), { timeoutMs: 120_000 });
      const texts =
        result.code === 'OK'
          ? result.response.files.map(({ contents }) => Buffer.from(contents).toString())
          : [];
      if (names.some((name) => !texts.some((text) => text.includes(valueOf(name))))) {
        lost += 1;
        if (lost <= 5)
          console.log(
            `LOST ${scenario.name}: ${result.code} ${JSON.stringify(result).slice(0, 400)}`,
          );
        if (lost > 100) throw new Error('more than 100 mounts failed');
      }
      if ((number + 1) % Math.ceil(pods / 20) === 0) {
        samples.push(server.rss());
        const seconds = (performance.now() - startedAt) / 1_000;
        console.log(
          `${String(number + 1).padStart(8)} pods  ${server.rss().toFixed(1).padStart(6)} MiB  ${((number + 1) / seconds).toFixed(0)} mounts/s`,
        );
      }
    }
  };
  await Promise.all(Array.from({ length: concurrency }, worker));
  const warm = Math.max(...samples.slice(0, 10));
  const last = Math.max(...samples.slice(10));
  console.log(
    `lost: ${lost}; most memory in the first half ${warm.toFixed(1)} MiB, in the second half ${last.toFixed(1)} MiB`,
  );
  for (const client of clients.values()) client.close();
  await server.stop();
  await Promise.all(all.map((each) => each.close()));
  await kubernetes.close();
  rmSync(dir, { recursive: true, force: true });
  if (lost > 0 || last > warm * 1.1) process.exitCode = 1;
}

main().catch((error: unknown) => {
  console.error(error);
  process.exit(1);
});
