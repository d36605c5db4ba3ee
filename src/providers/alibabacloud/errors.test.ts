import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { escapeUnprintable } from '../../core/safe-text.ts';
import { classify, isKnownError } from '../shared/reads/store-errors.ts';
import { parseErrorResponse, storeErrors, transientErrors } from './errors.ts';

const now = Date.parse('2026-11-22T03:00:00Z');
const parse = (body: unknown, headers: Record<string, string> = {}, status = 400) =>
  parseErrorResponse(
    {
      status,
      headers,
      body: Buffer.from(typeof body === 'string' ? body : JSON.stringify(body)),
    },
    now,
  );
const withCode = (Code: string, status = 400) => parse({ Code }, {}, status);

const storeContext = {
  owner: 'the access key',
  isSession: false,
  service: 'KMS',
  permission: 'kms:GetSecretValue',
  requested: {},
};
const storeError = (response: ReturnType<typeof parse>, secrets: readonly string[] = []) =>
  classify(storeErrors, response, storeContext, secrets);
const transientCode = (response: ReturnType<typeof parse>) =>
  isKnownError(transientErrors, response)
    ? classify(transientErrors, response, { host: 'kms.example' }, []).code
    : undefined;

describe('parseErrorResponse', () => {
  test.each([
    [{ Code: 'Forbidden', Message: 'no', RequestId: 'r' }],
    [
      '<?xml version="1.0"?><Error><RequestId>r</RequestId><Code>Forbidden</Code><Message>no</Message></Error>',
    ],
  ])('reads %j', (body) => {
    expect(parse(body)).toMatchObject({
      status: 400,
      code: 'Forbidden',
      text: 'no',
      requestId: 'r',
    });
  });

  test('takes the request id from the header if the body has none', () => {
    expect(parse('', { 'x-acs-request-id': 'r' }).requestId).toBe('r');
  });

  test('reads the requested pause and the clock skew from the headers', () => {
    expect(
      parse('', { 'x-acs-retry-after': '120', date: 'Sun, 22 Nov 2026 02:59:00 GMT' }),
    ).toMatchObject({ retryAfterMs: 120, clockSkewMs: 60_000 });
  });
});

describe('the code of an error response', () => {
  test.each([
    'InvalidAccessKeyId.NotFound',
    'InvalidAccessKeyId.Inactive',
    'InvalidSecurityToken.Expired',
    'SignatureDoesNotMatch',
    'InvalidTimeStamp.Expired',
    'Forbidden.AccessKeyDisabled',
  ])('%s: CREDENTIALS_REFUSED with every status', (code) => {
    for (const status of [400, 403, 404])
      expect(storeError(withCode(code, status)).code).toBe('CREDENTIALS_REFUSED');
  });

  test.each(['Forbidden.ResourceNotFound', 'InvalidParameter', 'InvalidAccessKeyIdentifier'])(
    '%s: not CREDENTIALS_REFUSED',
    (code) => expect(storeError(withCode(code)).code).not.toBe('CREDENTIALS_REFUSED'),
  );

  test.each([
    'Throttling',
    'Throttling.User',
    'Rejected.Throttling',
    'ServiceUnavailable.Throttling',
  ])('%s: STORE_THROTTLED', (code) => {
    expect(transientCode(withCode(code))).toBe('STORE_THROTTLED');
  });

  test.each([
    'ServiceUnavailableTemporary',
    'InternalFailure',
    'InternalError',
    'SignatureNonceUsed',
  ])('%s: STORE_UNAVAILABLE', (code) => {
    expect(transientCode(withCode(code))).toBe('STORE_UNAVAILABLE');
  });

  test.each(['Throttling', 'InternalError'])('%s with HTTP 302: not transient', (code) => {
    expect(transientCode(withCode(code, 302))).toBeUndefined();
  });

  test.each([
    ['Forbidden.ResourceNotFound', 404, 'OBJECT_NOT_FOUND'],
    ['EntityNotExists.Parameter', 404, 'OBJECT_NOT_FOUND'],
    ['Rejected.PendingDeletion', 409, 'OBJECT_DISABLED'],
    ['Forbidden.NoPermission', 400, 'ACCESS_DENIED'],
    ['Forbidden.RAM', 403, 'ACCESS_DENIED'],
    ['NoPermission', 400, 'ACCESS_DENIED'],
    ['UnsupportedOperation', 400, 'STORE_REFUSED_REQUEST'],
    ['ForbiddenByNobody', 400, 'STORE_REFUSED_REQUEST'],
    ['toString', 400, 'STORE_REFUSED_REQUEST'],
  ])('%s (HTTP %d): %s', (code, status, expected) => {
    expect(storeError(withCode(code, status)).code).toBe(expected);
  });

  test('none: STORE_ANSWER_INVALID, because the store sends a code', () => {
    expect(storeError(parse('<html>', {}, 403)).code).toBe('STORE_ANSWER_INVALID');
  });
});

describe('the message', () => {
  test('leaves out the text of a rejected credential, which repeats what was signed', () => {
    const { message } = storeError(parse({ Code: 'SignatureDoesNotMatch', Message: 'canary' }));
    expect(message).toBe('Alibaba Cloud refused the access key (HTTP 400, SignatureDoesNotMatch)');
  });

  test('leaves out the text of HTTP 401', () => {
    const { message } = storeError(parse({ Code: 'X', Message: 'canary' }, {}, 401));
    expect(message).toBe('KMS refused the request (HTTP 401, X)');
  });

  test('is one printable line without the secrets, for every response', () => {
    const secret = 'canary-7f3a';
    const text = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.string().map((around) => `${around}${secret}\n${around}`),
    );
    const body = fc.oneof(
      fc.record({ Code: text, Message: text, RequestId: text }),
      fc
        .tuple(text, text)
        .map(([code, message]) => `<Code>${code}</Code><Message>${message}</Message>`),
      fc.jsonValue(),
      text,
    );
    fc.assert(
      fc.property(body, text, (content, requestId) => {
        const { message } = storeError(parse(content, { 'x-acs-request-id': requestId }), [secret]);
        expect(message).not.toContain(secret);
        expect(message).toBe(escapeUnprintable(message));
        expect(message.length).toBeLessThan(1_000);
      }),
    );
  });
});
