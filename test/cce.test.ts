import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import { parse } from 'yaml';
import { SecretError } from '../src/core/errors.ts';
import type { SecretProviderClass } from './driver/cluster.ts';
import { agency, object, podClass, startCceRig, type CceRigOptions } from './fakes/cce-rig.ts';
import { underDriver } from './fakes/under-driver.ts';
import { createWalk, toldOf } from './fakes/walk.ts';

const minute = 60_000;

let house: Awaited<ReturnType<typeof build>>;
afterEach(() => house.rig.close());

/** The whole walk before a fake cloud and a fake cluster. */
async function build({
  refreshInterval = 2 * minute,
  ...options
}: CceRigOptions & { refreshInterval?: number } = {}) {
  const rig = await startCceRig(options);
  const { now, provider } = rig;
  const registry = new Registry();
  const lines: string[] = [];
  const log = pino({ level: 'trace' }, { write: (line: string) => void lines.push(line) });
  const { mountCall, volume } = createWalk({ provider, now, log, registry, refreshInterval });

  return {
    rig,
    mountCall,
    lines,
    volume,
    metrics: () => registry.metrics(),
    /** Files by path, or the line a user would see. */
    mount: (...args: Parameters<typeof volume>) => toldOf(volume(...args)),
    turn(ms: number): void {
      rig.clock.node += ms;
      rig.clock.cloud += ms;
    },
  };
}

describe('a class of the add-on', () => {
  beforeEach(async () => {
    house = await build();
  });

  test('from the documentation, unchanged: files, versions, and the names secretObjects refer to', async () => {
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
    const { rig } = house;
    rig.annotate('["db_login","tls_key"]');
    rig.csms.put('db_login', '{"user":"app","password":"first"}');
    rig.csms.put('tls_key', '{"cert":"old","key":"old"}');
    rig.csms.put('tls_key', '{"cert":"CERT","key":"KEY"}');
    const { files, versions } = await house.volume({ ...spc.spec.parameters });
    expect(files.map(({ path, mode, contents }) => [path, mode, Buffer.from(contents).toString()])).toEqual([
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
    for (const { objectName } of spc.spec.secretObjects![0]!.data) expect(paths).toContain(objectName);
  });

  test('a fixed version is fetched once, latest once in two minutes, for all pods', async () => {
    const { rig, volume } = house;
    rig.annotate(['fixed', 'moving']);
    rig.csms.put('fixed', 'f1');
    rig.csms.put('moving', 'm1');
    const yaml = object('fixed', 'v1') + object('moving');
    for (const name of ['a', 'b', 'c']) await volume(yaml, { name });
    expect([rig.csms.count(/fixed/), rig.csms.count(/moving/)]).toEqual([1, 1]);

    rig.csms.put('moving', 'm2');
    house.turn(minute);
    expect(await house.mount(yaml, { name: 'a' })).toEqual({ fixed: 'f1', moving: 'm1' });
    house.turn(minute);
    const { versions } = await volume(yaml, { name: 'a' });
    expect(versions).toEqual([
      { id: 'fixed', version: 'v1' },
      { id: 'moving', version: 'v2' },
    ]);
    for (const name of ['a', 'b', 'c']) await volume(yaml, { name });
    expect([rig.csms.count(/fixed/), rig.csms.count(/moving/)]).toEqual([1, 2]);
  });

  test('keys as they stand in the secret, before any expression', async () => {
    const { rig } = house;
    const secret =
      '{"db.password":"dotted","db":{"password":"nested","port":5432},"a b":"space","k/1":"slash","键":"key",' +
      '"__proto__":"proto","user-name":"dash","it\'s \\"q\\"":"quotes","n":1.50,"big":12345678901234567890,"yes":true,' +
      '"list":[1, 2],"none":null,"empty":"","constructor":"c"}';
    rig.annotate(['s']);
    rig.csms.put('s', secret);
    const file = async (path: string): Promise<unknown> => {
      const yaml = object('s', 'latest', `jmesPath: [{path: ${JSON.stringify(path)}, objectAlias: f}]`);
      const files = await house.mount(yaml);
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

  test('a file named by a key with a slash lies in a directory', async () => {
    house.rig.annotate(['s']);
    house.rig.csms.put('s', '{"k/1":"x","__proto__":"y"}');
    expect(await house.mount(object('s', 'latest', 'jmesPath: [{path: k/1}]'))).toEqual({ 'k/1': 'x' });
  });

  test('a value that is not JSON, or binary, fails with the name of the secret', async () => {
    const { rig } = house;
    rig.annotate(['text', 'bytes']);
    rig.csms.put('text', 'canary-password');
    rig.csms.put('bytes', Uint8Array.from([0, 255, 1]));
    for (const name of ['text', 'bytes']) {
      const line = await house.mount(object(name, 'latest', 'jmesPath: [{path: a}]'));
      expect(line).toMatch(new RegExp(`^NOT_JSON: .*${name}`));
      expect(line).not.toContain('canary');
    }
  });

  test('a secret that is gone fails the mount, unless it is optional', async () => {
    const { rig } = house;
    rig.annotate(['there', 'gone']);
    rig.csms.put('there', 'x');
    expect(await house.mount(object('there') + object('gone'))).toMatch(
      /^OBJECT_NOT_FOUND: cce: secret gone/,
    );
    expect(await house.mount(object('there') + object('gone', 'latest', 'optional: true'))).toEqual({
      there: 'x',
    });
  });

  test('disabled while it is mounted: the next refresh fails, and enabled again it serves', async () => {
    const { rig } = house;
    rig.annotate(['s']);
    rig.csms.put('s', 'x');
    await house.volume(object('s'));
    rig.csms.setState('s', 'DISABLED');
    house.turn(2 * minute);
    expect(await house.mount(object('s'))).toMatch(/^OBJECT_DISABLED: /);
    rig.csms.setState('s', 'ENABLED');
    house.turn(2 * minute);
    expect(await house.mount(object('s'))).toEqual({ s: 'x' });
  });
});

describe.each(['1.5', '1.6'] as const)('by a driver of generation %s', (generation) => {
  test('a pod starts, its secret changes, and a pod without the right stays pending', async () => {
    house = await build({ refreshInterval: 0 });
    const { rig } = house;
    await underDriver(house.mountCall, { provider: 'cce', generation }, async (driver) => {
      rig.annotate(['login']);
      rig.csms.put('login', '{"user":"app","password":"first"}');
      const spc = {
        metadata: { name: 'app' },
        spec: {
          provider: 'cce',
          parameters: {
            objects: object('login', 'latest', 'objectAlias: login.json, jmesPath: [{path: password}]'),
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

      rig.csms.put('login', '{"user":"app","password":"second"}');
      view = await driver.republish(view);
      expect(JSON.stringify(view.files)).toContain('second');
      expect(view.status?.objects[0]).toEqual({ id: 'login.json', version: 'v2' });

      const stranger = await driver.publish({ class: spc, pod: { ...pod, serviceAccount: 'other' } });
      expect(stranger.phase).toBe('Pending');
      expect(stranger.events[0]?.message).toMatch(
        /code = PermissionDenied desc = NOT_GRANTED: cce: ServiceAccount team-a\/other may not use login: its annotation/,
      );
    });
  });
});

describe('who may', () => {
  beforeEach(async () => {
    house = await build();
    for (const name of ['a', 'b']) house.rig.csms.put(name, `value of ${name}`);
  });

  test('a name removed from the annotation stops the next new pod at once, a republish within a minute', async () => {
    const { rig } = house;
    rig.annotate(['a']);
    expect(await house.mount(object('a'), { name: 'first' })).toEqual({ a: 'value of a' });
    rig.annotate([]);
    expect(await house.mount(object('a'), { name: 'second' })).toMatch(
      /^NOT_GRANTED: .*team-a\/app may not use a/,
    );
    house.turn(minute + 1);
    expect(await house.mount(object('a'), { name: 'first' })).toMatch(/^NOT_GRANTED/);
  });

  test('a name added serves the next try, though it was refused a moment ago', async () => {
    const { rig } = house;
    expect(await house.mount(object('a'))).toMatch(/^NOT_GRANTED/);
    rig.annotate(['a']);
    expect(await house.mount(object('a'))).toEqual({ a: 'value of a' });
  });

  test('a cached value serves nobody who may not have it', async () => {
    const { rig } = house;
    rig.annotate(['a'], { account: 'app' });
    rig.annotate(['b'], { account: 'other' });
    expect(await house.mount(object('a'), { account: 'app', name: 'p1' })).toEqual({ a: 'value of a' });
    expect(await house.mount(object('a'), { account: 'other', name: 'p2' })).toMatch(/^NOT_GRANTED/);
    expect(await house.mount(object('a'), { account: 'app', namespace: 'team-b', name: 'p3' })).toMatch(
      /^NOT_GRANTED/,
    );
    expect(await house.mount(object('a') + object('b'), { account: 'other', name: 'p4' })).toMatch(
      /^NOT_GRANTED/,
    );
    expect(rig.csms.count()).toBe(1);
  });

  test('an API server that does not answer grants nothing', async () => {
    house.rig.annotate(['a']);
    house.rig.kubernetes.deny(true);
    expect(await house.mount(object('a'))).toMatch(/^ADMISSION_UNAVAILABLE: .*serviceaccounts/);
    expect(house.rig.csms.count()).toBe(0);
  });
});

describe('many at once', () => {
  test('the first of 200 leaves: 199 are served by one call', async () => {
    house = await build();
    const { rig } = house;
    rig.annotate(['s']);
    rig.csms.put('s', 'x');
    rig.csms.behave({ delayMs: 300 });
    const leaving = new AbortController();
    const first = house.mount(object('s'), { name: 'pod-0', signal: leaving.signal });
    const others = Array.from({ length: 199 }, (_, index) =>
      house.mount(object('s'), { name: `pod-${index + 1}` }),
    );
    while (rig.csms.count() === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    leaving.abort(new SecretError('CANCELLED', 'the caller left'));
    expect(await first).toMatch(/^CANCELLED/);
    expect(new Set((await Promise.all(others)).map((files) => JSON.stringify(files)))).toEqual(
      new Set(['{"s":"x"}']),
    );
    expect(rig.csms.count()).toBe(1);
    expect(rig.kubernetes.reads()).toBeLessThanOrEqual(3);
  });

  test('500 classes: each its own secret, each read once, mounted again from memory', async () => {
    house = await build({ env: { KEYFERRY_CCE_RATE: '10000', KEYFERRY_CCE_BURST: '1000' } });
    const { rig } = house;
    const names = Array.from({ length: 500 }, (_, index) => `secret-${index}`);
    rig.annotate(names);
    for (const name of names) rig.csms.put(name, `value of ${name}`);
    for (let round = 0; round < 2; round += 1) {
      const all = names.map((name) => house.mount(object(name), { name: `pod-of-${name}` }));
      (await Promise.all(all)).forEach((files, index) =>
        expect(files).toEqual({ [names[index]!]: `value of ${names[index]}` }),
      );
    }
    expect(rig.csms.count()).toBe(500);
  });

  test('a wrong key and 500 mounts: two calls in a minute at most', async () => {
    house = await build();
    const { rig } = house;
    rig.account.revoke(rig.keys.access);
    const names = Array.from({ length: 500 }, (_, index) => `secret-${index}`);
    rig.annotate(names);
    const all = names.map((name) => house.mount(object(name), { name: `pod-of-${name}` }));
    for (const line of await Promise.all(all)) expect(line).toMatch(/^CREDENTIALS_REFUSED/);
    expect(rig.csms.count()).toBeLessThanOrEqual(2);
  });
});

test('an outage: those who were served are served on, and a refusal ends that', async () => {
  house = await build();
  const { rig } = house;
  rig.annotate(['s']);
  rig.csms.put('s', 'x');
  await house.volume(object('s'));
  rig.csms.behave({ answer: { status: 503 } });
  house.turn(3 * minute);
  expect(await house.mount(object('s'))).toEqual({ s: 'x' });
  rig.csms.behave();
  rig.csms.denied.add('s');
  house.turn(3 * minute);
  expect(await house.mount(object('s'))).toMatch(/^ACCESS_DENIED/);
  rig.csms.behave({ answer: { status: 503 } });
  expect(await house.mount(object('s'))).toMatch(/^STORE_UNAVAILABLE/);
});

test('no value, key or token is in any status, log line or metric', async () => {
  house = await build({
    temporaryKeys: true,
    agencies: [agency],
  });
  const { rig } = house;
  const tokens = rig.podToken();
  const canaries = [
    'canary-value',
    rig.keys.access,
    rig.keys.secret,
    rig.keys.securitytoken!,
    tokens['sts.huaweicloud.com']!,
    tokens['sts.huaweicloud.com']!.split('.')[2]!,
  ];
  const echo = canaries.join(' ');
  const ownClass = { ...podClass, objects: object('s') };
  rig.annotate(['s']);
  rig.csms.put('s', 'canary-value');
  const told: unknown[] = [];
  const tryAll = async (name: string): Promise<void> => {
    for (const parameters of [
      { objects: object('s', 'latest', 'jmesPath: [{path: a}]') },
      ownClass,
      { ...ownClass, providerUrn: 'p' },
    ]) {
      const result = await house.mount(parameters, { name: `${name}-${told.length}`, tokens });
      if (typeof result === 'string') told.push(result);
      house.turn(20 * minute);
    }
  };
  await tryAll('well');
  for (const status of [302, 400, 401, 403, 404, 429, 500]) {
    const answer = { status, headers: { 'x-request-id': echo }, body: { error_code: echo, error_msg: echo } };
    for (const server of [rig.csms, rig.sts]) server.behave({ answer });
    await tryAll(`status-${status}`);
  }
  expect(told.length).toBeGreaterThan(20);
  const everything = [...told, ...house.lines, ...rig.logged, await house.metrics()].join('\n');
  for (const canary of canaries) expect(everything).not.toContain(canary);
});
