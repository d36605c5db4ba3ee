import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  startDockerEnvironment,
  type DockerEnvironment,
  type Project,
} from '../e2e/docker-environment.ts';
import { testImages } from '../servers/docker/images.ts';

const serviceCount = 10;

/**
 * `docker dso` beside plain Docker and Compose, in one run on one engine. The two alternate, so
 * that a drift of the machine affects both.
 */
export async function benchDocker(rounds: number): Promise<void> {
  const environment = await startDockerEnvironment(['--refresh-interval', '1h']);
  try {
    const idle = await measureIdleAgent(environment);
    await environment.put('bench/key', 'x'.repeat(100));
    const rows = [
      await compareUp(environment, rounds),
      await compareStart(environment, rounds * 5),
      compareMetadata(environment, rounds * 10),
    ];
    console.log(
      '\ndocker dso beside plain Compose, medians (up <= 300 ms more, start <= 50 ms more, metadata <= 5 ms)',
    );
    console.table(rows);
    console.log('\nThe agent (idle <= 70 MiB)');
    console.table([
      { 'idle RSS MiB': idle, 'RSS MiB after the runs': residentMiB(environment.agentPid()) },
    ]);
  } finally {
    await environment.stop();
  }
}

/** One row: what takes how long, in milliseconds. */
function row(what: string, plain: readonly number[], dso: readonly number[]): object {
  const [plainMs, dsoMs] = [median(plain), median(dso)];
  return {
    what,
    runs: plain.length,
    'plain ms': plainMs.toFixed(1),
    'dso ms': dsoMs.toFixed(1),
    'more ms': (dsoMs - plainMs).toFixed(1),
  };
}

/** `up -d` of ten services that do not exist yet. */
async function compareUp(environment: DockerEnvironment, rounds: number): Promise<object> {
  const compose = (value: string): string =>
    `services:\n${Array.from({ length: serviceCount }, (_, n) => service(`app-${n}`, value)).join('')}`;
  const plain = await environment.project('bench-plain', { 'compose.yaml': compose('plain') });
  const dso = await environment.project('bench-dso', { 'compose.yaml': compose(reference) });
  const times = { plain: [] as number[], dso: [] as number[] };
  // The first round warms up.
  for (let round = 0; round <= rounds; round++) {
    const plainMs = await millisecondsOf(() => plain.compose(['up', '-d']));
    await plain.compose(['down', '-t', '0']);
    const dsoMs = await millisecondsOf(() => dso.dsoOutput(['up', '-d']));
    await dso.dsoOutput(['down', '-t', '0']);
    if (round === 0) continue;
    times.plain.push(plainMs);
    times.dso.push(dsoMs);
  }
  return row(`up -d of ${serviceCount} services`, times.plain, times.dso);
}

/** `docker start` of one container, whose secret is cached. */
async function compareStart(environment: DockerEnvironment, rounds: number): Promise<object> {
  const { engine } = environment;
  const compose = `services:\n${service('plain', 'plain')}${service('dso', reference)}`;
  const project = await environment.project('bench-start', { 'compose.yaml': compose });
  await project.dsoOutput(['up', '-d']);
  const start = async (name: string): Promise<number> => {
    const container = `${project.name}-${name}-1`;
    await engine.output(['stop', '-t', '0', container]);
    return millisecondsOf(() => engine.output(['start', container]));
  };
  const times = { plain: [] as number[], dso: [] as number[] };
  for (let round = 0; round < rounds; round++) {
    times.plain.push(await start('plain'));
    times.dso.push(await start('dso'));
  }
  await takeDown(project);
  return row('docker start', times.plain, times.dso);
}

/** What each `docker --help` calls: the metadata of Compose, and ours. */
function compareMetadata({ engine }: DockerEnvironment, rounds: number): object {
  const plugins = join(engine.env.DOCKER_CONFIG ?? '', 'cli-plugins');
  const call = (name: string): number => {
    const startedAt = performance.now();
    const { status } = spawnSync(join(plugins, `docker-${name}`), ['docker-cli-plugin-metadata'], {
      env: engine.env,
    });
    if (status !== 0) throw new Error(`docker-${name} has no metadata`);
    return performance.now() - startedAt;
  };
  const times = { plain: [] as number[], dso: [] as number[] };
  for (let round = 0; round < rounds; round++) {
    times.plain.push(call('compose'));
    times.dso.push(call('dso'));
  }
  return row("a plugin's metadata", times.plain, times.dso);
}

async function measureIdleAgent({ agentPid }: DockerEnvironment): Promise<string> {
  await sleep(2_000);
  return residentMiB(agentPid());
}

const takeDown = (project: Project): Promise<string> => project.dsoOutput(['down', '-t', '0']);

const reference = 'dso://bench/key';

const service = (name: string, value: string): string => `
  ${name}:
    image: ${testImages.busybox}
    command: stay
    environment: {KEY: "${value}"}
`;

async function millisecondsOf(work: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now();
  await work();
  return performance.now() - startedAt;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN;
}

function residentMiB(pid: number): string {
  const kib = Number(/^VmRSS:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
  return (kib / 1024).toFixed(1);
}
