import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { readMessage } from './grpc/wire.ts';
import { mountResponse } from './messages.ts';
import { encodeResponse } from './messages.ts';
import { measureResponse, toResponse } from './mount-handler.ts';

const text = fc.string({ unit: 'grapheme', maxLength: 200 });
const anyVolume = fc.record({
  files: fc.array(
    fc.record({
      path: text,
      mode: fc.integer({ min: 0, max: 0o777 }),
      contents: fc.oneof(
        fc.uint8Array({ maxLength: 300 }),
        fc.nat(40_000).map((length) => new Uint8Array(length)),
      ),
    }),
    { minLength: 1, maxLength: 6 },
  ),
  versions: fc.array(fc.record({ id: text, version: fc.string({ minLength: 1 }) }), {
    minLength: 1,
    maxLength: 6,
  }),
});

describe('the length of a response', () => {
  test('is what its message takes, to the byte', () => {
    fc.assert(
      fc.property(anyVolume, (volume) => {
        expect(measureResponse(volume, Infinity)).toBe(
          mountResponse.encode(toResponse(volume)).length,
        );
      }),
    );
  });

  test('and its bytes are those of the general writer', () => {
    fc.assert(
      fc.property(anyVolume, (volume) => {
        const response = toResponse(volume);
        expect(readMessage(encodeResponse(response))).toEqual(mountResponse.encode(response));
      }),
    );
  });

  test('may be the limit and no more', () => {
    const [volume] = fc.sample(anyVolume, 1);
    const bytes = measureResponse(volume!, Infinity);
    expect(measureResponse(volume!, bytes)).toBe(bytes);
    expect(() => measureResponse(volume!, bytes - 1)).toThrow(`takes ${bytes} bytes`);
  });
});
