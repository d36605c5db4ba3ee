import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createDriver, type Driver, type DriverOptions } from './driver.ts';
import {
  startScriptedProvider,
  type ScriptedProvider,
  type ScriptedResponse,
} from './scripted-provider.ts';

const spc = {
  metadata: { name: 'app-secrets' },
  spec: { provider: 'scripted', parameters: { objects: '- objectName: a', region: 'class' } },
};
const prefix = 'csi.storage.k8s.io/';

function volume(contents: string, version = contents): ScriptedResponse {
  return {
    objectVersion: [{ id: 'f', version }],
    files: [{ path: 'f', mode: 420, contents: Buffer.from(contents) }],
  };
}

let dir: string;
let provider: ScriptedProvider;
let driver: Driver | undefined;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'kf-driver-'));
  provider = await startScriptedProvider(join(dir, 'providers'), 'scripted');
});
afterEach(async () => {
  driver?.close();
  provider.stop();
  await rm(dir, { recursive: true });
});

function startDriver(generation: '1.5' | '1.6', options: Partial<DriverOptions> = {}): Driver {
  driver = createDriver({
    ...{
      generation,
      dir: join(dir, 'pods'),
      providersDir: join(dir, 'providers'),
      authority: 'localhost',
    },
    ...options,
  });
  return driver;
}

function receivedRequest(index: number) {
  const { attributes, secrets, ...rest } = provider.requests[index]!;
  return { attributes: JSON.parse(attributes) as Record<string, string>, secrets, ...rest };
}

describe('the first mount', () => {
  test('sends the attributes of the class, overridden by the pod and by the driver', async () => {
    provider.script(volume('x'));
    const { pod, directory } = await startDriver('1.6').publish({
      class: spc,
      pod: { name: 'web', namespace: 'shop', serviceAccount: 'web-sa' },
      attributes: { region: 'pod', [`${prefix}pod.namespace`]: 'forged' },
      tokens: { sts: 'jwt' },
    });
    const { attributes, ...rest } = receivedRequest(0);
    const tokens = JSON.parse(attributes[`${prefix}serviceAccount.tokens`]!);
    expect(tokens).toEqual({
      sts: { token: 'jwt', expirationTimestamp: expect.stringMatching(/^20.*Z$/) },
    });
    expect(attributes).toEqual({
      [`${prefix}serviceAccount.tokens`]: expect.any(String),
      objects: '- objectName: a',
      region: 'pod',
      secretProviderClass: 'app-secrets',
      [`${prefix}ephemeral`]: 'true',
      [`${prefix}pod.name`]: 'web',
      [`${prefix}pod.namespace`]: 'shop',
      [`${prefix}pod.uid`]: pod.uid,
      [`${prefix}serviceAccount.name`]: 'web-sa',
    });
    expect(rest).toMatchObject({
      secrets: 'null',
      permission: '420',
      targetPath: directory,
      currentObjectVersion: [],
    });
    expect(rest.remainingMs).toBeGreaterThan(119_000);
    expect(rest.remainingMs).toBeLessThanOrEqual(120_000);
  });

  test('sends the keys of nodePublishSecretRef, and on new clusters the tokens with them', async () => {
    provider.script(volume('x'));
    const nodePublishSecret = { key: 'k' };
    await startDriver('1.6').publish({ class: spc, nodePublishSecret, tokens: { a: 't' } });
    expect(JSON.parse(receivedRequest(0).secrets)).toEqual({ key: 'k' });
    driver?.close();
    await startDriver('1.6', { tokensInSecrets: true }).publish({ class: spc, tokens: { a: 't' } });
    expect(Object.keys(JSON.parse(receivedRequest(1).secrets) as object)).toEqual([
      `${prefix}serviceAccount.tokens`,
    ]);
    expect(receivedRequest(1).attributes).toHaveProperty([`${prefix}serviceAccount.tokens`]);
  });

  test('shows files, status and Secrets as a user sees them', async () => {
    provider.script({
      objectVersion: [{ id: 'd/f', version: 'v7' }],
      files: [{ path: 'd/f', mode: 0o400, contents: Buffer.from('secret') }],
    });
    const secretObjects = [
      { secretName: 'made', data: [{ objectName: 'd/f', key: 'K' }] },
      { secretName: 'not-made', data: [{ objectName: 'f', key: 'K' }] },
    ];
    const view = await startDriver('1.6').publish({
      class: { ...spc, spec: { ...spc.spec, secretObjects } },
    });
    expect(view).toMatchObject({ phase: 'Running', trapped: false, last: 'mounted' });
    expect(view.files).toEqual({
      'd/f': { text: 'secret', bytes: Buffer.from('secret'), mode: 0o400 },
    });
    expect(view.status).toEqual({
      name: 'app-default-app-secrets',
      objects: [{ id: 'd/f', version: 'v7' }],
    });
    expect(view.secrets).toEqual({ made: { K: 'secret' } });
    expect(view.events.map(({ reason, message }) => `${reason}: ${message}`)).toEqual([
      'FailedToCreateSecret: failed to get data in spc for secret not-made, err: file matching objectName f not found in the pod',
    ]);
  });

  test('accepts a class as YAML text', async () => {
    provider.script(volume('x'));
    const text = [
      'kind: Pod',
      '---',
      'kind: SecretProviderClass',
      'metadata: {name: y}',
      'spec: {provider: scripted}',
    ];
    expect((await startDriver('1.6').publish({ class: text.join('\n') })).status?.name).toBe(
      'app-default-y',
    );
  });
});

describe('a mount that fails', () => {
  test('leaves the pod pending with an event, until a retry succeeds', async () => {
    provider.script({ code: 'PERMISSION_DENIED', message: 'not for you' }, volume('x'));
    const pending = await startDriver('1.6').publish({ class: spc });
    expect(pending).toMatchObject({
      phase: 'Pending',
      files: {},
      last: { code: 'PERMISSION_DENIED', message: 'not for you' },
    });
    expect(pending.events).toEqual([
      {
        reason: 'FailedMount',
        message:
          'MountVolume.SetUp failed for volume "s" : rpc error: code = PermissionDenied desc = failed to mount secrets store objects ' +
          'for pod default/app, err: rpc error: code = PermissionDenied desc = not for you',
      },
    ]);
    expect(await driver!.republish(pending)).toMatchObject({
      phase: 'Running',
      files: { f: { text: 'x' } },
    });
  });

  test.each(['CANCELLED', 'DEADLINE_EXCEEDED', 'RESOURCE_EXHAUSTED', 'ABORTED'] as const)(
    'with %s is a trap: the pod runs on an empty directory, for ever',
    async (code) => {
      provider.script({ code, message: 'later' }, volume('x'));
      const view = await startDriver('1.6').publish({ class: spc });
      expect(view).toMatchObject({ phase: 'Running', trapped: true, files: {} });
      expect(await driver!.republish(view)).toMatchObject({
        trapped: true,
        last: 'skipped',
        files: {},
      });
    },
  );

  test.each(['1.5', '1.6'] as const)(
    'by a status that is not final: the mount is not retried with %s and rotation off',
    async (generation) => {
      provider.script({ code: 'ABORTED', message: 'later' });
      expect(
        await startDriver(generation, { rotation: false }).publish({ class: spc }),
      ).toMatchObject({
        phase: 'Pending',
      });
    },
  );

  test('is retried only on UNAVAILABLE, with three attempts in all', async () => {
    provider.script(
      { code: 'UNAVAILABLE', message: 'down' },
      { code: 'UNAVAILABLE', message: 'down' },
      volume('x'),
    );
    expect(await startDriver('1.6', { retryDelayMs: 1 }).publish({ class: spc })).toMatchObject({
      files: { f: { text: 'x' } },
    });
    expect(provider.requests.length).toBe(3);
    provider.script({ code: 'UNAVAILABLE', message: 'down' });
    expect(await driver!.publish({ class: spc })).toMatchObject({ trapped: true });
    expect(provider.requests.length).toBe(6);
  });

  test('because no response comes before the deadline', async () => {
    provider.script('noResponse');
    const view = await startDriver('1.6', { deadlineMs: 50 }).publish({ class: spc });
    expect(view).toMatchObject({ trapped: true, last: { code: 'DEADLINE_EXCEEDED' } });
  });

  test('because the response is too large', async () => {
    const ofSize = (size: number) => volume('x'.repeat(size), 'v');
    provider.script(ofSize(4 * 1024 * 1024 - 200), ofSize(4 * 1024 * 1024));
    expect(await startDriver('1.6').publish({ class: spc })).toMatchObject({
      phase: 'Running',
      trapped: false,
    });
    expect(await driver!.publish({ class: spc })).toMatchObject({
      last: { code: 'RESOURCE_EXHAUSTED' },
    });
  });

  test.each([
    ['no versions', { files: [{ path: 'f' }] }, 'missing object versions'],
    [
      'an error code',
      { ...volume('x'), error: { code: 'NotFound' } },
      'mount request failed with provider error code NotFound',
    ],
    ...[
      '',
      '/f',
      '../f',
      'a/../f',
      './f',
      'a//f',
      '..f',
      'x'.repeat(256),
      'a/'.repeat(2048) + 'f',
    ].map(
      (path) =>
        [
          `the path "${path.slice(0, 10)}"`,
          { ...volume('x'), files: [{ path }] },
          'invalid path',
        ] as const,
    ),
    [
      'a file that is a directory too',
      { ...volume('x'), files: [{ path: 'f' }, { path: 'f/g' }] },
      'failed to write',
    ],
  ] as const)('because of %s in the response', async (_, response, message) => {
    provider.script(response);
    const { phase, last } = await startDriver('1.6').publish({ class: spc });
    expect({ phase, last }).toMatchObject({
      phase: 'Pending',
      last: { message: expect.stringContaining(message) },
    });
  });

  test.each(['absent', 'no/name', 'x'.repeat(31)])(
    'because there is no provider %s',
    async (name) => {
      const other = { ...spc, spec: { ...spc.spec, provider: name } };
      expect(await startDriver('1.6').publish({ class: other })).toMatchObject({
        phase: 'Pending',
        last: { code: 'UNKNOWN' },
      });
    },
  );
});

describe('driver 1.6 after the first mount', () => {
  test('republishes like a first mount, without versions', async () => {
    provider.script(volume('old'), volume('new'));
    const before = await startDriver('1.6').publish({
      class: spc,
      attributes: { region: 'pod' },
      tokens: { a: 'first' },
    });
    const after = await driver!.republish(before, { tokens: { a: 'second' } });
    expect(after).toMatchObject({
      files: { f: { text: 'new' } },
      status: { objects: [{ id: 'f', version: 'new' }] },
    });
    expect(receivedRequest(1)).toMatchObject({
      currentObjectVersion: [],
      secrets: 'null',
      attributes: { region: 'pod' },
    });
    expect(receivedRequest(1).attributes[`${prefix}serviceAccount.tokens`]).toContain('second');
    expect(receivedRequest(1).remainingMs).toBeLessThanOrEqual(120_000);
  });

  test('hides a failure: the old files stay, and there is no event', async () => {
    provider.script(volume('old'), { code: 'INTERNAL', message: 'boom' });
    const after = await driver16Republished();
    expect(after).toMatchObject({
      phase: 'Running',
      files: { f: { text: 'old' } },
      events: [],
      last: { code: 'INTERNAL' },
    });
  });

  test('with an empty list leaves the old files while versions advance', async () => {
    provider.script(volume('old'), { objectVersion: [{ id: 'x', version: '2' }], files: [] });
    expect(await driver16Republished()).toMatchObject({
      files: { f: { text: 'old' } },
      status: { objects: [{ id: 'x', version: '2' }] },
    });
  });

  test('does not mount while the files are recent', async () => {
    provider.script(volume('old'), volume('new'));
    const before = await startDriver('1.6', { pollIntervalMs: 60_000 }).publish({ class: spc });
    expect(await driver!.republish(before)).toMatchObject({
      last: 'skipped',
      files: { f: { text: 'old' } },
    });
    expect(provider.requests.length).toBe(1);
  });

  async function driver16Republished() {
    const pod = await startDriver('1.6').publish({ class: spc });
    return driver!.republish(pod);
  }
});

describe('driver 1.5 when it rotates', () => {
  test('sends the versions, and no deadline, class name or attributes of the pod, and {} for no secrets', async () => {
    provider.script(volume('old'), volume('new'));
    const before = await startDriver('1.5').publish({
      class: spc,
      attributes: { region: 'pod' },
      tokens: { a: 't' },
    });
    expect(receivedRequest(0).attributes.region).toBe('pod');
    const after = await driver!.republish(before);
    expect(after.files.f!.text).toBe('new');
    expect(receivedRequest(1)).toMatchObject({
      currentObjectVersion: [{ id: 'f', version: 'old' }],
      secrets: '{}',
      remainingMs: Infinity,
      targetPath: before.directory,
    });
    expect(Object.keys(receivedRequest(1).attributes).sort()).toEqual(
      [
        'objects',
        'region',
        ...[
          'pod.name',
          'pod.namespace',
          'pod.uid',
          'serviceAccount.name',
          'serviceAccount.tokens',
        ].map((key) => prefix + key),
      ].sort(),
    );
    expect(receivedRequest(1).attributes.region).toBe('class');
  });

  test('sends the keys of nodePublishSecretRef', async () => {
    provider.script(volume('x'));
    await driver15Republished({ key: 'k' });
    expect(JSON.parse(receivedRequest(1).secrets)).toEqual({ key: 'k' });
  });

  test('shows a failure as an event and keeps the old files', async () => {
    provider.script(volume('old'), { code: 'NOT_FOUND', message: 'gone' });
    expect(await driver15Republished()).toMatchObject({
      files: { f: { text: 'old' } },
      events: [
        {
          reason: 'MountRotationFailed',
          message: 'provider mount err: rpc error: code = NotFound desc = gone',
        },
      ],
    });
  });

  async function driver15Republished(nodePublishSecret?: Record<string, string>) {
    const pod = await startDriver('1.5').publish({
      class: spc,
      ...(nodePublishSecret && { nodePublishSecret }),
    });
    return driver!.republish(pod);
  }
});

test('mounts only once when rotation is disabled', async () => {
  provider.script(volume('old'), volume('new'));
  const view = await startDriver('1.5', { rotation: false }).publish({ class: spc });
  expect(await driver!.republish(view)).toMatchObject({
    last: 'skipped',
    files: { f: { text: 'old' } },
  });
});

test('removes the volume of a deleted pod', async () => {
  provider.script(volume('x'));
  const view = await startDriver('1.6').publish({ class: spc });
  await driver!.unpublish(view);
  await expect(stat(view.directory)).rejects.toMatchObject({ code: 'ENOENT' });
  expect(provider.requests.length).toBe(1);
});
