import { expect, test } from '@jest/globals';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { PodView } from '../driver/cluster.ts';
import { missingControlPlaneDependencies } from '../servers/control-plane/control-plane.ts';
import { startScriptedProvider, type ScriptedProvider } from '../driver/scripted-provider.ts';
import { startOldProvider } from '../servers/old-provider/old-provider.ts';
import { missingChartDependencies } from './chart-objects.ts';
import { createJumpingClock } from './jumping-clock.ts';
import {
  failure,
  localClass,
  setUpChaosEnvironment,
  publish,
  secretName,
  secretCount,
  untilRunning,
  type ChaosEnvironment,
} from './chaos-environment.ts';
import { canMount, mountSmallDisk, type SmallDisk } from './small-disk.ts';
import { generations, runLocal } from './test-environment.ts';
import { describeIfAvailable } from '../if-available.ts';

const missingDependencies = [
  ...(await missingControlPlaneDependencies()),
  ...(await missingChartDependencies()),
];
const describe = describeIfAvailable(import.meta.filename, missingDependencies);

let environment: ChaosEnvironment;
if (missingDependencies.length === 0) setUpChaosEnvironment((started) => (environment = started));

/**
 * Checks that every pod runs with its own secret and no other, and that none has an empty
 * directory.
 */
function expectAllServed(views: readonly PodView[]): void {
  expect(views.filter(({ trapped }) => trapped)).toEqual([]);
  const texts = views.map(({ pod, files }) => `${pod.name}: ${files.file?.text ?? 'nothing'}`);
  expect(texts).toEqual(views.map((_, number) => `pod-${number}: CANARY of ${number}`));
}

describe('a restart of Keyferry', () => {
  test('by SIGKILL in the middle of 200 mounts: every pod gets its own secret afterwards', async () => {
    const providersDir = await environment.createProvidersDirectory();
    const first = await environment.startKeyferryIn(providersDir);
    const { csms } = environment.clouds.cce;
    csms.injectFault({ delayMs: 300 });
    const driver = environment.createDriverFor(providersDir);
    const before = csms.count();
    const mounts = Array.from({ length: secretCount }, (_, pod) => publish(driver, pod));
    while (csms.count() < before + 40) await sleep(5);
    const gap = environment.watchSocket(join(providersDir, 'cce.sock'));
    const killedAt = performance.now();
    await first.stop('SIGKILL');
    await environment.startKeyferryIn(providersDir);
    const restart = performance.now() - killedAt;
    const views = await Promise.all(mounts.map(async (mount) => untilRunning(driver, await mount)));
    expectAllServed(views);
    expect(await gap.stop()).toBeLessThanOrEqual(restart);
  }, 60_000);

  test.each(['1.5', '1.6'] as const)(
    'with two versions side by side during a rollout: no mount fails, and the socket always exists (driver %s)',
    async (generation) => {
      const directory = await environment.createProvidersDirectory();
      const old = await environment.startKeyferryIn(directory);
      const driver = environment.createDriverFor(directory, { generation });
      const gaps = ['cce', 'local'].map((provider) =>
        environment.watchSocket(join(directory, `${provider}.sock`)),
      );
      let isRollingOut = true;
      const views: PodView[] = [];
      /** Starts pods, republishes each once, and stops them. */
      async function runPods(pod: number): Promise<void> {
        while (isRollingOut) {
          const view = await publish(driver, pod);
          views.push(view, await driver.republish(view));
          await driver.unpublish(view);
        }
      }
      const podFlows = Array.from({ length: 16 }, (_, pod) => runPods(pod));
      await sleep(300);
      const successor = await environment.startKeyferryIn(directory);
      await sleep(500);
      expect((await old.stop()).code).toBe(0);
      await sleep(500);
      isRollingOut = false;
      await Promise.all(podFlows);
      expect(views.length).toBeGreaterThan(100);
      expect(views.filter(({ phase, last }) => phase !== 'Running' || last !== 'mounted')).toEqual(
        [],
      );
      for (const gap of gaps) expect(await gap.stop()).toBe(0);
      expect(successor.logs.filter(({ level }) => level === 'error')).toEqual([]);
    },
    60_000,
  );

  test('beside a Go provider that removes the socket of Keyferry when it stops', async () => {
    const directory = await environment.createProvidersDirectory();
    const path = join(directory, 'cce.sock');
    const old = await startOldProvider(path);
    environment.onCleanup(() => old.stop('SIGKILL'));
    const keyferry = await environment.startKeyferryIn(directory);
    const driver = environment.createDriverFor(directory);
    expect((await publish(driver, 1)).files.file?.text).toBe('CANARY of 1');
    const gap = environment.watchSocket(path);
    await old.stop();
    // A driver keeps its connection. A new driver may find no socket, and retries.
    expect(await publish(driver, 2)).toMatchObject({ phase: 'Running', trapped: false });
    const newDriver = environment.createDriverFor(directory);
    const view = await untilRunning(newDriver, await publish(newDriver, 3));
    expect(view).toMatchObject({ trapped: false, files: { file: { text: 'CANARY of 3' } } });
    expect(await gap.stop()).toBeLessThan(1_000);
    await keyferry.waitForLog(
      ({ msg }) => msg?.endsWith('is gone: another program unlinked it; binding it again') === true,
    );
  });
});

describe('a migration', () => {
  /** The files that a vendor's provider delivers for {@link publish}. */
  async function startVendorProvider(directory: string, number: number): Promise<ScriptedProvider> {
    const vendor = await startScriptedProvider(directory, 'cce');
    environment.onCleanup(vendor.stop);
    const contents = Buffer.from(`CANARY of ${number}`);
    const objectVersion = [{ id: secretName(number), version: "the vendor's" }];
    vendor.script({ files: [{ path: 'file', mode: 0o644, contents }], objectVersion });
    return vendor;
  }

  test.each(generations)(
    'switches the provider and back under running pods: the installed provider serves, and no file is lost (driver %s)',
    async (generation) => {
      const directory = await environment.createProvidersDirectory();
      const driver = environment.createDriverFor(directory, { generation, authority: 'localhost' });
      const vendor = await startVendorProvider(directory, 1);
      const early = await publish(driver, 1);
      expect(early.status?.objects).toEqual([{ id: secretName(1), version: "the vendor's" }]);

      const keyferry = await environment.startKeyferryIn(directory);
      const gap = environment.watchSocket(join(directory, 'cce.sock'));
      vendor.stop();
      const afterTakeover = await driver.republish(early);
      expect(afterTakeover).toMatchObject({
        last: 'mounted',
        files: { file: { text: 'CANARY of 1' } },
      });
      expect(afterTakeover.status?.objects).not.toEqual(early.status?.objects);
      const fresh = await publish(driver, 2);
      expect(fresh).toMatchObject({ trapped: false, files: { file: { text: 'CANARY of 2' } } });
      // A vendor's provider removes the path when it stops. Keyferry binds it again within a
      // second.
      expect(await gap.stop()).toBeLessThan(1_500);

      const { code, left } = await keyferry.stop();
      expect({ code, sockets: left.filter((name) => name.endsWith('.sock')) }).toEqual({
        code: 0,
        sockets: [],
      });
      const whileDown = await driver.republish(afterTakeover);
      expect(whileDown).toMatchObject({
        phase: 'Running',
        files: { file: { text: 'CANARY of 1' } },
      });
      const restartedVendor = await startVendorProvider(directory, 1);
      const afterReturn = await untilRunning(driver, await driver.republish(whileDown));
      expect(afterReturn).toMatchObject({
        last: 'mounted',
        files: { file: { text: 'CANARY of 1' } },
      });
      expect(afterReturn.status?.objects).toEqual(early.status?.objects);
      expect(restartedVendor.requests.length).toBeGreaterThan(0);
    },
    60_000,
  );
});

describe('an API server', () => {
  test('that was killed: running pods are still served, new ones wait with a final status, and run when it is back', async () => {
    const { controlPlane } = environment.cluster;
    const directory = await environment.createProvidersDirectory();
    await environment.startKeyferryIn(directory);
    const driver = environment.createDriverFor(directory);
    const runningPod = await publish(driver, 1);
    environment.onCleanup(() => controlPlane.restart());
    await controlPlane.kill();
    expect(await driver.republish(runningPod)).toMatchObject({ last: 'mounted' });
    const pendingPod = await publish(driver, 2);
    expect(pendingPod).toMatchObject({ phase: 'Pending', trapped: false });
    expect(failure(pendingPod)).toMatch(
      /^INTERNAL: .*ServiceAccount team-a\/app cannot be read: the Kubernetes API server .* refused/,
    );
    // Mounts that need no API server are not affected.
    const local = await driver.publish({
      class: localClass,
      pod: { namespace: 'team-a', serviceAccount: 'app' },
    });
    expect(local.files.greeting?.text).toBe('CANARY-local');
    await controlPlane.restart();
    const views = [await untilRunning(driver, pendingPod)];
    expect(views[0]!.files.file?.text).toBe('CANARY of 2');
  }, 60_000);

  test('that is frozen: no mount takes longer than the kubelet waits', async () => {
    const { controlPlane } = environment.cluster;
    const directory = await environment.createProvidersDirectory();
    await environment.startKeyferryIn(directory);
    const driver = environment.createDriverFor(directory);
    const runningPod = await publish(driver, 1);
    environment.onCleanup(() => controlPlane.resume());
    controlPlane.freeze();
    const startedAt = Date.now();
    const pendingPod = await publish(driver, 2);
    expect(Date.now() - startedAt).toBeLessThan(30_000);
    expect(pendingPod).toMatchObject({ phase: 'Pending', trapped: false });
    expect(failure(pendingPod)).toMatch(/^INTERNAL: .*did not respond within/);
    expect(await driver.republish(runningPod)).toMatchObject({ last: 'mounted' });
    controlPlane.resume();
    expect((await untilRunning(driver, pendingPod)).files.file?.text).toBe('CANARY of 2');
  }, 90_000);
});

describe('a store', () => {
  test.each([
    ['breaks every connection', { reset: true }],
    ['responds with 503', { response: { status: 503, body: 'upstream connect error' } }],
    [
      'throttles',
      { response: { status: 429, body: { error_code: 'APIGW.0308', error_msg: 'too many' } } },
    ],
  ])(
    'that %s: pods that were served are still served, others wait with a final status',
    async (_, failureMode) => {
      const { csms } = environment.clouds.cce;
      const directory = await environment.createProvidersDirectory();
      await environment.startKeyferryIn(directory, ['--first-mount-patience', '1s']);
      const driver = environment.createDriverFor(directory);
      const runningPod = await publish(driver, 1);
      csms.injectFault(failureMode);
      expect(await driver.republish(runningPod)).toMatchObject({ last: 'mounted' });
      expect((await publish(driver, 1)).files.file?.text).toBe('CANARY of 1');
      const pendingPod = await publish(driver, 2);
      expect(pendingPod).toMatchObject({ phase: 'Pending', trapped: false });
      expect(failure(pendingPod)).toMatch(/^INTERNAL: (STORE_\w+: )?cce: /);
      csms.injectFault();
      expect((await untilRunning(driver, pendingPod)).files.file?.text).toBe('CANARY of 2');
    },
    60_000,
  );

  test('that hangs: the mount and 200 others end before the kubelet gives up', async () => {
    const { csms } = environment.clouds.cce;
    const directory = await environment.createProvidersDirectory();
    await environment.startKeyferryIn(directory);
    const driver = environment.createDriverFor(directory, { deadlineMs: 20_000 });
    await publish(driver, 0);
    csms.injectFault({ hang: true });
    const startedAt = Date.now();
    const views = await Promise.all(
      Array.from({ length: secretCount }, (_, pod) => publish(driver, pod)),
    );
    expect(Date.now() - startedAt).toBeLessThan(20_000);
    expect(views.filter(({ trapped }) => trapped)).toEqual([]);
    csms.injectFault();
    expectAllServed(await Promise.all(views.map((view) => untilRunning(driver, view))));
  }, 90_000);
});

describe('the clock', () => {
  const minute = 60_000;

  test.each([
    ['forward', 10 * minute],
    ['back', -10 * minute],
  ])(
    'jumps %s by ten minutes during 200 mounts: all succeed, and a new value arrives in time, also after the jump back',
    async (_, offset) => {
      const { csms } = environment.clouds.cce;
      const [directory, clock] = [
        await environment.createProvidersDirectory(),
        await createJumpingClock(environment.dir),
      ];
      const keyferry = await environment.startKeyferryIn(
        directory,
        ['--refresh-interval', '1s'],
        clock.env,
      );
      const driver = environment.createDriverFor(directory);
      csms.injectFault({ delayMs: 300 });
      environment.onCleanup(() => csms.put(secretName(0), 'CANARY of 0'));
      const before = csms.count();
      const mounts = Array.from({ length: secretCount }, (_, pod) => publish(driver, pod));
      while (csms.count() < before + 40) await sleep(5);
      await clock.set(keyferry, offset);
      const views = await Promise.all(
        mounts.map(async (mount) => untilRunning(driver, await mount)),
      );
      expectAllServed(views);
      csms.injectFault();
      for (const [clockOffset, value] of [
        [offset, 'CANARY-new'],
        [0, 'CANARY-newest'],
      ] as const) {
        await clock.set(keyferry, clockOffset);
        csms.put(secretName(0), value);
        await sleep(1_100);
        expect((await driver.republish(views[0]!)).files.file?.text).toBe(value);
        csms.injectFault({ reset: true });
        expect(await driver.republish(views[0]!)).toMatchObject({
          last: 'mounted',
          phase: 'Running',
        });
        csms.injectFault();
      }
    },
    60_000,
  );

  test.each([
    ['fast', 1],
    ['slow', -1],
  ])(
    'is a day %s: the store rejects calls, and pods keep their files and get the reason until it is right',
    async (word, sign) => {
      const [directory, clock] = [
        await environment.createProvidersDirectory(),
        await createJumpingClock(environment.dir),
      ];
      const keyferry = await environment.startKeyferryIn(
        directory,
        ['--refresh-interval', '1s'],
        clock.env,
      );
      const driver = environment.createDriverFor(directory);
      const runningPod = await publish(driver, 1);
      await clock.set(keyferry, sign * 1_440 * minute);
      const refused = await driver.republish(runningPod);
      expect(refused).toMatchObject({ phase: 'Running', files: { file: { text: 'CANARY of 1' } } });
      const pendingPod = await publish(driver, 2);
      for (const view of [refused, pendingPod])
        expect(failure(view)).toMatch(
          new RegExp(`^UNAUTHENTICATED: .*the clock of this machine is ${word}: set it right`),
        );
      await clock.set(keyferry, 0);
      expect(await driver.republish(refused)).toMatchObject({ last: 'mounted' });
      expect((await untilRunning(driver, pendingPod, 5_000)).files.file?.text).toBe('CANARY of 2');
    },
  );
});

describe('the disk', () => {
  /**
   * A providers directory on a small disk. Undefined, with a printed notice, if this process cannot
   * mount file systems.
   */
  async function mountDiskAt(
    name: string,
  ): Promise<{ directory: string; disk: SmallDisk } | undefined> {
    const directory = join(environment.dir, name);
    if (!(await canMount(directory)))
      return void process.stderr.write(
        `\nSKIPPED ${name}: this process may not mount file systems\n`,
      );
    const disk = await mountSmallDisk(directory);
    environment.onCleanup(() => disk.unmount());
    return { directory, disk };
  }

  test('full: Keyferry does not start, reports why, and starts when there is space', async () => {
    const { directory, disk } = (await mountDiskAt('full')) ?? {};
    if (directory === undefined || disk === undefined) return;
    await disk.fill();
    await expect(environment.startKeyferryIn(directory)).rejects.toThrow(
      /keyferry ended:\n.*(ENOSPC|no space|full)/is,
    );
    await disk.free();
    await environment.startKeyferryIn(directory);
    expect((await publish(environment.createDriverFor(directory), 1)).files.file?.text).toBe(
      'CANARY of 1',
    );
  });

  test('full while Keyferry runs: mounts continue, and the content of the store is kept', async () => {
    const { directory, disk } = (await mountDiskAt('full-later')) ?? {};
    if (directory === undefined || disk === undefined) return;
    const files = [
      '--local-store',
      join(directory, 'store'),
      '--local-key',
      join(directory, 'key'),
    ];
    const local = (input: string, ...localArgs: string[]) =>
      runLocal(directory, input, ...localArgs);
    await local('', 'init');
    await local('CANARY-local', 'set', 'greeting');
    await environment.startKeyferryIn(directory, files);
    const driver = environment.createDriverFor(directory);
    await disk.fill();
    await expect(local('CANARY-lost', 'set', 'greeting')).rejects.toThrow(/ENOSPC|no space|full/i);
    const view = await driver.publish({
      class: localClass,
      pod: { namespace: 'team-a', serviceAccount: 'app' },
    });
    expect(view.files.greeting?.text).toBe('CANARY-local');
    await disk.free();
    await local('CANARY-kept', 'set', 'greeting');
    expect((await driver.republish(view)).files.greeting?.text).toBe('CANARY-kept');
  });

  test('read-only: Keyferry does not start; if the disk becomes read-only later, mounts continue and Keyferry stops cleanly', async () => {
    const { directory, disk } = (await mountDiskAt('read-only')) ?? {};
    if (directory === undefined || disk === undefined) return;
    await disk.setReadOnly(true);
    await expect(environment.startKeyferryIn(directory)).rejects.toThrow(
      /keyferry ended:\n.*(EROFS|read-only)/is,
    );
    await disk.setReadOnly(false);
    const keyferry = await environment.startKeyferryIn(directory);
    await disk.setReadOnly(true);
    expect((await publish(environment.createDriverFor(directory), 1)).files.file?.text).toBe(
      'CANARY of 1',
    );
    expect((await keyferry.stop()).code).toBe(0);
    await disk.setReadOnly(false);
    // No process owns the socket that could not be removed: the next one takes it over.
    await environment.startKeyferryIn(directory);
    expect((await publish(environment.createDriverFor(directory), 2)).files.file?.text).toBe(
      'CANARY of 2',
    );
  });
});
