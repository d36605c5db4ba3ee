import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import {
  alibabaRegion,
  startAlibabaCloud,
  type FakeAlibabaCloud,
} from '../../../test/fakes/alibaba-cloud.ts';
import type { RamRole } from '../../../test/fakes/alibaba-sts.ts';
import { thrownSummary } from '../../../test/fakes/failure.ts';
import { createHostStoreReader, storeAuth } from '../../../test/fakes/host-store-reader.ts';
import type { StoreConfig } from '../../core/host-store.ts';
import { createHttpClient } from '../../http/client.ts';
import { createFingerprint } from '../shared/identity/fingerprint.ts';
import { createAlibabaHostStore } from './host.ts';

const secretsRole = 'acs:ram::2222222222:role/secrets';
const roles: readonly RamRole[] = [{ arn: secretsRole, trustedPrincipals: ['worker', 'user'] }];
const wordsOfKubernetes = /\b(node|pod|class|ServiceAccount|cluster|OIDC)\b/i;
const read = ['my-app/db@v1: s3cret'];

let cloud: FakeAlibabaCloud;
beforeEach(async () => {
  cloud = await startAlibabaCloud({ roles });
  cloud.kms.put('my-app/db', 's3cret');
});
afterEach(() => cloud.close());

const fingerprint = createFingerprint();
type Env = Readonly<Record<string, string>>;

function open(
  config: Partial<StoreConfig> = { region: alibabaRegion },
  env: Env = {},
  http = cloud.http,
) {
  const { now, kms, oos, sts, metadata } = cloud;
  const store = createAlibabaHostStore(
    { type: 'alibabacloud', ...config },
    {
      env: {
        KEYFERRY_ALIBABACLOUD_KMS_ENDPOINT: kms.url.href,
        KEYFERRY_ALIBABACLOUD_OOS_ENDPOINT: oos.url.href,
        KEYFERRY_ALIBABACLOUD_STS_ENDPOINT: sts.url.href,
        KEYFERRY_ALIBABACLOUD_METADATA_ENDPOINT: metadata.url.href,
        ...env,
      },
      ...{ http, now, retryBaseMs: 1, fingerprint, log: pino({ enabled: false }) },
    },
  );
  return createHostStoreReader(store);
}

function keysEnv(): Env {
  const keys = cloud.account.issueKeys();
  return {
    ALIBABA_CLOUD_ACCESS_KEY_ID: keys.accessKeyId,
    ALIBABA_CLOUD_ACCESS_KEY_SECRET: keys.accessKeySecret,
  };
}

/** Who read. */
const readers = (): (string | undefined)[] => cloud.kms.calls.map(({ holder }) => holder);

describe('the identity of a host', () => {
  test('is the RAM role of the ECS instance, in the region of the instance', async () => {
    const { read: readPaths, principal, store } = open({});
    expect(store.refFor('my-app/db')).not.toHaveProperty('region');
    expect(await readPaths('my-app/db')).toEqual(read);
    expect(readers()).toEqual(['worker']);
    expect(await principal()).toMatchObject({
      ...{ kind: 'shared', description: 'the RAM role of this host' },
    });
    expect(store.refFor('my-app/db')).toHaveProperty('region', alibabaRegion);
  });

  test('is the keys of the environment before the RAM role', async () => {
    expect(await open({ region: alibabaRegion }, keysEnv()).read('my-app/db')).toEqual(read);
    expect(readers()).toEqual(['user']);
  });

  test('is a session of the environment', async () => {
    const keys = cloud.account.issueKeys({ holder: 'session', lifeMs: 3_600_000 });
    const env = {
      ALIBABA_CLOUD_ACCESS_KEY_ID: keys.accessKeyId,
      ALIBABA_CLOUD_ACCESS_KEY_SECRET: keys.accessKeySecret,
      ALIBABA_CLOUD_SECURITY_TOKEN: keys.securityToken!,
    };
    expect(await open({ region: alibabaRegion }, env).read('my-app/db')).toEqual(read);
    expect(readers()).toEqual(['session']);
  });

  test('is the keys of dso.yaml, whatever the environment has', async () => {
    const keys = cloud.account.issueKeys({ holder: 'dso.yaml' });
    const auth = storeAuth(
      'access_key',
      { access_key: keys.accessKeyId },
      { secret_key: keys.accessKeySecret },
    );
    expect(await open({ region: alibabaRegion, auth }, keysEnv()).read('my-app/db')).toEqual(read);
    expect(readers()).toEqual(['dso.yaml']);
  });

  test('is the keys of the environment where auth.method is access_key and has no keys', async () => {
    const config = { region: alibabaRegion, auth: storeAuth('access_key') };
    expect(await open(config, keysEnv()).read('my-app/db')).toEqual(read);
    expect(readers()).toEqual(['user']);
  });

  test('is the RAM role where auth.method is ecs_role, whatever the environment has', async () => {
    const env = { ALIBABA_CLOUD_ACCESS_KEY_ID: 'incomplete' };
    const config = { region: alibabaRegion, auth: storeAuth('ecs_role') };
    expect(await open(config, env).read('my-app/db')).toEqual(read);
    expect(readers()).toEqual(['worker']);
  });

  test('is the RAM role that role_name names, and no other', async () => {
    const role = cloud.metadata.current.role!;
    const openWith = (role_name: string) =>
      open({ region: alibabaRegion, auth: storeAuth('ecs_role', { role_name }) });
    expect(await openWith(role).read('my-app/db')).toEqual(read);
    expect(await openWith('other').check()).toMatch(
      /^NOT_CONFIGURED: alibabacloud: this host has no RAM role other; attach a RAM role/,
    );
  });
});

describe('a host without an identity', () => {
  test('reads what was tried and what to do, where the ECS instance has no RAM role', async () => {
    cloud.metadata.current = { ...cloud.metadata.current, role: undefined };
    const [error = ''] = await open().read('my-app/db');
    expect(error).toMatch(
      /^failed NOT_CONFIGURED: alibabacloud: KMS secret my-app\/db \(ACSCurrent\) in cn-hangzhou: there are no keys in dso\.yaml or in the environment, and this host has no RAM role .*; attach a RAM role to the ECS instance, or give keys: access_key and secret_key in dso\.yaml, or ALIBABA_CLOUD_ACCESS_KEY_ID/,
    );
    expect(error).not.toMatch(wordsOfKubernetes);
  });

  test('reads the same where it is no ECS instance', async () => {
    cloud.metadata.injectFault({ reset: true });
    const error = await open().check();
    expect(error).toMatch(
      /^CREDENTIALS_UNAVAILABLE: alibabacloud: there are no keys in dso\.yaml or in the environment, and the metadata service of this host cannot be used: .*; on an ECS instance check the way to it; elsewhere give keys: /,
    );
    expect(error).not.toMatch(wordsOfKubernetes);
  });

  test('reads that the region is missing where no one names it', async () => {
    cloud.metadata.injectFault({ reset: true });
    expect(await open({}, keysEnv()).check()).toMatch(
      /^NOT_CONFIGURED: alibabacloud: there is no region in dso\.yaml or in ALIBABA_CLOUD_REGION_ID, and the region of this host cannot be read: .*; set region in dso\.yaml$/,
    );
  });

  test.each([
    ['has one key only', storeAuth('access_key', { access_key: 'AK1' })],
    ['has no keys', storeAuth('access_key')],
  ])('does not open where auth.method is access_key and dso.yaml %s', (_, auth) => {
    expect(thrownSummary(() => open({ region: alibabaRegion, auth }))).toMatch(
      /^NOT_CONFIGURED: alibabacloud: auth\.method is access_key, and the keys are missing; give/,
    );
  });

  test('does not open with one half of a pair of variables', () => {
    const env = { ALIBABA_CLOUD_ACCESS_KEY_SECRET: 'x' };
    expect(thrownSummary(() => open({ region: alibabaRegion }, env))).toBe(
      'NOT_CONFIGURED: alibabacloud: ALIBABA_CLOUD_ACCESS_KEY_SECRET is set, but ALIBABA_CLOUD_ACCESS_KEY_ID is not; set both or none',
    );
  });
});

describe('the role of role_arn', () => {
  test.each([
    ['the RAM role of the host', (): Env => ({})],
    ['keys', keysEnv],
  ])('is assumed with %s, and reads', async (_, env) => {
    const { read: readPaths } = open({ region: alibabaRegion, roleArn: secretsRole }, env());
    expect(await readPaths('my-app/db')).toEqual(read);
    expect(await readPaths('my-app/db')).toEqual(read);
    expect(readers()).toEqual([secretsRole, secretsRole]);
    expect(cloud.sts.sessions).toEqual([`AssumeRole ${secretsRole} as keyferry for 3600`]);
  });

  test('that the host may not assume is named with what is missing', async () => {
    const roleArn = 'acs:ram::123456789:role/unknown';
    const { check, principal } = open({ region: alibabaRegion, roleArn });
    const error = await check();
    expect(error).toMatch(
      /^ACCESS_DENIED: alibabacloud: the RAM role of this host cannot assume the role acs:ram::123456789:role\/unknown .*; it needs sts:AssumeRole/,
    );
    expect(error).not.toMatch(wordsOfKubernetes);
    expect((await principal()).description).toBe(
      `the role ${roleArn}, assumed by the RAM role of this host`,
    );
  });

  test('is refused at the start if it is not a role', () => {
    expect(thrownSummary(() => open({ roleArn: 'arn:aws:iam::1:role/x' }))).toMatch(
      /^NOT_CONFIGURED: alibabacloud: role_arn is not an ARN of a RAM role: .*; write acs:ram::/,
    );
  });

  test('is another principal than the host', async () => {
    const fingerprintOf = async (config: Partial<StoreConfig>, env?: Env): Promise<string> =>
      (await open({ region: alibabaRegion, ...config }, env).principal()).fingerprint;
    const all = await Promise.all([
      fingerprintOf({}),
      fingerprintOf({ roleArn: secretsRole }),
      fingerprintOf({ region: 'cn-beijing' }),
      fingerprintOf({ auth: storeAuth('ecs_role', { role_name: 'x' }) }),
      fingerprintOf({}, keysEnv()),
    ]);
    expect(new Set(all).size).toBe(all.length);
    expect(await fingerprintOf({})).toBe(all[0]);
  });
});

describe('a reference', () => {
  test.each([
    ['my-app/db', { service: 'kms', name: 'my-app/db', stage: 'ACSCurrent' }],
    ['oos:my-app/db', { service: 'oos', name: 'my-app/db' }],
    ['oos:my-app/db:3', { service: 'oos', name: 'my-app/db', version: '3' }],
  ])('with the path %s is in the region of the store', (path, ref) => {
    expect(open().store.refFor(path)).toEqual({ ...ref, region: alibabaRegion });
  });

  test('with an ARN is in the region of the ARN', () => {
    const name = 'acs:kms:cn-beijing:1234567890:secret/my-app/db';
    expect(open().store.refFor(name)).toMatchObject({ service: 'kms', name, region: 'cn-beijing' });
  });

  test.each([
    ['oos:', /is not the name of a parameter of OOS; write oos: and the name/],
    ['oos:a:0', /selects no version of a parameter of OOS; versions are the numbers 1 to 100/],
    ['acs:kms:x', /is not an ARN of a KMS secret; write acs:kms:/],
    ['a\u0000b', /has control characters/],
    ['', /has control characters, or is longer/],
  ])('with the path "%s" is refused', (path, message) => {
    const summary = thrownSummary(() => open().store.refFor(path));
    expect(summary).toMatch(/^INVALID_CLASS: alibabacloud: /);
    expect(summary).toMatch(message);
  });

  test('reads secrets of KMS in one batch, and parameters of OOS', async () => {
    cloud.kms.put('b', 'two');
    cloud.oos.put('my-app/key', 'one');
    cloud.oos.put('my-app/key', 'two');
    const lines = await open({}).read('my-app/db', 'b', 'oos:my-app/key', 'oos:my-app/key:1');
    expect(lines.map((line) => line.split(': ')[1])).toEqual(['s3cret', 'two', 'two', 'one']);
    expect(cloud.kms.batchSizes()).toEqual([2]);
  });
});

describe('a store that', () => {
  test('has no such secret says what to check', async () => {
    expect(await open().read('absent', 'oos:absent')).toEqual([
      expect.stringMatching(
        /^absent OBJECT_NOT_FOUND: alibabacloud: KMS secret absent .*; check its name, region and account$/,
      ),
      expect.stringMatching(/^absent OBJECT_NOT_FOUND: alibabacloud: OOS parameter absent /),
    ]);
  });

  test('denies a secret names the permission', async () => {
    cloud.kms.denied.add('my-app/db');
    expect(await open().read('my-app/db')).toEqual([
      expect.stringMatching(/^failed ACCESS_DENIED: .*; it needs kms:GetSecretValue/),
    ]);
  });

  test('throttles is tried again, and then reported', async () => {
    cloud.kms.injectFault({ response: { status: 400, body: { Code: 'Rejected.Throttling' } } });
    expect(await open().read('my-app/db')).toEqual([
      expect.stringMatching(/^failed STORE_THROTTLED: /),
    ]);
    expect(cloud.kms.count()).toBeGreaterThan(1);
  });

  test('refuses the keys gets no second call with them, and their text stays out', async () => {
    const env = keysEnv();
    cloud.account.revoke(env.ALIBABA_CLOUD_ACCESS_KEY_ID!);
    const { read: readPaths, check } = open({ region: alibabaRegion }, env);
    for (const error of [...(await readPaths('my-app/db')), await check()]) {
      expect(error).toMatch(
        /CREDENTIALS_REFUSED: alibabacloud: .*Alibaba Cloud refused the access key it is configured/,
      );
      for (const key of Object.values(env)) expect(error).not.toContain(key);
    }
    expect(cloud.kms.count()).toBe(1);
  });
});

describe('a check', () => {
  test('succeeds by a list of one secret', async () => {
    expect(await open().check()).toBe('OK');
    const [call] = cloud.kms.calls;
    expect([call?.action, call?.parameters.get('PageSize')]).toEqual(['ListSecrets', '1']);
  });

  test('succeeds for a host that may not list secrets', async () => {
    cloud.kms.denied.add('ListSecrets');
    expect(await open().check()).toBe('OK');
  });

  test('fails where KMS is away', async () => {
    cloud.kms.injectFault({ reset: true });
    expect(await open().check()).toMatch(/^STORE_UNAVAILABLE: alibabacloud: /);
  });
});

describe('a list', () => {
  test('has all secrets that stay, over several pages', async () => {
    for (let i = 0; i < 230; i += 1) cloud.kms.put(`s${1_000 + i}`, 'x');
    cloud.kms.setErrorResponse('s1000', 400, 'Rejected.PendingDeletion');
    const { list, store } = open();
    expect((await list()).split(' ')).toHaveLength(230);
    expect(cloud.kms.calls).toHaveLength(3);
    const [first] = await store.list!(new AbortController().signal);
    expect(first).toEqual({ path: 'my-app/db', changedAt: Date.parse('2026-11-22T03:00:00Z') });
  });

  test('names the permission that it lacks', async () => {
    cloud.kms.denied.add('ListSecrets');
    expect(await open().list()).toMatch(
      /^ACCESS_DENIED: alibabacloud: .*; it needs kms:ListSecrets$/,
    );
  });
});

describe('the address of KMS', () => {
  test('is endpoint of dso.yaml, for reads, checks and lists', async () => {
    const { kms } = cloud;
    const env = { KEYFERRY_ALIBABACLOUD_KMS_ENDPOINT: 'https://wrong.invalid' };
    const {
      read: readPaths,
      check,
      list,
    } = open({ region: alibabaRegion, endpoint: kms.url.host }, env);
    expect(await readPaths('my-app/db')).toEqual(read);
    expect(await check()).toBe('OK');
    expect(await list()).toBe('my-app/db');
  });

  test.each([
    ['that of the VPC with a RAM role', (): Env => ({}), 'kms-vpc.cn-hangzhou.aliyuncs.com'],
    ['the public one with keys', keysEnv, 'kms.cn-hangzhou.aliyuncs.com'],
  ])('is %s', async (_, env, host) => {
    // The proxy is away, so no request leaves this machine.
    const http = createHttpClient({ proxy: { httpsProxy: 'http://127.0.0.1:1' } });
    const settings = { ...env(), KEYFERRY_ALIBABACLOUD_KMS_ENDPOINT: '' };
    const { check } = open({ region: alibabaRegion }, settings, http);
    expect(await check()).toMatch(
      new RegExp(`^STORE_UNAVAILABLE: alibabacloud: .*\\b${host} \\(by the proxy 127`),
    );
    await http.close();
  });

  test.each([
    [{ region: 'cn_hangzhou' }, /alibabacloud: region is not a region: cn_hangzhou/],
    [{ region: alibabaRegion, endpoint: 'http://x' }, /alibabacloud: endpoint "http:\/\/x" is not/],
    [{ auth: storeAuth('default') }, /auth\.method default is not known; write ecs_role or access/],
  ])('and other settings are refused with their key: %j', (config, message) => {
    expect(thrownSummary(() => open(config))).toMatch(message);
  });
});
