import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { readMessage } from './grpc/wire.ts';
import { PreparedResponse, mountResponse } from './messages.ts';
import { prepareResponse, toResponse } from './mount-handler.ts';

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

describe('a prepared response', () => {
  test('knows the exact size of its message', () => {
    fc.assert(
      fc.property(anyVolume, (volume) => {
        expect(prepareResponse(volume, Infinity).bytes).toBe(
          mountResponse.encode(toResponse(volume)).length,
        );
      }),
    );
  });

  test('has the same bytes as the general encoder writes', () => {
    fc.assert(
      fc.property(anyVolume, (volume) => {
        const response = toResponse(volume);
        expect(readMessage(new PreparedResponse(response).toFrame())).toEqual(
          mountResponse.encode(response),
        );
      }),
    );
  });

  test('may be as large as the limit and no larger', () => {
    const [volume] = fc.sample(anyVolume, 1);
    const { bytes } = prepareResponse(volume!, Infinity);
    expect(prepareResponse(volume!, bytes).bytes).toBe(bytes);
    expect(() => prepareResponse(volume!, bytes - 1)).toThrow(`takes ${bytes} bytes`);
  });
});
