import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { startAlibabaCloud, type FakeAlibabaCloud } from '../../../test/fakes/alibaba-cloud.ts';
import { startFakeKms } from '../../../test/fakes/alibaba-kms.ts';
import { createAlibabaReader, keysSource } from '../../../test/fakes/alibaba-reader.ts';
import { formatResult } from '../../../test/fakes/requester.ts';
import type { CredentialSource } from './types.ts';

const minute = 60_000;
const refs = Array.from({ length: 45 }, (_, index) => ({ name: `s${index}` }));

let cloud: FakeAlibabaCloud;
let reader: ReturnType<typeof createAlibabaReader>;
let user: CredentialSource;

beforeEach(async () => {
  cloud = await startAlibabaCloud();
  reader = createAlibabaReader(cloud);
  user = keysSource(cloud.account.issueKeys());
  for (const { name } of refs) cloud.kms.put(name, `value of ${name}`);
});
afterEach(() => cloud.close());

const setClock = (ms: number): void => void (cloud.clock.node = cloud.clock.cloud = ms);
const good = (count: number): string[] =>
  refs.slice(0, count).map(({ name }) => `${name}@v1: value of ${name}`);

/** Reads the first `count` secrets by one fetch. */
async function readLines(
  count: number,
  options: Parameters<typeof reader.fetchRequest>[2] = {},
  identity = user,
): Promise<string[]> {
  const requestedRefs = refs.slice(0, count);
  const results = await Promise.all(
    reader.fetch(requestedRefs.map((ref) => reader.fetchRequest(identity, ref, options))),
  );
  return results.map((result, index) => formatResult(`s${index}`, result));
}

describe('BatchGetSecretValue reads up to twenty secrets of one fetch', () => {
  test.each([
    [1, [], 1],
    [2, [2], 0],
    [20, [20], 0],
    [21, [20], 1],
    [45, [20, 20, 5], 0],
  ])(
    '%d secrets, of a first mount and of a refresh, although the response has another order',
    async (count, sizes, reads) => {
      expect(await readLines(count)).toEqual(good(count));
      expect(await readLines(count, { urgency: 'refresh', known: { version: 'v0' } })).toEqual(
        good(count),
      );
      expect(cloud.kms.batchSizes()).toEqual([...sizes, ...sizes]);
      expect(cloud.kms.reads()).toBe(2 * reads);
    },
  );

  test('sends the names as a JSON list', async () => {
    await readLines(2);
    expect(cloud.kms.calls.map(({ parameters }) => [...parameters])).toEqual([
      [['SecretsList', '[{"SecretName":"s0"},{"SecretName":"s1"}]']],
    ]);
  });

  test('reads binary, managed and empty secrets', async () => {
    const bytes = Uint8Array.from({ length: 256 }, (_, index) => index);
    cloud.kms.put('tls', bytes);
    cloud.kms.put('db', '{"AccountName":"a"}', 'Rds');
    cloud.kms.put('empty', '');
    const names = ['tls', 'db', 'empty'].map((name) => ({ name, stage: 'ACSCurrent' }));
    expect(await reader.results(user, ...names)).toEqual([
      { kind: 'value', value: { bytes: Buffer.from(bytes), version: 'v1' } },
      { kind: 'value', value: { bytes: Buffer.from('{"AccountName":"a"}'), version: 'v1' } },
      { kind: 'value', value: { bytes: Buffer.alloc(0), version: 'v1' } },
    ]);
    expect(cloud.kms.batchSizes()).toEqual([3]);
  });

  test('costs as much of the rate as one call', async () => {
    reader = createAlibabaReader(cloud, { config: { perSecond: 0.1, burst: 2 } });
    expect(await readLines(40, { signal: AbortSignal.timeout(2_000) })).toEqual(good(40));
  });

  test('is not used for pinned and staged secrets, and for parameters', async () => {
    for (const name of ['s1', 's2']) cloud.kms.put(name, 'newer');
    cloud.oos.put('s0', 'of OOS');
    const requestedRefs = [
      ...[{ name: 's0' }, { name: 's2', version: 'v1' }, { name: 's1', stage: 'ACSPrevious' }],
      ...[{ name: 's1' }, { service: 'oos', name: 's0' }],
    ];
    const results = await reader.results(user, ...requestedRefs);
    expect(results.map((result) => formatResult('s', result))).toEqual([
      ...[
        's@v1: value of s0',
        's@v1: value of s2',
        's@v1: value of s1',
        's@v2: newer',
        's@1: of OOS',
      ],
    ]);
    expect([cloud.kms.batchSizes(), cloud.kms.reads()]).toEqual([[2], 2]);
  });

  test('is not used at a dedicated gateway, because the documentation does not list it there', async () => {
    const gateway = await startFakeKms({ account: cloud.account, tls: cloud.tls });
    try {
      const endpoint = gateway.url.host;
      for (const { name } of refs.slice(0, 2)) gateway.put(name, 'of the gateway');
      reader = createAlibabaReader(cloud, { config: { allowedEndpoints: [endpoint] } });
      await reader.results(
        user,
        ...refs.slice(0, 4).map((ref, index) => (index < 2 ? { ...ref, endpoint } : ref)),
      );
      expect([gateway.batchSizes(), gateway.reads()]).toEqual([[], 2]);
      expect([cloud.kms.batchSizes(), cloud.kms.reads()]).toEqual([[2], 0]);
    } finally {
      await gateway.close();
    }
  });

  test('does not mix principals, namespaces or urgencies', async () => {
    const other = keysSource(cloud.account.issueKeys({ holder: 'other' }));
    await Promise.all(
      reader.fetch([
        ...refs.slice(0, 2).map((ref) => reader.fetchRequest(user, ref)),
        ...refs.slice(2, 4).map((ref) => reader.fetchRequest(other, ref)),
        ...refs.slice(4, 6).map((ref) => reader.fetchRequest(user, ref, { namespace: 'team-b' })),
        ...refs.slice(6, 8).map((ref) => reader.fetchRequest(user, ref, { urgency: 'refresh' })),
      ]),
    );
    const holderAndNames = cloud.kms.calls.map(({ holder, parameters }) => [
      holder,
      parameters.get('SecretsList'),
    ]);
    const list = (...names: string[]): string =>
      JSON.stringify(names.map((SecretName) => ({ SecretName })));
    expect(holderAndNames).toHaveLength(4);
    expect(holderAndNames).toEqual(
      expect.arrayContaining([
        ['user', list('s0', 's1')],
        ['other', list('s2', 's3')],
        ['user', list('s4', 's5')],
        ['user', list('s6', 's7')],
      ]),
    );
  });

  test('does not mix secrets of one name in several accounts, because the response has names without accounts', async () => {
    const [here, there] = [1, 2].map((account) => `acs:kms:cn-hangzhou:${account}:secret/s0`);
    cloud.kms.put(here!, 'of account 1');
    cloud.kms.put(there!, 'of account 2');
    const names = ['s0', here!, there!, 's1', 's2', 's3'];
    const results = await reader.results(user, ...names.map((name) => ({ name })));
    expect(results.map((result) => formatResult('s', result))).toEqual([
      ...['s@v1: value of s0', 's@v1: of account 1', 's@v1: of account 2'],
      ...['s@v1: value of s1', 's@v1: value of s2', 's@v1: value of s3'],
    ]);
    expect([cloud.kms.batchSizes(), cloud.kms.reads()]).toEqual([[4], 2]);
  });
});

describe('a request of a batch', () => {
  beforeEach(() => reader.read(user, 's0'));

  test('does not wait for a slow secret of another batch', async () => {
    cloud.kms.delays.set('s24', 300);
    const results = reader.fetch(refs.slice(0, 25).map((ref) => reader.fetchRequest(user, ref)));
    const first = await Promise.race([
      results[0]!.then(() => 's0'),
      results[24]!.then(() => 's24'),
    ]);
    expect(first).toBe('s0');
    expect(await results[24]).toMatchObject({ kind: 'value' });
  });

  test('ends at once when its signal fires; the call continues for the others, and ends with the last one', async () => {
    cloud.kms.delays.set('s0', 100);
    const controllers = [new AbortController(), new AbortController()];
    const readBoth = () =>
      reader.fetch(
        controllers.map(({ signal }, index) => reader.fetchRequest(user, refs[index]!, { signal })),
      );
    const [aborted, kept] = readBoth();
    controllers[0]?.abort(new Error('gone'));
    expect(await Promise.race([aborted, kept!.then(() => 'the other')])).toMatchObject({
      kind: 'failed',
    });
    expect(await kept).toMatchObject({ kind: 'value' });
    expect(cloud.kms.reads()).toBe(1);

    controllers[0] = new AbortController();
    cloud.kms.injectFault({ hang: true });
    const both = readBoth();
    for (const controller of controllers) controller.abort(new Error('gone'));
    expect((await Promise.all(both)).map(({ kind }) => kind)).toEqual(['failed', 'failed']);
  });
});

describe('where batches do not work, each secret is read alone, and later ones make no batch', () => {
  test.each(['denied', 'unknown'] as const)(
    '%s: for an hour, per ServiceAccount, role and region',
    async (batchSupport) => {
      cloud.kms.batchSupport = batchSupport;
      expect(await readLines(20)).toEqual(good(20));
      expect(await readLines(20, { urgency: 'refresh' })).toEqual(good(20));
      const nextPod = keysSource(cloud.account.issueKeys());
      expect(await readLines(2, {}, nextPod)).toEqual(good(2));
      const batchCalls = (): number =>
        cloud.kms.calls.filter(({ action }) => action.startsWith('Batch')).length;
      expect(batchCalls()).toBe(1);
      expect(await readLines(2, { namespace: 'team-b' })).toEqual(good(2));
      expect(batchCalls()).toBe(2);
      const role = 'acs:ram::1:role/reader';
      await reader.results(user, ...refs.slice(0, 2).map((ref) => ({ ...ref, role })));
      expect(batchCalls()).toBe(3);
      await reader.results(
        user,
        ...refs.slice(0, 2).map((ref) => ({ ...ref, region: 'cn-beijing' })),
      );
      expect(batchCalls()).toBe(4);

      cloud.kms.batchSupport = 'served';
      setClock(59 * minute);
      await readLines(2);
      expect(batchCalls()).toBe(4);
      setClock(61 * minute);
      const reads = cloud.kms.reads();
      expect(await readLines(20)).toEqual(good(20));
      expect([batchCalls(), cloud.kms.reads()]).toEqual([5, reads]);
    },
  );

  const huge = {
    SecretName: 's0',
    SecretData: 'x'.repeat(1_048_576),
    SecretDataType: 'text',
    VersionId: 'v1',
  };
  test.each([
    ['an error because of one secret', 400, { Code: 'InvalidParameter' }],
    ['an error because one secret is absent', 404, { Code: 'Forbidden.ResourceNotFound' }],
    ['a page', 200, '<html>canary-value</html>'],
    ['a page with an error status', 403, '<html>'],
    ['a redirect', 302, ''],
    ['an empty object', 200, {}],
    ['null', 200, 'null'],
    ['lists of another shape', 200, { SecretValues: { SecretValue: [] }, Errors: { Error: [] } }],
    [
      'other secrets only',
      200,
      { SecretValues: [{ ...huge, SecretName: 'x', SecretData: 'canary-value' }] },
    ],
    ['entries of another shape', 200, { SecretValues: [{ Name: 's0', Value: 'canary-value' }] }],
    ['more than a megabyte', 200, { SecretValues: [huge], Errors: [] }],
  ])('%s', async (_, status, body) => {
    await reader.read(user, 's0');
    cloud.kms.injectFault({
      times: 1,
      response: { status, body, headers: { location: 'https://evil.example/' } },
    });
    expect(await readLines(20)).toEqual(good(20));
    expect(await readLines(20)).toEqual(good(20));
    expect([cloud.kms.batchSizes(), cloud.kms.reads(), cloud.kms.count()]).toEqual([[], 41, 42]);
  });
});

describe('errors of the whole batch', () => {
  test.each([
    ['throttled', { status: 400, body: { Code: 'Throttling.User' } }, 'STORE_THROTTLED'],
    ['down', { status: 503, body: { Code: 'ServiceUnavailableTemporary' } }, 'STORE_UNAVAILABLE'],
  ])(
    '%s: the call is retried; if that does not help, each request fails, and batches stay in use',
    async (_, response, code) => {
      await reader.read(user, 's0');
      cloud.kms.injectFault({ times: 2, response });
      expect(await readLines(20)).toEqual(good(20));
      cloud.kms.injectFault({ response });
      const count = cloud.kms.count();
      for (const [index, line] of (await readLines(20)).entries())
        expect(line).toMatch(
          new RegExp(`^failed ${code}: alibabacloud: KMS secret s${index} in cn-hangzhou: `),
        );
      expect(cloud.kms.count()).toBe(count + 3);
      cloud.kms.injectFault();
      await readLines(20);
      expect(cloud.kms.batchSizes()).toEqual([20, 20]);
    },
  );

  test('a wrong key makes one call', async () => {
    const wrong = keysSource({ ...cloud.account.issueKeys(), accessKeySecret: 'wrong' });
    for (const line of await readLines(45, {}, wrong))
      expect(line).toMatch(/^failed CREDENTIALS_REFUSED/);
    expect(cloud.kms.count()).toBe(1);
  });
});

describe('a secret that a batch does not deliver unambiguously is read alone', () => {
  test('and fails with the same error as a single read', async () => {
    cloud.kms.denied.add('s1');
    cloud.kms.setErrorResponse('s2', 409, 'Rejected.Disabled');
    cloud.kms.delete('s3');
    const inBatch = await readLines(5);
    const alone = [];
    for (const { name } of refs.slice(0, 5)) alone.push(await reader.read(user, name));
    const plain = (line: string): string => line.replace(/req-\w+/, 'req');
    expect(inBatch.map(plain)).toEqual(alone.map(plain));
    expect(inBatch.map((line) => line.split(':')[0])).toEqual([
      ...[
        's0@v1',
        'failed ACCESS_DENIED',
        'absent OBJECT_DISABLED',
        'absent OBJECT_NOT_FOUND',
        's4@v1',
      ],
    ]);
    expect([cloud.kms.batchSizes(), cloud.kms.reads()]).toEqual([[5], 3 + 5]);
    await readLines(5);
    expect(cloud.kms.batchSizes()).toEqual([5, 5]);
  });

  const entry = (SecretName: unknown, more: object = {}) => ({
    ...{ SecretName, SecretData: 'canary-value', SecretDataType: 'text', VersionId: 'v9', ...more },
  });
  const s0 = entry('s0', { SecretData: 'by batch' });
  test.each<[string, unknown[], unknown[]]>([
    ['an empty response', [], []],
    ['another secret', [entry('s2')], []],
    ['a name that only ends like it', [entry('x:secret/s1')], []],
    ['a part of its name', [entry('1')], []],
    ['no name', [entry(undefined), entry(null), entry('')], []],
    ['a name that is not text', [entry(['s1'])], []],
    ['two entries', [entry('s1'), entry('s1', { SecretData: 'other' })], []],
    ['a value and an error', [entry('s1')], [{ SecretName: 's1', Code: 'Forbidden.NoPermission' }]],
    ['an error without a code', [], [{ SecretName: 's1' }]],
    ['no value', [entry('s1', { SecretData: undefined })], []],
    ['no version', [entry('s1', { VersionId: undefined })], []],
    ['a version of two lines', [entry('s1', { VersionId: 'v1\ncanary' })], []],
    ['another type', [entry('s1', { SecretDataType: 'number' })], []],
    [
      'data that is not base64',
      [entry('s1', { SecretDataType: 'binary', SecretData: 'canary-value!' })],
      [],
    ],
    ['half a character', [entry('s1', { SecretData: 'canary-value\ud83d' })], []],
    ['items that are not entries', [null, 7, 's1', [], { s1: 'canary-value' }], [null, 's1']],
  ])('%s', async (_, values, errors) => {
    await reader.read(user, 's2');
    cloud.kms.injectFault({
      times: 1,
      response: { body: { SecretValues: [...values, s0], Errors: errors } },
    });
    expect(await readLines(2)).toEqual(['s0@v9: by batch', 's1@v1: value of s1']);
    expect(cloud.kms.reads()).toBe(2);
    await readLines(2);
    expect(cloud.kms.batchSizes()).toEqual([2]);
  });
});
