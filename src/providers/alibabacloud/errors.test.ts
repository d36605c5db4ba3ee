import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { escapeUnprintable } from '../../core/safe-text.ts';
import {
  describeFault,
  isRefusal,
  isThrottled,
  isUnavailable,
  judge,
  readFault,
} from './errors.ts';

const answer = (body: unknown, headers: Record<string, string> = {}, status = 400) => ({
  status,
  headers,
  body: Buffer.from(typeof body === 'string' ? body : JSON.stringify(body)),
});
const read = (...args: Parameters<typeof answer>) => readFault(answer(...args));
const ofCode = (Code: string, status = 400) => read({ Code }, {}, status);

test.each([
  [{ Code: 'Forbidden', Message: 'no', RequestId: 'r' }],
  [
    '<?xml version="1.0"?><Error><RequestId>r</RequestId><Code>Forbidden</Code><Message>no</Message></Error>',
  ],
])('%j', (body) => {
  expect(read(body)).toEqual({ status: 400, code: 'Forbidden', text: 'no', requestId: 'r' });
});

test('a request is named by its header where the body does not', () => {
  expect(read('', { 'x-acs-request-id': 'r' }).requestId).toBe('r');
});

describe('what a code means', () => {
  test.each([
    'InvalidAccessKeyId.NotFound',
    'InvalidAccessKeyId.Inactive',
    'InvalidSecurityToken.Expired',
    'SignatureDoesNotMatch',
    'InvalidTimeStamp.Expired',
    'Forbidden.AccessKeyDisabled',
  ])('%s: the credential, whatever the status', (code) => {
    for (const status of [400, 403, 404]) expect(isRefusal(ofCode(code, status))).toBe(true);
  });

  test.each(['Forbidden.ResourceNotFound', 'InvalidParameter', 'InvalidAccessKeyIdentifier'])(
    '%s: not the credential',
    (code) => expect(isRefusal(ofCode(code))).toBe(false),
  );

  test.each([
    'Throttling',
    'Throttling.User',
    'Rejected.Throttling',
    'ServiceUnavailable.Throttling',
  ])('%s: too many calls', (code) => expect(isThrottled(ofCode(code))).toBe(true));

  test.each([
    'ServiceUnavailableTemporary',
    'InternalFailure',
    'InternalError',
    'SignatureNonceUsed',
  ])('%s: trouble', (code) => expect(isUnavailable(ofCode(code))).toBe(true));

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
  ])('%s (%d): %s', (code, status, wanted) => {
    expect(judge(ofCode(code, status), 'KMS', 'rights').code).toBe(wanted);
  });

  test('no code: it is not the service that answers', () => {
    expect(judge(read('<html>', {}, 403), 'KMS', 'rights').code).toBe('STORE_ANSWER_INVALID');
  });
});

test('a refused signature shows no text, for it repeats what was signed', () => {
  expect(describeFault(read({ Code: 'SignatureDoesNotMatch', Message: 'canary' }), [])).toBe(
    '(HTTP 400, SignatureDoesNotMatch)',
  );
  expect(describeFault(read({ Code: 'X', Message: 'canary' }, {}, 401), [])).toBe('(HTTP 401, X)');
});

test('whatever comes, the description is one printable line without the secrets', () => {
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
      const line = describeFault(read(content, { 'x-acs-request-id': requestId }), [secret]);
      expect(line).not.toContain(secret);
      expect(line).toBe(escapeUnprintable(line));
      expect(line.length).toBeLessThan(1_000);
    }),
  );
});
