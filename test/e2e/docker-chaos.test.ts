import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { randomBytes } from 'node:crypto';
import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ServiceStatus } from '../../src/docker/agent-api.ts';
import { volumeNames } from '../../src/docker/model/volumes.ts';
import { requestOver } from '../docker/agent.ts';
import { createHuaweiAccount } from '../fakes/huawei-account.ts';
import { type FakeCsms, startFakeCsms } from '../fakes/huawei-csms.ts';
import type { InjectedFault } from '../fakes/http-server.ts';
import { createTestCa } from '../fakes/tls.ts';
import { describeIfAvailable } from '../if-available.ts';
import { createRandom } from '../random.ts';
import { buildCompose, missingDockerDependencies } from '../servers/docker/engine.ts';
import { findPlanted } from '../servers/docker/find-planted.ts';
import { testImages } from '../servers/docker/images.ts';
import { ReplicaWatch } from '../servers/docker/replica-watch.ts';
import {
  startDockerEnvironment,
  type DockerEnvironment,
  type Project,
} from './docker-environment.ts';

const missingDependencies = await missingDockerDependencies();

/** How often secrets change, and how often something is killed. A long run: 50 and 20. */
const rotations = Number(process.env.DOCKER_ROTATIONS ?? 5);
const kills = Number(process.env.DOCKER_KILLS ?? 2);
/** The same seed makes the same faults and kills. What they meet depends on the machine. */
const seed = process.env.DOCKER_SEED ?? randomBytes(4).toString('hex');

const region = 'ap-southeast-3';
const storeProject = '0f2b6d1c9e8a4b7f8c3d5e6a7b9c0d1e';
/** The start of all values: of which secret, which field and which version each is, follows. */
const planted = `planted-${randomBytes(12).toString('hex')}`;
const fields = ['user', 'password'] as const;

/** The services by name, and their replicas. Each has two fields of one secret of its own name. */
const replicas = { restarted: 2, rolled: 2, signalled: 1, still: 1 };
type Service = keyof typeof replicas;
const services = Object.keys(replicas) as Service[];

const variables = (service: string, scheme = 'dso'): string =>
  `{USER_NAME: "${scheme}://${service}#user", PASSWORD: "${scheme}://${service}#password"}`;
/** It keeps what it has read, so that a lost signal shows. */
const readsFiles = `read() { cat "$$USER_NAME" "$$PASSWORD" > /dev/shm/seen; }
        trap read HUP
        read
        while :; do sleep 1; done`;
const composeFile = `services:
  restarted:
    image: ${testImages.busybox}
    command: stay
    restart: always
    environment: ${variables('restarted')}
    stop_signal: SIGKILL
    deploy: {replicas: 2}
  rolled:
    image: ${testImages.busybox}
    command: stay
    restart: always
    environment: ${variables('rolled')}
    deploy: {replicas: 2}
    healthcheck: {test: '[ -n "$$PASSWORD" ]', interval: 1s, retries: 3}
  signalled:
    image: ${testImages.busybox}
    restart: always
    environment: ${variables('signalled', 'dsofile')}
    stop_signal: SIGKILL
    entrypoint:
      - sh
      - -c
      - |
        ${readsFiles}
  still:
    image: ${testImages.busybox}
    command: stay
    restart: always
    environment:
      USER_NAME: "dso://still#user"
      PASSWORD: "dso://still#password"
      FILE: "dsofile://still#password"
    stop_signal: SIGKILL
`;
const projectConfig = `secrets:
  - {name: restarted, rotation: {strategy: restart}}
  - {name: rolled, rotation: {strategy: rolling}}
  - {name: signalled, rotation: {strategy: signal}}
`;

/** What the store does for a while. */
const faults: Readonly<Record<string, InjectedFault>> = {
  'is away': { reset: true },
  'is down': { response: { status: 503 } },
  'does not respond': { hang: true },
  'is slow': { delayMs: 1_500 },
  throttles: {
    response: {
      status: 429,
      headers: { 'retry-after': '1' },
      body: { error_code: 'APIGW.0308', error_msg: 'The throttling threshold has been reached' },
    },
  },
  'loses responses': { truncate: true },
};

describeIfAvailable(import.meta.filename, missingDependencies)('docker dso in chaos', () => {
  let environment: DockerEnvironment;
  let store: FakeCsms;
  let project: Project;
  let watch: ReplicaWatch;
  let folder: string;
  const random = createRandom(seed);
  const upTo = (ms: number): number => Math.floor(random() * ms);
  const oneOf = <T>(list: readonly T[]): T => list[upTo(list.length)] as T;
  /** The newest version of each secret. */
  const latest = new Map<Service, number>();
  /** Containers that had a version of one field and another version of the other one, and so on. */
  const wrong = new Set<string>();
  const versionsSeen = new Map<string, number>();

  beforeAll(async () => {
    process.stderr.write(`DOCKER_SEED=${seed}\n`);
    await buildCompose();
    const account = createHuaweiAccount();
    account.projects.push({ id: storeProject, name: region });
    const ca = createTestCa();
    store = await startFakeCsms({ account, project: storeProject, tls: ca.issue() });
    folder = mkdtempSync(join(tmpdir(), 'kf-chaos-'));
    const caFile = join(folder, 'ca.pem');
    writeFileSync(caFile, ca.cert);
    environment = await startDockerEnvironment([
      ...['--refresh-interval', '0', '--first-mount-patience', '2s', '--ca-file', caFile],
    ]);
    const { access, secret } = account.issueKeys();
    await environment.writeFile('secret-key', secret);
    await environment.configure(`
providers:
  csms:
    type: huawei
    region: ${region}
    project_id: ${storeProject}
    endpoint: ${store.url.origin}
    auth:
      method: access_key
      params: {access_key: ${access}, secret_key_file: ${environment.path('secret-key')}}
agent: {watch: {polling_interval: 30s}}
`);
    for (const service of services) change(service);
    project = await environment.project('chaos', {
      'compose.yaml': composeFile,
      'dso.yaml': projectConfig,
    });
    await project.dsoOutput(['up', '-d'], { timeoutMs: 300_000 });
    watch = new ReplicaWatch(environment.engine.socket, project.name);
  }, 900_000);
  afterAll(async () => {
    watch.stop();
    await environment.stop();
    await store.close();
    rmSync(folder, { recursive: true });
  }, 120_000);

  function change(service: Service): void {
    const version = (latest.get(service) ?? 0) + 1;
    latest.set(service, version);
    const values = fields.map((field) => [field, `${planted}-${service}-${field}-${version};`]);
    store.put(service, JSON.stringify(Object.fromEntries(values)));
  }

  const askEngine = async (path: string): Promise<never> => {
    const signal = AbortSignal.timeout(10_000);
    const { socket } = environment.engine;
    return (await requestOver(socket, 'GET', `/v1.41${path}`, undefined, signal)).json;
  };
  const askAgent = async (method: string, path: string, body?: object): Promise<never> => {
    const text = body && JSON.stringify(body);
    return (await requestOver(environment.path('agent.sock'), method, path, text)).json;
  };
  /** It may fail: the agent or the store may be away. */
  const refresh = (service: Service): Promise<unknown> =>
    askAgent('POST', '/v1/refresh', { path: service }).catch(() => undefined);

  /** The version that a text of a service has; undefined: it has none. */
  function versionIn(text: string, service: Service, what: string): number | undefined {
    const found = fields.map((field) =>
      Number(new RegExp(`${planted}-${service}-${field}-(\\d+);`).exec(text)?.[1] ?? 0),
    );
    const [version = 0] = found;
    if (found.some((each) => each !== version)) wrong.add(`${what} has ${found.join(' and ')}`);
    return version === 0 ? undefined : version;
  }

  type Container = {
    readonly service: Service;
    readonly name: string;
    readonly state: string;
    readonly startedAt: string;
    /** Why it could not start. */
    readonly error: string;
    /** Of the variables of process 1. */
    readonly version: number | undefined;
    /** A file that process 1 sees. */
    readonly read: (path: string) => string;
  };

  async function containers(): Promise<readonly Container[]> {
    const filters = encodeURIComponent(
      JSON.stringify({ label: [`com.docker.compose.project=chaos`] }),
    );
    const listed: readonly {
      readonly Id: string;
      readonly State: string;
      readonly Labels: Readonly<Record<string, string>>;
    }[] = await askEngine(`/containers/json?all=1&filters=${filters}`);
    return Promise.all(
      listed.map(async ({ Id, State: state, Labels }) => {
        const service = Labels['com.docker.compose.service'] as Service;
        const details: {
          readonly Name: string;
          readonly State: {
            readonly Pid: number;
            readonly StartedAt: string;
            readonly Error: string;
          };
        } = await askEngine(`/containers/${Id}/json`);
        const { Pid, StartedAt: startedAt, Error: error } = details.State;
        const name = details.Name.slice(1);
        const ofProcess = (path: string): string => readFileSync(`/proc/${Pid}/${path}`, 'utf8');
        const environ = Pid === 0 ? '' : ofProcess('environ');
        const version = versionIn(environ, service, `${name} started at ${startedAt}`);
        const before = versionsSeen.get(name + Id) ?? 0;
        if (version !== undefined && version < before)
          wrong.add(`${name} has gone from ${before} to ${version}`);
        versionsSeen.set(name + Id, version ?? before);
        const read = (path: string): string => ofProcess(`root${path}`);
        return { service, name, state, startedAt, error, version, read };
      }),
    );
  }

  async function check(): Promise<void> {
    const all = await containers();
    const statuses: readonly ServiceStatus[] = await askAgent('GET', '/v1/services?project=chaos');
    expect(statuses.map(({ service }) => service).sort()).toEqual([...services].sort());
    for (const status of statuses) {
      const service = status.service as Service;
      const own = all.filter((container) => container.service === service);
      const current = latest.get(service) ?? 0;
      expect(own.map(({ name, state }) => [name, state])).toEqual(
        own.map(({ name }) => [name, 'running']),
      );
      expect(own).toHaveLength(replicas[service]);
      const versions = own.map((each) => each.version);
      const isRotated = service === 'restarted' || service === 'rolled';
      if (isRotated) expect([service, versions]).toEqual([service, own.map(() => current)]);
      if (service === 'signalled') {
        const [one] = own;
        const path = '/run/secrets/dso/csms/signalled';
        const file = `${one?.read(`${path}.user`)}${one?.read(`${path}.password`)}`;
        expect(versionIn(file, service, 'the files of signalled')).toBe(current);
        const seen = one?.read('/dev/shm/seen') ?? '';
        expect(['seen', versionIn(seen, service, 'signalled itself')]).toEqual(['seen', current]);
      }
      if (service === 'still') {
        expect(versions[0]).toBeGreaterThanOrEqual(1);
        const file = own[0]?.read('/run/secrets/dso/csms/still.password') ?? '';
        expect(file).toContain(`-${current};`);
      }
      const newest = [...own].sort((a, b) => (a.startedAt < b.startedAt ? 1 : -1))[0];
      const isStale = service === 'still' && newest?.version !== current;
      const shown = status.secrets.map(({ kind, version }) => [kind, version]);
      expect([service, shown]).toEqual([
        service,
        status.secrets.map(({ kind }) =>
          kind === 'file' ? [kind, `v${current}`] : [kind, `v${newest?.version}`],
        ),
      ]);
      expect(status).toMatchObject({
        state: isStale ? 'STALE' : 'ACTIVE',
        mounts: own.length,
        ...(service !== 'still' && { rotation: { state: 'idle' } }),
      });
      expect(status.staleSince !== undefined).toBe(isStale);
    }
    expectNothingLeftOver();
  }

  function expectNothingLeftOver(): void {
    const namesIn = (path: string): readonly string[] =>
      readdirSync(join(environment.volumes, path)).sort();
    const names = services.map((service) => volumeNames('chaos', service));
    const ofFiles = names.map(({ files }) => files).filter((name) => /signalled|still/.test(name));
    const all = [...names.map(({ variables: name }) => name), ...ofFiles];
    expect(namesIn('')).toEqual(['.dso', ...all].sort());
    expect(namesIn('.dso/mounts')).toEqual(names.map((each) => `${each.variables}.json`).sort());
    for (const { variables: name } of names) expect(namesIn(name)).toEqual(['bin', 'env']);
    for (const name of ofFiles)
      expect(namesIn(name).filter((each) => each.startsWith('..'))).toEqual(
        ['..data', readlinkSync(join(environment.volumes, name, '..data'))].sort(),
      );
  }

  /** All secrets have reached where they belong, and all is told as it is. */
  async function settled(when: string): Promise<void> {
    const deadline = Date.now() + 180_000;
    for (;;)
      try {
        await Promise.all(services.map(refresh));
        await check();
        break;
      } catch (cause) {
        if (Date.now() > deadline)
          throw new Error(
            `${when}, DOCKER_SEED=${seed}:\n${environment.agentLog().slice(-8_000)}`,
            {
              cause,
            },
          );
        await removeBroken();
        await sleep(500);
      }
    expect({ when, wrong: [...wrong], outages: watch.outages }).toEqual({
      ...{ when, wrong: [], outages: [] },
    });
  }

  /**
   * The engine 20.10 cannot start a container again if it was killed in the middle of its start:
   * its containerd has kept the task. A person removes it.
   */
  async function removeBroken(): Promise<void> {
    const broken = (await containers().catch(() => [])).filter(({ error }) =>
      /^task [0-9a-f]+: already exists$/.test(error),
    );
    if (broken.length === 0) return;
    for (const { name } of broken) await environment.engine.output(['rm', '--force', name]);
    process.stderr.write(`removed ${broken.map(({ name }) => name).join(', ')}\n`);
    await project.dsoOutput(['up', '-d']);
  }

  /** Kills and starts again. */
  const ways: Readonly<Record<string, () => Promise<void>>> = {
    async 'the agent'() {
      const awayMs = upTo(3_000);
      await environment.stopAgent('SIGKILL');
      await sleep(awayMs);
      await environment.startAgent();
    },
    async 'the engine'() {
      await environment.engine.configure({ 'live-restore': random() < 0.5 });
      await environment.engine.killEngine();
      await environment.engine.startEngine();
    },
    async both() {
      await environment.engine.configure({ 'live-restore': random() < 0.5 });
      await Promise.all([environment.stopAgent('SIGKILL'), environment.engine.killEngine()]);
      await environment.startAgent();
      await environment.engine.startEngine();
    },
  };

  test(`${kills} kills in ${rotations} rotations`, async () => {
    await settled('at the start');
    const rounds = Array.from({ length: rotations }, (_, round) => round);
    const deadly = new Set<number>();
    while (deadly.size < Math.min(kills, rotations)) deadly.add(upTo(rotations));
    for (const round of rounds) {
      const startedAt = Date.now();
      const startsBefore = new Map(watch.starts);
      const changed = services.filter(() => random() < 0.7);
      const fault = random() < 0.6 ? oneOf(Object.keys(faults)) : undefined;
      const route = random() < 0.5 ? '' : `GET /v1/${storeProject}/secrets/${oneOf(services)}/`;
      const [beginsMs, lastsMs] = [upTo(2_000), 1_000 + upTo(random() < 0.3 ? 12_000 : 4_000)];
      const victim = deadly.has(round) ? oneOf(['the agent', 'the engine', 'both']) : undefined;
      const killMs = upTo(6_000);
      for (const service of changed) change(service);
      const told = [
        `round ${round}: ${changed.join(', ') || 'nothing'} changes`,
        ...(fault === undefined
          ? []
          : [`the store ${fault} after ${beginsMs} ms for ${lastsMs} ms`]),
        ...(victim === undefined ? [] : [`${victim} killed after ${killMs} ms`]),
      ].join('; ');
      const asked = Promise.all(changed.map(refresh));
      const failing = async (): Promise<void> => {
        if (fault === undefined) return;
        await sleep(beginsMs);
        store.injectFault({ ...faults[fault], route });
        await Promise.all([
          Promise.race([...changed.map(refresh), sleep(lastsMs)]),
          sleep(lastsMs),
        ]);
        store.injectFault();
      };
      const killing = async (): Promise<void> => {
        if (victim === undefined) return;
        await sleep(killMs);
        await ways[victim]?.();
      };
      const over = new AbortController();
      const looking = (async (): Promise<void> => {
        while (!over.signal.aborted) {
          await containers().catch(() => undefined);
          await sleep(300);
        }
      })();
      await Promise.all([failing(), killing()]);
      over.abort();
      await Promise.all([looking, asked]);
      await settled(told);
      // One action for a change, and none without one.
      if (victim === undefined)
        for (const service of services) {
          const starts = (watch.starts.get(service) ?? 0) - (startsBefore.get(service) ?? 0);
          const isRotated = ['restarted', 'rolled'].includes(service) && changed.includes(service);
          expect([told, service, starts]).toEqual([told, service, isRotated ? 2 : 0]);
        }
      process.stderr.write(`${told}; settled after ${(Date.now() - startedAt) / 1_000} s\n`);
    }
    for (const service of services)
      expect(await project.dsoOutput(['inspect', service])).toMatch(
        service === 'still'
          ? /^Secret injection status: (ACTIVE|STALE since .*)\n/
          : /^Secret injection status: ACTIVE\n/,
      );
    watch.stop();
    const search = {
      newerThan: environment.path('secret-key'),
      directories: environment.engine.roots,
    };
    expect(await findPlanted([planted], search)).toEqual([]);
    await project.dsoOutput(['down', '-t', '0', '-v']);
    expect(await environment.engine.output(['volume', 'ls', '--quiet'])).toBe('');
    expect(await environment.engine.output(['ps', '--all', '--quiet'])).toBe('');
    expect(readdirSync(environment.volumes)).toEqual(['.dso']);
    expect(readdirSync(join(environment.volumes, '.dso/mounts'))).toEqual([]);
  }, 7_200_000);
});
