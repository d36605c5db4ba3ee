import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { callBySdk } from '../../../test/fakes/aws-sdk.ts';
import { parseSigV4 } from '../../../test/fakes/aws-sigv4.ts';
import { Redacted } from '../../core/redacted.ts';
import { createSign } from './sign.ts';

const sign = createSign();

describe("gives the same signature as AWS's SDK", () => {
  const text = fc.string({ unit: fc.constantFrom('a', 'Z', '0', '+', '/', '=', '键', '\ud83d') });
  const secret = fc.string({ unit: fc.constantFrom('a', 'Z', '0', '+', '/'), minLength: 1 });

  test('for any name, key and session', async () => {
    await fc.assert(
      fc.asyncProperty(
        text,
        secret,
        fc.option(secret, { nil: undefined }),
        async (name, secretAccessKey, sessionToken) => {
          const keys = {
            ...{ accessKeyId: 'AKIA1', secretAccessKey },
            ...(sessionToken !== undefined && { sessionToken }),
          };
          const { request } = await callBySdk(
            ...(['secretsmanager', 'GetSecretValue', { SecretId: name }, { keys }] as const),
          );
          const { headers, hostname, path, body } = request;
          const { authorization, 'x-amz-date': date, ...unsigned } = headers;
          const at = parseSigV4({ ...request, query: '', body: Buffer.from(body) })!.signedAt;
          const signed = await sign(
            { url: new URL(path, `https://${hostname}`), headers: unsigned, body },
            {
              ...{ service: 'secretsmanager', region: 'eu-west-1', at },
              credential: {
                ...{ accessKeyId: 'AKIA1', secretAccessKey: new Redacted(secretAccessKey) },
                ...(sessionToken !== undefined && { sessionToken: new Redacted(sessionToken) }),
                account: '111122223333',
              },
            },
          );
          expect(signed).toEqual({ ...unsigned, 'x-amz-date': date, authorization });
        },
      ),
      { numRuns: 50 },
    );
  });
});

test('signs for the host with its port, and with the date that it is given', async () => {
  const signed = await sign(
    { url: new URL('https://localhost:8443/'), headers: { 'x-amz-target': 'A.B' }, body: '{}' },
    {
      ...{ service: 'ssm', region: 'cn-north-1', at: Date.UTC(2026, 0, 2, 3, 4, 5, 678) },
      credential: { accessKeyId: 'AKIA1', secretAccessKey: new Redacted('s'), account: '1' },
    },
  );
  expect(signed).toMatchObject({
    host: 'localhost:8443',
    'x-amz-date': '20260102T030405Z',
    authorization: expect.stringMatching(
      /^AWS4-HMAC-SHA256 Credential=AKIA1\/20260102\/cn-north-1\/ssm\/aws4_request, SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-target, /,
    ),
  });
});
