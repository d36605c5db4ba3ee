import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { huaweiSigner } from '../../../test/fakes/huawei-signer.ts';
import { Redacted } from '../../core/redacted.ts';
import { sign, type SignableRequest } from './sign.ts';

const key = { accessKey: 'AccessKey', secretKey: new Redacted('SecretKey') };
const at = Date.UTC(2006, 0, 2, 15, 4, 5);

const signature = (headers: Record<string, string>): string | undefined =>
  /Signature=([0-9a-f]{64})$/.exec(headers.Authorization ?? '')?.[1];

describe("Huawei Cloud's published vectors", () => {
  test('a GET with a query', () => {
    const url = new URL('https://example.com/path?limit=1');
    const headers = sign({ method: 'GET', url, headers: {} }, key, at);
    expect(headers).toEqual({
      'X-Sdk-Date': '20060102T150405Z',
      Authorization:
        'SDK-HMAC-SHA256 Access=AccessKey, SignedHeaders=x-sdk-date, ' +
        'Signature=5a2ce64c865e0e6046321c6f3d5a77ba8413eeaf355c3166c03d58d02ac79624',
    });
  });

  test('a POST with a body', () => {
    const url = new URL('https://example.com/path?key=value');
    const request = { method: 'POST', url, headers: {}, body: '{"Name":"test","Id":1}\n' };
    expect(signature(sign(request, key, at))).toBe(
      'cecc2af119b18ab70b4d094c0750f3b42c02f254903179a0fc2cc72fc9db4f59',
    );
  });
});

describe("agrees with Huawei's own SDK", () => {
  const among = (characters: string): fc.Arbitrary<string> =>
    fc.constantFrom(...Array.from(characters));
  const text = fc.string({ unit: 'grapheme', maxLength: 12 });
  /**
   * The SDK reads a request's address by `url.parse`, which encodes these once more: not for a
   * comparison of whole requests.
   */
  const segment = fc.string({
    unit: among('abcXYZ019-._~!*()&=+$,;:@'),
    minLength: 1,
    maxLength: 12,
  });
  const segments = fc.array(
    segment.filter((part) => !/^\.\.?$/.test(part)),
    { minLength: 1, maxLength: 5 },
  );
  const query = fc.dictionary(
    text,
    fc.oneof(text, fc.array(text, { minLength: 1, maxLength: 3 })),
    {
      maxKeys: 4,
      noNullPrototype: true,
    },
  );
  const headerValue = fc
    .string({ unit: among('abcXYZ019-._/+= '), maxLength: 40 })
    .map((v) => v.trim());
  const headers = fc.record(
    {
      'X-Project-Id': headerValue,
      'X-Security-Token': headerValue,
      'X-Domain-Id': headerValue,
      'content-type': fc.constant('application/json'),
    },
    { requiredKeys: [] },
  );
  const body = fc.option(
    fc.dictionary(fc.string({ minLength: 1 }), fc.jsonValue(), { minKeys: 1, maxKeys: 3 }),
    {
      nil: undefined,
    },
  );
  const secret = fc.string({ minLength: 1, maxLength: 40 });

  test('over random requests', () => {
    fc.assert(
      fc.property(
        fc.constantFrom('GET', 'POST', 'PUT', 'DELETE'),
        segments,
        query,
        headers,
        body,
        secret,
        fc.integer({ min: 0, max: 4_102_444_800 }),
        (method, parts, queryParams, given, data, sk, seconds) => {
          const url = new URL('https://kms.eu-west-101.myhuaweicloud.com');
          url.pathname = parts.map(encodeURIComponent).join('/');
          for (const [name, values] of Object.entries(queryParams))
            for (const value of [values].flat()) url.searchParams.append(name, value);

          const date = new Date(seconds * 1_000).toISOString().replace(/[-:]|\.000/g, '');
          const theirs = huaweiSigner.sign(
            {
              method,
              endpoint: `${url.origin}/${parts.join('/')}`,
              headers: { ...given, 'X-Sdk-Date': date },
              queryParams: structuredClone(queryParams),
              data,
            },
            { getAk: () => 'AK', getSk: () => sk },
          );
          const ours: SignableRequest = {
            method,
            url,
            headers: { ...given, host: url.host },
            ...(data !== undefined && { body: JSON.stringify(data) }),
          };
          const signed = sign(
            ours,
            { accessKey: 'AK', secretKey: new Redacted(sk) },
            seconds * 1_000,
          );
          expect(signed.Authorization).toBe(theirs.Authorization);
        },
      ),
      { numRuns: 500 },
    );
  });

  test('over paths of any characters', () => {
    fc.assert(
      fc.property(fc.array(text.filter((part) => !/^\.\.?$|\//.test(part))), (parts) => {
        const url = new URL(`https://example.com/${parts.map(encodeURIComponent).join('/')}`);
        const date = '20060102T150405Z';
        const canonical = huaweiSigner.buildCanonicalRequest(
          'GET',
          huaweiSigner.CanonicalURI(`/${parts.join('/')}`),
          '',
          `x-sdk-date:${date}\n`,
          'x-sdk-date',
          huaweiSigner.EMPTY_BODY_SHA256,
        );
        const text = huaweiSigner.getStringToSign(
          'SDK-HMAC-SHA256',
          date,
          huaweiSigner.Hex(canonical),
        );
        expect(signature(sign({ method: 'GET', url, headers: {} }, key, at))).toBe(
          huaweiSigner.hmacSHA256('SecretKey', text),
        );
      }),
    );
  });
});

test('never sends the secret key', () => {
  const headers = sign(
    { method: 'GET', url: new URL('https://example.com/'), headers: {} },
    key,
    at,
  );
  expect(JSON.stringify(headers)).not.toContain('SecretKey');
});

test('does not sign the spaces around a header, because they are not sent', () => {
  const signed = (value: string): string | undefined =>
    signature(
      sign({ method: 'GET', url: new URL('https://example.com/'), headers: { x: value } }, key, at),
    );
  expect(signed('  a b ')).toBe(signed('a b'));
});
