import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { alibabaAuthorization, alibabaBodyDigest } from '../../../test/fakes/alibaba-signer.ts';
import { Redacted } from '../../core/redacted.ts';
import { encodeQuery } from '../../http/uri.ts';
import { sign } from './sign.ts';

const key = { accessKeyId: 'LTAI1', accessKeySecret: new Redacted('the-secret') };

test("signs the vendor's published example", () => {
  const url = new URL(
    'https://ecs.cn-shanghai.aliyuncs.com/?ImageId=win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd&RegionId=cn-shanghai',
  );
  const headers = {
    'x-acs-action': 'RunInstances',
    'x-acs-version': '2014-05-26',
    'x-acs-date': '2023-10-26T10:22:32Z',
    'x-acs-signature-nonce': '3156853299f313e23d1673dc12e1703d',
  };
  const published = {
    accessKeyId: 'YourAccessKeyId',
    accessKeySecret: new Redacted('YourAccessKeySecret'),
  };
  expect(sign({ method: 'POST', url, headers }, published)).toEqual({
    ...headers,
    'x-acs-content-sha256': 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
    authorization:
      'ACS3-HMAC-SHA256 Credential=YourAccessKeyId,SignedHeaders=host;x-acs-action;x-acs-content-sha256;x-acs-date;x-acs-signature-nonce;x-acs-version,' +
      'Signature=06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0',
  });
});

describe("gives the same signature as Alibaba Cloud's SDK", () => {
  const text = fc.string({ unit: 'grapheme', maxLength: 20 });
  /** The SDK does not encode names, and Alibaba Cloud's parameters have plain ones. */
  const name = fc.stringMatching(/^[A-Za-z][A-Za-z0-9.]{0,12}$/);
  const parameters = fc.dictionary(name, text, { maxKeys: 5, noNullPrototype: true });
  const service = fc.constantFrom(
    ['kms-vpc.cn-hangzhou.aliyuncs.com', 'GetSecretValue', '2016-01-20'] as const,
    ['oos.cn-hangzhou.aliyuncs.com:8443', 'GetSecretParameter', '2019-06-01'] as const,
    ['sts.aliyuncs.com', 'AssumeRole', '2015-04-01'] as const,
  );
  const word = fc.string({ minLength: 1, maxLength: 40 });
  const header = fc.string({
    unit: fc.constantFrom(...Array.from('abcXYZ019-._/+= ')),
    maxLength: 40,
  });

  test('for random requests, with and without a security token', () => {
    fc.assert(
      fc.property(
        service,
        parameters,
        fc.option(parameters, { nil: undefined }),
        fc.option(header, { nil: undefined }),
        word,
        header,
        ([host, action, version], query, form, token, secret, nonce) => {
          const body = form && encodeQuery(Object.entries(form));
          const headers = {
            'x-acs-action': action,
            'x-acs-version': version,
            'x-acs-date': '2026-11-22T03:00:00Z',
            'x-acs-signature-nonce': nonce,
            ...(body !== undefined && { 'content-type': 'application/x-www-form-urlencoded' }),
          };
          const ours = sign(
            {
              method: 'POST',
              url: new URL(`https://${host}/?${encodeQuery(Object.entries(query))}`),
              headers,
              ...(body !== undefined && { body }),
            },
            {
              accessKeyId: 'LTAI1',
              accessKeySecret: new Redacted(secret),
              ...(token !== undefined && { securityToken: new Redacted(token) }),
            },
          );
          const digest = alibabaBodyDigest(body ?? '');
          const theirs = alibabaAuthorization(
            {
              method: 'POST',
              pathname: '/',
              query,
              headers: {
                ...headers,
                host,
                'x-acs-content-sha256': digest,
                ...(token !== undefined && {
                  'x-acs-accesskey-id': 'LTAI1',
                  'x-acs-security-token': token,
                }),
              },
            },
            digest,
            { accessKeyId: 'LTAI1', accessKeySecret: secret },
          );
          expect(ours.authorization).toBe(theirs);
        },
      ),
      { numRuns: 500 },
    );
  });
});

test('the URL contains the parameters that were signed', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.string({ unit: 'grapheme' }), fc.string({ unit: 'grapheme' }))),
      (pairs) => {
        const url = new URL(`https://example.com/?${encodeQuery(pairs)}`);
        expect([...url.searchParams].sort()).toEqual([...pairs].sort());
        expect(url.search.slice(1)).toBe(encodeQuery(pairs));
      },
    ),
  );
});

test('the headers do not contain the secret', () => {
  const headers = sign({ method: 'POST', url: new URL('https://example.com/'), headers: {} }, key);
  expect(JSON.stringify(headers)).not.toContain('the-secret');
});
