import { expect, test } from '@jest/globals';
import { repeatableText } from './repeatable-text.ts';

test.each([
  ['an id that the text names as such', 'denied, RequestID: 7D0F-22, why', 'denied, ..., why'],
  ['a request id in JSON', '{"request_id":"ab12cd34"}', '{"..."}'],
  ['a UUID', 'trace 0a1b2c3d-0000-4000-8000-0123456789ab failed', 'trace ... failed'],
  ['a time', 'expired at 2026-05-01T10:00:00.25Z', 'expired at ...'],
  ['a time in the basic form', '20260501T100000Z is now earlier', '... is now earlier'],
  ['how long it took', 'gave up after 1m4.99812s', 'gave up after ...'],
  ['this end of a connection', 'tcp 10.0.0.7:41234->10.0.0.9:5432', 'tcp ...->10.0.0.9:5432'],
  ['it over IPv6', 'tcp [fd00::7]:41234->[fd00::9]:5432', 'tcp ...->[fd00::9]:5432'],
])('leaves out %s', (_, text, expected) => {
  expect(repeatableText(text, undefined)).toBe(expected);
});

test('leaves out the id of the request', () => {
  expect(repeatableText('refused 7d0f-1: see the log', '7d0f-1')).toBe('refused ...: see the log');
});

test.each([
  ['a name, an ARN and an account', 'arn:aws:kms:eu-west-1:111122223333:key/db-2026 is not there'],
  ['a version, a port and a limit', 'v1.15.2 at 10.0.0.9:5432 takes 100 calls in 30s'],
  ['a text whose response has an empty id', 'access denied'],
])('keeps %s', (_, text) => {
  expect(repeatableText(text, '')).toBe(text);
});
