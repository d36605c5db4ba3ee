import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { awsRegion, startAwsCloud, type FakeAwsCloud } from '../../../test/fakes/aws-cloud.ts';
import { startFakeInstanceMetadata, startFakeTaskRole } from '../../../test/fakes/aws-metadata.ts';
import type { IamRole } from '../../../test/fakes/aws-sts.ts';
import { thrownSummary } from '../../../test/fakes/failure.ts';
import { createHostStoreReader, storeAuth } from '../../../test/fakes/host-store-reader.ts';
import type { FakeServer } from '../../../test/fakes/http-server.ts';
import type { StoreConfig } from '../../core/host-store.ts';
import { createFingerprint } from '../shared/identity/fingerprint.ts';
import { createAwsHostStore } from './host.ts';

const profile = 'arn:aws:iam::111122223333:role/web-host';
const taskRole = 'arn:aws:iam::111122223333:role/task';
const secretsRole = 'arn:aws:iam::444455556666:role/team/secrets';
/** As a guide prints it: the account has nine digits. */
const guideRole = 'arn:aws:iam::123456789:role/ContainerSecretsRole';
const roles: readonly IamRole[] = [{ arn: secretsRole, trustedHolders: [profile, 'user'] }];
const wordsOfKubernetes = /\b(node|pod|class|ServiceAccount|cluster|IRSA)\b/i;
const read = ['my-app/db@00000000-0000-4000-8000-000000000001: s3cret'];

let cloud: FakeAwsCloud;
let servers: FakeServer[];
let savedEnv: NodeJS.ProcessEnv;

beforeEach(async () => {
  cloud = await startAwsCloud({ roles });
  cloud.secretsManager.put('my-app/db', 's3cret');
  servers = [];
  savedEnv = process.env;
  // The SDK reads the environment of the process. It must find nothing of this machine.
  process.env = {
    ...Object.fromEntries(Object.entries(savedEnv).filter(([name]) => !name.startsWith('AWS_'))),
    HOME: '/nonexistent',
    AWS_EC2_METADATA_DISABLED: 'true',
  };
});
afterEach(async () => {
  process.env = savedEnv;
  await Promise.all([cloud.close(), ...servers.map((server) => server.close())]);
});

/** An EC2 instance with a profile, or without. */
async function startInstance({ hasProfile = true } = {}) {
  const keys = cloud.account.issueKeys({ holder: profile, lifeMs: 6 * 3_600_000 });
  const metadata = await startFakeInstanceMetadata({
    ...{ region: awsRegion, ...(hasProfile && { keys }) },
  });
  servers.push(metadata);
  delete process.env.AWS_EC2_METADATA_DISABLED;
  process.env.AWS_EC2_METADATA_SERVICE_ENDPOINT = metadata.url.origin;
  return { metadata, keys };
}

function setKeys(holder = 'user') {
  const keys = cloud.account.issueKeys({ holder });
  process.env.AWS_ACCESS_KEY_ID = keys.accessKeyId;
  process.env.AWS_SECRET_ACCESS_KEY = keys.secretAccessKey;
  return keys;
}

async function setTaskRole(): Promise<FakeServer> {
  const keys = cloud.account.issueKeys({ holder: taskRole, lifeMs: 6 * 3_600_000 });
  const server = await startFakeTaskRole(keys, 'planted-token');
  servers.push(server);
  process.env.AWS_CONTAINER_CREDENTIALS_FULL_URI = `${server.url.origin}/v2/credentials`;
  process.env.AWS_CONTAINER_AUTHORIZATION_TOKEN = 'planted-token';
  return server;
}

const fingerprint = createFingerprint();
function open(config: Partial<StoreConfig> = { region: awsRegion }) {
  const { http, now } = cloud;
  const store = createAwsHostStore(
    { type: 'aws', ...config },
    {
      ...{ env: { ...process.env, ...cloud.env }, http, now, retryBaseMs: 1 },
      ...{ fingerprint, log: pino({ enabled: false }) },
    },
  );
  return createHostStoreReader(store);
}

/** Who read. */
const readers = (): string[] => cloud.secretsManager.calls.map(({ holder }) => holder);

describe('the identity of a host', () => {
  test('is the instance profile of EC2, in the region of the instance', async () => {
    await startInstance();
    const { read: readPaths, principal, store } = open({});
    expect(store.refFor('my-app/db')).not.toHaveProperty('region');
    expect(await readPaths('my-app/db')).toEqual(read);
    expect(readers()).toEqual([profile]);
    expect(cloud.secretsManager.calls[0]?.region).toBe(awsRegion);
    expect(await principal()).toMatchObject({ kind: 'shared', description: 'this host' });
    expect(store.refFor('my-app/db')).toHaveProperty('region', awsRegion);
  });

  test('is the task role of ECS before the instance profile', async () => {
    await startInstance();
    await setTaskRole();
    expect(await open().read('my-app/db')).toEqual(read);
    expect(readers()).toEqual([taskRole]);
  });

  test('is the keys of the environment before both', async () => {
    await startInstance();
    await setTaskRole();
    setKeys();
    expect(await open().read('my-app/db')).toEqual(read);
    expect(readers()).toEqual(['user']);
  });

  test.each([
    ['environment', 'user'],
    ['task_role', taskRole],
    ['instance_profile', profile],
    ['default', 'user'],
  ])('is that of auth.method %s where several are there', async (method, holder) => {
    await startInstance();
    await setTaskRole();
    setKeys();
    const { read: readPaths } = open({ region: awsRegion, auth: storeAuth(method) });
    expect(await readPaths('my-app/db')).toEqual(read);
    expect(readers()).toEqual([holder]);
  });
});

describe('a host without an identity', () => {
  test('reads all that was tried, and what to do', async () => {
    await startInstance({ hasProfile: false });
    const [error = ''] = await open().read('my-app/db');
    expect(error).toMatch(
      /^failed NOT_CONFIGURED: aws: Secrets Manager secret my-app\/db in eu-west-1: this host has no AWS credentials: none in the environment or in ~\/\.aws, no ECS task role, and no instance profile; attach an instance profile .*, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in its environment$/,
    );
    expect(error).not.toMatch(wordsOfKubernetes);
  });

  test.each([
    ['environment', /AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not both set; set them/],
    ['task_role', /there is no ECS task role, .*; give the ECS task a task role/],
    ['instance_profile', /this host has no instance profile, .*; attach an instance profile/],
  ])('reads what auth.method %s needs, and is served by no other', async (method, message) => {
    await startInstance({ hasProfile: false });
    if (method !== 'environment') setKeys();
    const { check } = open({ region: awsRegion, auth: storeAuth(method) });
    const error = await check();
    expect(error).toMatch(/^NOT_CONFIGURED: aws: /);
    expect(error).toMatch(message);
    expect(error).not.toMatch(wordsOfKubernetes);
    expect(readers()).toEqual([]);
  });

  test('reads that the region is missing where no one names it', async () => {
    setKeys();
    expect(await open({}).check()).toBe(
      'NOT_CONFIGURED: aws: there is no region in dso.yaml, AWS_REGION or AWS_DEFAULT_REGION, and AWS_EC2_METADATA_DISABLED is true; set region in dso.yaml',
    );
  });

  test('reads the cause where the instance metadata cannot be reached', async () => {
    const { metadata } = await startInstance();
    await metadata.close();
    expect(await open({}).check()).toMatch(
      /^NOT_CONFIGURED: aws: there is no region in .*, and the instance metadata cannot be read: .*; set region in dso\.yaml$/,
    );
  });
});

describe('the role of role_arn', () => {
  test('is assumed with the identity of the host, and reads', async () => {
    await startInstance();
    const { read: readPaths, principal } = open({ region: awsRegion, roleArn: secretsRole });
    expect(await readPaths('my-app/db')).toEqual(read);
    expect(await readPaths('my-app/db')).toEqual(read);
    expect(readers()).toEqual([secretsRole, secretsRole]);
    expect(cloud.sts.sessions).toEqual([
      expect.stringMatching(
        /^arn:aws:iam::444455556666:role\/team\/secrets as keyferry\.\S+ for 3600$/,
      ),
    ]);
    expect((await principal()).description).toBe(`the role ${secretsRole}`);
  });

  test('that the host may not assume is named with what is missing', async () => {
    setKeys('stranger');
    const error = await open({ region: awsRegion, roleArn: secretsRole }).check();
    expect(error).toMatch(
      /^ACCESS_DENIED: aws: this host cannot assume the role arn:\S+ .*; the role must exist, its trust policy must name the identity of the caller, and that identity needs sts:AssumeRole/,
    );
    expect(error).not.toMatch(wordsOfKubernetes);
  });

  test('with nine digits is taken offline, and STS refuses it with the cause', async () => {
    setKeys();
    const { check, read: readPaths } = open({ region: awsRegion, roleArn: guideRole });
    const message =
      /STORE_REFUSED_REQUEST: aws: .*STS refused the request for the role \S+ \(HTTP 400, ValidationError.*; the account of an ARN has 12 digits, zeros at the beginning too$/;
    expect(await check()).toMatch(message);
    expect(await readPaths('my-app/db')).toEqual([expect.stringMatching(message)]);
  });

  test('needs keys that AWS knows', async () => {
    const keys = setKeys();
    cloud.account.revoke(keys.accessKeyId);
    const { check } = open({ region: awsRegion, roleArn: secretsRole });
    for (const error of [await check(), await check()]) {
      expect(error).toMatch(
        /^CREDENTIALS_REFUSED: aws: AWS refused the credentials of this host \(HTTP 403, InvalidClientTokenId\)/,
      );
      expect(error).not.toContain(keys.accessKeyId);
    }
    expect(cloud.sts.count()).toBe(1);
  });

  test('fails as a login where STS is away', async () => {
    setKeys();
    cloud.sts.injectFault({ response: { status: 503 } });
    expect(await open({ region: awsRegion, roleArn: secretsRole }).check()).toMatch(
      /^CREDENTIALS_UNAVAILABLE: aws: no keys for the role arn:\S+: .*; check the network path to STS/,
    );
  });

  test.each(['arn:aws:iam::1:user/x', 'role/x', 'arn:aws:iam::x:role/y'])(
    '"%s" is refused at the start',
    (roleArn) => {
      expect(thrownSummary(() => open({ region: awsRegion, roleArn }))).toMatch(
        /^NOT_CONFIGURED: aws: role_arn is not an ARN of an IAM role: .*; write arn:aws:iam::/,
      );
    },
  );

  test('is another principal than the host', async () => {
    setKeys();
    const fingerprintOf = async (config: Partial<StoreConfig>): Promise<string> =>
      (await open({ region: awsRegion, ...config }).principal()).fingerprint;
    const all = await Promise.all([
      fingerprintOf({}),
      fingerprintOf({ roleArn: secretsRole }),
      fingerprintOf({ region: 'us-east-1' }),
      fingerprintOf({ endpoint: 'https://secrets.example' }),
      fingerprintOf({ auth: storeAuth('environment') }),
    ]);
    expect(new Set(all).size).toBe(all.length);
    expect(await fingerprintOf({})).toBe(all[0]);
  });
});

describe('a reference', () => {
  test.each([
    ['my-app/db', { service: 'secretsmanager', name: 'my-app/db', stage: 'AWSCURRENT' }],
    ['ssm:/my-app/db', { service: 'ssm', name: '/my-app/db' }],
    ['ssm:db', { service: 'ssm', name: 'db' }],
    ['ssm:/my-app/db:3', { service: 'ssm', name: '/my-app/db', version: '3' }],
    ['ssm:/my-app/db:prod', { service: 'ssm', name: '/my-app/db', stage: 'prod' }],
  ])('with the path %s is in the region of the store', (path, ref) => {
    expect(open().store.refFor(path)).toEqual({ ...ref, region: awsRegion });
  });

  test.each([
    ['arn:aws:secretsmanager:us-east-1:111122223333:secret:a/b-AbCdEf', 'secretsmanager'],
    ['arn:aws:ssm:us-east-1:111122223333:parameter/a/b', 'ssm'],
  ])('with the path %s is in the region of the ARN', (name, service) => {
    expect(open().store.refFor(name)).toMatchObject({ service, name, region: 'us-east-1' });
  });

  test.each([
    ['ssm:', /is not the name of a parameter; write ssm: and the name/],
    ['ssm:a b', /is not the name of a parameter/],
    ['ssm:/a:b:c', /selects neither a version nor a label/],
    ['ssm:/a:', /selects neither a version nor a label/],
    ['arn:aws:s3:::bucket', /is not an ARN of a secret or a parameter/],
    ['arn:aws:ssm:eu-west-1:123456789:parameter/a', /has 12 digits/],
    ['a\u0000b', /has control characters/],
    ['', /has control characters, or is longer/],
  ])('with the path "%s" is refused', (path, message) => {
    const summary = thrownSummary(() => open().store.refFor(path));
    expect(summary).toMatch(/^INVALID_CLASS: aws: /);
    expect(summary).toMatch(message);
  });

  test('reads secrets by name and by ARN, and parameters, of several regions', async () => {
    setKeys();
    const { secretsManager, ssm } = cloud;
    secretsManager.put('far', 'far', 'us-east-1');
    ssm.put('/my-app/key', 'one');
    ssm.put('/my-app/key', 'two');
    ssm.put('plain', 'p');
    const arn = secretsManager.arn('far', 'us-east-1');
    const paths = ['my-app/db', arn, 'ssm:/my-app/key', 'ssm:/my-app/key:1', 'ssm:plain'];
    expect((await open().read(...paths)).map((line) => line.split(': ')[1])).toEqual([
      ...['s3cret', 'far', 'two', 'one', 'p'],
    ]);
  });
});

describe('a store that', () => {
  beforeEach(() => void setKeys());

  test('has no such secret in this region names the region', async () => {
    cloud.secretsManager.put('elsewhere', 'x', 'us-east-1');
    expect(await open().read('elsewhere', 'ssm:/absent')).toEqual([
      expect.stringMatching(
        /^absent OBJECT_NOT_FOUND: aws: Secrets Manager secret elsewhere in eu-west-1: there is no such secret .*; check its name, and that it is in eu-west-1/,
      ),
      expect.stringMatching(/^absent OBJECT_NOT_FOUND: aws: SSM parameter \/absent in eu-west-1/),
    ]);
  });

  test('denies a secret names the permission', async () => {
    cloud.secretsManager.denied.add('my-app/db');
    expect(await open().read('my-app/db')).toEqual([
      expect.stringMatching(
        /^failed ACCESS_DENIED: .*; allow secretsmanager:GetSecretValue on arn:aws:secretsmanager:eu-west-1:/,
      ),
    ]);
  });

  test('throttles is tried again, and then reported', async () => {
    cloud.account.regionFaults.set(awsRegion, 'throttled');
    expect(await open().read('my-app/db')).toEqual([
      expect.stringMatching(/^failed STORE_THROTTLED: /),
    ]);
    expect(cloud.secretsManager.count()).toBeGreaterThan(1);
  });

  test('is of a region that the account has not enabled names the region', async () => {
    cloud.account.regionFaults.set('ap-east-1', 'not enabled');
    expect(await open({ region: 'ap-east-1' }).check()).toMatch(
      /^CREDENTIALS_REFUSED: aws: AWS refused the credentials of this host .*; check that they are still valid, and that ap-east-1 is enabled/,
    );
  });
});

describe('a check', () => {
  beforeEach(() => void setKeys());

  test('succeeds by a list of one secret', async () => {
    expect(await open().check()).toBe('OK');
    expect(cloud.secretsManager.calls).toMatchObject([
      { action: 'ListSecrets', input: { MaxResults: 1 } },
    ]);
  });

  test('succeeds for a host that may not list secrets', async () => {
    cloud.secretsManager.denied.add('ListSecrets');
    expect(await open().check()).toBe('OK');
  });

  test('fails where Secrets Manager is away', async () => {
    cloud.account.regionFaults.set(awsRegion, 'down');
    expect(await open().check()).toMatch(/^STORE_UNAVAILABLE: aws: /);
  });
});

describe('a list', () => {
  beforeEach(() => void setKeys());

  test('has all secrets, over several pages, with their versions', async () => {
    for (let i = 0; i < 230; i += 1) cloud.secretsManager.put(`s${1_000 + i}`, 'x');
    cloud.secretsManager.delete('s1000');
    const { list, store } = open();
    expect((await list()).split(' ')).toHaveLength(230);
    expect(cloud.secretsManager.callCount('ListSecrets')).toBe(3);
    const [first] = await store.list!(new AbortController().signal);
    expect(first).toEqual({
      ...{ path: 'my-app/db', version: '00000000-0000-4000-8000-000000000001' },
      changedAt: 1_700_000_000_250,
    });
  });

  test('names the permission that it lacks', async () => {
    cloud.secretsManager.denied.add('ListSecrets');
    expect(await open().list()).toMatch(
      /^ACCESS_DENIED: aws: .*; allow secretsmanager:ListSecrets on \*$/,
    );
  });
});

describe('a setting of dso.yaml', () => {
  test.each([
    [{ region: 'eu_west' }, /aws: region is not a region: eu_west/],
    [{ region: awsRegion, endpoint: 'http://x' }, /aws: endpoint "http:\/\/x" is not https/],
    [{ region: awsRegion, auth: storeAuth('iam') }, /aws: auth\.method iam is not known; write/],
  ])('is refused with its key: %j', (config, message) => {
    expect(thrownSummary(() => open(config))).toMatch(message);
  });

  test('endpoint takes the place of the variables, except that of STS', async () => {
    setKeys();
    const config = { region: awsRegion, roleArn: secretsRole };
    const env = { AWS_ENDPOINT_URL_SECRETS_MANAGER: 'https://wrong.invalid' };
    const { http, now } = cloud;
    const store = createAwsHostStore(
      { type: 'aws', ...config, endpoint: cloud.secretsManager.url.href },
      {
        ...{ env: { ...process.env, ...cloud.env, ...env }, http, now, retryBaseMs: 1 },
        ...{ fingerprint, log: pino({ enabled: false }) },
      },
    );
    expect(await createHostStoreReader(store).read('my-app/db')).toEqual(read);
  });

  test('region takes the place of the variables', async () => {
    setKeys();
    process.env.AWS_REGION = 'us-east-1';
    expect(await open().read('my-app/db')).toEqual(read);
    expect((await open({}).read('my-app/db'))[0]).toMatch(/in us-east-1: there is no such secret/);
  });
});
