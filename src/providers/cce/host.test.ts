import { afterEach, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { thrownSummary } from '../../../test/fakes/failure.ts';
import { createHostStoreReader, storeAuth } from '../../../test/fakes/host-store-reader.ts';
import { createHuaweiAccount } from '../../../test/fakes/huawei-account.ts';
import { startFakeCsms } from '../../../test/fakes/huawei-csms.ts';
import { startFakeIam } from '../../../test/fakes/huawei-iam.ts';
import { startFakeMetadata } from '../../../test/fakes/huawei-metadata.ts';
import { createTestCa } from '../../../test/fakes/tls.ts';
import type { StoreConfig } from '../../core/host-store.ts';
import { createHttpClient } from '../../http/client.ts';
import { createFingerprint } from '../shared/identity/fingerprint.ts';
import { createHuaweiHostStore } from './host.ts';

const region = 'ap-southeast-3';
const project = '0605767eb280d5762fd5c0133b3f4b6a';
const wordsOfKubernetes = /\b(node|pod|class|ServiceAccount|cluster|cce)\b/i;

let cleanUp: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  await Promise.all(cleanUp.map((close) => close()));
  cleanUp = [];
});

async function start() {
  const account = createHuaweiAccount();
  account.projects.push({ id: project, name: region });
  const ca = createTestCa();
  const tls = ca.issue();
  const csms = await startFakeCsms({ account, project, tls });
  const iam = await startFakeIam({ account, tls });
  const metadata = await startFakeMetadata({ account, place: { region, project } });
  const http = createHttpClient({ ca: [ca.cert] });
  const fingerprint = createFingerprint();
  cleanUp.push(() => http.close(), ...[csms, iam, metadata].map((server) => () => server.close()));
  const keys = account.issueKeys();
  csms.put('database-password', 's3cret');
  return {
    ...{ account, csms, iam, metadata, keys },
    open(
      config: Partial<StoreConfig> = { region },
      env: Readonly<Record<string, string | undefined>> = {},
    ) {
      const store = createHuaweiHostStore(
        { type: 'huawei', endpoint: csms.url.href, ...config },
        {
          env: {
            HUAWEICLOUD_SDK_IAM_ENDPOINT: iam.url.href,
            HUAWEICLOUD_SDK_METADATA_ENDPOINT: metadata.url.href,
            ...env,
          },
          ...{ http, now: Date.now, retryBaseMs: 1 },
          ...{ fingerprint, log: pino({ enabled: false }) },
        },
      );
      return createHostStoreReader(store);
    },
  };
}

const read = ['database-password@v1: s3cret'];

describe('the identity of a host', () => {
  test('is the agency of the ECS where nothing is configured', async () => {
    const { open, metadata } = await start();
    const { read: readPaths, principal } = open();
    expect(await readPaths('database-password')).toEqual(read);
    expect(metadata.count('GET /openstack/latest/securitykey')).toBe(1);
    expect(await principal()).toMatchObject({
      ...{ kind: 'shared', description: 'the agency of this host' },
    });
  });

  test.each([
    ['HUAWEI_ACCESS_KEY_ID', 'HUAWEI_SECRET_ACCESS_KEY'],
    ['HUAWEI_ACCESS_KEY', 'HUAWEI_SECRET_KEY'],
    ['HUAWEICLOUD_SDK_AK', 'HUAWEICLOUD_SDK_SK'],
  ])('is the keys in %s and %s', async (id, secret) => {
    const { open, keys, metadata } = await start();
    const { read: readPaths } = open({ region }, { [id]: keys.access, [secret]: keys.secret });
    expect(await readPaths('database-password')).toEqual(read);
    expect(metadata.count()).toBe(0);
  });

  test('is the keys of dso.yaml, whatever the environment has', async () => {
    const { open, keys } = await start();
    const auth = storeAuth('access_key', { access_key: keys.access }, { secret_key: keys.secret });
    const { read: readPaths } = open(
      { region, auth },
      { HUAWEI_ACCESS_KEY: 'other', HUAWEI_SECRET_KEY: 'other' },
    );
    expect(await readPaths('database-password')).toEqual(read);
  });

  test('is the keys of the environment where auth.method is access_key and has no keys', async () => {
    const { open, keys, metadata } = await start();
    const { read: readPaths } = open(
      { region, auth: storeAuth('access_key') },
      { HUAWEI_ACCESS_KEY: keys.access, HUAWEI_SECRET_KEY: keys.secret },
    );
    expect(await readPaths('database-password')).toEqual(read);
    expect(metadata.count()).toBe(0);
  });

  test('is the agency where auth.method is agency, whatever the environment has', async () => {
    const { open, metadata } = await start();
    const { read: readPaths } = open(
      { region, auth: storeAuth('agency') },
      { HUAWEI_ACCESS_KEY: 'incomplete' },
    );
    expect(await readPaths('database-password')).toEqual(read);
    expect(metadata.count('GET /openstack/latest/securitykey')).toBe(1);
  });

  test('differs between two keys with one id, and is equal for equal keys', async () => {
    const { open } = await start();
    const fingerprintOf = async (secret: string): Promise<string> => {
      const env = { HUAWEI_ACCESS_KEY: 'AK1', HUAWEI_SECRET_KEY: secret };
      return (await open({ region }, env).principal()).fingerprint;
    };
    expect(await fingerprintOf('a')).not.toBe(await fingerprintOf('b'));
    expect(await fingerprintOf('a')).toBe(await fingerprintOf('a'));
  });
});

describe('a host without an identity', () => {
  test('reads what was tried and what to do, where the ECS has no agency', async () => {
    const { open, metadata } = await start();
    metadata.hasAgency = false;
    const [error = ''] = await open().read('database-password');
    expect(error).toMatch(
      /^failed NOT_CONFIGURED: huawei: secret database-password \(latest\) in ap-southeast-3: there are no keys in dso\.yaml or in the environment, and this host has no agency .*; attach an agency to the ECS, or give keys: access_key and secret_key in dso\.yaml, or HUAWEI_ACCESS_KEY_ID and HUAWEI_SECRET_ACCESS_KEY in the environment$/,
    );
    expect(error.replaceAll('.yaml', '')).not.toMatch(wordsOfKubernetes);
  });

  test('reads the same where it is no ECS', async () => {
    const { open, metadata } = await start();
    await metadata.close();
    const { check } = open();
    expect(await check()).toMatch(
      /^CREDENTIALS_UNAVAILABLE: huawei: there are no keys in dso\.yaml or in the environment, and the metadata service of this host cannot be used: .*; on an ECS check the way to it; elsewhere give keys: /,
    );
  });

  test.each([
    ['has one key only', storeAuth('access_key', { access_key: 'AK1' })],
    ['has no keys', storeAuth('access_key')],
  ])('does not open where auth.method is access_key and dso.yaml %s', async (_, auth) => {
    const { open } = await start();
    expect(thrownSummary(() => open({ region, auth }))).toMatch(
      /^NOT_CONFIGURED: huawei: auth\.method is access_key, and the keys are missing; give access_key/,
    );
  });

  test('does not open with one half of a pair of variables', async () => {
    const { open } = await start();
    expect(thrownSummary(() => open({ region }, { HUAWEI_SECRET_KEY: 'x' }))).toBe(
      'NOT_CONFIGURED: huawei: HUAWEI_SECRET_KEY is set, but HUAWEI_ACCESS_KEY is not; set both or none',
    );
  });
});

describe('the region and the project', () => {
  test('are those of the ECS where nothing names them, without a call of IAM', async () => {
    const { open, iam } = await start();
    const { read: readPaths, store } = open({});
    expect(store.refFor('database-password')).toEqual({
      ...{ service: 'csms', name: 'database-password', version: 'latest' },
    });
    expect(await readPaths('database-password')).toEqual(read);
    expect(iam.count()).toBe(0);
  });

  test('are read from the ECS once for concurrent callers', async () => {
    const { open, metadata } = await start();
    const { principal, read: readPaths } = open({});
    await Promise.all([principal(), principal(), readPaths('database-password')]);
    expect(metadata.count('GET /openstack/latest/meta_data.json')).toBe(1);
  });

  test('are those of the variables before those of the ECS', async () => {
    const { open, metadata } = await start();
    const { read: readPaths } = open(
      {},
      { HUAWEICLOUD_SDK_REGION: region, HUAWEICLOUD_SDK_PROJECT_ID: project },
    );
    expect(await readPaths('database-password')).toEqual(read);
    expect(metadata.count('GET /openstack/latest/meta_data.json')).toBe(0);
  });

  test('are those of dso.yaml before all others', async () => {
    const { open, iam } = await start();
    const { read: readPaths } = open(
      { region, projectId: project },
      { HUAWEICLOUD_SDK_REGION: 'cn-north-4', HUAWEICLOUD_SDK_PROJECT_ID: 'other' },
    );
    expect(await readPaths('database-password')).toEqual(read);
    expect(iam.count()).toBe(0);
  });

  test('are asked for on a machine that is no ECS', async () => {
    const { open, metadata, keys } = await start();
    await metadata.close();
    const env = { HUAWEI_ACCESS_KEY: keys.access, HUAWEI_SECRET_KEY: keys.secret };
    expect(await open({}, env).check()).toMatch(
      /^NOT_CONFIGURED: huawei: there is no region in dso\.yaml or in HUAWEICLOUD_SDK_REGION, and the metadata service of this host cannot be used: .*; set region in dso\.yaml$/,
    );
  });

  test('fail with the setting of dso.yaml where IAM knows no project for the region', async () => {
    const { open } = await start();
    const [error] = await open({ region: 'cn-north-4' }).read('database-password');
    expect(error).toMatch(
      /^failed NOT_CONFIGURED: .*the agency of this host sees 0 projects for cn-north-4, not one; set project_id in dso\.yaml; the id is in the console/,
    );
  });

  test.each([
    [{ region: 'ap_southeast' }, /huawei: region is not a region: ap_southeast/],
    [{ region, projectId: '../x' }, /huawei: project_id is not the id of a project/],
    [{ region, endpoint: 'http://x' }, /huawei: endpoint "http:\/\/x" is not https/],
    [{ region, auth: storeAuth('default') }, /huawei: auth\.method default is not known/],
  ])('are refused with the key of dso.yaml: %j', async (config, message) => {
    const { open } = await start();
    expect(thrownSummary(() => open(config))).toMatch(message);
  });
});

describe('a reference', () => {
  test.each(['my-app/db', '..', '.', 'ä', 'a'.repeat(65), 'a b', ''])(
    'with the path "%s" is refused: CSMS has no such name',
    async (path) => {
      const { store } = (await start()).open();
      expect(thrownSummary(() => store.refFor(path))).toMatch(
        /^INVALID_CLASS: huawei: CSMS has no secret with the name .*; names have 1 to 64 letters/,
      );
    },
  );
});

describe('a store that', () => {
  test('has no such secret is named with the secret', async () => {
    const { open } = await start();
    expect(await open().read('absent', 'database-password')).toEqual([
      expect.stringMatching(/^absent OBJECT_NOT_FOUND: huawei: secret absent \(latest\)/),
      ...read,
    ]);
  });

  test('denies a secret names the permission', async () => {
    const { open, csms } = await start();
    csms.denied.add('database-password');
    expect(await open().read('database-password')).toEqual([
      expect.stringMatching(/^failed ACCESS_DENIED: .*; it needs csms:secret:getVersion/),
    ]);
  });

  test('throttles is tried again, and then reported', async () => {
    const { open, csms } = await start();
    csms.injectFault({ response: { status: 429 } });
    expect(await open().read('database-password')).toEqual([
      expect.stringMatching(/^failed STORE_THROTTLED: /),
    ]);
    expect(csms.count('GET')).toBeGreaterThan(1);
  });

  test('refuses the keys says whose they are, and gets no second call with them', async () => {
    const { open, csms } = await start();
    const env = { HUAWEI_ACCESS_KEY: 'AKREVOKED', HUAWEI_SECRET_KEY: 'planted-secret' };
    const { read: readPaths, check } = open({ region, projectId: project }, env);
    const errors = [...(await readPaths('database-password', 'other')), await check()];
    for (const error of errors) {
      expect(error).toMatch(/CREDENTIALS_REFUSED: .*refused the access key it is configured with/);
      expect(error).not.toMatch(/planted-secret|AKREVOKED/);
      expect(error).not.toMatch(wordsOfKubernetes);
    }
    expect(csms.count('GET')).toBe(1);
  });

  test('is not CSMS names the settings of dso.yaml', async () => {
    const { open, csms } = await start();
    csms.injectFault({ response: { status: 404, body: '<html>' } });
    expect(await open().check()).toMatch(
      /^STORE_ANSWER_INVALID: huawei: .* does not respond like CSMS .*; check endpoint and region in dso\.yaml$/,
    );
  });
});

describe('a check', () => {
  test('succeeds by a list of one secret', async () => {
    const { open, csms } = await start();
    expect(await open().check()).toBe('OK');
    expect(csms.requests.map(({ query }) => query)).toEqual(['limit=1']);
  });

  test('succeeds for a host that may not list secrets', async () => {
    const { open, csms } = await start();
    csms.denied.add('list');
    expect(await open().check()).toBe('OK');
  });

  test('fails where CSMS is away', async () => {
    const { open, csms } = await start();
    csms.injectFault({ reset: true });
    expect(await open().check()).toMatch(/^STORE_UNAVAILABLE: huawei: /);
  });
});

describe('a list', () => {
  test('has all secrets that can be read, over several pages', async () => {
    const { open, csms } = await start();
    for (let i = 0; i < 450; i += 1) csms.put(`s${1_000 + i}`, 'x');
    csms.setState('s1000', 'PENDING_DELETE');
    const list = await open().list();
    expect(list.split(' ')).toHaveLength(450);
    expect(list).toMatch(/^database-password s1001 .* s1449$/);
    expect(csms.count('GET')).toBe(3);
  });

  test('ends where CSMS repeats a marker', async () => {
    const { open, csms } = await start();
    const page = { secrets: [], page_info: { next_marker: 'again' } };
    csms.injectFault({ response: { body: page } });
    expect(await open().list()).toBe('');
    expect(csms.count('GET')).toBe(2);
  });

  test('has the time of the last change, and names the permission that it lacks', async () => {
    const { open, csms } = await start();
    const { store, list } = open();
    expect(await store.list!(new AbortController().signal)).toEqual([
      { path: 'database-password', changedAt: 1_581_507_580_000 },
    ]);
    csms.denied.add('list');
    expect(await list()).toMatch(/^ACCESS_DENIED: huawei: .*; it needs csms:secret:list$/);
  });
});
