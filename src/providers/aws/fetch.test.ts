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

const turn = (ms: number): void => void (cloud.clock.node = cloud.clock.cloud = ms);
const actions = (): string[] => cloud.secretsManager.calls.map(({ action }) => action);
const ssm = (name: string, more: object = {}) => ({ service: 'ssm', name, ...more });

describe('secrets', () => {
  test('what is current, with its version; the next one once there is one', async () => {
    cloud.secretsManager.put('eu/prod/db', 'one');
    expect(await reader.results(user, { name: 'eu/prod/db' })).toEqual([
      { kind: 'value', value: { bytes: Buffer.from('one'), version: v1 } },
    ]);
    cloud.secretsManager.put('eu/prod/db', 'two');
    expect(await reader.read(user, 'eu/prod/db')).toBe(`eu/prod/db@${v2}: two`);
  });

  test('a pinned version, which never changes', async () => {
    cloud.secretsManager.put('db', 'one');
    cloud.secretsManager.put('db', 'two');
    expect(await reader.results(user, { name: 'db', version: v1! })).toEqual([
      { kind: 'value', value: { bytes: Buffer.from('one'), version: v1, immutable: true } },
    ]);
    expect(cloud.secretsManager.calls[0]?.input).toEqual({ SecretId: 'db', VersionId: v1 });
  });

  test('by stage, the vendor’s or the user’s own', async () => {
    cloud.secretsManager.put('db', 'one');
    cloud.secretsManager.put('db', 'two');
    cloud.secretsManager.stage('db', 'blue', v1!);
    expect(await reader.read(user, { name: 'db', stage: 'AWSPREVIOUS' })).toBe(`db@${v1}: one`);
    expect(await reader.read(user, { name: 'db', stage: 'blue' })).toBe(`db@${v1}: one`);
    expect(await reader.read(user, { name: 'db', version: v1!, stage: 'AWSCURRENT' })).toMatch(
      /^failed STORE_REFUSED_REQUEST: .*\(00000000-[\d-]+\) in .*InvalidRequestException/,
    );
  });

  test('by ARN, whole or without its last six characters', async () => {
    cloud.secretsManager.put('db', 'one');
    const arn = cloud.secretsManager.arn('db');
    for (const name of [arn, arn.replace(/-\w{6}$/, '')])
      expect(await reader.read(user, name)).toBe(`${name}@${v1}: one`);
  });

  test('binary ones as their bytes', async () => {
    const bytes = Uint8Array.from({ length: 256 }, (_, index) => index);
    cloud.secretsManager.put('tls', bytes);
    const [result] = await reader.results(user, { name: 'tls' });
    expect(result?.kind === 'value' && Buffer.from(result.value.bytes).equals(bytes)).toBe(true);
  });

  test.each(['', '{"a": 1.0}\n', '键\u{1f511}\u0000'])(
    'the text as it stands: %#',
    async (text) => {
      cloud.secretsManager.put('db', text);
      expect(await reader.read(user, 'db')).toBe(`db@${v1}: ${text}`);
    },
  );

  test('of another region, by a client of its own', async () => {
    cloud.secretsManager.put('db', 'here');
    cloud.secretsManager.put('db', 'there', awsFailoverRegion);
    expect(await reader.read(user, 'db')).toContain('here');
    expect(await reader.read(user, { name: 'db', region: awsFailoverRegion })).toContain('there');
  });

  test('several with a refresh, a slow one holding up none of the others', async () => {
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
  test('asks for the version alone while it stands, and reads once it moved', async () => {
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

  test('looks at the stage that is mounted', async () => {
    cloud.secretsManager.put('db', 'one');
    cloud.secretsManager.put('db', 'two');
    const previous = { name: 'db', stage: 'AWSPREVIOUS' };
    expect(formatResult('db', await reader.refresh(user, previous, v1!))).toBe('unchanged');
    expect(formatResult('db', await reader.refresh(user, previous, v2!))).toBe(`db@${v1}: one`);
  });

  test('without the right to describe reads; that is learnt for an hour, by whose pod it is and where', async () => {
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
    turn(61 * minute);
    expect(await refresh(user)).toBe('unchanged');
  });

  test('of a secret that is gone, to be deleted or denied tells what the read says', async () => {
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

  test('of a region that is down is an outage, told by the first call', async () => {
    cloud.secretsManager.put('db', 'one');
    cloud.account.regionFaults.set(awsRegion, 'throttled');
    expect(formatResult('db', await reader.refresh(user, { name: 'db' }, v1!))).toMatch(
      /^failed STORE_THROTTLED/,
    );
    expect(cloud.secretsManager.count()).toBe(3);
  });

  test('of a pinned version, or one that knows none, reads', async () => {
    cloud.secretsManager.put('db', 'one');
    await reader.refresh(user, { name: 'db', version: v1! }, v1!);
    await Promise.all(
      reader.fetch([reader.fetchRequest(user, { name: 'db' }, { urgency: 'refresh', known: {} })]),
    );
    expect(actions()).toEqual(['GetSecretValue', 'GetSecretValue']);
  });
});

describe('secrets that a mount waits for', () => {
  const names = Array.from({ length: 25 }, (_, index) => ({ name: `s${index}` }));
  const put = (): void =>
    names.forEach(({ name }) => cloud.secretsManager.put(name, `value of ${name}`));
  const expectAll = async (who = user): Promise<void> => {
    const results = await reader.results(who, ...names);
    expect(results.map((result, index) => formatResult(`s${index}`, result))).toEqual(
      names.map(({ name }) => `${name}@${v1}: value of ${name}`),
    );
  };

  test('come by twenty, whatever the order of the answer', async () => {
    put();
    await expectAll();
    expect(
      cloud.secretsManager.calls.map(({ input }) => (input.SecretIdList as string[]).length),
    ).toEqual([20, 5]);
  });

  test('by ARNs as well; pinned and staged ones, one alone, and refreshes by calls of their own', async () => {
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

  test('without the right to batches come each by its own call; that is learnt for an hour', async () => {
    put();
    cloud.secretsManager.denied.add('BatchGetSecretValue');
    await expectAll();
    await expectAll();
    // The two batches of the first mount went out together.
    expect(cloud.secretsManager.callCount('BatchGetSecretValue')).toBeLessThanOrEqual(2);
    expect(cloud.secretsManager.callCount('GetSecretValue')).toBe(50);
    cloud.secretsManager.denied.clear();
    turn(61 * minute);
    await expectAll();
    expect(cloud.secretsManager.callCount('GetSecretValue')).toBe(50);
  });

  test('what the batch does not deliver tells its own cause', async () => {
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

  test('too large for one answer come each by its own call', async () => {
    const large = 'x'.repeat(65_000);
    for (const { name } of names.slice(0, 20)) cloud.secretsManager.put(name, large);
    const results = await reader.results(user, ...names.slice(0, 20));
    expect(new Set(results.map((result) => formatResult('s', result)))).toEqual(
      new Set([`s@${v1}: ${large}`]),
    );
    expect(cloud.secretsManager.callCount('GetSecretValue')).toBe(20);
  });

  test('never together with those of another principal or namespace', async () => {
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

  test('go on while anybody waits, and end with the last', async () => {
    put();
    await reader.read(user, 's9');
    cloud.secretsManager.delays.set('BatchGetSecretValue', 100);
    const leaving = [new AbortController(), new AbortController()];
    const ask = () =>
      reader.fetch(
        leaving.map(({ signal }, index) =>
          reader.fetchRequest(user, { name: `s${index}` }, { signal }),
        ),
      );
    const [gone, stays] = ask();
    leaving[0]?.abort(new Error('gone'));
    expect(await gone).toMatchObject({ kind: 'failed' });
    expect(await stays).toMatchObject({ kind: 'value' });

    leaving[0] = new AbortController();
    cloud.secretsManager.injectFault({ hang: true });
    const both = ask();
    for (const controller of leaving) controller.abort(new Error('gone'));
    expect((await Promise.all(both)).map(({ kind }) => kind)).toEqual(['failed', 'failed']);
  });
});

describe('parameters', () => {
  test('what is newest, decrypted, with its number and the time of its change', async () => {
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

  test('by number, which never changes, and by label', async () => {
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

  test('by ARN', async () => {
    cloud.ssm.put('/app/key', 'one');
    const name = cloud.ssm.arn('/app/key');
    expect(await reader.read(user, ssm(name))).toBe(`${name}@1: one`);
  });

  test('come by ten, whatever the order of the answer, each under its own name', async () => {
    const names = Array.from({ length: 25 }, (_, index) => `/p/${index}`);
    for (const name of names) cloud.ssm.put(name, `value of ${name}`);
    const results = await reader.results(user, ...names.map((name) => ssm(name)));
    expect(results.map((result, index) => formatResult(names[index]!, result))).toEqual(
      names.map((name) => `${name}@1: value of ${name}`),
    );
    expect(cloud.ssm.batches().map(({ length }) => length)).toEqual([10, 10, 5]);
  });

  test('the same name at two versions and by a label is three questions', async () => {
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

  test('namesakes are spread over the calls that the others need anyway', async () => {
    const names = Array.from({ length: 20 }, (_, index) => `/p/${index}`);
    for (const name of [...names, 'key']) cloud.ssm.put(name, 'one');
    const versions = [{}, { version: '1' }, { version: '7' }].map((which) => ssm('key', which));
    await reader.results(user, ...names.map((name) => ssm(name)), ...versions);
    expect(cloud.ssm.batches().map(({ length }) => length)).toEqual([10, 10, 3]);
  });

  test('an answer without selectors is matched by name and number', async () => {
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
      /^failed STORE_ANSWER_INVALID: .*nothing about it/,
    );
  });

  test('made anew their numbers start again: the time differs', async () => {
    const modified = async (): Promise<unknown> => {
      const [result] = await reader.results(user, ssm('key'));
      return result?.kind === 'value' && [result.value.version, result.value.modified];
    };
    cloud.ssm.put('key', 'one');
    const before = await modified();
    cloud.ssm.delete('key');
    turn(minute);
    cloud.ssm.put('key', 'other');
    const after = await modified();
    expect([before, after]).toEqual([
      ['1', expect.anything()],
      ['1', expect.anything()],
    ]);
    expect(after).not.toEqual(before);
  });

  test('that are not there are absent, each for itself', async () => {
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
        /^absent OBJECT_NOT_FOUND: aws: SSM parameter none in eu-west-1: there is no such parameter \(InvalidParameters, request id req-[\w-]+\); check its name, and that it is in eu-west-1/,
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
  ])('one that is %s refuses the whole call, and yet fails alone', async (_, refuse, wanted) => {
    for (const name of ['a', 'b', 'c']) cloud.ssm.put(name, name);
    refuse();
    const results = await reader.results(user, ssm('a'), ssm('b'), ssm('c'));
    expect(results.map((result) => formatResult('p', result))).toEqual([
      'p@1: a',
      expect.stringMatching(new RegExp(`^failed ${wanted}`)),
      'p@1: c',
    ]);
  });

  test('a name SSM refuses fails alone, too', async () => {
    cloud.ssm.put('a', 'a');
    const results = await reader.results(user, ssm('a'), ssm('no such name'));
    expect(results.map((result) => formatResult('p', result))).toEqual([
      'p@1: a',
      expect.stringMatching(
        /^failed STORE_REFUSED_REQUEST: .*SSM refused the request .*ValidationException/,
      ),
    ]);
  });

  test('of two regions never in one call', async () => {
    cloud.ssm.put('a', 'here');
    cloud.ssm.put('a', 'there', awsFailoverRegion);
    const results = await reader.results(user, ssm('a'), ssm('a', { region: awsFailoverRegion }));
    expect(results.map((result) => formatResult('a', result))).toEqual(['a@1: here', 'a@1: there']);
  });
});

describe('what AWS says', () => {
  test('not there: absent, with the code, the request id, and where to look', async () => {
    expect(await reader.read(user, 'none')).toMatch(
      /^absent OBJECT_NOT_FOUND: aws: Secrets Manager secret none in eu-west-1: there is no such secret \(HTTP 400, ResourceNotFoundException, request id req-[\w-]+: "Secrets Manager can't find the specified secret\."\); check its name, and that it is in eu-west-1; a secret of another account needs its whole ARN$/,
    );
  });

  test.each([{ version: '7' }, { stage: 'green' }])('no such version: %j', async (which) => {
    cloud.secretsManager.put('db', 'one');
    expect(await reader.read(user, { name: 'db', ...which })).toMatch(
      /^absent OBJECT_NOT_FOUND: aws: Secrets Manager secret db \(\w+\) in eu-west-1: there is no such version \(HTTP 400/,
    );
  });

  test('scheduled for deletion: absent, and how to undo it', async () => {
    cloud.secretsManager.put('db', 'one');
    cloud.secretsManager.delete('db');
    expect(await reader.read(user, 'db')).toMatch(
      /^absent OBJECT_DISABLED: .*scheduled for deletion \(HTTP 400, InvalidRequestException, .*; restore it/,
    );
  });

  test('denied: who, what for, and which permission on what', async () => {
    cloud.secretsManager.put('db', 'one');
    cloud.secretsManager.denied.add('db');
    expect(await reader.read(user, 'db')).toMatch(
      /^failed ACCESS_DENIED: .*access is denied \(HTTP 400, AccessDeniedException, request id req-[\w-]+: "User: user is not authorized because .*; allow secretsmanager:GetSecretValue on arn:aws:secretsmanager:eu-west-1:111122223333:secret:db-\?{6}$/,
    );
    cloud.secretsManager.denied.add('kms:db');
    expect(await reader.read(user, 'kms:db')).toMatch(/; allow secretsmanager:GetSecretValue on /);
    const arn = cloud.secretsManager.arn('db');
    expect(await reader.read(user, arn)).toMatch(
      new RegExp(`allow secretsmanager:GetSecretValue on ${arn}$`),
    );
  });

  test('denied: the kind of policy that did it is told, however long the names are', async () => {
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

  test('its KMS key denied', async () => {
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
      'STORE_ANSWER_INVALID: .*does not answer as Secrets Manager does .HTTP 404',
    ],
    ['a redirect', 302, '', 'STORE_ANSWER_INVALID: .*HTTP 302'],
    ['JSON of somebody else', 400, '{"error":"no"}', 'STORE_ANSWER_INVALID: .*HTTP 400'],
    [
      'a key that is off',
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

describe('trouble that passes is waited out', () => {
  test.each([
    [
      'throttling, the client’s fault by HTTP',
      { status: 400, body: { __type: 'ThrottlingException' } },
    ],
    ['throttling that no model knows', { status: 400, body: { __type: 'RequestLimitExceeded' } }],
    ['throttling as 429', { status: 429 }],
    ['throttling of KMS', { status: 400, body: { __type: 'KMSThrottlingException' } }],
    ['InternalServiceError', { status: 500, body: { __type: 'InternalServiceError' } }],
    ['a page of a gateway', { status: 503, body: '<html>' }],
  ])('%s', async (_, answer) => {
    cloud.secretsManager.put('db', 'one');
    cloud.secretsManager.injectFault({ times: 2, response: answer });
    expect(await reader.read(user, 'db')).toBe(`db@${v1}: one`);
    expect(cloud.secretsManager.count()).toBe(3);
  });

  test.each(['reset', 'truncate'] as const)('a broken connection: %s', async (how) => {
    cloud.secretsManager.put('db', 'one');
    cloud.secretsManager.injectFault({ times: 1, [how]: true });
    expect(await reader.read(user, 'db')).toBe(`db@${v1}: one`);
  });

  test.each([
    ['throttled', 'STORE_THROTTLED', 'HTTP 400, ThrottlingException, request id req-'],
    ['down', 'STORE_UNAVAILABLE', 'HTTP 503'],
  ] as const)(
    'a region that is %s: an outage, told with its cause, and no other region',
    async (how, code, told) => {
      cloud.secretsManager.put('db', 'there', awsFailoverRegion);
      cloud.account.regionFaults.set(awsRegion, how);
      const [result] = await reader.results(user, { name: 'db' });
      expect(formatResult('db', result)).toMatch(
        new RegExp(
          `^failed ${code}: aws: Secrets Manager secret db in eu-west-1: .*Secrets Manager in eu-west-1 \\(${told}`,
        ),
      );
      expect(result?.kind === 'failed' && result.error.kind).toBe('outage');
      expect(cloud.secretsManager.count()).toBe(3);
      expect(await reader.read(user, { name: 'db', region: awsFailoverRegion })).toContain('there');
    },
  );

  test('a pause of more than 5 s that AWS asks for ends the call at once', async () => {
    const headers = { 'retry-after': '6' };
    cloud.secretsManager.injectFault({ response: { status: 503, headers, body: '<html>' } });
    const [result] = await reader.results(user, { name: 'db' });
    expect(result).toMatchObject({
      kind: 'failed',
      error: { code: 'STORE_UNAVAILABLE', retryAfterMs: 6_000 },
    });
    expect(cloud.secretsManager.count()).toBe(1);
  });

  test('what is told to all who wait for a service quotes none of its texts', async () => {
    const body = { __type: 'ThrottlingException', message: 'Rate exceeded for the secret tls' };
    cloud.secretsManager.injectFault({ response: { status: 400, body } });
    expect(await reader.read(user, 'db')).toMatch(
      /^failed STORE_THROTTLED: .*\(HTTP 400, ThrottlingException\)$/,
    );
  });

  test('of one service is none of another, for keys that nobody has proven yet either', async () => {
    cloud.secretsManager.put('db', 'one');
    cloud.ssm.injectFault({ delayMs: 20, response: { status: 503 } });
    const parameter = reader.read(user, ssm('key'));
    while (cloud.ssm.count() === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    expect(await reader.read(user, 'db')).toBe(`db@${v1}: one`);
    expect(await parameter).toMatch(/^failed STORE_UNAVAILABLE/);
  });

  test('what AWS has answered is no outage: no other region is to be asked', async () => {
    cloud.secretsManager.put('denied', 'one');
    cloud.secretsManager.denied.add('denied');
    for (const name of ['denied', 'none', 'ab c'.repeat(200)]) {
      const [result] = await reader.results(user, { name });
      expect(result && 'error' in result && result.error.kind).toBe('definite');
    }
  });

  test('a port where nobody listens', async () => {
    const nobody = createAwsReader(cloud, {
      config: { secretsManager: new URL('https://127.0.0.1:1/') },
    });
    expect(await nobody.read(user, 'db')).toMatch(
      /^failed STORE_UNAVAILABLE: .*127\.0\.0\.1:1 refused the connection/,
    );
  });

  test('who leaves, leaves at once', async () => {
    cloud.secretsManager.injectFault({ hang: true });
    const leaving = new AbortController();
    const [result] = reader.fetch([
      reader.fetchRequest(user, { name: 'db' }, { signal: leaving.signal }),
    ]);
    leaving.abort(new Error('gone'));
    expect(await result).toMatchObject({ kind: 'failed' });
  });
});

describe('an answer that is not to be trusted', () => {
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
    // Not for the log either.
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
  test('and 200 mounts of as many secrets: one call, and one more after a minute', async () => {
    cloud.account.revoke(keys.accessKeyId);
    const names = Array.from({ length: 200 }, (_, index) => ({ name: `s${index}`, stage: 'blue' }));
    const results = await reader.results(user, ...names);
    expect(new Set(results.map((result) => 'error' in result && result.error.code))).toEqual(
      new Set(['CREDENTIALS_REFUSED']),
    );
    expect(cloud.secretsManager.count()).toBe(1);
    expect(await reader.read(user, 's1')).toMatch(
      /AWS refused the credentials of keys \(HTTP 400, UnrecognizedClientException, request id req-[\w-]+\); check that they are still valid, and that eu-west-1 is enabled for their account$/,
    );
    expect(cloud.secretsManager.count()).toBe(1);
    turn(61_000);
    await reader.read(user, 's1');
    expect(cloud.secretsManager.count()).toBe(2);
  });

  test('by a bad signature, or with a wrong session token: the text, which repeats what was signed, is not shown', async () => {
    const session = cloud.account.issueKeys({ lifeMs: minute });
    for (const wrong of [
      { ...keys, secretAccessKey: 'mistyped-secret' },
      { ...session, sessionToken: 'mistyped-token-of-the-session' },
    ]) {
      const line = await reader.read({ kind: 'keys', keys: wrong }, 'db');
      expect(line).toMatch(
        /^failed CREDENTIALS_REFUSED: .*(InvalidSignature|UnrecognizedClient)Exception, request id/,
      );
      expect(line).not.toMatch(/mistyped|x-amz|calculated/);
    }
  });

  test('by a region that the account has not enabled, and so for whoever names it, are taken elsewhere', async () => {
    cloud.secretsManager.put('db', 'one');
    cloud.account.regionFaults.set(awsFailoverRegion, 'not enabled');
    expect(await reader.read(user, { name: 'db', region: awsFailoverRegion })).toMatch(
      /^failed CREDENTIALS_REFUSED: .*check .* that us-east-1 is enabled/,
    );
    expect(await reader.read(user, 'db')).toBe(`db@${v1}: one`);
  });

  test.each([17, -17])(
    'by the cloud’s clock, %d minutes off ours: the SDK corrects itself at once',
    async (minutes) => {
      cloud.secretsManager.put('db', 'one');
      cloud.clock.cloud = minutes * minute;
      expect(await reader.read(user, 'db')).toBe(`db@${v1}: one`);
      expect(cloud.secretsManager.count()).toBe(2);
      await reader.read(user, 'db');
      expect(cloud.secretsManager.count()).toBe(3);
    },
  );

  test('by a clock of which nobody says how wrong it is', async () => {
    const body = {
      __type: 'InvalidSignatureException',
      message: 'Signature expired: 1 is now earlier than 2',
    };
    cloud.secretsManager.injectFault({ response: { status: 400, body } });
    expect(await reader.read(user, 'db')).toMatch(
      /^failed CREDENTIALS_REFUSED: .*InvalidSignatureException.*; set the clock of this node right$/,
    );
  });
});

describe('the budget', () => {
  const tight = { perSecond: { secretsmanager: 1, ssm: 1 }, burst: { secretsmanager: 1, ssm: 1 } };

  test('is one for each service, region and account', async () => {
    for (const region of [awsRegion, awsFailoverRegion]) {
      cloud.secretsManager.put('db', 'one', region);
      cloud.ssm.put('key', 'one', region);
    }
    const slow = createAwsReader(cloud, { config: tight });
    const inTime = async (who: AwsReaderIdentity, ref: { name: string }): Promise<boolean> => {
      const [result] = slow.fetch([
        slow.fetchRequest(who, ref, { signal: AbortSignal.timeout(300) }),
      ]);
      return (await result)?.kind === 'value';
    };
    expect(await inTime(user, { name: 'db' })).toBe(true);
    expect(await inTime(user, ssm('key'))).toBe(true);
    expect(await inTime(user, { name: 'db', region: awsFailoverRegion } as { name: string })).toBe(
      true,
    );
    expect(await inTime(user, { name: 'db' })).toBe(false);
  });

  test('keys that were refused meanwhile are not shown by who waited for it', async () => {
    const patient = createAwsReader(cloud, {
      config: { perSecond: { secretsmanager: 50, ssm: 50 }, burst: { secretsmanager: 1, ssm: 1 } },
    });
    cloud.secretsManager.put('db', 'one');
    await patient.read(user, 'db');
    cloud.account.revoke(keys.accessKeyId);
    await Promise.all(['a', 'b', 'c'].map((name) => patient.read(user, { name, stage: 'blue' })));
    expect(cloud.secretsManager.count()).toBe(2);
  });

  test('tells when it lets a call go, to all whose call it is', async () => {
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

test('connections are kept and few: 300 reads by 60 principals over one at a time take no more than three', async () => {
  cloud.secretsManager.put('db', 'one');
  for (let round = 0; round < 5; round++)
    for (let who = 0; who < 60; who++)
      await reader.read({ kind: 'keys', keys: { ...keys, holder: `pod-${who}` } }, 'db');
  expect(cloud.secretsManager.connections).toBeLessThanOrEqual(3);
}, 20_000);
