import { describe, expect, test } from '@jest/globals';
import { SecretError } from '../core/errors.ts';
import { Redacted } from '../core/redacted.ts';
import { causeForLog, redactError } from './redact-error.ts';

const workload = {
  ...{ tenant: 'n', identity: { name: 's' }, instance: 'u', volume: 'u' },
  secrets: new Map([['secret_id', new Redacted('CANARY-key-1')]]),
  tokens: new Map([['aud', { token: new Redacted('aaaaaaaaaa.CANARYbody.CANARYsignature') }]]),
};

/** CPU time of ten calls. */
function cpuMs(call: () => unknown): number {
  const before = process.cpuUsage();
  for (let calls = 0; calls < 10; calls += 1) call();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1_000;
}

describe('redactError', () => {
  test.each([
    ['raw', 'the store said: CANARY-key-1 is wrong'],
    ['in base64', `the store said: ${Buffer.from('CANARY-key-1').toString('base64')}`],
    ['in hex', `the store said: ${Buffer.from('CANARY-key-1').toString('hex')}`],
    ['as a part of a token', 'jwt CANARYsignature is bad'],
  ])('redacts a message that holds a key %s and keeps its code', (_, message) => {
    const shown = redactError(new SecretError('ACCESS_DENIED', message), workload);
    expect(shown.code).toBe('ACCESS_DENIED');
    expect(shown.summary).not.toContain('CANARY');
    expect(shown.summary).toContain('redacted');
  });

  test('redacts a hint', () => {
    const error = new SecretError('ACCESS_DENIED', 'no', { hint: 'try CANARY-key-1' });
    expect(redactError(error, workload).summary).not.toContain('CANARY');
  });

  test('redacts the request id of the store', () => {
    const error = new SecretError('ACCESS_DENIED', 'no', { requestId: 'CANARY-key-1' });
    expect(redactError(error, workload).requestId).toBeUndefined();
  });

  test('returns other errors unchanged', () => {
    const error = new SecretError('ACCESS_DENIED', 'no right to read db');
    expect(redactError(error, workload)).toBe(error);
  });

  test.each([
    ['one long key', [], ['x'.repeat(1_000_000)]],
    ['a token of many parts', ['abcdefgh.'.repeat(100_000)], []],
    ['many keys', [], Array.from({ length: 200 }, (_, index) => `${index}`.repeat(1_000))],
  ])('does not search for %s, because the search would block other mounts', (_, tokens, keys) => {
    const error = new SecretError('ACCESS_DENIED', 'no right to read db', {
      hint: 'see the log. '.repeat(50),
    });
    const largeWorkload = {
      ...{ tenant: 'n', identity: { name: 's' }, instance: 'u', volume: 'u' },
      tokens: new Map(tokens.map((token, index) => [`${index}`, { token: new Redacted(token) }])),
      secrets: new Map(keys.map((key, index) => [`${index}`, new Redacted(key)])),
    };
    const longestAllowed = new Map([['key', new Redacted('x'.repeat(64_000))]]);
    const searchMs = cpuMs(() => redactError(error, { ...workload, secrets: longestAllowed }));
    expect(cpuMs(() => redactError(error, largeWorkload))).toBeLessThan(searchMs);
    const shown = redactError(error, largeWorkload);
    expect(shown).toMatchObject({
      code: 'ACCESS_DENIED',
      message: expect.stringContaining('redacted'),
    });
  });

  test('causeForLog leaves out the text of a foreign cause', () => {
    const cause = Object.assign(new TypeError('CANARY in a foreign text'), { code: 'E_FOREIGN' });
    const logged = causeForLog(new SecretError('INTERNAL', 'failed', { cause }));
    expect(logged).toMatchObject({ name: 'TypeError', code: 'E_FOREIGN' });
    expect(JSON.stringify(logged)).not.toContain('CANARY');
  });
});
