import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import {
  awsFailoverRegion,
  awsRegion,
  startAwsCloud,
  type FakeAwsCloud,
} from '../../../test/fakes/aws-cloud.ts';
import type { AwsKeys } from '../../../test/fakes/aws-account.ts';
import { createAwsReader, type AwsReaderIdentity } from '../../../test/fakes/aws-reader.ts';
import { formatResult } from '../../../test/fakes/requester.ts';

const minute = 60_000;
const [v1, v2] = [1, 2].map((n) => `00000000-0000-4000-8000-00000000000${n}`);

let cloud: FakeAwsCloud;
let reader: ReturnType<typeof createAwsReader>;
let keys: AwsKeys;
let user: AwsReaderIdentity;

beforeEach(async () => {
  cloud = await startAwsCloud();
  reader = createAwsReader(cloud);
  keys = cloud.account.issueKeys();
  user = { kind: 'keys', keys };
});
afterEach(() => cloud.close());

const setClocks = (ms: number): void => void (cloud.clock.node = cloud.clock.cloud = ms);
const actions = (): string[] => cloud.secretsManager.calls.map(({ action }) => action);
const ssm = (name: string, more: object = {}) => ({ service: 'ssm', name, ...more });

describe('secrets', () => {
  test('reads the current version, and the next one when there is one', async () => {
    cloud.secretsManager.put('eu/prod/db', 'one');
    expect(await reader.results(user, { name: 'eu/prod/db' })).toEqual([
      { kind: 'value', value: { bytes: Buffer.from('one'), version: v1 } },
    ]);
    cloud.secretsManager.put('eu/prod/db', 'two');
    expect(await reader.read(user, 'eu/prod/db')).toBe(`eu/prod/db@${v2}: two`);
  });

  test('reads a pinned version as immutable', async () => {
    cloud.secretsManager.put('db', 'one');
    cloud.secretsManager.put('db', 'two');
    expect(await reader.results(user, { name: 'db', version: v1! })).toEqual([
      { kind: 'value', value: { bytes: Buffer.from('one'), version: v1, immutable: true } },
    ]);
    expect(cloud.secretsManager.calls[0]?.input).toEqual({ SecretId: 'db', VersionId: v1 });
  });

  test('reads by a stage of AWS or of the user', async () => {
    cloud.secretsManager.put('db', 'one');
    cloud.secretsManager.put('db', 'two');
    cloud.secretsManager.stage('db', 'blue', v1!);
    expect(await reader.read(user, { name: 'db', stage: 'AWSPREVIOUS' })).toBe(`db@${v1}: one`);
    expect(await reader.read(user, { name: 'db', stage: 'blue' })).toBe(`db@${v1}: one`);
    expect(await reader.read(user, { name: 'db', version: v1!, stage: 'AWSCURRENT' })).toMatch(
      /^failed STORE_REFUSED_REQUEST: .*\(00000000-[\d-]+\) in .*InvalidRequestException/,
    );
  });

  test('reads by an ARN, with or without its last six characters', async () => {
    cloud.secretsManager.put('db', 'one');
    const arn = cloud.secretsManager.arn('db');
    for (const name of [arn, arn.replace(/-\w{6}$/, '')])
      expect(await reader.read(user, name)).toBe(`${name}@${v1}: one`);
  });

  test('returns binary secrets as their bytes', async () => {
    const bytes = Uint8Array.from({ length: 256 }, (_, index) => index);
    cloud.secretsManager.put('tls', bytes);
    const [result] = await reader.results(user, { name: 'tls' });
    expect(result?.kind === 'value' && Buffer.from(result.value.bytes).equals(bytes)).toBe(true);
  });

  test.each(['', '{"a": 1.0}\n', '键\u{1f511}\u0000'])(
    'returns the text unchanged: %#',
    async (text) => {
      cloud.secretsManager.put('db', text);
      expect(await reader.read(user, 'db')).toBe(`db@${v1}: ${text}`);
    },
  );

  test('reads secrets of another region', async () => {
    cloud.secretsManager.put('db', 'here');
    cloud.secretsManager.put('db', 'there', awsFailoverRegion);
    expect(await reader.read(user, 'db')).toContain('here');
    expect(await reader.read(user, { name: 'db', region: awsFailoverRegion })).toContain('there');
  });

  test('does not delay a refresh by a slow refresh of another secret', async () => {
    for (const name of ['warm', 'a', 'b']) cloud.secretsManager.put(name, name);
    await reader.read(user, 'warm');
    cloud.secretsManager.delays.set('a', 300);
    const refreshes = ['a', 'b'].map((name) =>
      reader.fetchRequest(user, { name }, { urgency: 'refresh' }),
    );
    const [slow, quick] = reader.fetch(refreshes);
    expect(await Promise.race([slow!.then(() => 'slow'), quick!.then(() => 'quick')])).toBe(
      'quick',
    );
    expect(await slow).toMatchObject({ kind: 'value' });
  });
});

describe('a refresh', () => {
  test('reads only the version while it is unchanged, and the value when it changed', async () => {
    cloud.secretsManager.put('db', 'one');
    expect(await reader.refresh(user, { name: 'db' }, v1!)).toEqual({
      kind: 'unchanged',
      version: v1,
    });
    cloud.secretsManager.put('db', 'two');
    expect(formatResult('db', await reader.refresh(user, { name: 'db' }, v1!))).toBe(
      `db@${v2}: two`,
    );
    expect(actions()).toEqual(['DescribeSecret', 'DescribeSecret', 'GetSecretValue']);
  });

  test('checks the stage of the ref', async () => {
    cloud.secretsManager.put('db', 'one');
    cloud.secretsManager.put('db', 'two');
    const previous = { name: 'db', stage: 'AWSPREVIOUS' };
    expect(formatResult('db', await reader.refresh(user, previous, v1!))).toBe('unchanged');
    expect(formatResult('db', await reader.refresh(user, previous, v2!))).toBe(`db@${v1}: one`);
  });

  test('reads without DescribeSecret for an hour after a denial, per ServiceAccount and region', async () => {
    cloud.secretsManager.put('db', 'one');
    cloud.secretsManager.put('tls', 'one');
    cloud.secretsManager.put('db', 'one', awsFailoverRegion);
    cloud.secretsManager.denied.add('DescribeSecret');
    const refresh = async (
      who: AwsReaderIdentity,
      ref: object = {},
      namespace?: string,
    ): Promise<string> => {
      const how = {
        urgency: 'refresh',
        known: { version: v1! },
        ...(namespace && { namespace }),
      } as const;
      const [result] = await Promise.all(
        reader.fetch([reader.fetchRequest(who, { name: 'db', ...ref }, how)]),
      );
      return formatResult('db', result);
    };
    for (const name of ['db', 'tls', 'db'])
      expect(await refresh(user, { name })).toBe(`db@${v1}: one`);
    // With Pod Identity the next pod of the ServiceAccount is another principal.
    const nextPod: AwsReaderIdentity = { kind: 'keys', keys: cloud.account.issueKeys() };
    await refresh(nextPod);
    expect(cloud.secretsManager.callCount('DescribeSecret')).toBe(1);
    await refresh(user, {}, 'team-b');
    await refresh(user, { region: awsFailoverRegion });
    expect(cloud.secretsManager.callCount('DescribeSecret')).toBe(3);

    cloud.secretsManager.denied.clear();
    setClocks(61 * minute);
    expect(await refresh(user)).toBe('unchanged');
  });

  test('reports the error of the read for a deleted, missing or denied secret', async () => {
    for (const name of ['db', 'tls', 'key']) cloud.secretsManager.put(name, 'one');
    cloud.secretsManager.delete('db');
    cloud.secretsManager.denied.add('tls');
    const refresh = async (name: string) =>
      formatResult(name, await reader.refresh(user, { name }, v1!));
    expect(await refresh('db')).toMatch(
      /^absent OBJECT_DISABLED: .*GetSecretValue|^absent OBJECT_DISABLED/,
    );
    expect(await refresh('none')).toMatch(/^absent OBJECT_NOT_FOUND/);
    expect(await refresh('tls')).toMatch(/^failed ACCESS_DENIED: .*secretsmanager:GetSecretValue/);
  });

  test('reports an outage of the region after the first call', async () => {
    cloud.secretsManager.put('db', 'one');
    cloud.account.regionFaults.set(awsRegion, 'throttled');
    expect(formatResult('db', await reader.refresh(user, { name: 'db' }, v1!))).toMatch(
      /^failed STORE_THROTTLED/,
    );
    expect(cloud.secretsManager.count()).toBe(3);
  });

  test('reads a pinned version, and a secret without a known version', async () => {
    cloud.secretsManager.put('db', 'one');
    await reader.refresh(user, { name: 'db', version: v1! }, v1!);
    await Promise.all(
      reader.fetch([reader.fetchRequest(user, { name: 'db' }, { urgency: 'refresh', known: {} })]),
    );
    expect(actions()).toEqual(['GetSecretValue', 'GetSecretValue']);
  });
});

describe('secrets of a first mount', () => {
  const names = Array.from({ length: 25 }, (_, index) => ({ name: `s${index}` }));
  const put = (): void =>
    names.forEach(({ name }) => cloud.secretsManager.put(name, `value of ${name}`));
  const expectAll = async (who = user): Promise<void> => {
    const results = await reader.results(who, ...names);
    expect(results.map((result, index) => formatResult(`s${index}`, result))).toEqual(
      names.map(({ name }) => `${name}@${v1}: value of ${name}`),
    );
  };

  test('are read in batches of twenty, with the response in any order', async () => {
    put();
    await expectAll();
    expect(
      cloud.secretsManager.calls.map(({ input }) => (input.SecretIdList as string[]).length),
    ).toEqual([20, 5]);
  });

  test('are batched by name or ARN; pinned, staged, single and refreshed ones are not', async () => {
    put();
    const arn = cloud.secretsManager.arn('s1');
    const results = await reader.results(
      user,
      ...[
        { name: 's0' },
        { name: arn },
        { name: 's2', version: v1! },
        { name: 's3', stage: 'AWSCURRENT' },
      ],
      { name: 's4', region: awsFailoverRegion },
    );
    expect(results.map(({ kind }) => kind)).toEqual(['value', 'value', 'value', 'value', 'absent']);
    expect(actions().sort()).toEqual(['BatchGetSecretValue', 'GetSecretValue', 'GetSecretValue']);
    const refreshes = names
      .slice(0, 2)
      .map((ref) => reader.fetchRequest(user, ref, { urgency: 'refresh' }));
    await Promise.all(reader.fetch(refreshes));
    expect(cloud.secretsManager.callCount('BatchGetSecretValue')).toBe(1);
  });

  test('are read one by one for an hour after a denied batch', async () => {
    put();
    cloud.secretsManager.denied.add('BatchGetSecretValue');
    await expectAll();
    await expectAll();
    // The two batches of the first mount went out together.
    expect(cloud.secretsManager.callCount('BatchGetSecretValue')).toBeLessThanOrEqual(2);
    expect(cloud.secretsManager.callCount('GetSecretValue')).toBe(50);
    cloud.secretsManager.denied.clear();
    setClocks(61 * minute);
    await expectAll();
    expect(cloud.secretsManager.callCount('GetSecretValue')).toBe(50);
  });

  test('have an error of their own if the batch does not contain them', async () => {
    put();
    cloud.secretsManager.denied.add('s1');
    cloud.secretsManager.kmsDenied.add('s2');
    cloud.secretsManager.delete('s3');
    const refs = [...['s0', 's1', 's2', 's3', 'none'].map((name) => ({ name }))];
    const results = await reader.results(user, ...refs);
    expect(results.map((result) => ('error' in result ? result.error.code : result.kind))).toEqual([
      'value',
      'ACCESS_DENIED',
      'ACCESS_DENIED',
      'OBJECT_DISABLED',
      'OBJECT_NOT_FOUND',
    ]);
  });

  test('are read one by one if they are too large for one response', async () => {
    const large = 'x'.repeat(65_000);
    for (const { name } of names.slice(0, 20)) cloud.secretsManager.put(name, large);
    const results = await reader.results(user, ...names.slice(0, 20));
    expect(new Set(results.map((result) => formatResult('s', result)))).toEqual(
      new Set([`s@${v1}: ${large}`]),
    );
    expect(cloud.secretsManager.callCount('GetSecretValue')).toBe(20);
  });

  test('do not share a batch with another principal or namespace', async () => {
    put();
    const other: AwsReaderIdentity = {
      kind: 'keys',
      keys: cloud.account.issueKeys({ holder: 'other' }),
    };
    await Promise.all(
      reader.fetch([
        ...names.slice(0, 2).map((ref) => reader.fetchRequest(user, ref)),
        ...names.slice(2, 4).map((ref) => reader.fetchRequest(other, ref)),
        ...names.slice(4, 6).map((ref) => reader.fetchRequest(user, ref, { namespace: 'team-b' })),
      ]),
    );
    expect(
      cloud.secretsManager.calls.map(({ holder, input }) => [holder, input.SecretIdList]),
    ).toEqual([
      ['user', ['s0', 's1']],
      ['other', ['s2', 's3']],
      ['user', ['s4', 's5']],
    ]);
  });

  test('stop only when the last caller of the batch leaves', async () => {
    put();
    await reader.read(user, 's9');
    cloud.secretsManager.delays.set('BatchGetSecretValue', 100);
    const leaving = [new AbortController(), new AbortController()];
    const fetchBoth = () =>
      reader.fetch(
        leaving.map(({ signal }, index) =>
          reader.fetchRequest(user, { name: `s${index}` }, { signal }),
        ),
      );
    const [gone, stays] = fetchBoth();
    leaving[0]?.abort(new Error('gone'));
    expect(await gone).toMatchObject({ kind: 'failed' });
    expect(await stays).toMatchObject({ kind: 'value' });

    leaving[0] = new AbortController();
    cloud.secretsManager.injectFault({ hang: true });
    const both = fetchBoth();
    for (const controller of leaving) controller.abort(new Error('gone'));
    expect((await Promise.all(both)).map(({ kind }) => kind)).toEqual(['failed', 'failed']);
  });
});

describe('parameters', () => {
  test('are decrypted, and have a number and the time of the change', async () => {
    cloud.ssm.put('/app/key', 'one');
    cloud.ssm.put('/app/key', 'two');
    expect(await reader.results(user, ssm('/app/key'))).toEqual([
      {
        kind: 'value',
        value: {
          bytes: Buffer.from('two'),
          version: '2',
          modified: expect.stringMatching(/^20\d\d-\d\d-\d\dT.*Z$/),
        },
      },
    ]);
  });

  test('can be read by number, which is immutable, and by label', async () => {
    cloud.ssm.put('key', 'one');
    cloud.ssm.put('key', 'two');
    cloud.ssm.label('key', 1, 'blue');
    expect(await reader.results(user, ssm('key', { version: '1' }))).toMatchObject([
      { value: { bytes: Buffer.from('one'), version: '1', immutable: true } },
    ]);
    const [labelled] = await reader.results(user, ssm('key', { stage: 'blue' }));
    expect(formatResult('key', labelled)).toBe('key@1: one');
    expect(labelled?.kind === 'value' && labelled.value.immutable).toBeFalsy();
    expect(cloud.ssm.batches()).toEqual([['key:1'], ['key:blue']]);
  });

  test('can be read by ARN', async () => {
    cloud.ssm.put('/app/key', 'one');
    const name = cloud.ssm.arn('/app/key');
    expect(await reader.read(user, ssm(name))).toBe(`${name}@1: one`);
  });

  test('are read in batches of ten, with the response in any order', async () => {
    const names = Array.from({ length: 25 }, (_, index) => `/p/${index}`);
    for (const name of names) cloud.ssm.put(name, `value of ${name}`);
    const results = await reader.results(user, ...names.map((name) => ssm(name)));
    expect(results.map((result, index) => formatResult(names[index]!, result))).toEqual(
      names.map((name) => `${name}@1: value of ${name}`),
    );
    expect(cloud.ssm.batches().map(({ length }) => length)).toEqual([10, 10, 5]);
  });

  test('can have one name with two versions and a label', async () => {
    for (const value of ['one', 'two', 'three']) cloud.ssm.put('key', value);
    cloud.ssm.label('key', 2, 'blue');
    const refs = [ssm('key'), ssm('key', { version: '1' }), ssm('key', { stage: 'blue' })];
    const results = await reader.results(user, ...refs);
    expect(results.map((result) => formatResult('key', result))).toEqual([
      'key@3: three',
      'key@1: one',
      'key@2: two',
    ]);
  });

  test('of one name are spread over the batches of the others', async () => {
    const names = Array.from({ length: 20 }, (_, index) => `/p/${index}`);
    for (const name of [...names, 'key']) cloud.ssm.put(name, 'one');
    const versions = [{}, { version: '1' }, { version: '7' }].map((which) => ssm('key', which));
    await reader.results(user, ...names.map((name) => ssm(name)), ...versions);
    expect(cloud.ssm.batches().map(({ length }) => length)).toEqual([10, 10, 3]);
  });

  test('are matched by name and number in a response without selectors', async () => {
    cloud.ssm.put('a', 'one');
    cloud.ssm.injectFault({
      response: {
        body: {
          Parameters: [
            { Name: 'a', Value: 'two', Version: 2, LastModifiedDate: 1 },
            { Name: 'a', Value: 'one', Version: 1, LastModifiedDate: 1 },
          ],
        },
      },
    });
    expect(await reader.read(user, ssm('a', { version: '1' }))).toBe('a@1: one');
    expect(await reader.read(user, ssm('a', { version: '3' }))).toMatch(
      /^failed STORE_ANSWER_INVALID: .*nothing about the parameter/,
    );
  });

  test('differ by the time of the change if they were created again with the same number', async () => {
    const modified = async (): Promise<unknown> => {
      const [result] = await reader.results(user, ssm('key'));
      return result?.kind === 'value' && [result.value.version, result.value.modified];
    };
    cloud.ssm.put('key', 'one');
    const before = await modified();
    cloud.ssm.delete('key');
    setClocks(minute);
    cloud.ssm.put('key', 'other');
    const after = await modified();
    expect([before, after]).toEqual([
      ['1', expect.anything()],
      ['1', expect.anything()],
    ]);
    expect(after).not.toEqual(before);
  });

  test('are absent one by one if they do not exist', async () => {
    cloud.ssm.put('key', 'one');
    const refs = [
      ssm('none'),
      ssm('key'),
      ssm('key', { version: '7' }),
      ssm('key', { stage: 'x' }),
    ];
    const lines = (await reader.results(user, ...refs)).map((result) =>
      formatResult('key', result),
    );
    expect(lines).toEqual([
      expect.stringMatching(
        /^absent OBJECT_NOT_FOUND: aws: SSM parameter none in eu-west-1: there is no such parameter \(InvalidParameters\); check its name, and that it is in eu-west-1/,
      ),
      'key@1: one',
      expect.stringMatching(
        /^absent OBJECT_NOT_FOUND: aws: SSM parameter key \(7\) .*or not this version/,
      ),
      expect.stringMatching(
        /^absent OBJECT_NOT_FOUND: aws: SSM parameter key \(x\) .*or not this label/,
      ),
    ]);
  });

  test.each([
    [
      'denied',
      () => cloud.ssm.denied.add('b'),
      'ACCESS_DENIED: .*; allow ssm:GetParameters on arn:aws:ssm:eu-west-1:111122223333:parameter/b',
    ],
    [
      'whose key is denied',
      () => cloud.ssm.kmsDenied.add('b'),
      'ACCESS_DENIED: .*KMS key cannot be used .*; allow kms:Decrypt',
    ],
  ])('fail one by one although one that is %s fails the whole call', async (_, refuse, wanted) => {
    for (const name of ['a', 'b', 'c']) cloud.ssm.put(name, name);
    refuse();
    const results = await reader.results(user, ssm('a'), ssm('b'), ssm('c'));
    expect(results.map((result) => formatResult('p', result))).toEqual([
      'p@1: a',
      expect.stringMatching(new RegExp(`^failed ${wanted}`)),
      'p@1: c',
    ]);
  });

  test('fail one by one although SSM rejects a name', async () => {
    cloud.ssm.put('a', 'a');
    const results = await reader.results(user, ssm('a'), ssm('no such name'));
    expect(results.map((result) => formatResult('p', result))).toEqual([
      'p@1: a',
      expect.stringMatching(
        /^failed STORE_REFUSED_REQUEST: .*SSM refused the request .*ValidationException/,
      ),
    ]);
  });

  test('of two regions do not share a call', async () => {
    cloud.ssm.put('a', 'here');
    cloud.ssm.put('a', 'there', awsFailoverRegion);
    const results = await reader.results(user, ssm('a'), ssm('a', { region: awsFailoverRegion }));
    expect(results.map((result) => formatResult('a', result))).toEqual(['a@1: here', 'a@1: there']);
  });
});

describe('error responses', () => {
  test('a missing secret is absent, and the error has code and remedy', async () => {
    expect(await reader.read(user, 'none')).toMatch(
      /^absent OBJECT_NOT_FOUND: aws: Secrets Manager secret none in eu-west-1: there is no such secret \(HTTP 400, ResourceNotFoundException: "Secrets Manager can't find the specified secret\."\); check its name, and that it is in eu-west-1; a secret of another account needs its whole ARN$/,
    );
  });

  test.each([{ version: '7' }, { stage: 'green' }])(
    'a missing version is absent: %j',
    async (which) => {
      cloud.secretsManager.put('db', 'one');
      expect(await reader.read(user, { name: 'db', ...which })).toMatch(
        /^absent OBJECT_NOT_FOUND: aws: Secrets Manager secret db \(\w+\) in eu-west-1: there is no such version \(HTTP 400/,
      );
    },
  );

  test('a secret that is scheduled for deletion is absent, and the error has the remedy', async () => {
    cloud.secretsManager.put('db', 'one');
    cloud.secretsManager.delete('db');
    expect(await reader.read(user, 'db')).toMatch(
      /^absent OBJECT_DISABLED: .*scheduled for deletion \(HTTP 400, InvalidRequestException: .*; restore it/,
    );
  });

  test('a denied read names the caller, the permission and the resource', async () => {
    cloud.secretsManager.put('db', 'one');
    cloud.secretsManager.denied.add('db');
    expect(await reader.read(user, 'db')).toMatch(
      /^failed ACCESS_DENIED: .*access is denied \(HTTP 400, AccessDeniedException: "User: user is not authorized because .*; allow secretsmanager:GetSecretValue on arn:aws:secretsmanager:eu-west-1:111122223333:secret:db-\?{6}$/,
    );
    cloud.secretsManager.denied.add('kms:db');
    expect(await reader.read(user, 'kms:db')).toMatch(/; allow secretsmanager:GetSecretValue on /);
    const arn = cloud.secretsManager.arn('db');
    expect(await reader.read(user, arn)).toMatch(
      new RegExp(`allow secretsmanager:GetSecretValue on ${arn}$`),
    );
  });

  test('a denied read names the kind of policy, also with long names', async () => {
    const holder =
      'arn:aws:sts::111122223333:assumed-role/eks-production-checkout-reader/checkout.checkout-api';
    const name = 'eu/production/checkout/payment-provider/credentials';
    const role: AwsReaderIdentity = { kind: 'keys', keys: cloud.account.issueKeys({ holder }) };
    cloud.secretsManager.put(name, 'one');
    cloud.secretsManager.denied.add(name);
    expect(await reader.read(role, name)).toContain(
      `"User: ${holder} is not authorized because no identity-based policy allows the secretsmanager:GetSecretValue action"`,
    );
  });

  test('a denied KMS key has its own remedy', async () => {
    cloud.secretsManager.put('db', 'one');
    cloud.secretsManager.kmsDenied.add('db');
    expect(await reader.read(user, 'db')).toMatch(
      /^failed ACCESS_DENIED: .*its KMS key cannot be used .*Access to KMS is not allowed.*; allow kms:Decrypt on the key, in IAM and in its key policy/,
    );
  });

  test.each([
    [
      'a page',
      404,
      '<html>no</html>',
      'STORE_ANSWER_INVALID: .*does not respond like Secrets Manager .HTTP 404',
    ],
    ['a redirect', 302, '', 'STORE_ANSWER_INVALID: .*HTTP 302'],
    ['JSON of another service', 400, '{"error":"no"}', 'STORE_ANSWER_INVALID: .*HTTP 400'],
    [
      'a disabled key',
      400,
      { __type: 'DecryptionFailure' },
      'ACCESS_DENIED: .*KMS key .*DecryptionFailure',
    ],
    [
      'a name of JavaScript',
      400,
      { __type: 'constructor' },
      'STORE_REFUSED_REQUEST: .*constructor',
    ],
    [
      'a namespace',
      400,
      { __type: 'com.amazonaws#AccessDeniedException' },
      'ACCESS_DENIED: .*AccessDeniedException',
    ],
    ['an opt-in region', 400, { __type: 'OptInRequired' }, 'ACCESS_DENIED: .*not enabled'],
  ])('%s', async (_, status, body, wanted) => {
    cloud.secretsManager.injectFault({
      response: { status, body, headers: { location: 'https://evil.example/' } },
    });
    expect(await reader.read(user, 'db')).toMatch(new RegExp(`^failed ${wanted}`));
    expect(cloud.secretsManager.count()).toBe(1);
  });
});

describe('transient errors are retried', () => {
  test.each([
    ['throttling with HTTP 400', { status: 400, body: { __type: 'ThrottlingException' } }],
    ['throttling with another code', { status: 400, body: { __type: 'RequestLimitExceeded' } }],
    ['throttling as 429', { status: 429 }],
    ['throttling of KMS', { status: 400, body: { __type: 'KMSThrottlingException' } }],
    ['InternalServiceError', { status: 500, body: { __type: 'InternalServiceError' } }],
    ['a page of a gateway', { status: 503, body: '<html>' }],
    ['a page that is not UTF-8', { status: 503, body: Buffer.from('<html>\xe9', 'latin1') }],
  ])('%s', async (_, response) => {
    cloud.secretsManager.put('db', 'one');
    cloud.secretsManager.injectFault({ times: 2, response });
    expect(await reader.read(user, 'db')).toBe(`db@${v1}: one`);
    expect(cloud.secretsManager.count()).toBe(3);
  });

  test.each(['reset', 'truncate'] as const)('a broken connection: %s', async (how) => {
    cloud.secretsManager.put('db', 'one');
    cloud.secretsManager.injectFault({ times: 1, [how]: true });
    expect(await reader.read(user, 'db')).toBe(`db@${v1}: one`);
  });

  test.each([
    ['throttled', 'STORE_THROTTLED', 'HTTP 400, ThrottlingException'],
    ['down', 'STORE_UNAVAILABLE', 'HTTP 503'],
  ] as const)(
    'a region that is %s is an outage of this region only, with its cause',
    async (fault, code, response) => {
      cloud.secretsManager.put('db', 'there', awsFailoverRegion);
      cloud.account.regionFaults.set(awsRegion, fault);
      const [result] = await reader.results(user, { name: 'db' });
      expect(formatResult('db', result)).toMatch(
        new RegExp(
          `^failed ${code}: aws: Secrets Manager secret db in eu-west-1: .*Secrets Manager in eu-west-1 \\(${response}`,
        ),
      );
      expect(result?.kind === 'failed' && result.error.kind).toBe('outage');
      expect(cloud.secretsManager.count()).toBe(3);
      expect(await reader.read(user, { name: 'db', region: awsFailoverRegion })).toContain('there');
    },
  );

  test('a pause of more than 5 s that AWS wants ends the call at once', async () => {
    const headers = { 'retry-after': '6' };
    cloud.secretsManager.injectFault({ response: { status: 503, headers, body: '<html>' } });
    const [result] = await reader.results(user, { name: 'db' });
    expect(result).toMatchObject({
      kind: 'failed',
      error: { code: 'STORE_UNAVAILABLE', retryAfterMs: 6_000 },
    });
    expect(cloud.secretsManager.count()).toBe(1);
  });

  test('an error that many callers share has no text of the service', async () => {
    const body = { __type: 'ThrottlingException', message: 'Rate exceeded for the secret tls' };
    cloud.secretsManager.injectFault({ response: { status: 400, body } });
    expect(await reader.read(user, 'db')).toMatch(
      /^failed STORE_THROTTLED: .*\(HTTP 400, ThrottlingException\)$/,
    );
  });

  test('an outage of one service does not affect another, also for new keys', async () => {
    cloud.secretsManager.put('db', 'one');
    cloud.ssm.injectFault({ delayMs: 20, response: { status: 503 } });
    const parameter = reader.read(user, ssm('key'));
    while (cloud.ssm.count() === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    expect(await reader.read(user, 'db')).toBe(`db@${v1}: one`);
    expect(await parameter).toMatch(/^failed STORE_UNAVAILABLE/);
  });

  test('an error of AWS about the secret is definite, so that no fallback is used', async () => {
    cloud.secretsManager.put('denied', 'one');
    cloud.secretsManager.denied.add('denied');
    for (const name of ['denied', 'none', 'ab c'.repeat(200)]) {
      const [result] = await reader.results(user, { name });
      expect(result && 'error' in result && result.error.kind).toBe('definite');
    }
  });

  test('a refused connection is STORE_UNAVAILABLE', async () => {
    const readerWithoutServer = createAwsReader(cloud, {
      config: { secretsManager: new URL('https://127.0.0.1:1/') },
    });
    expect(await readerWithoutServer.read(user, 'db')).toMatch(
      /^failed STORE_UNAVAILABLE: .*127\.0\.0\.1:1 refused the connection/,
    );
  });

  test('a caller that leaves does not wait', async () => {
    cloud.secretsManager.injectFault({ hang: true });
    const leaving = new AbortController();
    const [result] = reader.fetch([
      reader.fetchRequest(user, { name: 'db' }, { signal: leaving.signal }),
    ]);
    leaving.abort(new Error('gone'));
    expect(await result).toMatchObject({ kind: 'failed' });
  });
});

describe('an invalid response is STORE_ANSWER_INVALID without its text', () => {
  const good = { Name: 'db', SecretString: 'canary-value', VersionId: v1 };
  test.each([
    ['another secret', { ...good, Name: 'tls' }],
    ['another version', { ...good, VersionId: v2 }],
    ['no value', { ...good, SecretString: undefined }],
    ['no version', { ...good, VersionId: undefined }],
    ['a number for a text', { ...good, SecretString: 17 }],
    ['half a character', { ...good, SecretString: 'canary-value\ud83d' }],
    ['a version of two lines', { ...good, VersionId: 'v1\ncanary-value' }],
    ['no JSON', '{"SecretString": canary-value'],
    ['an array', ['canary-value']],
    ['nothing', ''],
    [
      'bytes that are not UTF-8',
      Buffer.from(JSON.stringify({ ...good, SecretString: 'canary-value\xff' }), 'latin1'),
    ],
    ['HTML', '<html>canary-value</html>'],
  ])('%s', async (_, body) => {
    cloud.secretsManager.injectFault({ response: { body } });
    const [result] = await reader.results(user, { name: 'db', version: v1! });
    expect(formatResult('db', result)).toMatch(
      /^failed STORE_ANSWER_INVALID: aws: Secrets Manager secret db \(0+-/,
    );
    expect(formatResult('db', result)).not.toContain('canary');
    // The cause would go to the log.
    expect(result?.kind === 'failed' && result.error.cause).toBeUndefined();
    expect(cloud.secretsManager.count()).toBe(1);
  });

  test('more than a megabyte', async () => {
    cloud.secretsManager.injectFault({
      response: { body: { ...good, SecretString: 'x'.repeat(1_048_576) } },
    });
    expect(await reader.read(user, 'db')).toMatch(
      /^failed STORE_ANSWER_TOO_LARGE: aws: Secrets Manager secret db/,
    );
  });
});

describe('refused credentials', () => {
  test('get one call for 200 mounts, and one more after a minute', async () => {
    cloud.account.revoke(keys.accessKeyId);
    const names = Array.from({ length: 200 }, (_, index) => ({ name: `s${index}`, stage: 'blue' }));
    const results = await reader.results(user, ...names);
    expect(new Set(results.map((result) => 'error' in result && result.error.code))).toEqual(
      new Set(['CREDENTIALS_REFUSED']),
    );
    expect(cloud.secretsManager.count()).toBe(1);
    expect(await reader.read(user, 's1')).toMatch(
      /AWS refused the credentials of keys \(HTTP 400, UnrecognizedClientException\); check that they are still valid, and that eu-west-1 is enabled for their account$/,
    );
    expect(cloud.secretsManager.count()).toBe(1);
    setClocks(61_000);
    await reader.read(user, 's1');
    expect(cloud.secretsManager.count()).toBe(2);
  });

  test('hide the text of a bad signature or token, which repeats what was signed', async () => {
    const session = cloud.account.issueKeys({ lifeMs: minute });
    for (const wrong of [
      { ...keys, secretAccessKey: 'mistyped-secret' },
      { ...session, sessionToken: 'mistyped-token-of-the-session' },
    ]) {
      const line = await reader.read({ kind: 'keys', keys: wrong }, 'db');
      expect(line).toMatch(
        /^failed CREDENTIALS_REFUSED: .*(InvalidSignature|UnrecognizedClient)Exception/,
      );
      expect(line).not.toMatch(/mistyped|x-amz|calculated/);
    }
  });

  test('of a region that is not enabled are used in other regions', async () => {
    cloud.secretsManager.put('db', 'one');
    cloud.account.regionFaults.set(awsFailoverRegion, 'not enabled');
    expect(await reader.read(user, { name: 'db', region: awsFailoverRegion })).toMatch(
      /^failed CREDENTIALS_REFUSED: .*check .* that us-east-1 is enabled/,
    );
    expect(await reader.read(user, 'db')).toBe(`db@${v1}: one`);
  });

  test.each([17, -17])(
    'for a clock that is %d minutes off are retried at once with the corrected clock',
    async (minutes) => {
      cloud.secretsManager.put('db', 'one');
      cloud.clock.cloud = minutes * minute;
      expect(await reader.read(user, 'db')).toBe(`db@${v1}: one`);
      expect(cloud.secretsManager.count()).toBe(2);
      await reader.read(user, 'db');
      expect(cloud.secretsManager.count()).toBe(3);
    },
  );

  test('for a clock that the date of the response cannot correct have the remedy', async () => {
    const body = {
      __type: 'InvalidSignatureException',
      message: 'Signature expired: 1 is now earlier than 2',
    };
    cloud.secretsManager.injectFault({ response: { status: 400, body } });
    expect(await reader.read(user, 'db')).toMatch(
      /^failed CREDENTIALS_REFUSED: .*InvalidSignatureException.*; set the clock of this machine right$/,
    );
  });
});

describe('the rate limiter', () => {
  test('is one for each service, region and account', async () => {
    for (const region of [awsRegion, awsFailoverRegion]) {
      cloud.secretsManager.put('db', 'one', region);
      cloud.ssm.put('key', 'one', region);
    }
    // One call of each limiter goes at once, and the next one after a quarter of an hour.
    const slow = createAwsReader(cloud, {
      config: {
        perSecond: { secretsmanager: 0.001, ssm: 0.001 },
        burst: { secretsmanager: 1, ssm: 1 },
      },
    });
    expect(await slow.read(user, 'db')).toContain('one');
    expect(await slow.read(user, ssm('key'))).toContain('one');
    expect(await slow.read(user, { name: 'db', region: awsFailoverRegion })).toContain('one');
    const signal = AbortSignal.timeout(50);
    const [result] = slow.fetch([slow.fetchRequest(user, { name: 'db' }, { signal })]);
    expect((await result)?.kind).toBe('failed');
    expect(cloud.secretsManager.count()).toBe(2);
  });

  test('does not send keys that AWS refused while the call waited', async () => {
    // Half a second between calls: the refusal arrives before the next call on a busy machine, too.
    const slowReader = createAwsReader(cloud, {
      config: { perSecond: { secretsmanager: 2, ssm: 2 }, burst: { secretsmanager: 1, ssm: 1 } },
    });
    cloud.secretsManager.put('db', 'one');
    await slowReader.read(user, 'db');
    cloud.account.revoke(keys.accessKeyId);
    await Promise.all(
      ['a', 'b', 'c'].map((name) => slowReader.read(user, { name, stage: 'blue' })),
    );
    expect(cloud.secretsManager.count()).toBe(2);
  });

  test('calls onStart of each request of a batch', async () => {
    const started: string[] = [];
    cloud.ssm.put('a', 'a');
    await Promise.all(
      reader.fetch(
        ['a', 'b'].map((name) =>
          reader.fetchRequest(user, ssm(name), { onStart: () => void started.push(name) }),
        ),
      ),
    );
    expect(started).toEqual(['a', 'b']);
  });
});

test('reuses connections: 300 reads by 60 principals need at most three', async () => {
  cloud.secretsManager.put('db', 'one');
  for (let round = 0; round < 5; round++)
    for (let who = 0; who < 60; who++)
      await reader.read({ kind: 'keys', keys: { ...keys, holder: `pod-${who}` } }, 'db');
  expect(cloud.secretsManager.connections).toBeLessThanOrEqual(3);
}, 20_000);
