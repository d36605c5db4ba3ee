import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from '@jest/globals';
import { parse } from 'yaml';
import { SecretError } from '../src/core/errors.ts';
import type { SecretProviderClass } from './driver/cluster.ts';
import { alibabaErrorResponse } from './fakes/alibaba-account.ts';
import { startFakeKms } from './fakes/alibaba-kms.ts';
import {
  appRole,
  grantsForApp,
  production,
  staging,
  startAlibabaFixture,
  type AlibabaFixture,
  type AlibabaFixtureOptions,
} from './fakes/alibabacloud-fixture.ts';
import { createTestCa } from './fakes/tls.ts';
import { withDriver } from './fakes/with-driver.ts';
import { eventually } from './fakes/timers.ts';

const minute = 60_000;

let fixture: AlibabaFixture;
afterEach(() => fixture.close());

async function start(options: AlibabaFixtureOptions = {}): Promise<void> {
  fixture = await startAlibabaFixture(options);
}

describe.each(['1.5', '1.6'] as const)(
  "the vendor guide's walk-through, under a driver of %s",
  (generation) => {
    test('credentials, class, volume and secretObjects: a pod starts, and a new value comes', async () => {
      // `alibaba-credentials` reaches the DaemonSet as ACCESS_KEY_ID and SECRET_ACCESS_KEY.
      await start({ keys: true, env: { ALICLOUD_OIDC_PROVIDER_ARN: '' }, refreshInterval: 0 });
      fixture.kms.put('test', '{"username":"app","password":"first"}');
      const spc = parse(`
      apiVersion: secrets-store.csi.x-k8s.io/v1
      kind: SecretProviderClass
      metadata: {name: test-secret}
      spec:
        provider: alibabacloud
        parameters:
          objects: |
            - objectName: "test"
            - objectType: "kms"
        secretObjects:
          - secretName: test-synced
            type: Opaque
            data: [{objectName: test, key: value}]
    `) as SecretProviderClass;
      await withDriver(
        fixture.mountCall,
        { provider: 'alibabacloud', generation },
        async (driver) => {
          const pod = { namespace: 'team-a', serviceAccount: 'app' };
          let view = await driver.publish({ class: spc, pod });
          expect(view).toMatchObject({ phase: 'Running', last: 'mounted', events: [] });
          expect(view.files.test?.text).toBe('{"username":"app","password":"first"}');
          expect(view.status?.objects).toEqual([{ id: 'test', version: 'v1' }]);
          expect(view.secrets['test-synced']).toEqual({
            value: '{"username":"app","password":"first"}',
          });
          expect(fixture.lines.join()).toContain(
            'item 2 has an objectType alone; it is used for item 1',
          );

          fixture.kms.put('test', '{"username":"app","password":"second"}');
          view = await driver.republish(view);
          expect(view.files.test?.text).toContain('second');
          expect(view.status?.objects).toEqual([{ id: 'test', version: 'v2' }]);

          const unauthorizedPod = await driver.publish({
            class: spc,
            pod: { ...pod, serviceAccount: 'plain' },
          });
          expect(unauthorizedPod.phase).toBe('Pending');
          expect(unauthorizedPod.trapped).toBe(false);
          expect(unauthorizedPod.events[0]?.message).toMatch(
            /code = PermissionDenied desc = NOT_GRANTED: alibabacloud: service account team-a\/plain may not read kms\/test/,
          );
        },
      );
    });

    test('the same pod with keys of nodePublishSecretRef, and with the role of the pod', async () => {
      await start({ sharedIdentities: 'none', refreshInterval: 0 });
      fixture.kms.put('test', 'first');
      const spc = (more: object): SecretProviderClass => ({
        metadata: { name: 'app' },
        spec: { provider: 'alibabacloud', parameters: { objects: '- objectName: test', ...more } },
      });
      await withDriver(
        fixture.mountCall,
        { provider: 'alibabacloud', generation },
        async (driver) => {
          const pod = { namespace: 'team-a', serviceAccount: 'app' };
          const keys = fixture.account.issueKeys({ holder: 'of the pod' });
          const nodePublishSecret = {
            access_key: keys.accessKeyId,
            access_secret: keys.accessKeySecret,
          };
          const byKeys = await driver.publish({ class: spc({}), pod, nodePublishSecret });
          const byRole = await driver.publish({
            class: spc({ usePodServiceAccountToken: 'true' }),
            pod,
            tokens: fixture.podToken(),
          });
          for (const view of [byKeys, byRole]) {
            expect(view).toMatchObject({ phase: 'Running', events: [] });
            expect((await driver.republish(view)).last).toBe('mounted');
          }
          expect(new Set(fixture.readers())).toEqual(new Set(['of the pod', appRole]));
        },
      );
    });
  },
);

describe('a session that Alibaba Cloud does not take, although it is new', () => {
  test.each([['InvalidSecurityToken.Expired'], ['InvalidAccessKeyId.NotFound']])(
    '%s: the mount logs in once more, and the next mounts do not',
    async (code) => {
      await start();
      const mount = (name: string) =>
        fixture.mount(
          {
            ...{ region: 'cn-hangzhou', usePodServiceAccountToken: 'true' },
            objects: `- objectName: ${name}`,
          },
          { tokens: fixture.podToken() },
        );
      for (const name of ['a', 'b', 'c', 'd']) fixture.kms.put(name, 'x');
      expect(await mount('a')).toEqual({ a: 'x' });
      const response = alibabaErrorResponse(404, code, 'no');
      fixture.kms.injectFault({ times: 1, response });
      expect(await mount('b')).toEqual({ b: 'x' });
      expect(fixture.sts.sessions).toHaveLength(2);

      fixture.kms.injectFault({ response });
      for (const name of ['c', 'd'])
        expect(await mount(name)).toMatch(
          /^CREDENTIALS_REFUSED: .*; check that the role exists, and that its session has not ended$/,
        );
      expect(fixture.sts.sessions).toHaveLength(2);
    },
  );

  test('a key that a person made is not used again for a minute', async () => {
    await start({ keys: true, env: { ALICLOUD_OIDC_PROVIDER_ARN: '' } });
    fixture.kms.put('a', 'x');
    const response = alibabaErrorResponse(404, 'InvalidAccessKeyId.NotFound', 'no');
    fixture.kms.injectFault({ response });
    for (let index = 0; index < 3; index += 1)
      expect(await fixture.mount({ region: 'cn-hangzhou', objects: '- objectName: a' })).toMatch(
        /^CREDENTIALS_REFUSED: .*; check that the key exists, is enabled and complete$/,
      );
    expect(fixture.kms.count()).toBe(1);
  });
});

describe('a class of the documentation', () => {
  test('whole and extracted files, numbers, booleans and objects as JSON', async () => {
    await start();
    fixture.kms.put(
      'eu/prod/db',
      '{"username":"app","pass-word":"p","port":5432,"ratio":1.50,"tls":true,"opts":{"b":[1, 2]}}',
    );
    const { files, versions } = await fixture.volume(`
      - objectName: "eu/prod/db"
        objectAlias: "db.json"
        jmesPath:
          - {path: username, objectAlias: db-user}
          - {path: '"pass-word"', objectAlias: db/pass}
          - {path: port}
          - {path: ratio}
          - {path: tls}
          - {path: opts, filePermission: "0400"}
    `);
    expect(
      files.map(({ path, mode, contents }) => [path, mode, Buffer.from(contents).toString()]),
    ).toEqual([
      ['db.json', 0o644, expect.stringContaining('"port":5432')],
      ['db-user', 0o644, 'app'],
      ['db_pass', 0o644, 'p'],
      ['port', 0o644, '5432'],
      ['ratio', 0o644, '1.50'],
      ['tls', 0o644, 'true'],
      ['opts', 0o400, '{"b":[1,2]}'],
    ]);
    expect(versions.slice(0, 2)).toEqual([
      { id: 'db.json', version: 'v1' },
      { id: 'db-user', version: expect.stringMatching(/^v1\+[0-9a-f]{8}$/) },
    ]);
    expect(fixture.kms.count()).toBe(1);
  });

  test.each([['missing'], ['none']])(
    'a path with no result, or with null, fails: %s',
    async (path) => {
      await start();
      fixture.kms.put('s', '{"none":null}');
      expect(await fixture.mount(`- {objectName: s, jmesPath: [{path: ${path}}]}`)).toMatch(
        /^KEY_NOT_FOUND/,
      );
    },
  );

  test('binary secrets are mounted as bytes', async () => {
    await start();
    fixture.kms.put('keystore', Uint8Array.from([0, 255, 1]));
    const { files } = await fixture.volume('- objectName: keystore');
    expect([...files[0]!.contents]).toEqual([0, 255, 1]);
  });

  test('an absent secret fails the mount, unless it is optional', async () => {
    await start();
    fixture.kms.put('there', 'x');
    expect(await fixture.mount('- objectName: there\n- objectName: gone')).toMatch(
      /^OBJECT_NOT_FOUND: alibabacloud: KMS secret gone \(ACSCurrent\) in cn-hangzhou: .*Forbidden\.ResourceNotFound/,
    );
    expect(
      await fixture.mount('- objectName: there\n- {objectName: gone, optional: true}'),
    ).toEqual({
      there: 'x',
    });
  });

  test('an unknown parameter that users have is a warning', async () => {
    await start();
    fixture.kms.put('s', 'x');
    expect(await fixture.mount({ objects: '- objectName: s', env_auth_mode: 'aksk' })).toEqual({
      s: 'x',
    });
    expect(fixture.lines.join()).toContain(
      'the parameter env_auth_mode is unknown to alibabacloud',
    );
  });
});

describe('problems of the vendor’s provider that users reported', () => {
  test('a null item in the list fails its mount, but not the next one', async () => {
    await start();
    fixture.kms.put('s', 'x');
    expect(await fixture.mount('- objectName: s\n-\n')).toMatch(/^INVALID_CLASS: item 2 is empty/);
    expect(await fixture.mount('- objectName: s')).toEqual({ s: 'x' });
  });

  test('eu/prod/db keeps its directories without translation', async () => {
    await start();
    fixture.kms.put('eu/prod/db', 'x');
    const files = await fixture.mount({
      objects: '- objectName: eu/prod/db',
      pathTranslation: 'False',
    });
    expect(files).toEqual({ 'eu/prod/db': 'x' });
  });

  test('a rotated OOS parameter has a new version and value, also if its numbers start again', async () => {
    await start();
    fixture.oos.put('app/banner', 'one');
    const objects = '- {objectName: app/banner, objectType: oos}';
    const first = await fixture.volume(objects);
    expect(first.versions).toEqual([{ id: 'app_banner', version: expect.stringMatching(/^1\+/) }]);
    fixture.advanceClock(minute);
    fixture.oos.put('app/banner', 'two');
    const second = await fixture.volume(objects);
    expect(Buffer.from(second.files[0]!.contents).toString()).toBe('two');
    expect(second.versions[0]!.version).toMatch(/^2\+/);
    fixture.oos.delete('app/banner');
    fixture.advanceClock(minute);
    fixture.oos.put('app/banner', 'changed');
    const third = await fixture.volume(objects);
    expect(Buffer.from(third.files[0]!.contents).toString()).toBe('changed');
    expect(third.versions[0]!.version).toMatch(/^1\+/);
    expect(third.versions).not.toEqual(first.versions);
  });

  test("a call that hangs ends when the caller's signal fires", async () => {
    await start();
    fixture.kms.injectFault({ hang: true });
    const abortController = new AbortController();
    const mount = fixture.mount('- objectName: s', { signal: abortController.signal });
    while (fixture.kms.count() === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    abortController.abort(new SecretError('DEADLINE', 'the deadline of the request'));
    expect(await mount).toMatch(/^DEADLINE/);
  });

  test('each object is read at the kmsEndpoint that it names: two gateways and the region, in one mount', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'keyferry-gateway-'));
    // The certificate of a gateway ends at a private intermediate. Its root is not available.
    const intermediate = createTestCa('Private Root').intermediate('Private KMS Second CA');
    writeFileSync(join(directory, 'cn-hangzhou.pem'), intermediate.cert);
    const accounts: { serve?: AlibabaFixture['account']['serve'] } = {};
    const account = { serve: (...call) => accounts.serve!(...call) } as AlibabaFixture['account'];
    const gateways = await Promise.all(
      [1, 2].map(() => startFakeKms({ account, tls: intermediate.issue() })),
    );
    try {
      const hosts = gateways.map(({ url }) => url.host);
      await start({
        env: {
          KEYFERRY_ALIBABACLOUD_KMS_ALLOWED_ENDPOINTS: hosts.join(),
          KEYFERRY_ALIBABACLOUD_GATEWAY_CA_DIR: directory,
        },
      });
      accounts.serve = fixture.account.serve;
      gateways.forEach((gateway, index) => gateway.put('s', `gateway ${index}`));
      fixture.kms.put('s', 'region');
      const objects = ['', ...hosts.map((host) => `kmsEndpoint: "${host}", `)].map(
        (endpoint, index) => `- {objectName: s, ${endpoint}objectAlias: f${index}}`,
      );
      expect(await fixture.mount(objects.join('\n'))).toEqual({
        f0: 'region',
        f1: 'gateway 0',
        f2: 'gateway 1',
      });
      expect(await fixture.mount('- {objectName: s, kmsEndpoint: evil.example}')).toMatch(
        /^NOT_ALLOWED_FROM_CLASS: kmsEndpoint of item 1: the endpoint evil\.example/,
      );
    } finally {
      await Promise.all(gateways.map((gateway) => gateway.close()));
      rmSync(directory, { recursive: true });
    }
  });

  test('200 pods at once with one secret: one login, one read; 50 secrets by three reads', async () => {
    await start();
    const names = Array.from({ length: 50 }, (_, index) => `s${index}`);
    for (const name of names) fixture.kms.put(name, `value of ${name}`);
    const pods = Array.from({ length: 200 }, (_, index) => index);
    const mounts = pods.map((index) =>
      fixture.mount(`- objectName: s${index % 50}`, { name: `pod-${index}` }),
    );
    (await Promise.all(mounts)).forEach((files, index) =>
      expect(files).toEqual({ [`s${index % 50}`]: `value of s${index % 50}` }),
    );
    expect(fixture.kms.batchSizes()).toEqual([20, 20, 10]);
    expect(fixture.kms.count()).toBe(3);
    expect(fixture.metadata.count(/security-credentials\/.+/)).toBe(1);
  });

  test('objects of one mount are read concurrently', async () => {
    await start();
    for (let index = 0; index < 10; index += 1) fixture.kms.put(`s${index}`, 'x');
    await fixture.volume('- objectName: s0');
    // Pinned versions are read one by one. No response leaves before all requests have arrived.
    let release = (): void => undefined;
    const until = new Promise<void>((resolve) => (release = resolve));
    fixture.kms.injectFault({ until });
    const before = fixture.kms.count();
    const versions = Array.from({ length: 10 }, (_, index) => fixture.kms.put(`s${index}`, 'y'));
    const objects = versions.map((v, index) => `- {objectName: s${index}, objectVersion: ${v}}`);
    const volume = fixture.volume(objects.join('\n'), { name: 'b' });
    await eventually(() => fixture.kms.count() - before === 10);
    release();
    expect((await volume).files).toHaveLength(10);
  });

  test('a managed secret, which ignores its pin, is read once', async () => {
    await start();
    fixture.kms.put('rds', '{"AccountName":"a"}', 'Rds');
    const objects = '- {objectName: rds, objectVersion: pinned}';
    for (const round of [0, 1, 2]) {
      await fixture.volume(objects);
      fixture.advanceClock(round * minute);
    }
    expect(fixture.kms.count()).toBe(1);
  });
});

describe('freshness', () => {
  test('a pinned version is read once, a moving one again after 30 s, for all pods', async () => {
    await start();
    fixture.kms.put('fixed', 'f1');
    fixture.kms.put('moving', 'm1');
    const objects = '- {objectName: fixed, objectVersion: v1}\n- objectName: moving';
    for (const name of ['a', 'b']) await fixture.volume(objects, { name });
    expect(fixture.kms.count()).toBe(2);
    fixture.kms.put('moving', 'm2');
    expect(await fixture.mount(objects, { name: 'a' })).toEqual({ fixed: 'f1', moving: 'm1' });
    fixture.advanceClock(31_000);
    expect(await fixture.mount(objects, { name: 'a' })).toEqual({ fixed: 'f1', moving: 'm2' });
    expect(fixture.kms.count()).toBe(3);
  });

  test('in an outage the last value is served; a denied read drops it', async () => {
    await start();
    fixture.kms.put('s', 'x');
    await fixture.volume('- objectName: s');
    fixture.kms.injectFault({ response: { status: 503 } });
    fixture.advanceClock(5 * minute);
    expect(await fixture.mount('- objectName: s')).toEqual({ s: 'x' });
    fixture.kms.injectFault();
    fixture.kms.denied.add('s');
    fixture.advanceClock(minute);
    expect(await fixture.mount('- objectName: s')).toMatch(
      /^ACCESS_DENIED: .*Forbidden\.NoPermission/,
    );
    fixture.kms.injectFault({ response: { status: 503 } });
    expect(await fixture.mount('- objectName: s')).not.toEqual({ s: 'x' });
  });
});

test('one class with two accounts reads each with its own role', async () => {
  await start({ grants: [{ ...grantsForApp[0], roles: [staging, production] }] });
  fixture.kms.put('s', 'x');
  const objects = [staging, production].map(
    (role, index) => `- {objectName: s, objectAlias: f${index}, crossAccountRoleArn: "${role}"}`,
  );
  fixture.kms.denied.add(`s by ${production}`);
  expect(await fixture.mount(objects.join('\n'))).toMatch(/^ACCESS_DENIED/);
  fixture.kms.denied.clear();
  expect(await fixture.mount(objects.join('\n'))).toEqual({ f0: 'x', f1: 'x' });
  expect(fixture.readers()).toEqual(expect.arrayContaining([staging, production]));
});
