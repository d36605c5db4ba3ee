import { describe, expect, test } from '@jest/globals';
import { execFileSync } from 'node:child_process';
import { constants, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redacted } from '../../core/redacted.ts';
import type { HttpClient, HttpRequest } from '../../http/client.ts';
import type { AwsCredential } from './types.ts';
import { createSdk } from './sdk.ts';

const plain = { fips: false, dualstack: false };
const never = { abortSignal: new AbortController().signal };

/** Clients that get a throttling error for each request. By default the SDK would retry it. */
function start(config: Partial<Parameters<typeof createSdk>[0]['config']> = {}) {
  const requests: HttpRequest[] = [];
  const http: HttpClient = {
    request: async (request) => {
      requests.push(request);
      return { status: 400, headers: {}, body: Buffer.from('{"__type":"ThrottlingException"}') };
    },
    close: async () => undefined,
  };
  const sdk = createSdk({ config: { ...plain, ...config }, http });
  return { sdk, requests };
}

const keys = (id = 'AKIA1'): AwsCredential => ({
  accessKeyId: id,
  secretAccessKey: new Redacted('secret'),
  account: '111122223333',
});
const owner = (region = 'eu-west-1', fingerprint = 'pod', credential = keys()) => ({
  region,
  fingerprint,
  credential,
});

/** The URLs that the clients of the three services call for a region. */
async function hosts(region: string, config: Parameters<typeof start>[0] = {}): Promise<string[]> {
  const { sdk, requests } = start(config);
  const secrets = await sdk.secretsManager(owner(region));
  const ssm = await sdk.ssm(owner(region));
  const sts = await sdk.sts(region);
  const quiet = (): undefined => undefined;
  await secrets.client
    .send(new secrets.module.GetSecretValueCommand({ SecretId: 'db' }), never)
    .catch(quiet);
  await ssm.client.send(new ssm.module.GetParametersCommand({ Names: ['a'] }), never).catch(quiet);
  const login = {
    RoleArn: 'arn:aws:iam::111122223333:role/a',
    RoleSessionName: 'a',
    WebIdentityToken: 't.o.k',
  };
  await sts.client.send(new sts.module.AssumeRoleWithWebIdentityCommand(login), never).catch(quiet);
  return requests.map(({ url }) => url.href);
}

describe('endpoints', () => {
  test.each([
    [
      'eu-west-1',
      {},
      [
        'secretsmanager.eu-west-1.amazonaws.com',
        'ssm.eu-west-1.amazonaws.com',
        'sts.eu-west-1.amazonaws.com',
      ],
    ],
    [
      'us-east-1',
      {},
      [
        'secretsmanager.us-east-1.amazonaws.com',
        'ssm.us-east-1.amazonaws.com',
        'sts.us-east-1.amazonaws.com',
      ],
    ],
    [
      'cn-north-1',
      {},
      [
        'secretsmanager.cn-north-1.amazonaws.com.cn',
        'ssm.cn-north-1.amazonaws.com.cn',
        'sts.cn-north-1.amazonaws.com.cn',
      ],
    ],
    [
      'us-east-2',
      { fips: true },
      [
        'secretsmanager-fips.us-east-2.amazonaws.com',
        'ssm-fips.us-east-2.amazonaws.com',
        'sts-fips.us-east-2.amazonaws.com',
      ],
    ],
    [
      'eu-west-1',
      { dualstack: true },
      // The standard host of Secrets Manager has IPv4 and IPv6.
      ['secretsmanager.eu-west-1.amazonaws.com', 'ssm.eu-west-1.api.aws', 'sts.eu-west-1.api.aws'],
    ],
  ])('%s %j', async (region, config, expected) => {
    expect(await hosts(region, config)).toEqual(expected.map((host) => `https://${host}/`));
  });

  test("uses the operator's endpoints as they are, with any other settings", async () => {
    const [a, b, c] = ['a', 'b', 'c'].map((name) => new URL(`https://${name}.vpce.example:8443/`));
    const config = { secretsManager: a!, ssm: b!, sts: c!, fips: true, dualstack: true };
    expect(await hosts('eu-west-1', config)).toEqual([a!.href, b!.href, c!.href]);
  });

  test.each([
    '',
    'evil.example/',
    'eu-west-1.evil.example',
    'eu-west-1@evil.example',
    '169.254.169.254',
  ])('sends no request for %j, which is not a region', async (region) => {
    const { sdk, requests } = start();
    for (const make of [sdk.secretsManager(owner(region)), sdk.ssm(owner(region)), sdk.sts(region)])
      await expect(make).rejects.toMatchObject({ code: 'INVALID_CLASS' });
    expect(requests).toEqual([]);
  });
});

test('reads no file of the SDK: a file that never ends does not block it', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'kf-aws-'));
  const fifo = join(dir, 'config');
  execFileSync('mkfifo', [fifo]);
  const environment = { ...process.env };
  Object.assign(process.env, {
    AWS_CONFIG_FILE: fifo,
    AWS_SHARED_CREDENTIALS_FILE: fifo,
    AWS_PROFILE: 'x',
  });
  try {
    const late = new Promise<string[]>((resolve) =>
      setTimeout(resolve, 2_000, ['timeout: it reads the file']).unref(),
    );
    expect(await Promise.race([hosts('eu-west-1'), late])).toHaveLength(3);
  } finally {
    process.env = environment;
    // Unblocks a reader of the file, if there is one.
    await (await open(fifo, constants.O_RDWR)).close();
    rmSync(dir, { recursive: true });
  }
});

test('sends each call once, without retries of the SDK', async () => {
  const { sdk, requests } = start();
  const { module, client } = await sdk.secretsManager(owner());
  await client
    .send(new module.GetSecretValueCommand({ SecretId: 'db' }), never)
    .catch(() => undefined);
  expect(requests).toHaveLength(1);
});

test('loads no code of the SDK before the first use of a service', () => {
  const files = readdirSync(import.meta.dirname, { recursive: true, encoding: 'utf8' });
  const sources = files.filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts'));
  const early = sources.filter((file) =>
    /^import (?!type )[^;]*'@(aws-sdk|smithy)\//m.test(
      readFileSync(join(import.meta.dirname, file), 'utf8'),
    ),
  );
  expect(sources).toContain('sdk.ts');
  expect(early).toEqual([]);
});

test('passes the signal of a call to the request', async () => {
  const { sdk, requests } = start();
  const { module, client } = await sdk.ssm(owner());
  const { signal } = new AbortController();
  await client
    .send(new module.GetParametersCommand({ Names: ['a'] }), { abortSignal: signal })
    .catch(() => undefined);
  expect(requests[0]?.signal).toBe(signal);
});

describe('clients', () => {
  test('are shared by calls of one service, region and principal', async () => {
    const { sdk } = start();
    const first = await sdk.secretsManager(owner());
    expect((await sdk.secretsManager(owner())).client).toBe(first.client);
    for (const other of [owner('us-east-1'), owner('eu-west-1', 'other pod')])
      expect((await sdk.secretsManager(other)).client).not.toBe(first.client);
    expect((await sdk.sts('eu-west-1')).client).toBe((await sdk.sts('eu-west-1')).client);
  });

  test('are replaced and destroyed when the principal has new keys', async () => {
    const { sdk } = start();
    const first = await sdk.secretsManager(owner());
    let ended = 0;
    first.client.destroy = () => (ended += 1);
    const second = await sdk.secretsManager(owner('eu-west-1', 'pod', keys('AKIA2')));
    expect(second.client).not.toBe(first.client);
    expect(ended).toBe(1);
    expect(await second.client.config.credentials()).toMatchObject({ accessKeyId: 'AKIA2' });
  });

  test('of STS are not destroyed when they are used again', async () => {
    const { sdk } = start();
    const { client } = await sdk.sts('eu-west-1');
    let ended = 0;
    client.destroy = () => (ended += 1);
    expect((await sdk.sts('eu-west-1')).client).toBe(client);
    expect(ended).toBe(0);
  });

  test('are bounded: the least recently used one is destroyed', async () => {
    const { sdk } = start();
    const first = await sdk.secretsManager(owner());
    let ended = 0;
    first.client.destroy = () => (ended += 1);
    for (let pod = 0; pod < 128; pod++) await sdk.secretsManager(owner('eu-west-1', `pod-${pod}`));
    expect(ended).toBe(1);
  });
});
