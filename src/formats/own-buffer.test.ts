import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { toOwnBuffer } from './own-buffer.ts';

test('has the same bytes and no memory of others', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 20_000 }), (bytes) => {
      const own = toOwnBuffer(Buffer.from(bytes));
      expect(Buffer.compare(own, bytes)).toBe(0);
      expect(own.buffer.byteLength).toBe(bytes.length);
    }),
  );
});

test('is not copied if it has its memory already', () => {
  const bytes = Buffer.allocUnsafeSlow(100);
  expect(toOwnBuffer(bytes)).toBe(bytes);
});
