import { afterAll, afterEach, beforeAll } from '@jest/globals';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { PodView, Publication, SecretProviderClass } from '../driver/cluster.ts';
import { createDriver, type Driver, type DriverOptions } from '../driver/driver.ts';
import { startKeyferry, type KeyferryProcess } from '../driver/keyferry-process.ts';
import { builtApiServer } from '../servers/control-plane/control-plane.ts';
import { builtTestVault } from '../servers/testvault/testvault.ts';
import { renderChart } from './chart-objects.ts';
import { startStage, type Stage } from './stage.ts';

/** Of `cce`, named by {@link secretOf}; each holds `CANARY of <number>`. */
export const secrets = 200;

/** A stage on which things go wrong: Keyferries come and go, and drivers ask them directly. */
export type RoughStage = Stage & {
  /** An empty providers directory. */
  freshDirectory(): Promise<string>;
  /** A Keyferry in a directory that outlives it, as a node's does. */
  keyferryIn(
    directory: string,
    args?: readonly string[],
    env?: Readonly<Record<string, string>>,
  ): Promise<KeyferryProcess>;
  /** A driver that waits a second between attempts, as the real one. */
  driverFor(directory: string, options?: Partial<DriverOptions>): Driver;
  /** Watches whether somebody takes connections at a socket; answers the longest time in ms when nobody did. */
  watchSocket(path: string): { stop(): Promise<number> };
  /** To be done at the end of a test, whatever becomes of it; the latest first. */
  atEnd(work: () => unknown): void;
  /** Ends what a test has started, and mends the store. */
  tidy(): Promise<void>;
};

const providers = ['cce', 'local'];

/** Has one for the tests of a file, tidied after each. */
export function provideRoughStage(take: (stage: RoughStage) => void): void {
  let stage: RoughStage;
  // The first build takes minutes.
  beforeAll(() => builtApiServer(), 1_200_000);
  beforeAll(() => builtTestVault(), 1_200_000);
  beforeAll(async () => take((stage = await startRoughStage())), 120_000);
  afterEach(() => stage.tidy());
  afterAll(() => stage.stop());
}

/** Starts one, with the chart's rights. */
async function startRoughStage(): Promise<RoughStage> {
  const stage = await startStage({ providers, args: ['--grace', '5s'] });
  const { csms } = stage.clouds.cce;
  await stage.cluster.grant(await renderChart({ providers }));
  for (let number = 0; number < secrets; number += 1) csms.put(secretOf(number), `CANARY of ${number}`);
  // One that nobody has is allowed, too.
  await stage.allow('gone', ...Array.from({ length: secrets }, (_, number) => secretOf(number)));
  await stage.local('CANARY-local', 'set', 'greeting');
  const ending: (() => unknown)[] = [];
  const atEnd: RoughStage['atEnd'] = (work) => void ending.push(work);
  let drivers = 0;

  return {
    ...stage,
    atEnd,
    async freshDirectory() {
      const directory = await mkdtemp(join(stage.dir, 'providers-'));
      atEnd(() => rm(directory, { recursive: true, force: true }));
      return directory;
    },
    async keyferryIn(providersDir, args = [], env = {}) {
      const { settings } = stage;
      const keyferry = await startKeyferry({
        ...{ providers, providersDir, args: [...settings.args, ...args] },
        env: { ...settings.env, ...env },
      });
      atEnd(() => keyferry.stop('SIGKILL'));
      return keyferry;
    },
    driverFor(providersDir, options = {}) {
      drivers += 1;
      const dir = join(stage.dir, `pods-${drivers}`);
      const driver = createDriver({
        ...{ generation: '1.6', providersDir, retryDelayMs: 1_000, dir },
        ...options,
      });
      atEnd(() => driver.close());
      return driver;
    },
    watchSocket(path) {
      const watch = startWatch(path);
      atEnd(watch.stop);
      return watch;
    },
    async tidy() {
      for (const end of ending.splice(0).reverse()) await end();
      csms.behave();
    },
  };
}

export function secretOf(number: number): string {
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
export function publish(driver: Driver, number: number, more: Partial<Publication> = {}): Promise<PodView> {
  const pod = { namespace: 'team-a', serviceAccount: 'app', name: `pod-${number}` };
  return driver.publish({ class: cceClass(secretOf(number)), pod, ...more });
}

/** What the kubelet does with a pending pod. */
export async function untilRunning(driver: Driver, view: PodView, timeoutMs = 30_000): Promise<PodView> {
  let latest = view;
  for (const late = Date.now() + timeoutMs; latest.phase === 'Pending' && Date.now() < late; await sleep(200))
    latest = await driver.republish(latest);
  return latest;
}

/** The pod's last failure, as `CODE: text`. */
export function failure({ last }: PodView): string {
  return typeof last === 'string' ? last : `${last.code}: ${last.message}`;
}

function startWatch(path: string): { stop(): Promise<number> } {
  let longest = 0;
  let since: number | undefined;
  const stopping = new AbortController();
  const watching = (async () => {
    while (!stopping.signal.aborted) {
      const socket = connect(path);
      const isTaken = await new Promise<boolean>((resolve) => {
        socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
      });
      socket.destroy();
      const now = performance.now();
      if (isTaken) since = undefined;
      else longest = Math.max(longest, now - (since ??= now));
      await sleep(2);
    }
  })();
  return {
    async stop() {
      stopping.abort();
      await watching;
      return longest;
    },
  };
}
