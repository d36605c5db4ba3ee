import { describe, expect, test } from '@jest/globals';
import { createTestCa } from '../../../test/fakes/tls.ts';
import { SecretError } from '../../core/errors.ts';
import type { SecretRef } from '../../core/plan.ts';
import { Redacted } from '../../core/redacted.ts';
import type { FetchResult, SecretValue } from '../../core/provider.ts';
import { type JsonValue, parseJsonText, toJsonText } from '../../formats/json.ts';
import { parseReadResponse } from './response.ts';

const sentAt = 1_000_000;
const plainRead: SecretRef = { service: 'vault', name: 'secret/data/app', method: 'GET' };

/** Parses a response, as Vault writes it or as an object. */
function parseResult(
  body: string | object,
  { status = 200, ref = plainRead }: { status?: number; ref?: SecretRef } = {},
): FetchResult {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  const json = () => {
    try {
      return parseJsonText(text);
    } catch {
      throw new SecretError('STORE_ANSWER_INVALID', 'not JSON');
    }
  };
  const response = { status, headers: {}, body: Buffer.from(text), address: 'https://vault', json };
  const token = new Redacted('hvs.the-token-of-the-request');
  return parseReadResponse(response, { ref, login: { dialect: 'vault' }, token, sentAt });
}

function secretValueOf(...args: Parameters<typeof parseResult>): SecretValue {
  const result = parseResult(...args);
  if (result.kind !== 'value') throw new Error(JSON.stringify(result));
  return result.value;
}

/** The JSON text of what an object's `secretKey` finds. */
function keyOf({ document = '' }: SecretValue, key: string): string | undefined {
  const found = parseJsonText(document) as Readonly<Record<string, JsonValue>>;
  return Object.hasOwn(found, key) ? toJsonText(found[key]!) : undefined;
}

const textOf = ({ bytes }: SecretValue): string => Buffer.from(bytes).toString();

/** As Vault 1.14 writes a secret of a KV engine, version 2. */
const kv2 = (data: string, metadata = '') =>
  `{"request_id":"4a1b","lease_id":"","renewable":false,"lease_duration":0,"data":{"data":${data},"metadata":{"created_time":` +
  `"2026-11-22T04:00:00.123456789Z","custom_metadata":null,"deletion_time":"","destroyed":false,"version":3${metadata}}},"wrap_info":null,"warnings":null,"auth":null}\n`;

test('a response with a longer lease id than Vault makes is invalid', () => {
  const response = (length: number) => ({
    lease_id: 'x'.repeat(length),
    lease_duration: 60,
    data: {},
  });
  expect(secretValueOf(response(8_192)).lease).toBeDefined();
  expect(() => parseResult(response(8_193))).toThrow(
    expect.objectContaining({ code: 'STORE_ANSWER_INVALID' }),
  );
});

describe('a whole response', () => {
  test('has the fields that users know in their order, data as received, and no request id', () => {
    const data = String.raw`{"10":"a","9":"b","big":12345678901234567890,"price":1.50,"html":"\u003cb\u003e","list":[1, 2],"none":null}`;
    const before = textOf(secretValueOf(kv2(data)));
    expect(before).toBe(
      `{"request_id":"","lease_id":"","lease_duration":0,"renewable":false,"data":{"data":${data},"metadata":{"created_time":"2026-11-22T04:00:00.123456789Z",` +
        `"custom_metadata":null,"deletion_time":"","destroyed":false,"version":3}},"warnings":null}`,
    );
    expect(textOf(secretValueOf(kv2(data).replace('4a1b', '5c2d')))).toBe(before);
  });

  test('keeps the lease as it was when the secret was issued', () => {
    const value = secretValueOf({
      request_id: 'x',
      lease_id: 'database/creds/app/abc',
      lease_duration: 3600,
      renewable: true,
      data: { username: 'v-app', password: 'p' },
      warnings: ['TTL is capped'],
    });
    expect(JSON.parse(textOf(value))).toEqual({
      request_id: '',
      lease_id: 'database/creds/app/abc',
      lease_duration: 3600,
      renewable: true,
      data: { username: 'v-app', password: 'p' },
      warnings: ['TTL is capped'],
    });
    expect(value).toMatchObject({ envelope: true });
    expect(value).not.toHaveProperty('version');
  });

  test('keeps a token or a wrapping in it, and ends with it', () => {
    const auth = { client_token: 'hvs.x', lease_duration: 600 };
    const token = secretValueOf({ data: null, auth }, { ref: { ...plainRead, method: 'POST' } });
    expect(JSON.parse(textOf(token))).toMatchObject({ data: null, auth });
    expect(token.expiresAt).toBe(sentAt + 600_000);
    expect(secretValueOf({ wrap_info: { token: 'hvs.y', ttl: 60 } }).expiresAt).toBe(
      sentAt + 60_000,
    );
  });
});

describe('the keys of a response', () => {
  test('are those of the secret for a KV engine of version 2', () => {
    const value = secretValueOf(
      kv2('{"password":"p","port":5432.0,"tls":true,"hosts":["a"],"none":null}'),
    );
    expect(keyOf(value, 'password')).toBe('"p"');
    expect(keyOf(value, 'port')).toBe('5432.0');
    expect(keyOf(value, 'tls')).toBe('true');
    expect(keyOf(value, 'hosts')).toBe('["a"]');
    expect(keyOf(value, 'none')).toBe('null');
    expect(keyOf(value, 'metadata')).toBeUndefined();
  });

  test('are else those of the response, with the missing ones from its map called data', () => {
    const value = secretValueOf({
      data: { password: 'outer', data: { password: 'inner', user: 'u' } },
    });
    expect(keyOf(value, 'password')).toBe('"outer"');
    expect(keyOf(value, 'user')).toBe('"u"');
    expect(keyOf(value, 'data')).toBe('{"password":"inner","user":"u"}');
    expect(keyOf(secretValueOf({ data: { data: {}, a: '1' } }), 'a')).toBe('"1"');
    expect(keyOf(secretValueOf({ data: { data: 'text', metadata: 'm' } }), 'data')).toBe('"text"');
    expect(keyOf(secretValueOf({ data: { data: { a: '2' } } }), 'a')).toBe('"2"');
  });

  test('cannot be forged by the text of a value', () => {
    const value = secretValueOf({
      data: { note: '"data":{"password":"forged"}', password: 'true' },
    });
    expect(keyOf(value, 'password')).toBe('"true"');
    expect(keyOf(value, 'toString')).toBeUndefined();
  });
});

describe('the version', () => {
  test('is that of the KV engine, with its creation time, because numbers restart', () => {
    expect(secretValueOf(kv2('{"a":"1"}'))).toMatchObject({
      version: '3',
      modified: '2026-11-22T04:00:00.123456789Z',
    });
  });

  test.each([
    [
      'a secret that has a map called metadata',
      { data: { data: { a: 1 }, metadata: { owner: 'me' } } },
    ],
    ['KV version 1', { lease_duration: 2764800, data: { a: 1 } }],
    ['subkeys', { data: { subkeys: { a: null }, metadata: { version: 1, created_time: 't' } } }],
  ])('does not exist for %s', (_, body) => {
    expect(secretValueOf(body)).not.toHaveProperty('version');
  });
});

describe('a lease', () => {
  const leased = { lease_id: 'x/1', lease_duration: 60, renewable: false, data: { a: '1' } };

  test('ends after its duration, counted from the request', () => {
    expect(secretValueOf(leased).lease).toEqual({
      id: 'x/1',
      renewable: false,
      expiresAt: sentAt + 60_000,
    });
  });

  test('needs an id: KV version 1 has a duration without a lease', () => {
    const value = secretValueOf({
      lease_id: '',
      lease_duration: 30,
      data: { ttl: '30s', password: 'p' },
    });
    expect(value).not.toHaveProperty('lease');
    expect(value).not.toHaveProperty('expiresAt');
  });
});

describe('a response may serve other pods', () => {
  const kv1 = { lease_id: '', lease_duration: 2764800, renewable: false, data: { a: '1' } };
  const leased = { lease_id: 'a/1', lease_duration: 60, data: { a: '1' } };
  const post: SecretRef = { ...plainRead, method: 'POST', body: '{}' };

  test.each([
    ['of KV version 2', kv2('{"a":"1"}'), plainRead],
    ['of KV version 1', kv1, plainRead],
    ['of KV, as Vault 1.17 and later mark it', { data: { a: '1' }, mount_type: 'kv' }, plainRead],
  ])('where it is a plain read %s', (_, body, ref) => {
    expect(secretValueOf(body, { ref }).shareable).toBe(true);
  });

  test.each([
    ['it leases', leased, plainRead],
    ['it leases, and looks like KV', { ...leased, mount_type: 'kv' }, plainRead],
    ['it was posted', kv1, post],
    ['it was read with a body', kv1, { ...plainRead, body: '{}' }],
    ['it is neither', { lease_duration: 0, data: { token: 't' } }, plainRead],
    ['another engine names a duration', { ...kv1, mount_type: 'database' }, plainRead],
  ])('but not where %s', (_, body, ref) => {
    expect(secretValueOf(body, { ref })).not.toHaveProperty('shareable');
  });
});

describe('a certificate without a lease', () => {
  const notAfter = new Date('2031-05-06T07:08:09Z');
  const { cert } = createTestCa().issue({ hosts: ['app.example'], notAfter });
  const der = cert.replace(/-----[^-]+-----|\s/g, '');
  const issue: SecretRef = { service: 'vault', name: 'pki/issue/web', method: 'POST', body: '{}' };

  test.each([
    ['PEM', cert],
    ['DER', der],
  ])('in %s is valid until its end', (_, certificate) => {
    const value = secretValueOf({ data: { certificate, private_key: 'k' } }, { ref: issue });
    expect(value.expiresAt).toBe(notAfter.getTime());
  });

  test('that was read and not issued has no end, because it can be replaced at any time', () => {
    expect(secretValueOf({ data: { certificate: cert } })).not.toHaveProperty('expiresAt');
  });

  test.each(['', 'none', '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----', 7, null])(
    'that cannot be read (%j) is a value without an end',
    (certificate) => {
      expect(secretValueOf({ data: { certificate } }, { ref: issue })).not.toHaveProperty(
        'expiresAt',
      );
    },
  );
});

describe('a missing secret', () => {
  const errorOf = (
    ...args: Parameters<typeof parseResult>
  ): { kind: string; code: string; summary: string } => {
    const result = parseResult(...args);
    if (!('error' in result)) throw new Error('a value');
    return { kind: result.kind, code: result.error.code, summary: result.error.summary };
  };
  const deletedVersion = (metadata: string) =>
    kv2('null').replace('"deletion_time":"","destroyed":false', metadata);

  test('is absent, and so are deleted and destroyed versions, each with its own error', () => {
    expect(errorOf({ errors: [] }, { status: 404 })).toEqual({
      kind: 'absent',
      code: 'OBJECT_NOT_FOUND',
      summary: expect.stringMatching(/^Vault has no secret\/data\/app; /),
    });
    const deleted = deletedVersion('"deletion_time":"2026-11-22T05:00:00Z","destroyed":false');
    expect(errorOf(deleted, { status: 404 })).toEqual({
      kind: 'absent',
      code: 'OBJECT_DISABLED',
      summary: expect.stringContaining(
        'version 3 of secret/data/app was deleted at 2026-11-22T05:00:00Z',
      ),
    });
    const destroyed = deletedVersion('"deletion_time":"2026-11-22T05:00:00Z","destroyed":true');
    expect(errorOf(destroyed, { status: 404 })).toMatchObject({
      kind: 'absent',
      code: 'OBJECT_NOT_FOUND',
      summary: expect.stringContaining('was destroyed'),
    });
  });

  test('fails with the remedy where the path lacks data/', () => {
    const body = { data: null, warnings: ['Invalid path for a versioned K/V secrets engine.'] };
    const ref = { ...plainRead, name: 'secret/team/app?version=2' };
    expect(errorOf(body, { status: 404, ref })).toEqual({
      kind: 'failed',
      code: 'STORE_REFUSED_REQUEST',
      summary: expect.stringMatching(/versioned K\/V secrets engine.*secret\/data\/team\/app$/),
    });
  });

  test('fails where nothing is mounted', () => {
    const body = { errors: ['no handler for route "nowhere/app". route entry not found.'] };
    expect(errorOf(body, { status: 404 })).toMatchObject({
      kind: 'failed',
      code: 'STORE_REFUSED_REQUEST',
    });
  });

  test('is absent where the response has no data', () => {
    expect(errorOf({ data: null, warnings: ['look elsewhere'] })).toMatchObject({
      kind: 'absent',
      summary: expect.stringContaining('without data: look elsewhere'),
    });
  });

  test('is not a 404 of a proxy', () => {
    expect(() => parseResult('<html>404</html>', { status: 404 })).toThrow(SecretError);
    expect(() => parseResult('"not found"', { status: 404 })).toThrow(
      'does not look like one from Vault',
    );
  });
});

describe('a hostile response', () => {
  test.each([
    ['null'],
    ['[]'],
    ['7'],
    ['{"data":[]}'],
    ['{"data":7}'],
    ['{"data":"text"}'],
    ['{"data":{},"lease_id":7}'],
    ['{"data":{},"lease_id":{}}'],
    ['{"data":{},"lease_duration":-1,"lease_id":"x"}'],
    ['{"data":{},"lease_duration":1e99,"lease_id":"x"}'],
    ['{"data":{},"lease_duration":"60"}'],
    ['{"data":{},"renewable":"yes"}'],
    ['{"data":{},"warnings":{}}'],
    ['{"data":{},"auth":[]}'],
  ])('%s fails as not from Vault', (body) => {
    expect(() => parseResult(body)).toThrow('does not look like one from Vault');
  });

  test.each([
    ['{"data":{}}'],
    ['{"data":{"data":[],"metadata":[]}}'],
    ['{"data":{"data":{},"metadata":{"version":"3","created_time":7}}}'],
    ['{"data":{"data":null,"metadata":{}}}'],
    ['{"data":{"__proto__":{"a":"1"},"constructor":"c"}}'],
    ['{"data":{"certificate":{"a":[]}}}'],
  ])('%s is a value without a version', (body) => {
    expect(secretValueOf(body, { ref: { ...plainRead, method: 'PUT' } })).not.toHaveProperty(
      'version',
    );
  });
});

test('a missing path with data/ is perhaps one of a KV engine of version 1', () => {
  const hintOf = (name: string): string | undefined => {
    const result = parseResult({ errors: [] }, { status: 404, ref: { ...plainRead, name } });
    return 'error' in result ? result.error.hint : undefined;
  };
  expect(hintOf('kv/data/team/app')).toContain('leave out data/: kv/team/app');
  expect(hintOf('kv/app')).toContain('version 2 has data/ after its mount');
});

test('a missing version is not a missing path', () => {
  const ref = { ...plainRead, name: 'secret/data/app?version=9' };
  expect(parseResult({ errors: [] }, { status: 404, ref })).toMatchObject({
    kind: 'absent',
    error: {
      code: 'OBJECT_NOT_FOUND',
      message: 'Vault has no version 9 of secret/data/app',
      hint: 'remove ?version= for the current one, or name one that is there; check the path, too',
    },
  });
});
