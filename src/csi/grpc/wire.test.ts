import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  Body,
  decodeStatusText,
  encodeStatusText,
  frameMessage,
  messageHeaderBytes,
  readMessage,
  parseTimeout,
  formatTimeout,
} from './wire.ts';

const bytes = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array));

describe('a message', () => {
  test('is read as it was framed', () => {
    fc.assert(
      fc.property(bytes, (message) => expect(readMessage(frameMessage(message))).toEqual(message)),
    );
  });

  test('is rejected when it is incomplete or followed by more bytes', () => {
    fc.assert(
      fc.property(bytes, bytes, fc.nat(), (message, more, at) => {
        const frame = frameMessage(message);
        const cut = frame.subarray(0, at % frame.length);
        expect(readMessage(cut)).toBe(cut.length === 0 ? 'no message' : 'an incomplete message');
        if (more.length === 0) return;
        expect(readMessage(Buffer.concat([frame, more]))).toBe('more than one message');
      }),
    );
  });

  test('is rejected when its flag says that it is compressed', () => {
    fc.assert(
      fc.property(bytes, fc.integer({ min: 1, max: 255 }), (message, flag) => {
        const frame = frameMessage(message);
        frame[0] = flag;
        expect(readMessage(frame)).toMatch(/compressed/);
      }),
    );
  });

  test('may announce the largest length that fits four bytes', () => {
    expect(readMessage(Buffer.from('00ffffffff00', 'hex'))).toBe('an incomplete message');
  });

  test('has exactly the length that its prefix announces', () => {
    fc.assert(
      fc.property(bytes, (body) => {
        const message = readMessage(body);
        if (typeof message !== 'string') expect(frameMessage(message)).toEqual(body);
      }),
    );
  });
});

describe('a body', () => {
  test('is the same whatever its parts are', () => {
    fc.assert(
      fc.property(bytes, fc.array(fc.nat({ max: 40 })), (message, cuts) => {
        const frame = frameMessage(message);
        const body = new Body(300);
        // As in a read from a socket, other bytes follow in the same buffer.
        const read = Buffer.concat([frame, Buffer.from('bytes of another stream')]);
        let at = 0;
        for (const cut of [...cuts, frame.length]) {
          expect(body.add(read.subarray(at, Math.min(at + cut, frame.length)))).toBe(true);
          at = Math.min(at + cut, frame.length);
        }
        expect(body.read()).toEqual(message);
        // The other bytes are unchanged.
        expect(read.subarray(frame.length).toString()).toBe('bytes of another stream');
        expect(read.subarray(0, frame.length)).toEqual(frame);
      }),
    );
  });

  test('accepts a message of the largest length, and not a byte more', () => {
    const body = new Body(10);
    const frame = frameMessage(Buffer.alloc(10, 7));
    for (const byte of frame) expect(body.add(Buffer.of(byte))).toBe(true);
    expect(body.add(Buffer.of(0))).toBe(false);
    expect(body.read()).toEqual(frame.subarray(messageHeaderBytes));
    expect(new Body(10).add(frameMessage(Buffer.alloc(11)))).toBe(false);
  });

  test('without a part has no message', () => {
    expect(new Body(1).read()).toBe('no message');
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
  test('arrives as it was sent, except lone surrogates', () => {
    fc.assert(
      fc.property(texts, (text) => {
        const encoded = encodeStatusText(text);
        expect(decodeStatusText(encoded)).toBe(text.toWellFormed());
        // As grpc-js decodes it.
        expect(decodeURI(encoded)).toBe(text.toWellFormed());
      }),
    );
  });

  test('is printable ASCII without a space at either end, as a header must be', () => {
    fc.assert(
      fc.property(texts, (text) =>
        expect(encodeStatusText(text)).toMatch(/^(?! )(?:[ -$&-~]|%[0-9A-F]{2})*$(?<! )/),
      ),
    );
  });

  test('stays readable where possible', () => {
    expect(encodeStatusText('no such object: db/password (100%)')).toBe(
      'no such object: db/password (100%25)',
    );
    expect(encodeStatusText(' ä ')).toBe('%20%C3%A4%20');
    expect(encodeStatusText(' ')).toBe('%20');
    expect(encodeStatusText('\ud800')).toBe('%EF%BF%BD');
  });

  test('is decoded whatever it is', () => {
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
  ])('of %s is converted to milliseconds', (text, ms) =>
    expect(parseTimeout(text)).toBeCloseTo(ms, 9),
  );

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
  ])('rejects %j', (text) => expect(parseTimeout(text)).toBeUndefined());

  test('is Infinity without a timeout', () => expect(parseTimeout(undefined)).toBe(Infinity));

  test('is written at most as long as it is, and at most a unit shorter', () => {
    fc.assert(
      fc.property(fc.double({ min: 0, max: 9.9e10, noNaN: true }), (ms) => {
        const read = parseTimeout(formatTimeout(ms));
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
  ])('of %d ms is written as %s', (ms, text) => expect(formatTimeout(ms)).toBe(text));
});
