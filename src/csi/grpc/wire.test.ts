import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  Body,
  decodeStatusText,
  encodeStatusText,
  frameMessage,
  messageHeaderBytes,
  readMessage,
  readTimeout,
  writeTimeout,
} from './wire.ts';

const bytes = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array));

describe('a message', () => {
  test('is read as it was framed', () => {
    fc.assert(
      fc.property(bytes, (message) => expect(readMessage(frameMessage(message))).toEqual(message)),
    );
  });

  test('that is cut short or followed by anything is none', () => {
    fc.assert(
      fc.property(bytes, bytes, fc.nat(), (message, more, at) => {
        const frame = frameMessage(message);
        const cut = frame.subarray(0, at % frame.length);
        expect(readMessage(cut)).toBe(
          cut.length === 0 ? 'without a message' : 'with half a message',
        );
        if (more.length === 0) return;
        expect(readMessage(Buffer.concat([frame, more]))).toBe('with more than one message');
      }),
    );
  });

  test('that says it is compressed is none', () => {
    fc.assert(
      fc.property(bytes, fc.integer({ min: 1, max: 255 }), (message, flag) => {
        const frame = frameMessage(message);
        frame[0] = flag;
        expect(readMessage(frame)).toMatch(/compressed/);
      }),
    );
  });

  test('may say that it is as long as four bytes can', () => {
    expect(readMessage(Buffer.from('00ffffffff00', 'hex'))).toBe('with half a message');
  });

  test('is nothing else than what its head announces', () => {
    fc.assert(
      fc.property(bytes, (body) => {
        const message = readMessage(body);
        if (typeof message !== 'string') expect(frameMessage(message)).toEqual(body);
      }),
    );
  });
});

describe('a body', () => {
  test('is the same in whatever parts it comes', () => {
    fc.assert(
      fc.property(bytes, fc.array(fc.nat({ max: 40 })), (message, cuts) => {
        const frame = frameMessage(message);
        const body = new Body(300);
        // As from a socket, where what comes next lies behind.
        const read = Buffer.concat([frame, Buffer.from('what came for others')]);
        let at = 0;
        for (const cut of [...cuts, frame.length]) {
          expect(body.add(read.subarray(at, Math.min(at + cut, frame.length)))).toBe(true);
          at = Math.min(at + cut, frame.length);
        }
        expect(body.read()).toEqual(message);
        // And nobody else's bytes were touched.
        expect(read.subarray(frame.length).toString()).toBe('what came for others');
        expect(read.subarray(0, frame.length)).toEqual(frame);
      }),
    );
  });

  test('takes a message of the longest length, and not a byte more', () => {
    const body = new Body(10);
    const frame = frameMessage(Buffer.alloc(10, 7));
    for (const byte of frame) expect(body.add(Buffer.of(byte))).toBe(true);
    expect(body.add(Buffer.of(0))).toBe(false);
    expect(body.read()).toEqual(frame.subarray(messageHeaderBytes));
    expect(new Body(10).add(frameMessage(Buffer.alloc(11)))).toBe(false);
  });

  test('without a part has no message', () => {
    expect(new Body(1).read()).toBe('without a message');
  });
});

const texts = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 200 }),
  fc.string({ unit: 'grapheme', maxLength: 200 }),
  fc.string({
    unit: fc.constantFrom(
      ...[
        '\ud800',
        '\udc00',
        '%',
        '2',
        '5',
        'a',
        ' ',
        '\t',
        '\n',
        '~',
        '\u007f',
        '\u0000',
        'ä',
        '😀',
        '\u202e',
        '\u2066',
      ],
    ),
    maxLength: 30,
  }),
);

describe('a status text', () => {
  test('arrives as it was sent, but for lone surrogates', () => {
    fc.assert(
      fc.property(texts, (text) => {
        const encoded = encodeStatusText(text);
        expect(decodeStatusText(encoded)).toBe(text.toWellFormed());
        // As grpc-js decodes it.
        expect(decodeURI(encoded)).toBe(text.toWellFormed());
      }),
    );
  });

  test('travels as a header may: in printable ASCII without a space at its ends', () => {
    fc.assert(
      fc.property(texts, (text) =>
        expect(encodeStatusText(text)).toMatch(/^(?! )(?:[ -$&-~]|%[0-9A-F]{2})*$(?<! )/),
      ),
    );
  });

  test('stays readable where it can', () => {
    expect(encodeStatusText('no such object: db/password (100%)')).toBe(
      'no such object: db/password (100%25)',
    );
    expect(encodeStatusText(' ä ')).toBe('%20%C3%A4%20');
    expect(encodeStatusText(' ')).toBe('%20');
    expect(encodeStatusText('\ud800')).toBe('%EF%BF%BD');
  });

  test('is never refused, whatever comes', () => {
    fc.assert(fc.property(texts, (text) => expect(typeof decodeStatusText(text)).toBe('string')));
    expect(decodeStatusText('100% of %zz')).toBe('100% of %zz');
    expect(decodeStatusText('%ff')).toBe('%ff');
  });
});

describe('a timeout', () => {
  test.each([
    ['1H', 3_600_000],
    ['1M', 60_000],
    ['1S', 1_000],
    ['1m', 1],
    ['1u', 0.001],
    ['1n', 0.000_001],
    ['0n', 0],
    ['00000001S', 1_000],
    ['99999999H', 359_999_996_400_000],
  ])('of %s is so many milliseconds', (text, ms) => expect(readTimeout(text)).toBeCloseTo(ms, 9));

  test.each([
    '',
    '1',
    'm',
    '123456789m',
    '-1m',
    '+1m',
    '1.5S',
    '1e3m',
    ' 1m',
    '1m ',
    '1m\n',
    '1s',
    '1h',
    '1ms',
    '0x1m',
    '１m',
    '1m, 1m',
    'NaNm',
    'toStringm',
  ])('is not %j', (text) => expect(readTimeout(text)).toBeUndefined());

  test('that nobody gave is none', () => expect(readTimeout(undefined)).toBe(Infinity));

  test('is told at most as long as it is, and at most a unit shorter', () => {
    fc.assert(
      fc.property(fc.double({ min: 0, max: 9.9e10, noNaN: true }), (ms) => {
        const read = readTimeout(writeTimeout(ms));
        expect(read).toBeLessThanOrEqual(ms);
        expect(read).toBeGreaterThan(ms - (ms < 1e8 ? 1 : 1_000));
      }),
    );
  });

  test.each([
    [-5, '0m'],
    [-Infinity, '0m'],
    [0.9, '0m'],
    [99_999_999.9, '99999999m'],
    [1e8, '100000S'],
    [1e15, '99999999S'],
    [Infinity, '99999999S'],
  ])('of %d ms is written as %s', (ms, text) => expect(writeTimeout(ms)).toBe(text));
});
