import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { frame } from '../../test/csi/unary-fixture.ts';
import { createAuthorityRewrite } from './authority-rewrite.ts';

const hex = (text: string): Buffer => Buffer.from(text, 'hex');
const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
const settings = frame(4, 0, 0, Buffer.alloc(0));
const data = frame(0, 1, 1, Buffer.from('the message'));

// The first block of driver 1.5.6 and its rewritten form.
const before = hex('8386459963b84745738c2bdedd92fd86ee5b35d87ee690b631a0f6d49f');
const authority = hex('41955458534d6a8b0d761fb9a42d8854584842ae8393af');
const localhost = hex('4186a0e41d139d09');
const after = hex('5f901d75d0620d263d4c4d6564ff75d8749f40027465864d833505b11f');
const sent = Buffer.concat([before, authority, after]);
const wanted = Buffer.concat([before, localhost, after]);

const endHeaders = 0x4;
const padded = 0x8;
const priority = 0x20;

function rewrite(...reads: readonly Buffer[]): Buffer {
  const pass = createAuthorityRewrite();
  return Buffer.concat(reads.flatMap((read) => pass(read)));
}

function inPieces(bytes: Buffer, size: number): Buffer[] {
  return Array.from({ length: Math.ceil(bytes.length / size) }, (_, n) =>
    bytes.subarray(n * size, (n + 1) * size),
  );
}

const cases: Record<string, { sent: Buffer; wanted: Buffer }> = {
  plain: { sent: frame(1, endHeaders, 1, sent), wanted: frame(1, endHeaders, 1, wanted) },
  'padded, with priority': {
    sent: frame(
      1,
      endHeaders | padded | priority,
      1,
      Buffer.concat([hex('03800000000f'), sent, hex('000000')]),
    ),
    wanted: frame(
      1,
      endHeaders | padded | priority,
      1,
      Buffer.concat([hex('03800000000f'), wanted, hex('000000')]),
    ),
  },
  'with priority only': {
    sent: frame(1, endHeaders | priority, 1, Buffer.concat([hex('800000000f'), sent])),
    wanted: frame(1, endHeaders | priority, 1, Buffer.concat([hex('800000000f'), wanted])),
  },
  'continued within the authority': {
    sent: Buffer.concat([
      frame(1, 0, 1, sent.subarray(0, before.length + 10)),
      frame(9, 0, 1, sent.subarray(before.length + 10, before.length + 20)),
      frame(9, endHeaders, 1, sent.subarray(before.length + 20)),
    ]),
    // Each fragment keeps its length until the shorter block ends.
    wanted: Buffer.concat([
      frame(1, 0, 1, wanted.subarray(0, before.length + 10)),
      frame(9, 0, 1, wanted.subarray(before.length + 10, before.length + 20)),
      frame(9, endHeaders, 1, wanted.subarray(before.length + 20)),
    ]),
  },
  'padded and continued': {
    sent: Buffer.concat([
      frame(1, padded, 1, Buffer.concat([hex('01'), sent.subarray(0, 40), hex('00')])),
      frame(9, endHeaders, 1, sent.subarray(40)),
    ]),
    wanted: Buffer.concat([
      frame(1, padded, 1, Buffer.concat([hex('01'), wanted.subarray(0, 40), hex('00')])),
      frame(9, endHeaders, 1, wanted.subarray(40)),
    ]),
  },
};

describe('the rewrite of a connection', () => {
  test.each(Object.entries(cases))(
    'replaces the authority of a header block, %s, in reads of every size',
    (_, block) => {
      const incoming = Buffer.concat([preface, settings, block.sent, data, block.sent, data]);
      const expected = Buffer.concat([preface, settings, block.wanted, data, block.wanted, data]);
      for (let size = 1; size <= incoming.length; size += 1) {
        expect(rewrite(...inPieces(incoming, size)).toString('hex')).toBe(expected.toString('hex'));
      }
    },
  );

  test.each(Object.entries(cases))(
    'replaces the authority of a header block, %s, in two reads split at every offset',
    (_, block) => {
      const incoming = Buffer.concat([preface, settings, block.sent, data]);
      const expected = Buffer.concat([preface, settings, block.wanted, data]).toString('hex');
      for (let at = 0; at <= incoming.length; at += 1) {
        expect(rewrite(incoming.subarray(0, at), incoming.subarray(at)).toString('hex')).toBe(
          expected,
        );
      }
    },
  );

  test('holds back only an incomplete header block', () => {
    const pass = createAuthorityRewrite();
    const through = (bytes: Buffer): string => Buffer.concat(pass(bytes)).toString('hex');
    expect(through(preface.subarray(0, 5))).toBe(preface.subarray(0, 5).toString('hex'));
    through(preface.subarray(5));
    const headers = frame(1, endHeaders, 1, sent);
    expect(through(headers.subarray(0, 20))).toBe('');
    expect(through(headers.subarray(20))).toBe(frame(1, endHeaders, 1, wanted).toString('hex'));
    const big = frame(0, 0, 1, Buffer.alloc(1000));
    expect(through(big.subarray(0, 500))).toHaveLength(1000);
    expect(through(big.subarray(500))).toHaveLength(1018);
  });

  test('passes data on without copying it', () => {
    const pass = createAuthorityRewrite();
    pass(preface);
    const read = frame(0, 0, 1, Buffer.alloc(5_000, 7));
    const [passed] = pass(read);
    expect(passed?.buffer).toBe(read.buffer);
    expect(passed).toHaveLength(read.length);
  });

  test.each<[string, Buffer]>([
    [
      'bytes that are not HTTP/2',
      Buffer.concat([Buffer.from('GET / HTTP/1.1\r\n\r\n'), frame(1, endHeaders, 1, sent)]),
    ],
    [
      'padding longer than its frame',
      Buffer.concat([preface, frame(1, endHeaders | padded, 1, Buffer.concat([hex('ff'), sent]))]),
    ],
    [
      'a frame too short for its priority',
      Buffer.concat([preface, frame(1, endHeaders | priority, 1, hex('0000'))]),
    ],
    [
      'an empty frame with the flag for padding',
      Buffer.concat([preface, frame(1, endHeaders | padded, 1, Buffer.alloc(0))]),
    ],
    ['a block that another frame interrupts', Buffer.concat([preface, frame(1, 0, 1, sent), data])],
    [
      'a block continued on another stream',
      Buffer.concat([preface, frame(1, 0, 1, sent), frame(9, endHeaders, 3, after)]),
    ],
    [
      'an invalid block',
      Buffer.concat([preface, frame(1, endHeaders, 1, Buffer.concat([sent, hex('41')]))]),
    ],
    [
      'an oversized block',
      Buffer.concat([
        preface,
        frame(1, endHeaders, 1, Buffer.concat([sent, Buffer.alloc(20_000, 0x83)])),
      ]),
    ],
  ])('passes unchanged: %s', (_, incoming) => {
    for (const size of [1, 7, 1_000]) {
      const passed = rewrite(...inPieces(incoming, size));
      expect(passed.equals(incoming)).toBe(true);
    }
  });

  test('does not hold back a block above 16 KiB, and rewrites the next one', () => {
    const pass = createAuthorityRewrite();
    const long = frame(1, 0, 1, Buffer.alloc(16_000, 0x83));
    const more = frame(9, 0, 1, Buffer.alloc(16_000, 0x83));
    const last = frame(9, endHeaders, 1, Buffer.alloc(10, 0x83));
    pass(preface);
    expect(pass(long)).toEqual([]);
    expect(Buffer.concat(pass(more)).equals(Buffer.concat([long, more]))).toBe(true);
    expect(Buffer.concat(pass(last)).equals(last)).toBe(true);
    expect(Buffer.concat(pass(frame(1, endHeaders, 3, sent)))).toEqual(
      frame(1, endHeaders, 3, wanted),
    );
  });

  test('never throws and never adds a byte, for any bytes', () => {
    const anyFrame = fc
      .record({
        type: fc.constantFrom(0, 1, 1, 9, 9, 4),
        flags: fc.constantFrom(0, 4, 8, 12, 32, 44),
        stream: fc.constantFrom(1, 3),
        payload: fc.oneof(fc.uint8Array({ maxLength: 60 }), fc.constant(new Uint8Array(sent))),
      })
      .map(({ type, flags, stream, payload }) => frame(type, flags, stream, Buffer.from(payload)));
    const stream = fc.array(
      fc.oneof(
        anyFrame,
        fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
      ),
      { maxLength: 8 },
    );
    fc.assert(
      fc.property(stream, fc.integer({ min: 1, max: 60 }), (frames, size) => {
        const incoming = Buffer.concat([preface, ...frames]);
        const rewritten = rewrite(incoming);
        expect(rewritten.length).toBeLessThanOrEqual(incoming.length);
        // The split into reads makes no difference.
        expect(rewrite(...inPieces(incoming, size)).equals(rewritten)).toBe(true);
      }),
      { numRuns: 1_000 },
    );
  });
});
