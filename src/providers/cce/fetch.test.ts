import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import {
  objectYaml,
  project,
  startCceFixture,
  type CceFixture,
} from '../../../test/fakes/cce-fixture.ts';
import { nextTurn, withFrozenTimers } from '../../../test/fakes/timers.ts';

let fixture: CceFixture;
const names = ['db_login', 'tls', 'other'];

beforeEach(async () => {
  fixture = await startCceFixture();
  fixture.annotate(names);
});
afterEach(() => fixture.close());

async function restart(env: Readonly<Record<string, string>>): Promise<void> {
  await fixture.close();
  fixture = await startCceFixture({ env });
  fixture.annotate(names);
}

/** Moves the clock of the node and the frozen timers, a millisecond at a time. */
async function advanceUntil(isDone: () => boolean): Promise<void> {
  while (!isDone()) {
    fixture.clock.node += 1;
    await jest.advanceTimersByTimeAsync(1);
    await nextTurn();
  }
}

describe('reads', () => {
  test('a fixed version as immutable', async () => {
    fixture.csms.put('db_login', 'one');
    fixture.csms.put('db_login', 'two');
    expect(await fixture.fetch(objectYaml('db_login', 'v1'))).toEqual([
      { kind: 'value', value: { bytes: Buffer.from('one'), version: 'v1', immutable: true } },
    ]);
  });

  test('the latest version, and a newer one when there is one', async () => {
    fixture.csms.put('db_login', 'one');
    expect(await fixture.fetch(objectYaml('db_login'))).toEqual([
      { kind: 'value', value: { bytes: Buffer.from('one'), version: 'v1' } },
    ]);
    fixture.csms.put('db_login', 'two');
    expect(await fixture.read(objectYaml('db_login'))).toEqual(['db_login@v2: two']);
  });

  test('the bytes of a binary secret', async () => {
    const bytes = Uint8Array.from({ length: 256 }, (_, index) => index);
    fixture.csms.put('tls', bytes);
    const [result] = await fixture.fetch(objectYaml('tls'));
    expect(result).toMatchObject({ kind: 'value', value: { bytes: Buffer.from(bytes) } });
  });

  test.each(['', '{"a": 1.0}\n', '键\u{1f511}\u0000', ' '.repeat(40_000)])(
    'a text without changes: %#',
    async (text) => {
      fixture.csms.put('db_login', text);
      expect(await fixture.read(objectYaml('db_login'))).toEqual([`db_login@v1: ${text}`]);
    },
  );

  test('several secrets, and a slow one does not delay the others', async () => {
    fixture.csms.put('db_login', 'a');
    fixture.csms.put('tls', 'b');
    await fixture.read(objectYaml('db_login'));
    let respond = (): void => undefined;
    const until = new Promise<void>((resolve) => (respond = resolve));
    fixture.csms.injectFault({ route: /tls/, until });
    const [slow, quick] = fixture.provider.fetch(
      await fixture.fetchRequests(objectYaml('tls') + objectYaml('db_login')),
    );
    expect(await quick).toMatchObject({ kind: 'value' });
    respond();
    expect(await slow).toMatchObject({ kind: 'value' });
  });
});

describe('reports as absent', () => {
  test('a missing secret, with the code of CSMS and the request id', async () => {
    expect(await fixture.read(objectYaml('other'))).toEqual([
      expect.stringMatching(
        /^absent OBJECT_NOT_FOUND: cce: secret other \(latest\) in eu-west-101: CSMS has no such secret, or not this version \(HTTP 400, CSMS\.0106: "The secret name does not exist"\); check its name, and that it is in the region and the project of Keyferry$/,
      ),
    ]);
  });

  test('a missing version, with what to write instead', async () => {
    fixture.csms.put('db_login', 'one');
    expect(await fixture.read(objectYaml('db_login', 'v7'))).toEqual([
      expect.stringMatching(
        /^absent OBJECT_NOT_FOUND: .*CSMS\.0005.*; check that it exists and has version v7; for the current one write objectVersion: "latest"$/,
      ),
    ]);
  });

  test('a secret that is scheduled for deletion', async () => {
    fixture.csms.put('db_login', 'one');
    fixture.csms.setState('db_login', 'PENDING_DELETE');
    expect(await fixture.read(objectYaml('db_login'))).toEqual([
      expect.stringMatching(/^absent OBJECT_DISABLED: .*it is to be deleted .*CSMS\.0103/),
    ]);
  });

  test.each(['DISABLED', 'FROZEN'])(
    'a secret that is %s, although the code is not documented',
    async (state) => {
      fixture.csms.put('db_login', 'one');
      fixture.csms.setState('db_login', state);
      expect(await fixture.read(objectYaml('db_login'))).toEqual([
        expect.stringMatching(
          new RegExp(`^absent OBJECT_DISABLED: .*it is not enabled but ${state} .*CSMS\\.0999`),
        ),
      ]);
    },
  );

  test('not an enabled secret with an unknown code', async () => {
    fixture.csms.put('db_login', 'one');
    fixture.csms.injectFault({
      route: /versions/,
      response: { status: 400, body: { error_code: 'CSMS.0777', error_msg: 'new' } },
    });
    expect(await fixture.read(objectYaml('db_login'))).toEqual([
      expect.stringMatching(/^failed STORE_REFUSED_REQUEST: .*CSMS\.0777: "new"/),
    ]);
  });
});

describe('reports an error', () => {
  test('for a denial by a policy, with the code and the missing permissions', async () => {
    fixture.csms.put('db_login', 'one');
    fixture.csms.denied.add('db_login');
    expect(await fixture.read(objectYaml('db_login'))).toEqual([
      expect.stringMatching(
        /^failed ACCESS_DENIED: .*HTTP 403, PAP\.0001: .*; it needs csms:secret:getVersion, and kms:cmk:decryptDataKey/,
      ),
    ]);
  });

  test.each([
    [
      'a denial by KMS',
      403,
      { error_code: 'CSMS.0401', error_msg: 'no' },
      'ACCESS_DENIED: .*KMS did not decrypt it',
    ],
    ['a bad parameter', 400, { error_code: 'CSMS.0002' }, 'STORE_REFUSED_REQUEST: .*CSMS\\.0002'],
    [
      'a nested code',
      400,
      { error: { error_code: 'CSMS.0004', error_msg: 'x' } },
      'STORE_REFUSED_REQUEST: .*CSMS\\.0004: "x"',
    ],
    [
      '{code, message}',
      403,
      { code: 'IAM.0011', message: 'x' },
      'ACCESS_DENIED: .*IAM\\.0011: "x"',
    ],
    ['{errorCode, errorMsg}', 403, { errorCode: 'E1', errorMsg: 'x' }, 'ACCESS_DENIED: .*E1: "x"'],
    [
      'an encoded authorization message',
      403,
      { error_code: 'PAP.1', error_msg: 'x', encoded_authorization_message: 'AAAA' },
      'an encoded authorization message is attached',
    ],
    [
      'an unknown code of a gateway',
      400,
      { error_code: 'APIGW.0106' },
      'STORE_REFUSED_REQUEST: .*APIGW\\.0106',
    ],
    [
      'a code that is the name of a JavaScript property',
      400,
      { error_code: 'constructor' },
      'STORE_REFUSED_REQUEST: .*HTTP 400, constructor',
    ],
    ['a text', 400, 'Bad Request', 'STORE_ANSWER_INVALID: .*does not respond like CSMS .HTTP 400'],
    [
      'a denial by KMS with 401',
      401,
      { error_code: 'CSMS.0401', error_msg: 'no' },
      'ACCESS_DENIED: .*KMS did not decrypt it',
    ],
    [
      'an unknown path',
      404,
      { error_code: 'APIGW.0101', error_msg: 'x' },
      'STORE_ANSWER_INVALID: .*does not respond like CSMS .*APIGW\\.0101',
    ],
    ['a redirect', 302, '', 'STORE_ANSWER_INVALID: .*does not respond like CSMS .*HTTP 302'],
  ])('for %s', async (_, status, body, expected) => {
    fixture.csms.injectFault({
      response: { status, body, headers: { location: 'https://evil.example/' } },
    });
    expect(await fixture.read(objectYaml('db_login'))).toEqual([
      expect.stringMatching(new RegExp(`^failed .*${expected}`)),
    ]);
  });
});

describe('retries after a transient error', () => {
  test.each([
    ['429', { status: 429 }],
    ['throttled', { status: 400, body: { error_code: 'APIGW.0308', error_msg: 'throttled' } }],
    ['500', { status: 500 }],
    ['502', { status: 502, body: '<html>' }],
    ['503', { status: 503 }],
    ['504', { status: 504 }],
  ])('%s', async (_, response) => {
    fixture.csms.put('db_login', 'one');
    fixture.csms.injectFault({ times: 2, response });
    expect(await fixture.read(objectYaml('db_login'))).toEqual(['db_login@v1: one']);
    expect(fixture.csms.count()).toBe(3);
  });

  test('of the connection', async () => {
    fixture.csms.put('db_login', 'one');
    fixture.csms.injectFault({ times: 1, reset: true });
    expect(await fixture.read(objectYaml('db_login'))).toEqual(['db_login@v1: one']);
    fixture.csms.injectFault({ times: 1, truncate: true });
    expect(await fixture.read(objectYaml('db_login'))).toEqual(['db_login@v1: one']);
  });

  test.each([
    [429, 'STORE_THROTTLED'],
    [503, 'STORE_UNAVAILABLE'],
  ])('and reports %d after three attempts', async (status, code) => {
    fixture.csms.injectFault({
      response: {
        status,
        headers: { 'x-request-id': 'r-1' },
        body: { error_msg: 'it is tls that fails' },
      },
    });
    expect(await fixture.read(objectYaml('db_login'))).toEqual([
      expect.stringMatching(
        new RegExp(`^failed ${code}: cce: secret db_login .*HTTP ${status}\\)`),
      ),
    ]);
    expect(fixture.csms.count()).toBe(3);
  });

  test('ends a read at once when its signal fires', async () => {
    fixture.csms.injectFault({ hang: true });
    const abortController = new AbortController();
    const [result] = fixture.provider.fetch(
      await fixture.fetchRequests(objectYaml('db_login'), {}, { signal: abortController.signal }),
    );
    abortController.abort(new Error('gone'));
    expect(await result).toMatchObject({ kind: 'failed' });
  });
});

describe('rejects a response with', () => {
  const metadata = { id: 'v1', secret_name: 'db_login' };
  const version = (fields: object): object => ({
    version: { version_metadata: metadata, ...fields },
  });

  test.each([
    [
      'another secret',
      {
        version: {
          version_metadata: { id: 'v1', secret_name: 'tls' },
          secret_string: 'canary-value',
        },
      },
    ],
    [
      'another version',
      { version: { version_metadata: { ...metadata, id: 'v2' }, secret_string: 'canary-value' } },
    ],
    ['no value', version({ secret_string: null })],
    ['two values', version({ secret_string: 'canary-value', secret_binary: 'YQ==' })],
    ['text that is not base64', version({ secret_binary: 'canary-value!' })],
    ['base64 with extra bits', version({ secret_binary: 'YR==' })],
    ['half of a surrogate pair', version({ secret_string: 'canary-value\ud83d' })],
    ['no metadata', { version: { secret_string: 'canary-value' } }],
    ['a list', ['canary-value']],
    ['text that is not JSON', '{"version": canary-value'],
    [
      'bytes that are not UTF-8',
      Buffer.from(JSON.stringify(version({ secret_string: 'canary-value\xff' })), 'latin1'),
    ],
    ['no body', ''],
    ['HTML', '<html>canary-value</html>'],
  ])('%s', async (_, body) => {
    fixture.csms.injectFault({ response: { body } });
    const [line] = await fixture.read(objectYaml('db_login', 'v1'));
    expect(line).toMatch(
      /^failed STORE_ANSWER_INVALID: cce: secret db_login \(v1\) in eu-west-101: CSMS sent /,
    );
    expect(line).not.toContain('canary-value');
    expect(fixture.csms.count()).toBe(1);
  });

  test('a latest version that is not a version', async () => {
    fixture.csms.injectFault({
      response: {
        body: { version: { version_metadata: { ...metadata, id: '../v1' }, secret_string: 'x' } },
      },
    });
    expect(await fixture.read(objectYaml('db_login'))).toEqual([
      expect.stringMatching(/another version/),
    ]);
  });

  test('more than 1 MiB', async () => {
    fixture.csms.injectFault({
      response: { body: version({ secret_string: 'x'.repeat(1_048_576) }) },
    });
    expect(await fixture.read(objectYaml('db_login', 'v1'))).toEqual([
      expect.stringMatching(/^failed STORE_ANSWER_TOO_LARGE: cce: secret db_login/),
    ]);
  });
});

describe('a wrong key', () => {
  const revokeKey = (): void => fixture.account.revoke(fixture.keys.access);

  test('costs one call for 500 secrets, and one more after a minute', async () => {
    revokeKey();
    const many = Array.from({ length: 500 }, (_, index) => `s${index}`);
    fixture.annotate(many);
    const lines = await withFrozenTimers(() =>
      fixture.read(many.map((name) => objectYaml(name)).join('')),
    );
    expect(fixture.csms.count()).toBe(1);
    for (const line of lines)
      expect(line).toMatch(
        /^failed CREDENTIALS_REFUSED: .*refused the access key it is configured with \(HTTP 401, APIGW\.0301\)/,
      );
    fixture.clock.node = 59_000;
    await fixture.read(objectYaml('s1'));
    expect(fixture.csms.count()).toBe(1);
    fixture.clock.node = 61_000;
    await fixture.read(objectYaml('s1'));
    expect(fixture.csms.count()).toBe(2);
  });

  test('that was good until now is not used by calls that wait for the rate limiter', async () => {
    await restart({ KEYFERRY_CCE_RATE: '50', KEYFERRY_CCE_BURST: '3' });
    const many = Array.from({ length: 20 }, (_, index) => `s${index}`);
    fixture.annotate(many);
    await fixture.read(objectYaml('s0'));
    revokeKey();
    await withFrozenTimers(async () => {
      let isDone = false;
      const reads = fixture
        .read(many.map((name) => objectYaml(name)).join(''))
        .finally(() => (isDone = true));
      await advanceUntil(() => isDone);
      for (const line of await reads) expect(line).toMatch(/^failed CREDENTIALS_REFUSED/);
    });
    expect(fixture.csms.count()).toBeLessThan(1 + 5);
  });

  test('that CSMS accepted more than a second ago costs one bad call for 200 secrets', async () => {
    const many = Array.from({ length: 200 }, (_, index) => `s${index}`);
    fixture.annotate(many);
    fixture.csms.put('s0', 'one');
    expect(await fixture.read(objectYaml('s0'))).toEqual(['s0@v1: one']);
    fixture.clock.node += 1_000;
    revokeKey();
    const lines = await withFrozenTimers(() =>
      fixture.read(many.map((name) => objectYaml(name)).join('')),
    );
    for (const line of lines) expect(line).toMatch(/^failed CREDENTIALS_REFUSED/);
    expect(fixture.csms.count()).toBe(1 + 1);
  });

  test('never shows the text of the gateway, which repeats the request', async () => {
    revokeKey();
    const [line] = await fixture.read(objectYaml('db_login'));
    expect(line).not.toMatch(/canonicalRequest|authorization|SDK-HMAC/i);
    expect(line).not.toContain(fixture.keys.access);
  });

  test('is reported as locked', async () => {
    const body = {
      error_code: 'APIGW.0301',
      error_msg: 'AK access failed to reach the limit,forbidden',
    };
    fixture.csms.injectFault({ response: { status: 401, body } });
    expect(await fixture.read(objectYaml('db_login'))).toEqual([
      expect.stringMatching(
        /CREDENTIALS_REFUSED: .*has locked the access key .*too many bad signatures/,
      ),
    ]);
  });

  test.each([
    [-17, 'slow'],
    [17, 'fast'],
  ])(
    'that is right is refused when the clock of the node is %d minutes off: %s',
    async (minutes, word) => {
      fixture.clock.node = minutes * 60_000;
      expect(await fixture.read(objectYaml('db_login'))).toEqual([
        expect.stringMatching(
          new RegExp(`CREDENTIALS_REFUSED: .*; the clock of this machine is ${word}: set it right`),
        ),
      ]);
    },
  );
});

test('hides the text of CSMS when it contains a key of the request', async () => {
  const { access, secret } = fixture.keys;
  for (const text of [
    access,
    secret,
    Buffer.from(`x${secret}`).toString('base64'),
    `id=${encodeURIComponent(secret)}`,
  ]) {
    for (const body of [
      { error_code: 'CSMS.0002', error_msg: `echo ${text}` },
      { error_code: text, error_msg: 'x' },
    ]) {
      fixture.csms.injectFault({
        response: { status: 400, body, headers: { 'x-request-id': text } },
      });
      const [line] = await fixture.read(objectYaml('db_login'));
      expect(line).toMatch(/^failed STORE_REFUSED_REQUEST/);
      expect(line).not.toContain(text);
    }
  }
});

describe('the rate limiter', () => {
  test('delays calls after the burst, and lets first mounts go before refreshes', async () => {
    await restart({ KEYFERRY_CCE_RATE: '5', KEYFERRY_CCE_BURST: '1' });
    for (const name of names) fixture.csms.put(name, name);
    await fixture.read(objectYaml('db_login'));
    const order: string[] = [];
    const createRequests = (urgency: 'first' | 'refresh', name: string) =>
      fixture.fetchRequests(
        objectYaml(name),
        {},
        { urgency, onStart: () => void order.push(name) },
      );
    const requests = [
      await createRequests('first', 'db_login'),
      await createRequests('refresh', 'tls'),
      await createRequests('first', 'other'),
    ].flat();
    await withFrozenTimers(async () => {
      const results = fixture.provider.fetch(requests);
      await nextTurn();
      expect(order).toEqual([]);
      await advanceUntil(() => order.length === 3);
      for (const result of results) expect(await result).toMatchObject({ kind: 'value' });
    });
    expect(order).toEqual(['db_login', 'other', 'tls']);
  });

  test('counts each attempt, so that a retry is not free', async () => {
    await restart({ KEYFERRY_CCE_RATE: '5', KEYFERRY_CCE_BURST: '3' });
    fixture.csms.put('db_login', 'one');
    fixture.csms.injectFault({ times: 2, response: { status: 503 } });
    expect(await fixture.read(objectYaml('db_login'))).toEqual(['db_login@v1: one']);
    expect(fixture.csms.count()).toBe(3);
    let starts = 0;
    const requests = await fixture.fetchRequests(
      objectYaml('db_login'),
      {},
      { onStart: () => void (starts += 1) },
    );
    await withFrozenTimers(async () => {
      const [result] = fixture.provider.fetch(requests);
      await nextTurn();
      // The three attempts have used the burst.
      expect(starts).toBe(0);
      await advanceUntil(() => starts > 0);
      expect(await result).toMatchObject({ kind: 'value' });
    });
    expect(fixture.csms.count()).toBe(4);
  });
});

test('waits for the pause of Retry-After before the next attempt', async () => {
  fixture.csms.put('db_login', 'one');
  fixture.csms.injectFault({
    times: 1,
    response: { status: 429, headers: { 'retry-after': '2' } },
  });
  const pauses: number[] = [];
  const setRealTimeout = globalThis.setTimeout;
  const setRecordedTimeout = ((callback: () => void, ms = 0) => {
    // The fixture's jitter is less than 1 ms.
    if (ms < 2_000 || ms > 2_001) return setRealTimeout(callback, ms);
    pauses.push(ms);
    return setRealTimeout(callback, 0);
  }) as typeof setTimeout;
  const spy = jest.spyOn(globalThis, 'setTimeout').mockImplementation(setRecordedTimeout);
  try {
    expect(await fixture.read(objectYaml('db_login'))).toEqual(['db_login@v1: one']);
  } finally {
    spy.mockRestore();
  }
  expect(pauses).toHaveLength(1);
  expect(fixture.csms.count()).toBe(2);
});

test('sends the project in the path and in a signed header', async () => {
  fixture.csms.put('db_login', 'one');
  await fixture.read(objectYaml('db_login'));
  const [request] = fixture.csms.requests;
  expect(request?.path).toBe(`/v1/${project}/secrets/db_login/versions/latest`);
  expect(request?.headers['x-project-id']).toBe(project);
});
