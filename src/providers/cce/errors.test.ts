import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { escapeUnprintable } from '../../core/safe-text.ts';
import { describeCceErrorResponse, parseCceErrorResponse } from './errors.ts';

const createResponse = (body: unknown, headers: Record<string, string> = {}, status = 400) => ({
  status,
  headers,
  body: Buffer.from(typeof body === 'string' ? body : JSON.stringify(body)),
});
const parseBody = (...args: Parameters<typeof createResponse>) =>
  parseCceErrorResponse(createResponse(...args));

test.each([
  [{ error_code: 'CSMS.0106', error_msg: 'gone' }],
  [{ error: { error_code: 'CSMS.0106', error_msg: 'gone' } }],
  [{ error: { code: 'CSMS.0106', message: 'gone' } }],
  [{ code: 'CSMS.0106', message: 'gone' }],
  [{ errorCode: 'CSMS.0106', errorMsg: 'gone' }],
])('%j', (body) => {
  expect(parseBody(body)).toMatchObject({ code: 'CSMS.0106', text: 'gone' });
});

test('the request is named by CSMS and by IAM', () => {
  expect(parseBody('', { 'x-request-id': 'a' }).requestId).toBe('a');
  expect(parseBody('', { 'x-iam-trace-id': 'b' }).requestId).toBe('b');
});

test('an answer to a bad signature shows no text, whatever its status', () => {
  const body = { error_code: 'APIGW.0301', error_msg: 'canary' };
  expect(describeCceErrorResponse(parseBody(body), [])).toBe('(HTTP 400, APIGW.0301)');
  expect(
    describeCceErrorResponse(parseBody({ error_code: 'X.1', error_msg: 'canary' }, {}, 401), []),
  ).toBe('(HTTP 401, X.1)');
});

test('whatever comes, the description is one printable line without the secrets', () => {
  const secret = 'canary-7f3a';
  const text = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.string().map((around) => `${around}${secret}\n${around}`),
  );
  const body = fc.oneof(
    fc.record({ error_code: text, error_msg: text }),
    fc.record({ error: fc.oneof(fc.record({ code: text, message: text }), fc.jsonValue()) }),
    fc.jsonValue(),
    text,
  );
  fc.assert(
    fc.property(body, text, (content, requestId) => {
      const line = describeCceErrorResponse(parseBody(content, { 'x-request-id': requestId }), [
        secret,
      ]);
      expect(line).not.toContain(secret);
      expect(line).toBe(escapeUnprintable(line));
      expect(line.length).toBeLessThan(1_000);
    }),
  );
});

test('nested without end is no endless search', () => {
  expect(parseBody('{"error":'.repeat(100_000) + '1' + '}'.repeat(100_000))).toMatchObject({
    code: undefined,
    text: '',
  });
});
