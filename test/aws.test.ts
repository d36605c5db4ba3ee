import { afterEach, describe, expect, test } from '@jest/globals';
import { parse } from 'yaml';
import { SecretError } from '../src/core/errors.ts';
import type { SecretProviderClass } from './driver/cluster.ts';
import { awsJsonResponse } from './fakes/aws-account.ts';
import { awsFailoverRegion, awsRegion } from './fakes/aws-cloud.ts';
import {
  appRole,
  startAwsFixture,
  type AwsFixture,
  type AwsFixtureOptions,
} from './fakes/aws-fixture.ts';
import { withDriver } from './fakes/with-driver.ts';

const minute = 60_000;

let fixture: AwsFixture;
afterEach(() => fixture.close());

async function start(options: AwsFixtureOptions = {}): Promise<void> {
  fixture = await startAwsFixture(options);
}

const secret = (fields: string): string => `- {objectType: secretsmanager, ${fields}}`;
const parameter = (fields: string): string => `- {objectType: ssmparameter, ${fields}}`;
const countReads = (): number =>
  fixture.secretsManager.callCount('GetSecretValue') +
  fixture.secretsManager.callCount('BatchGetSecretValue');

describe.each(['1.5', '1.6'] as const)(
  "the Go provider's walk-through, under a driver of %s",
  (generation) => {
    test('starts a pod from class, ServiceAccount and volume, and delivers a new value', async () => {
      await start({ refreshInterval: 0 });
      const first = fixture.secretsManager.put(
        'MySecret',
        '{"username":"app", "password":"first"}',
      );
      fixture.ssm.put('/app/banner', 'hello');
      const spc = parse(`
      apiVersion: secrets-store.csi.x-k8s.io/v1
      kind: SecretProviderClass
      metadata: {name: nginx-deployment-aws-secrets}
      spec:
        provider: aws
        parameters:
          objects: |
              - objectName: "MySecret"
                objectType: "secretsmanager"
                jmesPath:
                    - Path: "password"
                      objectAlias: "MySecretPassword"
              - objectName: "/app/banner"
                objectType: "ssmparameter"
        secretObjects:
          - secretName: synced
            type: Opaque
            data: [{objectName: MySecretPassword, key: password}]
    `) as SecretProviderClass;
      await withDriver(fixture.mountCall, { provider: 'aws', generation }, async (driver) => {
        const pod = { namespace: 'team-a', serviceAccount: 'app' };
        const tokens = fixture.podTokens();
        let view = await driver.publish({ class: spc, pod, tokens });
        expect(view).toMatchObject({ phase: 'Running', last: 'mounted', events: [] });
        expect(view.files.MySecret?.text).toBe('{"username":"app", "password":"first"}');
        expect(view.files.MySecretPassword?.text).toBe('first');
        expect(view.files._app_banner?.text).toBe('hello');
        expect(view.status?.objects).toEqual(
          expect.arrayContaining([
            { id: 'MySecret', version: first },
            { id: 'MySecretPassword', version: expect.stringMatching(`^${first}\\+[0-9a-f]{8}$`) },
            { id: '_app_banner', version: expect.stringMatching(/^1\+[0-9a-f]{8}$/) },
          ]),
        );
        expect(view.secrets.synced).toEqual({ password: 'first' });

        fixture.secretsManager.put('MySecret', '{"username":"app", "password":"second"}');
        view = await driver.republish(view);
        expect(view.files.MySecretPassword?.text).toBe('second');

        const unauthorizedPod = await driver.publish({
          class: spc,
          pod: { ...pod, serviceAccount: 'plain' },
          tokens: fixture.podTokens({ account: 'plain' }),
        });
        expect(unauthorizedPod.phase).toBe('Pending');
        expect(unauthorizedPod.trapped).toBe(false);
        expect(unauthorizedPod.events[0]?.message).toMatch(
          /code = PermissionDenied desc = NOT_GRANTED: aws: ServiceAccount team-a\/plain has no role: its annotation eks\.amazonaws\.com\/role-arn is missing/,
        );
      });
    });
  },
);

describe('a class of the documentation', () => {
  test('makes whole and extracted files, with their modes and with objects as JSON', async () => {
    await start();
    fixture.secretsManager.put(
      'eu/prod/db',
      '{"username":"app","pass-word":"p","port":5432,"ratio":1.50,"tls":true,"opts":{"b":[1, 2]},"none":null}',
    );
    const classWith = (more: string): string => `
      - objectName: "eu/prod/db"
        objectType: secretsmanager
        objectAlias: "db.json"
        filePermission: 0600
        jmesPath:
          - {path: username, objectAlias: db-user}
          - {path: '"pass-word"', objectAlias: db/pass}
          - {path: port, objectAlias: port}
          - {path: ratio, objectAlias: ratio}
          - {path: tls, objectAlias: tls}
          - {path: opts, objectAlias: opts, filePermission: "0400"}${more}
    `;
    const { files } = await fixture.volume(classWith(''));
    expect(
      files.map(({ path, mode, contents }) => [path, mode, Buffer.from(contents).toString()]),
    ).toEqual([
      ['db.json', 0o600, expect.stringContaining('"port":5432')],
      ['db-user', 0o600, 'app'],
      ['db_pass', 0o600, 'p'],
      ['port', 0o600, '5432'],
      ['ratio', 0o600, '1.50'],
      ['tls', 0o600, 'true'],
      ['opts', 0o400, '{"b":[1,2]}'],
    ]);
    for (const [path, expectedError] of [
      ['none', /^KEY_NOT_FOUND: .*eu\/prod\/db/],
      ['nowhere', /^KEY_NOT_FOUND: .*eu\/prod\/db/],
      ['pass-word', /^INVALID_CLASS: .*needs quotes: "pass-word"/],
    ] as const)
      expect(
        await fixture.mount(classWith(`\n          - {path: ${path}, objectAlias: x}`)),
      ).toMatch(expectedError);
  });

  test('mounts binary secrets as their bytes', async () => {
    await start();
    const bytes = Uint8Array.from([0, 255, 10, 13, 128]);
    fixture.secretsManager.put('tls', bytes);
    const { files } = await fixture.volume(secret('objectName: tls'));
    expect(new Uint8Array(files[0]!.contents)).toEqual(bytes);
  });

  test('mounts one secret as four files: by name, ARN, version and stage', async () => {
    await start();
    const old = fixture.secretsManager.put('db', 'old');
    fixture.secretsManager.put('db', 'new');
    const arn = fixture.secretsManager.arn('db');
    expect(
      await fixture.mount(
        [
          secret('objectName: db'),
          `- {objectName: "${arn}", objectAlias: arn}`,
          secret(`objectName: db, objectAlias: pinned, objectVersion: ${old}`),
          secret('objectName: db, objectAlias: previous, objectVersionLabel: AWSPREVIOUS'),
        ].join('\n'),
      ),
    ).toEqual({ db: 'new', arn: 'new', pinned: 'old', previous: 'old' });
  });

  test('reports a pinned version as the class has it', async () => {
    await start();
    const old = fixture.secretsManager.put('db', 'old');
    fixture.ssm.put('/p', 'one');
    fixture.ssm.put('/p', 'two');
    const { versions } = await fixture.volume(
      `${secret(`objectName: db, objectVersion: ${old}`)}\n${parameter('objectName: /p, objectVersion: 1')}`,
    );
    expect(versions).toEqual([
      { id: 'db', version: old },
      { id: '_p', version: expect.stringMatching(/^1(\+|$)/) },
    ]);
  });

  test('mounts one parameter with two versions and a label', async () => {
    await start();
    for (const value of ['one', 'two', 'three']) fixture.ssm.put('/p', value);
    fixture.ssm.label('/p', 2, 'blue');
    const objects = [
      'objectName: /p, objectAlias: now',
      'objectName: /p, objectAlias: v1, objectVersion: 1',
      'objectName: /p, objectAlias: v3, objectVersion: 3',
      'objectName: /p, objectAlias: blue, objectVersionLabel: blue',
    ];
    expect(await fixture.mount(objects.map(parameter).join('\n'))).toEqual({
      now: 'three',
      v1: 'one',
      v3: 'three',
      blue: 'two',
    });
  });

  test('reads 25 parameters by three calls', async () => {
    await start();
    const names = Array.from({ length: 25 }, (_, index) => `/app/p${index}`);
    for (const name of names) fixture.ssm.put(name, `value of ${name}`);
    const files = await fixture.mount(
      names.map((name) => parameter(`objectName: ${name}`)).join('\n'),
    );
    expect(files).toEqual(
      Object.fromEntries(names.map((name) => [name.replaceAll('/', '_'), `value of ${name}`])),
    );
    expect(
      fixture.ssm
        .batches()
        .map(({ length }) => length)
        .sort(),
    ).toEqual([10, 10, 5]);
  });

  test('leaves out absent optional objects, and fails for others with name and region', async () => {
    await start();
    fixture.secretsManager.put('db', 'x');
    const optional = [secret('objectName: db'), secret('objectName: gone, optional: true')].join(
      '\n',
    );
    expect(
      await fixture.mount(`${optional}\n${parameter('objectName: /gone, optional: true')}`),
    ).toEqual({
      db: 'x',
    });
    for (const objects of [secret('objectName: gone'), parameter('objectName: gone')])
      expect(await fixture.mount(objects, { name: 'b' })).toMatch(
        /^OBJECT_NOT_FOUND: aws: .*gone.* in eu-west-1/,
      );
  });

  test('delivers a parameter that was created again with the same number', async () => {
    await start();
    fixture.ssm.put('/p', 'one');
    const first = await fixture.volume(parameter('objectName: /p'));
    fixture.ssm.delete('/p');
    fixture.advanceClock(minute);
    fixture.ssm.put('/p', 'two');
    const second = await fixture.volume(parameter('objectName: /p'));
    expect(Buffer.from(second.files[0]!.contents).toString()).toBe('two');
    expect(second.versions).not.toEqual(first.versions);
  });

  test('stops waiting for a service that hangs when the caller leaves', async () => {
    await start();
    fixture.account.regionFaults.set(awsRegion, 'hang');
    const abortController = new AbortController();
    const mount = fixture.mount(secret('objectName: s'), { signal: abortController.signal });
    while (fixture.secretsManager.count() === 0)
      await new Promise((resolve) => setTimeout(resolve, 5));
    abortController.abort(new SecretError('DEADLINE', 'the deadline of the request'));
    expect(await mount).toMatch(/^DEADLINE/);
  });
});

describe('a session that AWS does not take, although it is new', () => {
  test.each([
    ['UnrecognizedClientException'],
    ['ExpiredTokenException'],
    ['InvalidSignatureException'],
  ])('%s: the mount logs in once more, and the next mounts do not', async (code) => {
    await start();
    for (const name of ['a', 'b', 'c', 'd']) fixture.secretsManager.put(name, 'x');
    await fixture.volume(secret('objectName: a'));
    const response = awsJsonResponse(400, { __type: code, message: 'no' });
    fixture.secretsManager.injectFault({ times: 1, response });
    expect(await fixture.mount(secret('objectName: b'))).toEqual({ b: 'x' });
    expect(fixture.sts.sessions).toHaveLength(2);

    fixture.secretsManager.injectFault({ response });
    for (const name of ['c', 'd'])
      expect(await fixture.mount(secret(`objectName: ${name}`))).toMatch(/^CREDENTIALS_REFUSED/);
    expect(fixture.sts.sessions).toHaveLength(2);
  });
});

describe('the calls of a pod', () => {
  test('200 pods at once by IRSA make one login, and one read per secret', async () => {
    await start();
    const names = Array.from({ length: 50 }, (_, index) => `s${index}`);
    for (const name of names) fixture.secretsManager.put(name, `value of ${name}`);
    const pods = Array.from({ length: 200 }, (_, index) => index);
    const mounts = pods.map((index) =>
      fixture.mount(secret(`objectName: s${index % 50}`), { name: `pod-${index}` }),
    );
    (await Promise.all(mounts)).forEach((files, index) =>
      expect(files).toEqual({ [`s${index % 50}`]: `value of s${index % 50}` }),
    );
    expect(countReads()).toBeLessThanOrEqual(50);
    expect(fixture.sts.sessions).toHaveLength(1);
    expect(fixture.kubernetes.reads()).toBeLessThanOrEqual(2);
  });

  test('more pods by IRSA make no more calls to AWS', async () => {
    await start();
    fixture.secretsManager.put('db', 'x');
    fixture.ssm.put('/p', 'y');
    const objects = `${secret('objectName: db')}\n${parameter('objectName: /p')}`;
    const calls = (): number =>
      fixture.secretsManager.count() + fixture.ssm.count() + fixture.sts.count();
    await fixture.volume(objects, { name: 'first' });
    const before = calls();
    for (let index = 0; index < 20; index += 1)
      await fixture.volume(objects, { name: `pod-${index}` });
    expect(calls()).toBe(before);
  });

  test('a pod by Pod Identity calls the agent once, and not for its republishes', async () => {
    await start();
    fixture.secretsManager.put('db', 'x');
    const parameters = {
      region: awsRegion,
      usePodIdentity: 'true',
      objects: secret('objectName: db'),
    };
    for (const name of ['a', 'b', 'c']) await fixture.volume(parameters, { name });
    fixture.advanceClock(5 * minute);
    for (const name of ['a', 'b', 'c']) await fixture.volume(parameters, { name });
    expect(fixture.agent.ipv4.count() + fixture.agent.ipv6.count()).toBe(3);
    expect([fixture.sts.count(), fixture.kubernetes.reads()]).toEqual([0, 0]);
  });

  test('a new pod reads Kubernetes at most once, and not for republishes within 60 s', async () => {
    await start();
    fixture.secretsManager.put('db', 'x');
    const pods = Array.from({ length: 10 }, (_, index) => `pod-${index}`);
    for (const name of pods) await fixture.volume({ objects: secret('objectName: db') }, { name });
    expect(fixture.kubernetes.reads()).toBeLessThanOrEqual(pods.length);
    expect(fixture.kubernetes.nodeReads()).toBe(1);
    const before = fixture.kubernetes.requests.length;
    for (let round = 0; round < 3; round += 1) {
      fixture.advanceClock(15_000);
      for (const name of pods)
        await fixture.volume({ objects: secret('objectName: db') }, { name });
    }
    expect(fixture.kubernetes.requests.length).toBe(before);
  });
});

describe('freshness', () => {
  test('reads a pinned version once, and checks a moving one after 30 s, for all pods', async () => {
    await start();
    const fixed = fixture.secretsManager.put('fixed', 'f1');
    fixture.secretsManager.put('moving', 'm1');
    const objects = [
      secret(`objectName: fixed, objectVersion: ${fixed}`),
      secret('objectName: moving'),
    ].join('\n');
    for (const name of ['a', 'b']) await fixture.volume(objects, { name });
    const before = countReads();
    fixture.secretsManager.put('moving', 'm2');
    expect(await fixture.mount(objects, { name: 'a' })).toEqual({ fixed: 'f1', moving: 'm1' });
    fixture.advanceClock(31_000);
    for (const name of ['a', 'b'])
      expect(await fixture.mount(objects, { name })).toEqual({ fixed: 'f1', moving: 'm2' });
    expect(countReads()).toBe(before + 1);
  });

  test('serves the cached value in an outage, until AWS denies the read', async () => {
    await start();
    fixture.secretsManager.put('s', 'x');
    const objects = secret('objectName: s');
    await fixture.volume(objects);
    fixture.account.regionFaults.set(awsRegion, 'down');
    fixture.advanceClock(5 * minute);
    expect(await fixture.mount(objects)).toEqual({ s: 'x' });
    fixture.account.regionFaults.clear();
    fixture.secretsManager.denied.add('s');
    fixture.secretsManager.denied.add('DescribeSecret');
    fixture.advanceClock(minute);
    expect(await fixture.mount(objects)).toMatch(/^ACCESS_DENIED: aws: .*AccessDeniedException/);
    fixture.account.regionFaults.set(awsRegion, 'down');
    expect(await fixture.mount(objects)).not.toEqual({ s: 'x' });
  });
});

describe('failover', () => {
  const classWith = (objects: string): Record<string, string> => ({
    region: awsRegion,
    failoverRegion: awsFailoverRegion,
    objects,
  });
  const failoverRegion = awsFailoverRegion;
  const failoverCalls = (): unknown[] =>
    fixture.secretsManager.calls.filter(({ region }) => region === failoverRegion);

  test('does not call the failoverRegion while the primary responds', async () => {
    await start();
    fixture.secretsManager.put('db', 'here');
    expect(await fixture.mount(classWith(secret('objectName: db')))).toEqual({ db: 'here' });
    expect(failoverCalls()).toEqual([]);
  });

  test.each(['down', 'throttled'] as const)(
    'reads from the failoverRegion while the primary is %s',
    async (outage) => {
      await start();
      fixture.account.regionFaults.set(awsRegion, outage);
      fixture.secretsManager.put('db-replica', '{"a":"there"}', failoverRegion);
      fixture.ssm.put('/p', 'there', failoverRegion);
      const objects = [
        secret(
          'objectName: db, objectAlias: f, failoverObject: {objectName: db-replica}, jmesPath: [{path: a}]',
        ),
        parameter('objectName: /p'),
      ];
      expect(await fixture.mount(classWith(objects.join('\n')))).toEqual({
        f: '{"a":"there"}',
        a: 'there',
        _p: 'there',
      });
    },
  );

  test('does not replace a missing, denied or deleted secret', async () => {
    await start();
    fixture.secretsManager.put('db', 'here');
    fixture.secretsManager.put('db', 'there', failoverRegion);
    fixture.secretsManager.put('other', 'there', failoverRegion);
    expect(await fixture.mount(classWith(secret('objectName: other')))).toMatch(
      /^OBJECT_NOT_FOUND: .*eu-west-1/,
    );
    fixture.secretsManager.denied.add('db');
    expect(await fixture.mount(classWith(secret('objectName: db')), { name: 'b' })).toMatch(
      /^ACCESS_DENIED: .*eu-west-1/,
    );
    fixture.secretsManager.denied.clear();
    fixture.secretsManager.delete('db');
    expect(await fixture.mount(classWith(secret('objectName: db')), { name: 'c' })).toMatch(
      /^OBJECT_DISABLED/,
    );
    expect(failoverCalls()).toEqual([]);
  });

  test('reports the outage of the primary and why the failoverRegion refuses', async () => {
    await start();
    fixture.account.regionFaults.set(awsRegion, 'down');
    const objects = secret('objectName: db');
    expect(await fixture.mount(classWith(objects))).toMatch(
      /^STORE_UNAVAILABLE: .*eu-west-1.*; and the fallback fails with OBJECT_NOT_FOUND: .*us-east-1/,
    );
    fixture.secretsManager.put('db', 'there', failoverRegion);
    fixture.secretsManager.denied.add('db');
    expect(await fixture.mount(classWith(objects), { name: 'b' })).toMatch(
      /^STORE_UNAVAILABLE: .*eu-west-1.*; and the fallback fails with ACCESS_DENIED: .*us-east-1/,
    );
    expect(fixture.lines.join()).toContain('a fallback cannot be used');
  });

  test('reports the outage of the primary if both are away', async () => {
    await start();
    for (const region of [awsRegion, failoverRegion])
      fixture.account.regionFaults.set(region, 'down');
    const line = await fixture.mount(classWith(secret('objectName: db')));
    expect(line).toMatch(/^STORE_UNAVAILABLE: .*eu-west-1/);
    expect(line).not.toContain(failoverRegion);
  });
});

describe('incidents', () => {
  const throttling = {
    status: 400,
    body: { __type: 'ThrottlingException', message: 'Rate exceeded' },
  };

  test('throttling before a successful retry shows only in a metric', async () => {
    await start();
    fixture.secretsManager.put('db', 'x');
    fixture.secretsManager.injectFault({ times: 1, response: throttling });
    expect(await fixture.mount(secret('objectName: db'))).toEqual({ db: 'x' });
    expect(await fixture.metrics()).toContain(
      'keyferry_failed_attempts_total{budget="aws",code="STORE_THROTTLED"} 1',
    );
  });

  test('200 pods make three calls while STS throttles, and one afterwards', async () => {
    await start();
    fixture.secretsManager.put('db', 'x');
    const body = '<ErrorResponse><Error><Code>Throttling</Code></Error></ErrorResponse>';
    fixture.sts.injectFault({
      delayMs: 50,
      response: { status: 400, headers: { 'content-type': 'text/xml' }, body },
    });
    const startAll = (): Promise<unknown[]> =>
      Promise.all(
        Array.from({ length: 200 }, (_, index) =>
          fixture.mount(secret('objectName: db'), { name: `${index}` }),
        ),
      );
    expect(new Set(await startAll())).toEqual(
      new Set([
        expect.stringMatching(/^CREDENTIALS_UNAVAILABLE: .*too many calls: STS in eu-west-1/),
      ]),
    );
    expect(fixture.sts.count()).toBe(3);
    fixture.sts.injectFault();
    expect(await startAll()).toEqual(Array(200).fill({ db: 'x' }));
    expect(fixture.sts.count()).toBe(4);
  });

  test('with only DescribeSecret allowed, serves known pods, and no new pod after 15 min', async () => {
    await start();
    fixture.secretsManager.put('db', 'x');
    const objects = secret('objectName: db');
    await fixture.volume(objects, { name: 'served' });
    fixture.secretsManager.denied.add('GetSecretValue');
    fixture.advanceClock(16 * minute);
    expect(await fixture.mount(objects, { name: 'served' })).toEqual({ db: 'x' });
    expect(await fixture.mount(objects, { name: 'new' })).toMatch(
      /^ACCESS_DENIED: .*secretsmanager:GetSecretValue/,
    );
    // The denial drops the cached value for all pods.
    expect(await fixture.mount(objects, { name: 'served' })).toMatch(/^ACCESS_DENIED/);
  });
});

test('no value appears in a status, the log or a metric', async () => {
  await start();
  fixture.secretsManager.put('db', '{"a":"CANARY-1","b":{"c":"CANARY-2"}}');
  fixture.secretsManager.put('text', 'CANARY-3');
  fixture.ssm.put('/p', 'CANARY-4');
  const failures: unknown[] = [];
  for (const [index, objects] of [
    secret('objectName: db, jmesPath: [{path: a}, {path: b.c, objectAlias: c}]'),
    secret('objectName: db, jmesPath: [{path: a.b.c}]'),
    secret('objectName: db, jmesPath: [{path: "sum(a)"}]'),
    secret('objectName: text, jmesPath: [{path: a}]'),
    secret('objectName: text, encoding: hex'),
    parameter('objectName: /p, jmesPath: [{path: a}]'),
    `${parameter('objectName: /p')}\n${secret('objectName: gone')}`,
  ].entries()) {
    const result = await fixture.mount(objects, { name: `pod-${index}` });
    if (typeof result === 'string') failures.push(result);
  }
  expect(failures).toHaveLength(6);
  const output = [...failures, ...fixture.lines, await fixture.metrics()].join('\n');
  expect(output).toContain('audit');
  expect(output).not.toContain('CANARY');
});

test('the audit log names the identity that read', async () => {
  await start();
  fixture.secretsManager.put('db', 'x');
  await fixture.volume(secret('objectName: db'));
  expect(fixture.lines.join()).toContain(`the role ${appRole} as team-a.app`);
});
