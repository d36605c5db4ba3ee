import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { createLineReader } from './lines.ts';

describe('lines of a stream', () => {
  test('are the same for any split of the stream, also within a character', () => {
    const line = fc.string({ unit: 'grapheme' }).map((text) => text.replaceAll('\n', ''));
    const pieces = fc.array(fc.nat({ max: 7 }), { maxLength: 200 });
    fc.assert(
      fc.property(fc.array(line), line, pieces, (lines, unfinished, lengths) => {
        const stream = Buffer.from([...lines, unfinished].join('\n'));
        const seen: string[] = [];
        const read = createLineReader((bytes) => seen.push(bytes.toString()));
        let at = 0;
        for (const length of [...lengths, stream.length]) read(stream.subarray(at, (at += length)));
        expect(seen).toEqual(lines.filter((text) => text !== ''));
      }),
    );
  });

  test('are limited in length', () => {
    const read = createLineReader(() => undefined);
    read(Buffer.alloc(1_048_576, 'x'));
    expect(() => read(Buffer.from('x'))).toThrow('more than 1048576 bytes');
  });
});
