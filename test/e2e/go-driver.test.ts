import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { startKeyferry, type KeyferryProcess } from '../driver/keyferry-process.ts';
import { mountRequest } from '../driver/request.ts';
import { objectYaml, startCceFixture, type CceFixture } from '../fakes/cce-fixture.ts';
import {
  buildGoDrivers,
  goDrivers,
  missingGoDriverDependencies,
  startGoDriver,
  type CallResult,
  type GoDriver,
  type Message,
} from '../servers/go-driver/go-driver.ts';
import { runLocal } from './test-environment.ts';
import { describeIfAvailable } from '../if-available.ts';

const missingDependencies = await missingGoDriverDependencies();
const describe = describeIfAvailable(import.meta.filename, missingDependencies);
const generations = Object.keys(goDrivers) as (keyof typeof goDrivers)[];
const mebibyte = 1024 * 1024;

/** The secrets of the store `local`, by name. */
const secrets = new Map<string, string>([
  ...Array.from({ length: 8 }, (_, number) => [`small-${number}`, `CANARY of ${number}`] as const),
  ...Array.from({ length: 5 }, (_, number) => [`large-${number}`, randomText(mebibyte)] as const),
]);
const small = [...secrets.keys()].filter((name) => name.startsWith('small'));
const large = [...secrets.keys()].filter((name) => name.startsWith('large'));
/** Three megabytes of files. */
const largeVolume = large.slice(0, 3);

let dir: string;
let fixture: CceFixture;
let keyferry: KeyferryProcess;
const cleanups: (() => unknown)[] = [];
const onCleanup = (cleanup: () => unknown): void => void cleanups.push(cleanup);
/** The expected results of a driver whose connection was idle, and since when it was. */
const idleDrivers = new Map<string, { readonly driver: GoDriver; readonly since: number }>();

beforeAll(async () => {
  if (missingDependencies.length > 0) return;
  await buildGoDrivers();
  dir = await mkdtemp(join(tmpdir(), 'kf-go-'));
  fixture = await startCceFixture({ realTime: true });
  await runLocal(dir, '', 'init');
  for (const [name, value] of secrets) await runLocal(dir, value, 'set', name);
  const grant = {
    provider: 'local',
    namespaces: ['team-a'],
    serviceAccounts: ['app'],
    names: ['local/*'],
  };
  await writeFile(join(dir, 'grants'), JSON.stringify({ grants: [grant] }));
  keyferry = await startKeyferry({ providers: ['cce', 'local'], ...settings() });
  for (const generation of generations) {
    const socketPath = join(keyferry.providersDir, 'local.sock');
    const driver = await startGoDriver({ driver: generation, socketPath, keepaliveSeconds: 10 });
    idleDrivers.set(generation, { driver, since: Date.now() });
    expectAllServed(await driver.call({ messages: messagesFor(small) }), small);
  }
}, 600_000);
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  fixture.csms.injectFault();
});
afterAll(async () => {
  if (missingDependencies.length > 0) return;
  for (const { driver } of idleDrivers.values()) await driver.close();
  await keyferry.stop();
  await fixture.close();
  await rm(dir, { recursive: true });
});

/** The options with which Keyferry is started here. */
function settings() {
  const { server, tokenFile, caFile } = fixture.kubernetes;
  return {
    args: [
      ...['--kube-server', server.href, '--kube-token-file', tokenFile, '--kube-ca-file', caFile],
      ...[
        '--local-store',
        join(dir, 'store'),
        '--local-key',
        join(dir, 'key'),
        '--ca-file',
        fixture.caFile,
      ],
      ...['--shared-identity-grants', join(dir, 'grants')],
    ],
    env: fixture.env,
  };
}

/** Starts another Keyferry, in a directory that remains after its end. */
async function startKeyferryIn(providersDir: string, ...args: string[]): Promise<KeyferryProcess> {
  const { args: all, env } = settings();
  const successor = await startKeyferry({
    ...{ providers: ['cce', 'local'], providersDir, args: [...all, ...args], env },
  });
  onCleanup(() => successor.stop('SIGKILL'));
  // Until then the predecessor responds.
  await successor.waitForLog(({ msg }) => msg === 'serving');
  return successor;
}

/**
 * Stops it, and kills it if that takes longer than two seconds.
 * @returns its exit code; null if it was killed
 */
async function stopAndWait(keyferry: KeyferryProcess): Promise<number | null> {
  const killTimer = setTimeout(() => void keyferry.stop('SIGKILL'), 2_000);
  const { code } = await keyferry.stop();
  clearTimeout(killTimer);
  return code;
}

async function createProvidersDirectory(): Promise<string> {
  const directory = await mkdtemp(join(dir, 'providers-'));
  onCleanup(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

async function startDriverAt(
  driver: keyof typeof goDrivers,
  provider: string,
  { providersDir = keyferry.providersDir, retry = true } = {},
): Promise<GoDriver> {
  const started = await startGoDriver({
    driver,
    socketPath: join(providersDir, `${provider}.sock`),
    retry,
  });
  onCleanup(started.close);
  return started;
}

/** The request of a pod of team-a/app. */
function mountMessage(objects: string, pod: string): Message {
  const { attributes, ...rest } = mountRequest({
    ...{
      trigger: 'publish',
      attributes: {},
      tokens: {},
      nodePublishSecret: undefined,
      tokensInSecrets: false,
    },
    class: { metadata: { name: 'app' }, spec: { provider: 'any', parameters: { objects } } },
    pod: { namespace: 'team-a', serviceAccount: 'app', name: pod, uid: `uid-of-${pod}` },
    ...{ targetPath: `/var/lib/kubelet/pods/${pod}`, versions: [] },
  });
  const { secrets: keys, targetPath, permission } = rest;
  return { attributes, secrets: keys, targetPath, permission };
}

/** A volume of these secrets of `local`. */
function localMountMessage(...names: string[]): Message {
  return mountMessage(
    names.map((name) => `- objectName: ${name}\n`).join(''),
    `pod-${names.join('-')}`,
  );
}

/** A volume for each secret. */
function messagesFor(names: readonly string[]): Message[] {
  return names.map((name) => localMountMessage(name));
}

/** The expected volume of a pod. */
function expectedVolume(...names: string[]): object {
  const files = names.map((name) => {
    const value = secrets.get(name)!;
    return [name, `644 ${value.length} ${createHash('sha256').update(value).digest('hex')}`];
  });
  return {
    files: Object.fromEntries(files),
    versions: Object.fromEntries(names.map((name) => [name, 'v1'])),
  };
}

/**
 * Checks that every call returned the secret of its own message and no other.
 * @returns the number of calls
 */
function expectAllServed(result: CallResult, names: readonly string[]): number {
  expect(result.outcomes).toEqual(
    names.map((name, message) => ({
      ...{ calls: expect.any(Number), message, code: 'OK' },
      response: expectedVolume(name),
    })),
  );
  return result.outcomes.reduce((sum, { calls }) => sum + calls, 0);
}

/** The results of the calls of one message, as lines of `<count> <code>: <text>`. */
function summarize({ outcomes }: CallResult): string[] {
  return outcomes.map(
    ({ calls, code, text }) => `${calls} ${code}${text === undefined ? '' : `: ${text}`}`,
  );
}

function randomText(length: number): string {
  return randomBytes(length / 2).toString('hex');
}

/** A secret of the fake cloud that no test has read yet. */
function createSecret(value: string): Message {
  const name = `secret-${randomBytes(6).toString('hex')}`;
  fixture.csms.put(name, value);
  fixture.annotate([name]);
  return mountMessage(objectYaml(name), `pod-${name}`);
}

describe.each(generations)('a grpc-go client as in driver %s', (generation) => {
  const startDriver = (
    provider: string,
    options: Parameters<typeof startDriverAt>[2] = {},
  ): Promise<GoDriver> => startDriverAt(generation, provider, options);

  test('gets the version', async () => {
    const driver = await startDriver('local');
    const { outcomes } = await driver.call({
      method: 'Version',
      messages: [{ version: 'v1alpha1' }],
    });
    const response = {
      version: 'v1alpha1',
      runtimeName: 'keyferry',
      runtimeVersion: expect.stringMatching(/^\d+\.\d+\.\d+\S*\+[0-9a-f]{16}$/),
    };
    expect(outcomes).toEqual([{ calls: 1, message: 0, code: 'OK', response }]);
  });

  test('mounts thousands of volumes over one connection: one at a time, 64 at once and 500 at once', async () => {
    const driver = await startDriver('local');
    for (const atOnce of [1, 64, 500]) {
      const result = await driver.call({
        messages: messagesFor(small),
        calls: 3_000,
        atOnce,
        timeoutMs: 20_000,
      });
      expect(expectAllServed(result, small)).toBe(3_000);
      expect(result.connections).toBe(1);
    }
  });

  test('sends and receives megabytes, one call at a time and many at once', async () => {
    const driver = await startDriver('local');
    const padding = 4 * mebibyte - 1_024;
    for (const atOnce of [1, 32]) {
      const up = await driver.call({
        messages: [{ ...localMountMessage('small-0'), padding }],
        calls: 16,
        atOnce,
      });
      expect(expectAllServed(up, ['small-0'])).toBe(16);
      const messages = [
        localMountMessage(...largeVolume),
        { ...localMountMessage(...largeVolume), padding: mebibyte },
      ];
      const both = await driver.call({ messages, calls: 32, atOnce });
      const response = expectedVolume(...largeVolume);
      expect(both.outcomes).toEqual(
        [0, 1].map((message) => ({ calls: 16, message, code: 'OK', response })),
      );
      expect(both.connections).toBe(1);
    }
  });

  test('gets an error for a request or response that is too long, and other calls on its connection succeed', async () => {
    const driver = await startDriver('local');
    const meanwhile = driver.callUntilStopped({ messages: messagesFor(small), atOnce: 8 });
    const tooLong = { ...localMountMessage('small-0'), padding: 6 * mebibyte };
    const up = await driver.call({ messages: [tooLong], calls: 32, atOnce: 16 });
    expect(summarize(up)).toEqual([
      expect.stringMatching(/^32 INVALID_ARGUMENT: .*more than 4194304 bytes/),
    ]);
    const down = await driver.call({
      messages: [localMountMessage(...large)],
      calls: 4,
      atOnce: 4,
    });
    expect(summarize(down)).toEqual([
      expect.stringMatching(/^4 FAILED_PRECONDITION: RESPONSE_TOO_LARGE: /),
    ]);
    const concurrentCalls = await meanwhile.stop();
    // Both phases end within a few turns of the event loop: each of the eight is served in them.
    expect(expectAllServed(concurrentCalls, small)).toBeGreaterThan(16);
    expect(concurrentCalls.connections).toBe(1);
  });

  test('gets the error text of the store, in any script', async () => {
    const driver = await startDriver('cce');
    const message = 'Zugriff verweigert: „größe“ – 秘密 🔑, 100 % von /a+b';
    fixture.csms.injectFault({
      response: { status: 403, body: { error_code: 'PAP.0001', error_msg: message } },
    });
    const { outcomes } = await driver.call({
      messages: [createSecret('x')],
      calls: 20,
      atOnce: 20,
    });
    expect(outcomes).toEqual([
      { calls: 20, message: 0, code: 'PERMISSION_DENIED', text: expect.stringContaining(message) },
    ]);
  });

  test('that sends garbage or calls a method that does not exist gets a final status', async () => {
    const driver = await startDriver('local');
    const garbage = ['', 'AAAA', '////', Buffer.from('not a message').toString('base64')];
    const { outcomes } = await driver.call({
      messages: garbage.map((bytes) => ({ bytes })),
      calls: 40,
    });
    expect(outcomes).toEqual(
      garbage.map((_, message) => ({
        ...{ calls: 10, message, code: 'INVALID_ARGUMENT' },
        text: expect.any(String),
      })),
    );
    const unknown = await driver.call({ method: 'Unmount', messages: [{}], calls: 10 });
    expect(summarize(unknown)).toEqual(['10 UNIMPLEMENTED: there is no such method']);
    const after = await driver.call({ messages: messagesFor(small), calls: 80 });
    expect(expectAllServed(after, small)).toBe(80);
    expect(after.connections).toBe(1);
  });

  test('that waits for a store that hangs gets a status before its deadline', async () => {
    const driver = await startDriver('cce');
    fixture.csms.injectFault({ hang: true });
    const batch = { messages: [createSecret('x')], calls: 64, atOnce: 64, timeoutMs: 2_000 };
    const { outcomes, slowestMs } = await driver.call(batch);
    expect(outcomes).toEqual([
      {
        calls: 64,
        message: 0,
        code: 'INTERNAL',
        text: expect.stringContaining("not finished before the driver's deadline"),
      },
    ]);
    expect(slowestMs).toBeLessThan(2_000);
  });

  test('that disconnects in the middle of a call leaves nothing behind', async () => {
    const driver = await startDriver('cce');
    const message = createSecret('CANARY');
    fixture.csms.injectFault({ hang: true });
    const cancelled = await driver.call({
      messages: [message],
      calls: 200,
      atOnce: 64,
      cancelAfterMs: 50,
    });
    expect(summarize(cancelled)).toEqual(['200 CANCELLED: context canceled']);
    fixture.csms.injectFault();
    const completed = await driver.call({ messages: [message], calls: 64, atOnce: 64 });
    expect(summarize(completed)).toEqual(['64 OK']);
    expect(completed.connections).toBe(1);
  });

  test('that cancels a large call, by itself or by its deadline, can use the same connection again', async () => {
    const driver = await startDriver('local');
    const message = { ...localMountMessage(...largeVolume), padding: 2 * mebibyte };
    const seenCodes = new Set<string>();
    for (const interruption of [
      { cancelAfterMs: 5 },
      { cancelAfterMs: 50 },
      { timeoutMs: 5 },
      { timeoutMs: 100 },
    ]) {
      const cancelled = await driver.call({
        messages: [message],
        calls: 16,
        atOnce: 16,
        ...interruption,
      });
      for (const { code } of cancelled.outcomes) seenCodes.add(code);
    }
    expect(['OK', 'CANCELLED', 'DEADLINE_EXCEEDED', 'INTERNAL']).toEqual(
      expect.arrayContaining([...seenCodes]),
    );
    expect(seenCodes).toContain('CANCELLED');
    expect(seenCodes).toContain('DEADLINE_EXCEEDED');
    const completed = await driver.call({ messages: [message], calls: 16, atOnce: 16 });
    expect(completed.outcomes).toEqual([
      { calls: 16, message: 0, code: 'OK', response: expectedVolume(...largeVolume) },
    ]);
    expect(completed.connections).toBe(1);
  });

  test.each([1, 64])(
    'is served by a successor: none of %i concurrent mounts fails, waits, or is retried',
    async (atOnce) => {
      const providersDir = await createProvidersDirectory();
      const first = await startKeyferryIn(providersDir);
      const driver = await startDriver('local', { providersDir, retry: false });
      const ongoingCalls = driver.callUntilStopped({ messages: messagesFor(small), atOnce });
      await sleep(300);
      await startKeyferryIn(providersDir);
      await sleep(100);
      const code = await stopAndWait(first);
      const result = await ongoingCalls.stop();
      expect(expectAllServed(result, small)).toBeGreaterThan(20);
      expect(result.connections).toBe(2);
      // A call that waited would take the whole grace.
      expect(result.slowestMs).toBeLessThan(5_000);
      expect(code).toBe(0);
    },
  );

  test('that is idle while a successor takes over does not delay the end of the predecessor', async () => {
    const providersDir = await createProvidersDirectory();
    const first = await startKeyferryIn(providersDir);
    const driver = await startDriver('local', { providersDir, retry: false });
    expectAllServed(await driver.call({ messages: messagesFor(small) }), small);
    await startKeyferryIn(providersDir);
    expect(await stopAndWait(first)).toBe(0);
    const result = await driver.call({ messages: messagesFor(small), calls: 80 });
    expect(expectAllServed(result, small)).toBe(80);
    expect(result.connections).toBe(2);
  });

  test('whose mounts are in flight when Keyferry receives SIGTERM gets their responses', async () => {
    const providersDir = await createProvidersDirectory();
    const ended = await startKeyferryIn(providersDir);
    const driver = await startDriver('cce', { providersDir, retry: false });
    fixture.csms.injectFault({ delayMs: 500 });
    const pendingCalls = driver.call({ messages: [createSecret('CANARY')], calls: 64, atOnce: 64 });
    await sleep(200);
    const stopping = ended.stop();
    expect(summarize(await pendingCalls)).toEqual(['64 OK']);
    expect((await stopping).code).toBe(0);
  });

  test('whose mounts cannot end in time gets a final status', async () => {
    const providersDir = await createProvidersDirectory();
    const ended = await startKeyferryIn(providersDir, '--grace', '500ms');
    const driver = await startDriver('cce', { providersDir, retry: false });
    fixture.csms.injectFault({ hang: true });
    const pendingCalls = driver.call({ messages: [createSecret('CANARY')], calls: 64, atOnce: 64 });
    await sleep(200);
    const stopping = ended.stop();
    expect(summarize(await pendingCalls)).toEqual([
      expect.stringMatching(/^64 INTERNAL: SHUTTING_DOWN: /),
    ]);
    expect((await stopping).code).toBe(0);
  });

  test('reconnects to a Keyferry that was killed and restarted, and retries its mounts', async () => {
    const providersDir = await createProvidersDirectory();
    const killed = await startKeyferryIn(providersDir);
    const driver = await startDriver('local', { providersDir });
    const ongoingCalls = driver.callUntilStopped({ messages: messagesFor(small), atOnce: 64 });
    await sleep(300);
    await killed.stop('SIGKILL');
    await startKeyferryIn(providersDir);
    await sleep(500);
    const { outcomes } = await ongoingCalls.stop();
    // No gRPC client retries a call that has its response but not yet its status. Only such a call
    // may fail.
    const failed = outcomes.filter(({ code }) => code !== 'OK');
    expect(new Set(failed.map(({ code }) => code))).toEqual(
      new Set(failed.length > 0 ? ['UNAVAILABLE'] : []),
    );
    expect(failed.reduce((sum, { calls }) => sum + calls, 0)).toBeLessThanOrEqual(64);
    const after = await driver.call({ messages: messagesFor(small), calls: 640, atOnce: 64 });
    expect(expectAllServed(after, small)).toBe(640);
  });
});

describe('an idle connection', () => {
  test.each(generations)(
    'is kept while its driver sends a keepalive ping every ten seconds (%s)',
    async (generation) => {
      const { driver, since } = idleDrivers.get(generation)!;
      await sleep(Math.max(0, since + 25_000 - Date.now()));
      const result = await driver.call({ messages: messagesFor(small), calls: 8 });
      expect(expectAllServed(result, small)).toBe(8);
      expect(result.connections).toBe(1);
    },
  );
});
