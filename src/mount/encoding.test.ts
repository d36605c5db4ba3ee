import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { decode } from './render.ts';

const text = (stored: string, encoding: 'base64' | 'hex'): string | undefined => {
  const decoded = decode(Buffer.from(stored), encoding);
  return decoded === undefined ? undefined : Buffer.from(decoded).toString('latin1');
};

describe('base64', () => {
  test.each([
    ['aGVsbG8=', 'hello'],
    ['aGVs\nbG8=\r\n', 'hello'],
    [' aGVsbG8 = \t', 'hello'],
    ['/+8=', '\xff\xef'],
    ['', ''],
  ])('%j', (stored, expected) => expect(text(stored, 'base64')).toBe(expected));
  test.each([
    'aGVsbG8',
    'aGVsbG8==',
    'aGVsbG9=',
    '_-8=',
    'aGVsb*G8=',
    'hello',
    '=',
    'aGVs\u00a0bG8=',
    'ａＧＶｓ',
  ])('%j is rejected', (stored) => expect(text(stored, 'base64')).toBeUndefined());
});

describe('hex', () => {
  test.each([
    ['68656c6C6F', 'hello'],
    ['68 65\n6c 6c 6f\n', 'hello'],
    ['', ''],
  ])('%j', (stored, expected) => expect(text(stored, 'hex')).toBe(expected));
  test.each(['686', 'zz', '68656c6c6', '0x68', '68:65'])('%j is rejected', (stored) =>
    expect(text(stored, 'hex')).toBeUndefined(),
  );
});

test('any bytes round-trip with lines of any width', () => {
  fc.assert(
    fc.property(
      fc.uint8Array(),
      fc.constantFrom('base64' as const, 'hex' as const),
      fc.integer({ min: 1, max: 80 }),
      (bytes, encoding, width) => {
        const wrapped = Buffer.from(bytes)
          .toString(encoding)
          .replace(new RegExp(`.{${width}}`, 'g'), '$&\n');
        expect(decode(Buffer.from(wrapped), encoding)).toEqual(Buffer.from(bytes));
      },
    ),
  );
});
