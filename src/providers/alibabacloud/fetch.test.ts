import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { AlibabaKeys } from '../../../test/fakes/alibaba-account.ts';
import { startAlibabaCloud, type FakeAlibabaCloud } from '../../../test/fakes/alibaba-cloud.ts';
import { startFakeKms } from '../../../test/fakes/alibaba-kms.ts';
import { createAlibabaReader, keysSource } from '../../../test/fakes/alibaba-reader.ts';
import { createTestCa } from '../../../test/fakes/tls.ts';
import { Redacted } from '../../core/redacted.ts';
import type { CredentialSource } from './types.ts';

const minute = 60_000;

let cloud: FakeAlibabaCloud;
let reader: ReturnType<typeof createAlibabaReader>;
let keys: AlibabaKeys;
let user: CredentialSource;

beforeEach(async () => {
  cloud = await startAlibabaCloud();
  reader = createAlibabaReader(cloud);
  keys = cloud.account.issueKeys();
  user = keysSource(keys);
});
afterEach(() => cloud.close());

const lastQuery = (): string => new URLSearchParams(cloud.kms.requests.at(-1)?.query).toString();

describe('KMS secrets', () => {
  test('reads the current version; later the next one', async () => {
    cloud.kms.put('eu/prod/db', 'one');
    expect(await reader.results(user, { name: 'eu/prod/db' })).toEqual([
      { kind: 'value', value: { bytes: Buffer.from('one'), version: 'v1' } },
    ]);
    cloud.kms.put('eu/prod/db', 'two');
    expect(await reader.read(user, 'eu/prod/db')).toBe('eu/prod/db@v2: two');
  });

  test('requests a pinned version without a stage; the value is immutable', async () => {
    cloud.kms.put('db', 'one');
    cloud.kms.put('db', 'two');
    expect(await reader.results(user, { name: 'db', version: 'v1' })).toEqual([
      { kind: 'value', value: { bytes: Buffer.from('one'), version: 'v1', immutable: true } },
    ]);
    expect(lastQuery()).toBe('Format=JSON&SecretName=db&VersionId=v1');
  });

  test('reads a stage; KMS refuses a stage and a version that do not belong together', async () => {
    cloud.kms.put('db', 'one');
    cloud.kms.put('db', 'two');
    expect(await reader.read(user, { name: 'db', stage: 'ACSPrevious' })).toBe('db@v1: one');
    expect(await reader.read(user, { name: 'db', version: 'v1', stage: 'ACSCurrent' })).toMatch(
      /^failed STORE_REFUSED_REQUEST: alibabacloud: KMS secret db \(v1, ACSCurrent\) in cn-hangzhou: .*HTTP 400, InvalidParameter/,
    );
  });

  test.each(['Rds', 'RAMCredentials', 'ECS'])(
    'reads the current version of a managed secret (%s), which ignores the pin; the value is immutable',
    async (type) => {
      cloud.kms.put('db', 'one', type);
      cloud.kms.put('db', 'two', type);
      expect(await reader.results(user, { name: 'db', version: 'mine' })).toEqual([
        { kind: 'value', value: { bytes: Buffer.from('two'), version: 'v2', immutable: true } },
      ]);
    },
  );

  test("sends the ARN of another account's secret unchanged", async () => {
    const arn = 'acs:kms:cn-hangzhou:1234567890:secret/db';
    cloud.kms.put(arn, 'one');
    expect(await reader.read(user, arn)).toBe(`${arn}@v1: one`);
    expect(cloud.kms.calls[0]?.parameters.get('SecretName')).toBe(arn);
  });

  test('decodes binary data', async () => {
    const bytes = Uint8Array.from({ length: 256 }, (_, index) => index);
    cloud.kms.put('tls', bytes);
    expect(await reader.results(user, { name: 'tls' })).toMatchObject([
      { value: { bytes: Buffer.from(bytes) } },
    ]);
  });

  test.each(['', '{"a": 1.0}\n', '键\u{1f511}\u0000'])(
    'keeps the text unchanged: %#',
    async (text) => {
      cloud.kms.put('db', text);
      expect(await reader.read(user, 'db')).toBe(`db@v1: ${text}`);
    },
  );

  test('reads several secrets at once; a slow one does not delay the others', async () => {
    for (const name of ['warm', 'a', 'b']) cloud.kms.put(name, name);
    await reader.read(user, 'warm');
    cloud.kms.delays.set('a', 300);
    const pinned = ['a', 'b'].map((name) => reader.fetchRequest(user, { name, version: 'v1' }));
    const [slow, quick] = reader.fetch(pinned);
    expect(await Promise.race([slow!.then(() => 'slow'), quick!.then(() => 'quick')])).toBe(
      'quick',
    );
    expect(await slow).toMatchObject({ kind: 'value' });
  });
});

describe('OOS parameters', () => {
  test('reads and decrypts the newest version, with the time of its change', async () => {
    cloud.oos.put('app/key', 'one');
    cloud.oos.put('app/key', 'two');
    expect(await reader.results(user, { service: 'oos', name: 'app/key' })).toEqual([
      {
        kind: 'value',
        value: {
          bytes: Buffer.from('two'),
          version: '2',
          modified: expect.stringMatching(/^20\d\d-/),
        },
      },
    ]);
  });

  test('reads a pinned version; the value is immutable', async () => {
    cloud.oos.put('key', 'one');
    cloud.oos.put('key', 'two');
    expect(await reader.results(user, { service: 'oos', name: 'key', version: '1' })).toMatchObject(
      [{ kind: 'value', value: { bytes: Buffer.from('one'), version: '1', immutable: true } }],
    );
  });

  test('a parameter that was created again has the same version number, but another time', async () => {
    const modified = async (): Promise<unknown> =>
      (await reader.results(user, { service: 'oos', name: 'key' })).map(
        (result) => result.kind === 'value' && [result.value.version, result.value.modified],
      )[0];
    cloud.oos.put('key', 'one');
    const before = await modified();
    cloud.oos.delete('key');
    cloud.clock.cloud = cloud.clock.node = minute;
    cloud.oos.put('key', 'other');
    const after = await modified();
    expect([before, after]).toEqual([
      ['1', expect.anything()],
      ['1', expect.anything()],
    ]);
    expect(after).not.toEqual(before);
  });

  test.each([
    [
      'a parameter',
      { name: 'none' },
      'EntityNotExists\\.Parameter:.*; check its name, region and account',
    ],
    [
      'a version',
      { name: 'key', version: '7' },
      'EntityNotExists\\.ParameterVersion.*; check that it exists and has version 7; remove objectVersion for the current one',
    ],
  ])('%s that does not exist is absent', async (_, ref, code) => {
    cloud.oos.put('key', 'one');
    expect(await reader.read(user, { service: 'oos', ...ref })).toMatch(
      new RegExp(`^absent OBJECT_NOT_FOUND: alibabacloud: OOS parameter .*HTTP 404, ${code}$`),
    );
  });

  test('a denied read names the permission', async () => {
    cloud.oos.put('key', 'one');
    cloud.oos.denied.add('key');
    expect(await reader.read(user, { service: 'oos', name: 'key' })).toMatch(
      /^failed ACCESS_DENIED: .*NoPermission.*; it needs oos:GetSecretParameter, and kms:GetSecretValue/,
    );
  });
});

describe('an error response of KMS', () => {
  test('Forbidden.ResourceNotFound: absent', async () => {
    expect(await reader.read(user, 'none')).toMatch(
      /^absent OBJECT_NOT_FOUND: alibabacloud: KMS secret none in cn-hangzhou: there is no such secret, or not this version \(HTTP 404, Forbidden\.ResourceNotFound: "Resource not found\."\); check its name, region and account$/,
    );
  });

  test.each([
    [
      { version: 'v7' },
      'check that it exists and has version v7; remove objectVersion for the current one',
    ],
    [
      { stage: 'ACSPrevious' },
      'check that it exists and that a version has the label ACSPrevious; remove objectVersionLabel for the current one',
    ],
  ])('Forbidden.ResourceNotFound for %j: absent, with what to write instead', async (ref, hint) => {
    cloud.kms.put('db', 'one');
    expect(await reader.read(user, { name: 'db', ...ref })).toMatch(
      new RegExp(`^absent OBJECT_NOT_FOUND: .*; ${hint}$`),
    );
  });

  test.each([
    ['Rejected.Disabled', 'is disabled'],
    ['Rejected.PendingDeletion', 'is to be deleted'],
  ])('%s: absent, with the reason', async (code, reason) => {
    cloud.kms.put('db', 'one');
    cloud.kms.setErrorResponse('db', 409, code);
    expect(await reader.read(user, 'db')).toMatch(
      new RegExp(`^absent OBJECT_DISABLED: .*${reason} .*${code}`),
    );
  });

  test('Forbidden.NoPermission: denied, with the code and the permission', async () => {
    cloud.kms.put('db', 'one');
    cloud.kms.denied.add('db');
    expect(await reader.read(user, 'db')).toMatch(
      /^failed ACCESS_DENIED: .*access is denied \(HTTP 403, Forbidden\.NoPermission: .*; it needs kms:GetSecretValue/,
    );
  });

  test.each([
    [
      'XML',
      400,
      '<Error><Code>InvalidParameter</Code><RequestId>r-1</RequestId></Error>',
      'STORE_REFUSED_REQUEST: .*InvalidParameter',
    ],
    [
      'a page',
      404,
      '<html>no</html>',
      'STORE_ANSWER_INVALID: .*does not respond like KMS .HTTP 404',
    ],
    ['a redirect', 302, '', 'STORE_ANSWER_INVALID: .*HTTP 302'],
    [
      'a code that is a name of JavaScript',
      400,
      { Code: 'constructor' },
      'STORE_REFUSED_REQUEST: .*constructor',
    ],
    [
      'an unknown Forbidden',
      400,
      { Code: 'Forbidden.KeyNotFound' },
      'ACCESS_DENIED: .*Forbidden.KeyNotFound',
    ],
  ])('%s', async (_, status, body, expected) => {
    cloud.kms.injectFault({
      response: { status, body, headers: { location: 'https://evil.example/' } },
    });
    expect(await reader.read(user, 'db')).toMatch(new RegExp(`^failed ${expected}`));
  });
});

describe('a transient error is retried', () => {
  test.each([
    ['throttling as 400', { status: 400, body: { Code: 'Rejected.Throttling' } }],
    ['throttling as 429', { status: 429 }],
    ['throttling of a user', { status: 503, body: { Code: 'Throttling.User' } }],
    ['ServiceUnavailableTemporary', { status: 503, body: { Code: 'ServiceUnavailableTemporary' } }],
    ['InternalFailure', { status: 500, body: { Code: 'InternalFailure' } }],
    ['a nonce that was used before', { status: 400, body: { Code: 'SignatureNonceUsed' } }],
    ['a bad gateway', { status: 502, body: '<html>' }],
  ])('%s', async (_, response) => {
    cloud.kms.put('db', 'one');
    cloud.kms.injectFault({ times: 2, response });
    expect(await reader.read(user, 'db')).toBe('db@v1: one');
    expect(cloud.kms.count()).toBe(3);
  });

  test('a broken connection', async () => {
    cloud.kms.put('db', 'one');
    cloud.kms.injectFault({ times: 1, reset: true });
    expect(await reader.read(user, 'db')).toBe('db@v1: one');
    cloud.kms.injectFault({ times: 1, truncate: true });
    expect(await reader.read(user, 'db')).toBe('db@v1: one');
  });

  test('waits for the milliseconds of x-acs-retry-after', async () => {
    cloud.kms.put('db', 'one');
    await reader.read(user, 'db');
    const response = {
      status: 400,
      body: { Code: 'Throttling.User' },
      headers: { 'x-acs-retry-after': '120' },
    };
    cloud.kms.injectFault({ times: 1, response });
    const startedAt = Date.now();
    expect(await reader.read(user, 'db')).toBe('db@v1: one');
    expect(Date.now() - startedAt).toBeGreaterThanOrEqual(118);
  });

  test.each([
    [
      { status: 400, body: { Code: 'Throttling.User', RequestId: 'r-1', Message: 'it is tls' } },
      'STORE_THROTTLED',
    ],
    [
      { status: 503, body: { Code: 'ServiceUnavailableTemporary', RequestId: 'r-1' } },
      'STORE_UNAVAILABLE',
    ],
  ])('%j, three times: fails with the cause', async (response, code) => {
    cloud.kms.injectFault({ response });
    expect(await reader.read(user, 'db')).toMatch(
      new RegExp(
        `^failed ${code}: alibabacloud: KMS secret db .*HTTP ${response.status}, ${response.body.Code}\\)`,
      ),
    );
    expect(cloud.kms.count()).toBe(3);
  });

  test('an outage of one service does not affect another one, also with keys that no service accepted yet', async () => {
    cloud.kms.put('db', 'one');
    cloud.oos.injectFault({ delayMs: 20, response: { status: 503 } });
    const parameter = reader.read(user, { service: 'oos', name: 'key' });
    while (cloud.oos.count() === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    expect(await reader.read(user, 'db')).toBe('db@v1: one');
    expect(await parameter).toMatch(/^failed STORE_UNAVAILABLE/);
  });

  test('a read ends at once when its signal fires', async () => {
    cloud.kms.injectFault({ hang: true });
    const controller = new AbortController();
    const [result] = reader.fetch([
      reader.fetchRequest(user, { name: 'db' }, { signal: controller.signal }),
    ]);
    controller.abort(new Error('gone'));
    expect(await result).toMatchObject({ kind: 'failed' });
  });
});

describe('an invalid response', () => {
  const good = {
    SecretName: 'db',
    SecretData: 'canary-value',
    SecretDataType: 'text',
    VersionId: 'v1',
  };
  test.each([
    ['another secret', { ...good, SecretName: 'tls' }],
    ['another version', { ...good, VersionId: 'v2' }],
    ['another version of a generic secret', { ...good, VersionId: 'v2', SecretType: 'Generic' }],
    ['no value', { ...good, SecretData: undefined }],
    ['data that is not base64', { ...good, SecretDataType: 'binary', SecretData: 'canary-value!' }],
    ['another type', { ...good, SecretDataType: 'canary-value' }],
    ['half a character', { ...good, SecretData: 'canary-value\ud83d' }],
    ['a version of two lines', { ...good, VersionId: 'v1\ncanary-value' }],
    ['a body that is not JSON', '{"SecretData": canary-value'],
    [
      'bytes that are not UTF-8',
      Buffer.from(JSON.stringify({ ...good, SecretData: 'canary-value\xff' }), 'latin1'),
    ],
    ['HTML', '<html>canary-value</html>'],
  ])('%s', async (_, body) => {
    cloud.kms.injectFault({ response: { body } });
    const line = await reader.read(user, { name: 'db', version: 'v1' });
    expect(line).toMatch(
      /^failed STORE_ANSWER_INVALID: alibabacloud: KMS secret db \(v1\) in cn-hangzhou: KMS sent /,
    );
    expect(line).not.toContain('canary-value');
    expect(cloud.kms.count()).toBe(1);
  });

  test('more than a megabyte', async () => {
    cloud.kms.injectFault({ response: { body: { ...good, SecretData: 'x'.repeat(1_048_576) } } });
    expect(await reader.read(user, 'db')).toMatch(
      /^failed STORE_ANSWER_TOO_LARGE: alibabacloud: KMS secret db/,
    );
  });

  test.each([
    ['another parameter', { Name: 'x', Value: 'canary-value', ParameterVersion: 1 }],
    ['another version', { Name: 'key', Value: 'canary-value', ParameterVersion: 2 }],
    ['no value', { Name: 'key', ParameterVersion: 1 }],
  ])('of OOS: %s', async (_, parameter) => {
    cloud.oos.injectFault({ response: { body: { Parameter: parameter } } });
    const line = await reader.read(user, { service: 'oos', name: 'key', version: '1' });
    expect(line).toMatch(/^failed STORE_ANSWER_INVALID: .*OOS sent /);
    expect(line).not.toContain('canary-value');
  });
});

describe('a refused key', () => {
  test('makes one call for 200 secrets, and another one after a minute', async () => {
    cloud.account.revoke(keys.accessKeyId);
    const names = Array.from({ length: 200 }, (_, index) => ({ name: `s${index}` }));
    const results = await reader.results(user, ...names);
    expect(new Set(results.map((result) => result.kind === 'failed' && result.error.code))).toEqual(
      new Set(['CREDENTIALS_REFUSED']),
    );
    expect(cloud.kms.count()).toBe(1);
    expect(await reader.read(user, 's1')).toMatch(
      /refused the access key \(HTTP 404, InvalidAccessKeyId\.NotFound\); check that the key exists/,
    );
    expect(cloud.kms.count()).toBe(1);
    cloud.clock.node = cloud.clock.cloud = 61_000;
    await reader.read(user, 's1');
    expect(cloud.kms.count()).toBe(2);
  });

  test("gives an error without the service's text, which repeats what was signed", async () => {
    const wrong = { ...keysSource(keys), accessKeySecret: new Redacted('mistyped-secret') };
    const line = await reader.read(wrong, 'db');
    expect(line).toMatch(/^failed CREDENTIALS_REFUSED: .*SignatureDoesNotMatch\);/);
    expect(line).not.toMatch(/string to sign|x-acs|mistyped/);
  });

  test.each([
    [-17, 'slow'],
    [17, 'fast'],
  ])(
    'can be good: the clock of the node is %d minutes off, and the hint says %s',
    async (minutes, word) => {
      cloud.clock.node = minutes * minute;
      expect(await reader.read(user, 'db')).toMatch(
        new RegExp(
          `CREDENTIALS_REFUSED: .*InvalidTimeStamp\\.Expired.*; the clock of this machine is ${word}: set it right`,
        ),
      );
    },
  );
});

test("an error contains no key and no token that the store's text repeats", async () => {
  const session = cloud.account.issueKeys({ lifeMs: minute });
  const { accessKeySecret, securityToken = '' } = session;
  for (const text of [accessKeySecret, securityToken, encodeURIComponent(securityToken)]) {
    for (const body of [
      { Code: 'InvalidParameter', Message: `echo ${text}` },
      { Code: text, Message: 'x' },
    ]) {
      cloud.kms.injectFault({
        response: { status: 400, body, headers: { 'x-acs-request-id': text } },
      });
      const line = await reader.read(keysSource(session), 'db');
      expect(line).toMatch(/^failed STORE_REFUSED_REQUEST/);
      expect(line).not.toContain(text);
    }
  }
});

describe('the rate limiter', () => {
  test('serves first mounts before refreshes', async () => {
    const slow = createAlibabaReader(cloud, { config: { perSecond: 20, burst: 1 } });
    for (const name of ['a', 'b', 'c']) cloud.kms.put(name, name);
    await slow.read(user, 'a');
    const order: string[] = [];
    const request = (urgency: 'first' | 'refresh', name: string) =>
      slow.fetchRequest(
        user,
        { name, version: 'v1' },
        { urgency, onStart: () => void order.push(name) },
      );
    await Promise.all(
      slow.fetch([request('first', 'a'), request('refresh', 'b'), request('first', 'c')]),
    );
    expect(order).toEqual(['a', 'c', 'b']);
  });

  test('is separate for each service and each account', async () => {
    const slow = createAlibabaReader(cloud, { config: { perSecond: 2, burst: 1 } });
    cloud.kms.put('db', 'one');
    cloud.oos.put('key', 'one');
    const other = keysSource(cloud.account.issueKeys());
    const db = { service: 'kms', name: 'db' };
    const isReadInTime = async (
      identity: CredentialSource,
      ref: typeof db,
    ): Promise<boolean | undefined> => {
      const [result] = slow.fetch([
        slow.fetchRequest(identity, ref, { signal: AbortSignal.timeout(300) }),
      ]);
      return (await result)?.kind === 'value';
    };
    expect(await isReadInTime(user, db)).toBe(true);
    expect(await isReadInTime(user, { service: 'oos', name: 'key' })).toBe(true);
    expect(await isReadInTime(other, db)).toBe(true);
    expect(await isReadInTime(other, db)).toBe(false);
  });
});

describe('a dedicated gateway', () => {
  const root = createTestCa('Private root');
  const intermediate = root.intermediate('Private KMS cn-hangzhou Second CA');
  const startGateway = async () => {
    const gateway = await startFakeKms({ account: cloud.account, tls: intermediate.issue() });
    gateway.put('db', 'of the gateway');
    return {
      gateway,
      config: { allowedEndpoints: [gateway.url.host], gatewayCa: [intermediate.cert] },
    };
  };

  test("is verified by the operator's intermediate certificate, without its root", async () => {
    const { gateway, config } = await startGateway();
    try {
      const ref = { name: 'db', endpoint: gateway.url.host };
      expect(await createAlibabaReader(cloud, { config }).read(user, ref)).toBe(
        'db@v1: of the gateway',
      );
      const without = createAlibabaReader(cloud, { config: { ...config, gatewayCa: [] } });
      expect(await without.read(user, ref)).toMatch(
        /^failed STORE_UNAVAILABLE: .* at 127\.0\.0\.1:\d+: .*certificate of an unknown authority/,
      );
      const { cert } = createTestCa().intermediate('Private KMS cn-hangzhou Second CA');
      const wrong = createAlibabaReader(cloud, { config: { ...config, gatewayCa: [cert] } });
      expect(await wrong.read(user, ref)).toMatch(/^failed STORE_UNAVAILABLE: .*unknown authority/);
      expect(gateway.count()).toBe(1);
    } finally {
      await gateway.close();
    }
  });

  test('needs a certificate for its own name', async () => {
    const gateway = await startFakeKms({
      account: cloud.account,
      tls: intermediate.issue({ hosts: ['kst-1.cryptoservice.kms.aliyuncs.com'] }),
    });
    const config = { allowedEndpoints: [gateway.url.host], gatewayCa: [intermediate.cert] };
    try {
      expect(
        await createAlibabaReader(cloud, { config }).read(user, {
          name: 'db',
          endpoint: gateway.url.host,
        }),
      ).toMatch(/^failed STORE_UNAVAILABLE: .*certificate for another name/);
    } finally {
      await gateway.close();
    }
  });

  test('has certificates that do not verify regional endpoints', async () => {
    const { gateway, config } = await startGateway();
    try {
      const regional = createAlibabaReader(cloud, { config: { ...config, kms: gateway.url } });
      expect(await regional.read(user, 'db')).toMatch(
        /^failed STORE_UNAVAILABLE: .*unknown authority/,
      );
    } finally {
      await gateway.close();
    }
  });

  test('that refuses the keys does not block them for other endpoints', async () => {
    const { gateway, config } = await startGateway();
    cloud.kms.put('db', 'of the region');
    gateway.injectFault({
      response: { status: 404, body: { Code: 'InvalidAccessKeyId.NotFound' } },
    });
    try {
      const both = createAlibabaReader(cloud, { config });
      const gatewayRef = { name: 'db', endpoint: gateway.url.host };
      expect(await both.read(user, gatewayRef)).toMatch(/^failed CREDENTIALS_REFUSED/);
      expect(await both.read(user, 'db')).toBe('db@v1: of the region');
      expect(await both.read(user, gatewayRef)).toMatch(/^failed CREDENTIALS_REFUSED/);
      expect(gateway.count()).toBe(1);
    } finally {
      await gateway.close();
    }
  });

  test('can serve one mount together with a regional endpoint', async () => {
    const { gateway, config } = await startGateway();
    cloud.kms.put('db', 'of the region');
    try {
      const both = createAlibabaReader(cloud, { config });
      expect(
        await Promise.all([
          both.read(user, 'db'),
          both.read(user, { name: 'db', endpoint: gateway.url.host }),
        ]),
      ).toEqual(['db@v1: of the region', 'db@v1: of the gateway']);
    } finally {
      await gateway.close();
    }
  });
});
