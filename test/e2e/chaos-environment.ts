import { afterAll, afterEach, beforeAll } from '@jest/globals';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { PodView, Publication, SecretProviderClass } from '../driver/cluster.ts';
import { createDriver, type Driver, type DriverOptions } from '../driver/driver.ts';
import { startKeyferry, type KeyferryProcess } from '../driver/keyferry-process.ts';
import { buildApiServer } from '../servers/control-plane/control-plane.ts';
import { buildTestVault } from '../servers/testvault/testvault.ts';
import { renderChart } from './chart-objects.ts';
import { startTestEnvironment, type TestEnvironment } from './test-environment.ts';

/**
 * The secrets of `cce`. {@link secretName} returns their names. Each contains `CANARY of <number>`.
 */
export const secretCount = 200;

/**
 * An environment for failures: Keyferry processes start and stop, and drivers call them directly.
 */
export type ChaosEnvironment = TestEnvironment & {
  /** An empty providers directory. */
  createProvidersDirectory(): Promise<string>;
  /** Starts a Keyferry in a directory that remains after its end, as on a node. */
  startKeyferryIn(
    directory: string,
    args?: readonly string[],
    env?: Readonly<Record<string, string>>,
  ): Promise<KeyferryProcess>;
  /** A driver that waits a second between attempts, like the real one. */
  createDriverFor(directory: string, options?: Partial<DriverOptions>): Driver;
  /**
   * Connects to a socket again and again. The returned function returns the longest time in ms
   * during which no process accepted connections.
   */
  watchSocket(path: string): { stop(): Promise<number> };
  /** Cleanup at the end of a test, also of one that fails. The latest runs first. */
  onCleanup(cleanup: () => unknown): void;
  /** Stops what a test has started, and removes the faults of the store. */
  cleanUp(): Promise<void>;
};

const providers = ['cce', 'local'];

/** Registers an environment for the tests of a file. It is cleaned up after each test. */
export function setUpChaosEnvironment(onStarted: (environment: ChaosEnvironment) => void): void {
  let environment: ChaosEnvironment;
  // The first build takes minutes.
  beforeAll(() => buildApiServer(), 1_200_000);
  beforeAll(() => buildTestVault(), 1_200_000);
  beforeAll(async () => onStarted((environment = await startChaosEnvironment())), 120_000);
  afterEach(() => environment.cleanUp());
  afterAll(() => environment.stop());
}

/** Starts an environment, with the rights of the chart. */
async function startChaosEnvironment(): Promise<ChaosEnvironment> {
  const environment = await startTestEnvironment({ providers, args: ['--grace', '5s'] });
  const { csms } = environment.clouds.cce;
  await environment.cluster.grant(await renderChart({ providers }));
  for (let number = 0; number < secretCount; number += 1)
    csms.put(secretName(number), `CANARY of ${number}`);
  // A secret that does not exist is listed, too.
  await environment.allowSecrets(
    'gone',
    ...Array.from({ length: secretCount }, (_, number) => secretName(number)),
  );
  await environment.local('CANARY-local', 'set', 'greeting');
  const cleanups: (() => unknown)[] = [];
  const onCleanup: ChaosEnvironment['onCleanup'] = (cleanup) => void cleanups.push(cleanup);
  let drivers = 0;

  return {
    ...environment,
    onCleanup,
    async createProvidersDirectory() {
      const directory = await mkdtemp(join(environment.dir, 'providers-'));
      onCleanup(() => rm(directory, { recursive: true, force: true }));
      return directory;
    },
    async startKeyferryIn(providersDir, args = [], env = {}) {
      const { settings } = environment;
      const keyferry = await startKeyferry({
        ...{ providers, providersDir, args: [...settings.args, ...args] },
        env: { ...settings.env, ...env },
      });
      onCleanup(() => keyferry.stop('SIGKILL'));
      return keyferry;
    },
    createDriverFor(providersDir, options = {}) {
      drivers += 1;
      const dir = join(environment.dir, `pods-${drivers}`);
      const driver = createDriver({
        ...{ generation: '1.6', providersDir, retryDelayMs: 1_000, dir },
        ...options,
      });
      onCleanup(() => driver.close());
      return driver;
    },
    watchSocket(path) {
      const watch = startWatch(path);
      onCleanup(watch.stop);
      return watch;
    },
    async cleanUp() {
      for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
      csms.injectFault();
    },
  };
}

export function secretName(number: number): string {
  return `secret-${number}`;
}

function cceClass(secret: string): SecretProviderClass {
  const objects = `- {objectName: ${secret}, objectType: csms, objectVersion: latest, objectAlias: file}`;
  return { metadata: { name: secret }, spec: { provider: 'cce', parameters: { objects } } };
}

export const localClass: SecretProviderClass = {
  metadata: { name: 'greeting' },
  spec: { provider: 'local', parameters: { objects: '- objectName: greeting' } },
};

/** Starts a pod of team-a/app with one secret, as `file`. */
export function publish(
  driver: Driver,
  number: number,
  overrides: Partial<Publication> = {},
): Promise<PodView> {
  const pod = { namespace: 'team-a', serviceAccount: 'app', name: `pod-${number}` };
  return driver.publish({ class: cceClass(secretName(number)), pod, ...overrides });
}

/** Retries a pending pod as the kubelet does. */
export async function untilRunning(
  driver: Driver,
  view: PodView,
  timeoutMs = 30_000,
): Promise<PodView> {
  let latest = view;
  for (
    const deadline = Date.now() + timeoutMs;
    latest.phase === 'Pending' && Date.now() < deadline;
    await sleep(200)
  )
    latest = await driver.republish(latest);
  return latest;
}

/** The last failure of the pod, as `CODE: text`. */
export function failure({ last }: PodView): string {
  return typeof last === 'string' ? last : `${last.code}: ${last.message}`;
}

function startWatch(path: string): { stop(): Promise<number> } {
  let longestGap = 0;
  let downSince: number | undefined;
  const stopping = new AbortController();
  const watchLoop = (async () => {
    while (!stopping.signal.aborted) {
      const socket = connect(path);
      const isConnected = await new Promise<boolean>((resolve) => {
        socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
      });
      socket.destroy();
      const now = performance.now();
      if (isConnected) downSince = undefined;
      else longestGap = Math.max(longestGap, now - (downSince ??= now));
      await sleep(2);
    }
  })();
  return {
    async stop() {
      stopping.abort();
      await watchLoop;
      return longestGap;
    },
  };
}
