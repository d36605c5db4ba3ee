import { status } from '@grpc/grpc-js';
import { describe, expect, test } from '@jest/globals';
import { statusCodes, statusNameOf } from './wire.ts';

describe('status codes', () => {
  test('are the same as in grpc-js', () => {
    const theirs = Object.entries(status).filter(([name]) => /^[A-Z_]+$/.test(name));
    expect(statusCodes).toEqual(Object.fromEntries(theirs));
    for (const [name, code] of theirs) expect(statusNameOf(String(code))).toBe(name);
  });

  test.each(['', '-1', '17', '99', '100', '1e1', '0x1', ' 1', '1, 1', 'OK'])(
    'do not include %j',
    (code) => {
      expect(statusNameOf(code)).toBeUndefined();
    },
  );
});
