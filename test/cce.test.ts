import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import { parse } from 'yaml';
import { SecretError } from '../src/core/errors.ts';
import type { SecretProviderClass } from './driver/cluster.ts';
import {
  agency,
  objectYaml,
  podClass,
  startCceFixture,
  type CceFixtureOptions,
} from './fakes/cce-fixture.ts';
import { eventually, nextTurn, withFrozenTimers } from './fakes/timers.ts';
import { withDriver } from './fakes/with-driver.ts';
import { createMountPipeline, mountSummary } from './fakes/mount-pipeline.ts';

const minute = 60_000;

let harness: Awaited<ReturnType<typeof createHarness>>;
afterEach(() => harness.fixture.close());

/** The mount pipeline with a fake cloud and a fake cluster. */
async function createHarness({
  refreshInterval = 2 * minute,
  ...options
}: CceFixtureOptions & { refreshInterval?: number } = {}) {
  const fixture = await startCceFixture(options);
  const { now, provider } = fixture;
  const registry = new Registry();
  const lines: string[] = [];
  const log = pino({ level: 'trace' }, { write: (line: string) => void lines.push(line) });
  const { mountCall, volume } = createMountPipeline({
    provider,
    now,
    log,
    registry,
    refreshInterval,
  });

  return {
    fixture,
    mountCall,
    lines,
    volume,
    metrics: () => registry.metrics(),
    /** Files by path, or the line a user would see. */
    mount: (...args: Parameters<typeof volume>) => mountSummary(volume(...args)),
    advanceClock(ms: number): void {
      fixture.clock.node += ms;
      fixture.clock.cloud += ms;
    },
  };
}

describe('a class of the add-on', () => {
  beforeEach(async () => {
    harness = await createHarness();
  });

  test('mounts files with versions, under the names that secretObjects refers to', async () => {
    const spc = parse(`
      apiVersion: secrets-store.csi.x-k8s.io/v1
      kind: SecretProviderClass
      metadata: {name: app}
      spec:
        provider: cce
        parameters:
          objects: |
            - objectName: "db_login"
              objectAlias: "login.json"
              objectVersion: "v1"
              objectType: "csms"
            - objectName: "tls_key"
              objectType: "csms"
              objectVersion: "latest"
              jmesPath:
                - path: cert
                  objectAlias: tls.crt
                - path: key
                  objectAlias: tls.key
        secretObjects:
          - secretName: app-tls
            type: kubernetes.io/tls
            data:
              - {objectName: tls.crt, key: tls.crt}
              - {objectName: tls.key, key: tls.key}
    `) as SecretProviderClass;
    const { fixture } = harness;
    fixture.annotate('["db_login","tls_key"]');
    fixture.csms.put('db_login', '{"user":"app","password":"first"}');
    fixture.csms.put('tls_key', '{"cert":"old","key":"old"}');
    fixture.csms.put('tls_key', '{"cert":"CERT","key":"KEY"}');
    const { files, versions } = await harness.volume({ ...spc.spec.parameters });
    expect(
      files.map(({ path, mode, contents }) => [path, mode, Buffer.from(contents).toString()]),
    ).toEqual([
      ['login.json', 0o644, '{"user":"app","password":"first"}'],
      ['tls.crt', 0o644, 'CERT'],
      ['tls.key', 0o644, 'KEY'],
    ]);
    expect(versions).toEqual([
      { id: 'login.json', version: 'v1' },
      { id: 'tls.crt', version: expect.stringMatching(/^v2\+[0-9a-f]{8}$/) },
      { id: 'tls.key', version: expect.stringMatching(/^v2\+[0-9a-f]{8}$/) },
    ]);
    const paths = files.map(({ path }) => path);
    for (const { objectName } of spc.spec.secretObjects![0]!.data)
      expect(paths).toContain(objectName);
  });

  test('reads a fixed version once, and latest once in two minutes, for all pods', async () => {
    const { fixture, volume } = harness;
    fixture.annotate(['fixed', 'moving']);
    fixture.csms.put('fixed', 'f1');
    fixture.csms.put('moving', 'm1');
    const yaml = objectYaml('fixed', 'v1') + objectYaml('moving');
    for (const name of ['a', 'b', 'c']) await volume(yaml, { name });
    expect([fixture.csms.count(/fixed/), fixture.csms.count(/moving/)]).toEqual([1, 1]);

    fixture.csms.put('moving', 'm2');
    harness.advanceClock(minute);
    expect(await harness.mount(yaml, { name: 'a' })).toEqual({ fixed: 'f1', moving: 'm1' });
    harness.advanceClock(minute);
    const { versions } = await volume(yaml, { name: 'a' });
    expect(versions).toEqual([
      { id: 'fixed', version: 'v1' },
      { id: 'moving', version: 'v2' },
    ]);
    for (const name of ['a', 'b', 'c']) await volume(yaml, { name });
    expect([fixture.csms.count(/fixed/), fixture.csms.count(/moving/)]).toEqual([1, 2]);
  });

  test('prefers keys of the secret to JMESPath expressions', async () => {
    const { fixture } = harness;
    const secret =
      '{"db.password":"dotted","db":{"password":"nested","port":5432},"a b":"space","k/1":"slash","键":"key",' +
      '"__proto__":"proto","user-name":"dash","it\'s \\"q\\"":"quotes","n":1.50,"big":12345678901234567890,"yes":true,' +
      '"list":[1, 2],"none":null,"empty":"","constructor":"c"}';
    fixture.annotate(['s']);
    fixture.csms.put('s', secret);
    const file = async (path: string): Promise<unknown> => {
      const yaml = objectYaml(
        's',
        'latest',
        `jmesPath: [{path: ${JSON.stringify(path)}, objectAlias: f}]`,
      );
      const files = await harness.mount(yaml);
      return typeof files === 'string' ? files : files.f;
    };
    for (const [path, content] of [
      ['db.password', 'dotted'],
      ['db.port', '5432'],
      ['a b', 'space'],
      ['k/1', 'slash'],
      ['键', 'key'],
      ['__proto__', 'proto'],
      ['user-name', 'dash'],
      [`it's "q"`, 'quotes'],
      ['n', '1.50'],
      ['big', '12345678901234567890'],
      ['yes', 'true'],
      ['list', '[1,2]'],
      ['db', '{"password":"nested","port":5432}'],
      ['empty', ''],
      ['constructor', 'c'],
    ])
      expect([path, await file(path!)]).toEqual([path, content]);
    expect(await file('none')).toMatch(/^KEY_NOT_FOUND: /);
    expect(await file('missing')).toMatch(/^KEY_NOT_FOUND: /);
    expect(await file('toString')).toMatch(/^KEY_NOT_FOUND: /);
  });

  test('puts the file of a key with a slash into a directory', async () => {
    harness.fixture.annotate(['s']);
    harness.fixture.csms.put('s', '{"k/1":"x","__proto__":"y"}');
    expect(await harness.mount(objectYaml('s', 'latest', 'jmesPath: [{path: k/1}]'))).toEqual({
      'k/1': 'x',
    });
  });

  test('names the secret in the error for a value that is not JSON', async () => {
    const { fixture } = harness;
    fixture.annotate(['text', 'bytes']);
    fixture.csms.put('text', 'canary-password');
    fixture.csms.put('bytes', Uint8Array.from([0, 255, 1]));
    for (const name of ['text', 'bytes']) {
      const line = await harness.mount(objectYaml(name, 'latest', 'jmesPath: [{path: a}]'));
      expect(line).toMatch(new RegExp(`^NOT_JSON: .*${name}`));
      expect(line).not.toContain('canary');
    }
  });

  test('fails for a missing secret, unless it is optional', async () => {
    const { fixture } = harness;
    fixture.annotate(['there', 'gone']);
    fixture.csms.put('there', 'x');
    expect(await harness.mount(objectYaml('there') + objectYaml('gone'))).toMatch(
      /^OBJECT_NOT_FOUND: cce: secret gone/,
    );
    expect(
      await harness.mount(objectYaml('there') + objectYaml('gone', 'latest', 'optional: true')),
    ).toEqual({
      there: 'x',
    });
  });

  test('fails the next refresh of a disabled secret, and serves it again when it is enabled', async () => {
    const { fixture } = harness;
    fixture.annotate(['s']);
    fixture.csms.put('s', 'x');
    await harness.volume(objectYaml('s'));
    fixture.csms.setState('s', 'DISABLED');
    harness.advanceClock(2 * minute);
    expect(await harness.mount(objectYaml('s'))).toMatch(/^OBJECT_DISABLED: /);
    fixture.csms.setState('s', 'ENABLED');
    harness.advanceClock(2 * minute);
    expect(await harness.mount(objectYaml('s'))).toEqual({ s: 'x' });
  });
});

describe.each(['1.5', '1.6'] as const)('with a driver of generation %s', (generation) => {
  test('a pod starts, its secret changes, and a pod without the annotation stays pending', async () => {
    harness = await createHarness({ refreshInterval: 0 });
    const { fixture } = harness;
    await withDriver(harness.mountCall, { provider: 'cce', generation }, async (driver) => {
      fixture.annotate(['login']);
      fixture.csms.put('login', '{"user":"app","password":"first"}');
      const spc = {
        metadata: { name: 'app' },
        spec: {
          provider: 'cce',
          parameters: {
            objects: objectYaml(
              'login',
              'latest',
              'objectAlias: login.json, jmesPath: [{path: password}]',
            ),
          },
          secretObjects: [{ secretName: 'app', data: [{ objectName: 'password', key: 'pw' }] }],
        },
      };
      const pod = { namespace: 'team-a', serviceAccount: 'app' };
      let view = await driver.publish({ class: spc, pod });
      expect(view).toMatchObject({ phase: 'Running', last: 'mounted', events: [] });
      expect(view.status?.objects).toEqual([
        { id: 'login.json', version: 'v1' },
        { id: 'password', version: expect.stringMatching(/^v1\+/) },
      ]);
      expect(Object.keys(view.files)).toEqual(['login.json', 'password']);

      fixture.csms.put('login', '{"user":"app","password":"second"}');
      view = await driver.republish(view);
      expect(JSON.stringify(view.files)).toContain('second');
      expect(view.status?.objects[0]).toEqual({ id: 'login.json', version: 'v2' });

      const unauthorizedPod = await driver.publish({
        class: spc,
        pod: { ...pod, serviceAccount: 'other' },
      });
      expect(unauthorizedPod.phase).toBe('Pending');
      expect(unauthorizedPod.events[0]?.message).toMatch(
        /code = PermissionDenied desc = NOT_GRANTED: cce: ServiceAccount team-a\/other may not use login: its annotation/,
      );
    });
  });
});

describe('the annotation', () => {
  beforeEach(async () => {
    harness = await createHarness();
    for (const name of ['a', 'b']) harness.fixture.csms.put(name, `value of ${name}`);
  });

  test('without a name stops the next new pod at once, and a republish within a minute', async () => {
    const { fixture } = harness;
    fixture.annotate(['a']);
    expect(await harness.mount(objectYaml('a'), { name: 'first' })).toEqual({ a: 'value of a' });
    fixture.annotate([]);
    expect(await harness.mount(objectYaml('a'), { name: 'second' })).toMatch(
      /^NOT_GRANTED: .*team-a\/app may not use a/,
    );
    harness.advanceClock(minute + 1);
    expect(await harness.mount(objectYaml('a'), { name: 'first' })).toMatch(/^NOT_GRANTED/);
  });

  test('with a new name serves the next attempt after a denial', async () => {
    const { fixture } = harness;
    expect(await harness.mount(objectYaml('a'))).toMatch(/^NOT_GRANTED/);
    fixture.annotate(['a']);
    expect(await harness.mount(objectYaml('a'))).toEqual({ a: 'value of a' });
  });

  test('also decides about cached values', async () => {
    const { fixture } = harness;
    fixture.annotate(['a'], { account: 'app' });
    fixture.annotate(['b'], { account: 'other' });
    expect(await harness.mount(objectYaml('a'), { account: 'app', name: 'p1' })).toEqual({
      a: 'value of a',
    });
    expect(await harness.mount(objectYaml('a'), { account: 'other', name: 'p2' })).toMatch(
      /^NOT_GRANTED/,
    );
    expect(
      await harness.mount(objectYaml('a'), { account: 'app', namespace: 'team-b', name: 'p3' }),
    ).toMatch(/^NOT_GRANTED/);
    expect(
      await harness.mount(objectYaml('a') + objectYaml('b'), { account: 'other', name: 'p4' }),
    ).toMatch(/^NOT_GRANTED/);
    expect(fixture.csms.count()).toBe(1);
  });

  test('grants nothing when the API server denies the read', async () => {
    harness.fixture.annotate(['a']);
    harness.fixture.kubernetes.deny(true);
    expect(await harness.mount(objectYaml('a'))).toMatch(
      /^ADMISSION_UNAVAILABLE: .*serviceaccounts/,
    );
    expect(harness.fixture.csms.count()).toBe(0);
  });
});

describe('concurrent mounts', () => {
  test('199 of 200 pods get the value of one call when the first pod leaves', async () => {
    harness = await createHarness();
    const { fixture } = harness;
    fixture.annotate(['s']);
    fixture.csms.put('s', 'x');
    let respond = (): void => undefined;
    fixture.csms.injectFault({ until: new Promise<void>((resolve) => (respond = resolve)) });
    const authorize = jest.spyOn(fixture.provider, 'authorize');
    const abortController = new AbortController();
    const first = harness.mount(objectYaml('s'), { name: 'pod-0', signal: abortController.signal });
    const others = Array.from({ length: 199 }, (_, index) =>
      harness.mount(objectYaml('s'), { name: `pod-${index + 1}` }),
    );
    // The pipeline authorizes a new pod twice. After that, all pods wait for the same read.
    await eventually(() => fixture.csms.count() > 0 && authorize.mock.calls.length === 400);
    await Promise.all(authorize.mock.results.map(({ value }) => value as Promise<unknown>));
    await nextTurn();
    abortController.abort(new SecretError('CANCELLED', 'the caller left'));
    expect(await first).toMatch(/^CANCELLED/);
    respond();
    expect(new Set((await Promise.all(others)).map((files) => JSON.stringify(files)))).toEqual(
      new Set(['{"s":"x"}']),
    );
    expect(fixture.csms.count()).toBe(1);
    expect(fixture.kubernetes.reads()).toBeLessThanOrEqual(3);
  });

  test('of 500 classes with different secrets read each secret once, and then use the cache', async () => {
    harness = await createHarness({
      env: { KEYFERRY_CCE_RATE: '10000', KEYFERRY_CCE_BURST: '1000' },
    });
    const { fixture } = harness;
    const names = Array.from({ length: 500 }, (_, index) => `secret-${index}`);
    fixture.annotate(names);
    for (const name of names) fixture.csms.put(name, `value of ${name}`);
    await withFrozenTimers(async () => {
      for (let round = 0; round < 2; round += 1) {
        const all = names.map((name) =>
          harness.mount(objectYaml(name), { name: `pod-of-${name}` }),
        );
        (await Promise.all(all)).forEach((files, index) =>
          expect(files).toEqual({ [names[index]!]: `value of ${names[index]}` }),
        );
      }
    });
    expect(fixture.csms.count()).toBe(500);
  });

  test('500 times with a wrong key make two calls at most', async () => {
    harness = await createHarness();
    const { fixture } = harness;
    fixture.account.revoke(fixture.keys.access);
    const names = Array.from({ length: 500 }, (_, index) => `secret-${index}`);
    fixture.annotate(names);
    await withFrozenTimers(async () => {
      const all = names.map((name) => harness.mount(objectYaml(name), { name: `pod-of-${name}` }));
      for (const line of await Promise.all(all)) expect(line).toMatch(/^CREDENTIALS_REFUSED/);
    });
    expect(fixture.csms.count()).toBeLessThanOrEqual(2);
  });
});

test('serves the last value in an outage, until CSMS denies the secret', async () => {
  harness = await createHarness();
  const { fixture } = harness;
  fixture.annotate(['s']);
  fixture.csms.put('s', 'x');
  await harness.volume(objectYaml('s'));
  fixture.csms.injectFault({ response: { status: 503 } });
  harness.advanceClock(3 * minute);
  expect(await harness.mount(objectYaml('s'))).toEqual({ s: 'x' });
  fixture.csms.injectFault();
  fixture.csms.denied.add('s');
  harness.advanceClock(3 * minute);
  expect(await harness.mount(objectYaml('s'))).toMatch(/^ACCESS_DENIED/);
  fixture.csms.injectFault({ response: { status: 503 } });
  expect(await harness.mount(objectYaml('s'))).toMatch(/^STORE_UNAVAILABLE/);
});

test('never has a value, key or token in a status, log line or metric', async () => {
  harness = await createHarness({
    temporaryKeys: true,
    agencies: [agency],
  });
  const { fixture } = harness;
  const tokens = fixture.podToken();
  const canaries = [
    'canary-value',
    fixture.keys.access,
    fixture.keys.secret,
    fixture.keys.securitytoken!,
    tokens['sts.huaweicloud.com']!,
    tokens['sts.huaweicloud.com']!.split('.')[2]!,
  ];
  const echo = canaries.join(' ');
  const ownClass = { ...podClass, objects: objectYaml('s') };
  fixture.annotate(['s']);
  fixture.csms.put('s', 'canary-value');
  const failures: unknown[] = [];
  const tryAll = async (name: string): Promise<void> => {
    for (const parameters of [
      { objects: objectYaml('s', 'latest', 'jmesPath: [{path: a}]') },
      ownClass,
      { ...ownClass, providerUrn: 'p' },
    ]) {
      const result = await harness.mount(parameters, {
        name: `${name}-${failures.length}`,
        tokens,
      });
      if (typeof result === 'string') failures.push(result);
      harness.advanceClock(20 * minute);
    }
  };
  await tryAll('well');
  for (const status of [302, 400, 401, 403, 404, 429, 500]) {
    const response = {
      status,
      headers: { 'x-request-id': echo },
      body: { error_code: echo, error_msg: echo },
    };
    for (const server of [fixture.csms, fixture.sts]) server.injectFault({ response });
    await tryAll(`status-${status}`);
  }
  expect(failures.length).toBeGreaterThan(20);
  const output = [...failures, ...harness.lines, ...fixture.logged, await harness.metrics()].join(
    '\n',
  );
  for (const canary of canaries) expect(output).not.toContain(canary);
});
