import { describe, expect, test } from '@jest/globals';
import { setImmediate } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { SecretError, errorCodeOf, toSecretError } from './errors.ts';

describe('a SecretError', () => {
  test('that is kept keeps nothing of the request in which it was made', async () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const refuse = (request: { readonly tokens: string[] }) => {
      const make = () => new SecretError('ACCESS_DENIED', `${request.tokens.length} tokens`);
      return { error: make(), request: new WeakRef(request) };
    };
    const { error, request } = refuse({ tokens: ['a'] });
    await setImmediate();
    collect();
    expect(request.deref()).toBeUndefined();
    expect(error.message).toBe('1 tokens');
  });

  test('says what, what to do, and what else', () => {
    const error = new SecretError('ACCESS_DENIED', 'csms refused db_login', {
      hint: 'grant csms:secret:getVersion',
      others: ['db_user', 'db_host'],
    });
    expect(error.summary).toBe(
      'csms refused db_login; grant csms:secret:getVersion; also db_user, db_host',
    );
    expect(error.event).toBe(`ACCESS_DENIED: ${error.summary}`);
    const fault = new SecretError('INVALID_CLASS', 'no object', { others: ['objects, line 3'] });
    expect(fault.summary).toBe('no object; also objects, line 3 (keyferry lint shows all)');
    const names = Array.from({ length: 12 }, (_, index) => `s${index}`);
    expect(new SecretError('ACCESS_DENIED', 'no', { others: names }).summary).toMatch(
      /^no; also s0, .*, s9 and 2 more$/,
    );
    expect(new SecretError('ACCESS_DENIED', 'csms refused db_login').summary).toBe(
      'csms refused db_login',
    );
  });

  test('shows the request id of the store in no text', () => {
    const error = new SecretError('ACCESS_DENIED', 'no', { hint: 'ask', requestId: 'r-1' });
    expect([error.summary, error.event].join()).not.toContain('r-1');
  });

  test('knows what it tells about the store', () => {
    expect(new SecretError('ACCESS_DENIED', '').kind).toBe('definite');
    expect(new SecretError('STORE_TIMEOUT', '').kind).toBe('outage');
    expect(new SecretError('INVALID_CLASS', '').kind).toBe('request');
    expect(new SecretError('OVERLOADED', '').kind).toBe('internal');
  });

  test('is copied with all fields except those that change', () => {
    const details = {
      ...{ hint: 'wait', cause: new Error('below'), others: ['b'], unsent: true },
      requestId: 'r-1',
    };
    const error = new SecretError('STORE_THROTTLED', 'busy', { ...details, retryAfterMs: 500 });
    const renamed = error.with({ message: 'csms: busy' });
    expect(Object.entries(renamed)).toEqual(Object.entries(error));
    expect(renamed).toMatchObject({
      ...details,
      message: 'csms: busy',
      retryAfterMs: 500,
    });
    expect(error.with({ hint: undefined, others: [] })).toMatchObject({
      message: 'busy',
      hint: undefined,
      others: [],
      unsent: true,
    });
  });

  test('is an Error with its cause', () => {
    const cause = new Error('below');
    const error = new SecretError('STORE_TIMEOUT', 'late', { cause });
    expect(error).toBeInstanceOf(Error);
    expect(error).toMatchObject({ name: 'SecretError', message: 'late', cause });
    expect('cause' in new SecretError('STORE_TIMEOUT', 'late')).toBe(false);
  });
});

describe('toSecretError', () => {
  test('leaves one alone', () => {
    const error = new SecretError('ACCESS_DENIED', 'no');
    expect(toSecretError(error)).toBe(error);
  });

  test.each([new Error('canary-4711'), 'canary-4711', undefined, null, { message: 'canary-4711' }])(
    'keeps the text of %p for the log alone',
    (thrown) => {
      const error = toSecretError(thrown);
      expect(error.code).toBe('INTERNAL');
      expect(error.summary).not.toContain('canary');
      expect(error.cause).toBe(thrown);
    },
  );
});

test('errorCodeOf returns a code that is a string', () => {
  expect(errorCodeOf(Object.assign(new Error('no file'), { code: 'ENOENT' }))).toBe('ENOENT');
  for (const other of [new Error('no file'), { code: 5 }, 'ENOENT', null, undefined])
    expect(errorCodeOf(other)).toBeUndefined();
});
