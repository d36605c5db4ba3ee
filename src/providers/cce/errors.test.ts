import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { escapeUnprintable } from '../../core/safe-text.ts';
import { classify, describeErrorResponse } from '../shared/reads/store-errors.ts';
import {
  type CceErrorResponse,
  csmsErrors,
  parseErrorResponse,
  transientErrors,
} from './errors.ts';

const now = Date.parse('2026-11-22T03:00:00Z');
const toError = (
  rules: typeof csmsErrors,
  response: CceErrorResponse,
  secrets: string[] = [],
  isSession = true,
) =>
  classify(
    rules,
    response,
    {
      ...{ host: 'csms.example', owner: 'the agency of this node', isSession, version: 'v1' },
      ...{ permission: 'csms:secret:getVersion', endpointHint: 'check the endpoint' },
    },
    secrets,
  );

const createResponse = (body: unknown, headers: Record<string, string> = {}, status = 400) => ({
  status,
  headers,
  body: Buffer.from(typeof body === 'string' ? body : JSON.stringify(body)),
});
const parseBody = (...args: Parameters<typeof createResponse>) =>
  parseErrorResponse(createResponse(...args), now);

test.each([
  [{ error_code: 'CSMS.0106', error_msg: 'gone' }],
  [{ error: { error_code: 'CSMS.0106', error_msg: 'gone' } }],
  [{ error: { code: 'CSMS.0106', message: 'gone' } }],
  [{ code: 'CSMS.0106', message: 'gone' }],
  [{ errorCode: 'CSMS.0106', errorMsg: 'gone' }],
])('parses %j', (body) => {
  expect(parseBody(body)).toMatchObject({ code: 'CSMS.0106', text: 'gone' });
});

test('reads the request id of CSMS and of IAM', () => {
  expect(parseBody('', { 'x-request-id': 'a' }).requestId).toBe('a');
  expect(parseBody('', { 'x-iam-trace-id': 'b' }).requestId).toBe('b');
});

test('a response to a bad signature shows no text, because it repeats the signed request', () => {
  for (const response of [
    parseBody({ error_code: 'APIGW.0301', error_msg: 'canary' }),
    parseBody({ error_code: 'X.1', error_msg: 'canary' }, {}, 401),
    parseBody({ error_code: 'X.1', error_msg: 'AK access failed to reach the limit' }, {}, 401),
  ]) {
    const { code, message } = toError(csmsErrors, response);
    expect(code).toBe('CREDENTIALS_REFUSED');
    expect(message).toMatch(/the agency of this node.* \(HTTP 40[01], (APIGW\.0301|X\.1)\)$/);
  }
});

test('keeps the pause that the service requests', () => {
  const headers = { 'retry-after': '2' };
  const response = parseBody({ error_code: 'APIGW.0308', error_msg: 'canary' }, headers, 429);
  expect(toError(transientErrors, response)).toMatchObject({
    code: 'STORE_THROTTLED',
    message: 'too many calls: csms.example (HTTP 429, APIGW.0308)',
    retryAfterMs: 2_000,
  });
});

test('describes any response in one printable line without the secrets', () => {
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
      const response = parseBody(content, { 'x-request-id': requestId });
      const line = describeErrorResponse(response, [secret]);
      expect(line).not.toContain(secret);
      expect(line).toBe(escapeUnprintable(line));
      expect(line.length).toBeLessThan(1_000);
    }),
  );
});

test('does not search in deeply nested bodies', () => {
  expect(parseBody('{"error":'.repeat(100_000) + '1' + '}'.repeat(100_000))).toMatchObject({
    code: undefined,
    text: '',
  });
});

test.each([
  [true, /^check that it exists, that its session has not ended, and /],
  [false, /^check that the key exists, is enabled and complete, and /],
])('has the remedy for a refused credential, of a session: %s', (isSession, remedy) => {
  const response = parseBody({ error_code: 'APIGW.0301' }, {}, 401);
  expect(toError(csmsErrors, response, [], isSession).hint).toMatch(remedy);
});
