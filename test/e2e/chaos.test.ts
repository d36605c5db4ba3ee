import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { PodView } from '../driver/cluster.ts';
import { createDriver, type Driver, type DriverOptions } from '../driver/driver.ts';
import { startKeyferry, type KeyferryProcess } from '../driver/keyferry-process.ts';
import { builtApiServer, controlPlaneLacks } from '../servers/control-plane/control-plane.ts';
import { startOldProvider } from '../servers/old-provider/old-provider.ts';
import { chartLacks, renderChart } from './chart-objects.ts';
import { startStage, type Stage } from './stage.ts';
import { describeWhere } from './where-possible.ts';

const lacks = [...(await controlPlaneLacks()), ...(await chartLacks())];
const describe = describeWhere(import.meta.filename, lacks);

const pods = 200;
const secretOf = (pod: number): string => `secret-${pod}`;

let stage: Stage;
let providersDir: string;
const ending: (() => Promise<unknown> | void)[] = [];

if (lacks.length === 0) {
  // The first build takes minutes.
  beforeAll(() => builtApiServer(), 1_200_000);
  beforeAll(async () => {
    stage = await startStage({ providers: ['cce', 'local'], args: ['--grace', '5s'] });
    await stage.cluster.grant(await renderChart({ providers: ['cce', 'local'] }));
    for (let pod = 0; pod < pods; pod += 1) stage.clouds.cce.csms.put(secretOf(pod), `CANARY of ${pod}`);
    await stage.allow(...Array.from({ length: pods }, (_, pod) => secretOf(pod)));
    await stage.local('CANARY-local', 'set', 'greeting');
  }, 120_000);
  afterEach(async () => {
    for (const end of ending.splice(0).reverse()) await end();
    stage.clouds.cce.csms.behave();
  });
  afterAll(() => stage.stop());
}

/** A Keyferry in a directory that outlives it, as a node's does. */
async function keyferryIn(directory: string, ...args: readonly string[]): Promise<KeyferryProcess> {
  const { settings } = stage;
  const keyferry = await startKeyferry({
    providers: ['cce', 'local'],
    providersDir: directory,
    args: [...settings.args, ...args],
    env: settings.env,
  });
  ending.push(() => keyferry.stop('SIGKILL'));
  return keyferry;
}

async function freshDirectory(): Promise<string> {
  const directory = await mkdtemp(join(stage.dir, 'providers-'));
  ending.push(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

/** A driver that waits a second between attempts, as the real one. */
function driverFor(directory: string, options: Partial<DriverOptions> = {}): Driver {
  const driver = createDriver({
    ...{ generation: '1.6', providersDir: directory, retryDelayMs: 1_000 },
    ...{ dir: join(stage.dir, `pods-${ending.length}-${Date.now()}`), ...options },
  });
  ending.push(() => driver.close());
  return driver;
}

function cceClass(secret: string): object {
  const objects = `- {objectName: ${secret}, objectType: csms, objectVersion: latest, objectAlias: file}`;
  return { metadata: { name: secret }, spec: { provider: 'cce', parameters: { objects } } };
}

const localClass = {
  metadata: { name: 'greeting' },
  spec: { provider: 'local', parameters: { objects: '- objectName: greeting' } },
};

function publish(driver: Driver, pod: number, more: object = {}): Promise<PodView> {
  const who = { namespace: 'team-a', serviceAccount: 'app', name: `pod-${pod}` };
  return driver.publish({ class: cceClass(secretOf(pod)) as typeof localClass, pod: who, ...more });
}

/** What the kubelet does with a pending pod. */
async function untilRunning(driver: Driver, view: PodView, timeoutMs = 30_000): Promise<PodView> {
  let latest = view;
  for (const late = Date.now() + timeoutMs; latest.phase === 'Pending' && Date.now() < late; await sleep(200))
    latest = await driver.republish(latest);
  return latest;
}

/** How long, in milliseconds, nobody took connections at the path: the longest such time until `stop`. */
function watchSocket(path: string): { stop(): Promise<number> } {
  let longest = 0;
  let since: number | undefined;
  let stopped = false;
  const watching = (async () => {
    while (!stopped) {
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
  async function stop(): Promise<number> {
    stopped = true;
    await watching;
    return longest;
  }
  ending.push(stop);
  return { stop };
}

/** Every pod runs with its own secret and no other, and none on an empty directory. */
function expectAllServed(views: readonly PodView[]): void {
  expect(views.filter(({ trapped }) => trapped)).toEqual([]);
  const texts = views.map(({ pod, files }) => `${pod.name}: ${files.file?.text ?? 'nothing'}`);
  expect(texts).toEqual(views.map((_, pod) => `pod-${pod}: CANARY of ${pod}`));
}

describe('Keyferry ends and begins', () => {
  test('killed in the middle of 200 mounts, and started anew: every pod gets its own secret', async () => {
    providersDir = await freshDirectory();
    const first = await keyferryIn(providersDir);
    const { csms } = stage.clouds.cce;
    csms.behave({ delayMs: 300 });
    const driver = driverFor(providersDir);
    const before = csms.count();
    const mounts = Array.from({ length: pods }, (_, pod) => publish(driver, pod));
    while (csms.count() < before + 40) await sleep(5);
    const gap = watchSocket(join(providersDir, 'cce.sock'));
    const killed = performance.now();
    await first.stop('SIGKILL');
    await keyferryIn(providersDir);
    const restart = performance.now() - killed;
    const views = await Promise.all(mounts.map(async (mount) => untilRunning(driver, await mount)));
    expectAllServed(views);
    expect(await gap.stop()).toBeLessThanOrEqual(restart);
  }, 60_000);

  test.each(['1.5', '1.6'] as const)(
    'two versions side by side during a rollout: no mount fails, no moment without a socket (driver %s)',
    async (generation) => {
      const directory = await freshDirectory();
      const old = await keyferryIn(directory);
      const driver = driverFor(directory, { generation });
      const gaps = ['cce', 'local'].map((provider) => watchSocket(join(directory, `${provider}.sock`)));
      let rolling = true;
      const views: PodView[] = [];
      /** Pods come, are republished once, and go. */
      async function flow(pod: number): Promise<void> {
        while (rolling) {
          const view = await publish(driver, pod);
          views.push(view, await driver.republish(view));
          await driver.unpublish(view);
        }
      }
      const flows = Array.from({ length: 16 }, (_, pod) => flow(pod));
      await sleep(300);
      const successor = await keyferryIn(directory);
      await sleep(500);
      expect((await old.stop()).code).toBe(0);
      await sleep(500);
      rolling = false;
      await Promise.all(flows);
      expect(views.length).toBeGreaterThan(100);
      expect(views.filter(({ phase, last }) => phase !== 'Running' || last !== 'mounted')).toEqual([]);
      for (const gap of gaps) expect(await gap.stop()).toBe(0);
      expect(successor.logs.filter(({ level }) => level === 'error')).toEqual([]);
    },
    60_000,
  );

  test('beside a Go provider that removes our socket when it ends', async () => {
    const directory = await freshDirectory();
    const path = join(directory, 'cce.sock');
    const old = await startOldProvider(path);
    ending.push(() => old.stop('SIGKILL'));
    const keyferry = await keyferryIn(directory);
    const driver = driverFor(directory);
    expect((await publish(driver, 1)).files.file?.text).toBe('CANARY of 1');
    const gap = watchSocket(path);
    await old.stop();
    // A driver keeps its connection; one that comes anew may find no socket, and asks again.
    expect(await publish(driver, 2)).toMatchObject({ phase: 'Running', trapped: false });
    const anew = driverFor(directory);
    const view = await untilRunning(anew, await publish(anew, 3));
    expect(view).toMatchObject({ trapped: false, files: { file: { text: 'CANARY of 3' } } });
    expect(await gap.stop()).toBeLessThan(1_000);
    await keyferry.waitForLog(
      ({ msg }) => msg?.endsWith('is gone: somebody unlinked it; binding it again') === true,
    );
  });
});
void [execFile, promisify, mkdir, localClass];
