import { Sha256 } from '@aws-crypto/sha256-js';
import { expect, test } from '@jest/globals';
import { SignatureV4 } from '@smithy/signature-v4';
import fc from 'fast-check';
import { parseSigV4, sigV4Authorization } from './aws-sigv4.ts';

test("agrees with the vendor's signer", async () => {
  const text = fc.string({
    unit: fc.constantFrom('a', 'Z', '0', '+', '/', '=', ',', '.', ' ', '\u00e9'),
  });
  await fc.assert(
    fc.asyncProperty(
      text,
      text,
      fc.option(text, { nil: undefined }),
      async (secret, body, sessionToken) => {
        const signer = new SignatureV4({
          service: 'ssm',
          region: 'eu-west-1',
          sha256: Sha256,
          applyChecksum: false,
          credentials: {
            accessKeyId: 'AKIA1',
            secretAccessKey: secret,
            ...(sessionToken !== undefined && { sessionToken }),
          },
        });
        const signed = await signer.sign({
          method: 'POST',
          protocol: 'https:',
          hostname: 'localhost',
          path: '/',
          headers: {
            host: 'localhost',
            'content-type': 'application/x-amz-json-1.1',
            'x-amz-target': 'A.B',
          },
          body,
        });
        const request = {
          method: 'POST',
          path: '/',
          query: '',
          headers: signed.headers,
          body: Buffer.from(body),
        };
        const parsedSignature = parseSigV4(request)!;
        expect(parsedSignature).toMatchObject({
          accessKeyId: 'AKIA1',
          region: 'eu-west-1',
          service: 'ssm',
        });
        expect(Math.abs(parsedSignature.signedAt - Date.now())).toBeLessThan(10_000);
        expect(sigV4Authorization(request, parsedSignature, secret)).toBe(
          signed.headers.authorization,
        );
        expect(sigV4Authorization(request, parsedSignature, `${secret}x`)).not.toBe(
          signed.headers.authorization,
        );
      },
    ),
    { numRuns: 50 },
  );
});
