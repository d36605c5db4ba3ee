import { expect, test } from '@jest/globals';
import { format, inspect } from 'node:util';
import pino from 'pino';
import { Redacted } from './redacted.ts';

const secret = new Redacted('canary-4711');

test('only reveal returns the value', () => expect(secret.reveal()).toBe('canary-4711'));

test.each<[string, () => string]>([
  ['text', () => `${secret as unknown as string} ${String(secret)}`],
  ['JSON', () => JSON.stringify({ secret, list: [secret] })],
  ['inspect', () => inspect({ secret }, { depth: 9, showHidden: true, customInspect: true })],
  [
    'inspect without custom inspection',
    () => inspect({ secret }, { showHidden: true, customInspect: false }),
  ],
  ['format', () => format('%s %o %O %j', secret, secret, secret, secret)],
  ['an error’s cause', () => inspect(new Error('failed', { cause: secret }))],
  [
    'its own properties',
    () =>
      JSON.stringify([Reflect.ownKeys(secret), Object.entries(secret), Object.assign({}, secret)]),
  ],
  [
    'a log line',
    () => {
      let line = '';
      pino({}, { write: (text: string) => void (line += text) }).info(
        { secret, nested: { secret } },
        'said %s',
        secret,
      );
      return line;
    },
  ],
])('%s does not show it', (_, show) => expect(show()).not.toContain('canary'));

test('shows that there was a value', () => {
  expect(JSON.stringify({ secret })).toBe('{"secret":"[redacted]"}');
  expect(inspect(secret)).toBe('[redacted]');
  expect(String(secret)).toBe('[redacted]');
});
