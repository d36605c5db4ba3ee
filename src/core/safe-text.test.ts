import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  escapeUnprintable,
  containsSecret,
  sanitizeExternalText,
  sanitizeUserText,
  statusText,
} from './safe-text.ts';

const anyText = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.string({ unit: 'binary', minLength: 150, maxLength: 2_000 }),
);
/** The least CPU time of five measurements, which neither other processes nor the JIT distort. */
function cpuTimeOf(repetitions: number, work: () => unknown): number {
  const times = Array.from({ length: 5 }, () => {
    const before = process.cpuUsage();
    for (let run = 0; run < repetitions; run++) work();
    const { user, system } = process.cpuUsage(before);
    return user + system;
  });
  return Math.min(...times);
}

const unprintable = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u;

describe('escapeUnprintable', () => {
  test.each([
    ['a\nb\tc\0', 'a\\u{a}b\\u{9}c\\u{0}'],
    ['safe\u202egnp.exe', 'safe\\u{202e}gnp.exe'],
    [
      '\u2066x\u2069 \u200b\ufeff\u2028\u2029\u0085',
      '\\u{2066}x\\u{2069} \\u{200b}\\u{feff}\\u{2028}\\u{2029}\\u{85}',
    ],
    ['\ud800 \u{e0041}', '\\u{d800} \\u{e0041}'],
    ['\u001b[31m', '\\u{1b}[31m'],
    ['what \ufffd was', 'what \\u{fffd} was'],
    ['Grüße 键 😀 "quoted" \\', 'Grüße 键 😀 "quoted" \\'],
  ])('%j', (text, escaped) => expect(escapeUnprintable(text)).toBe(escaped));
});

describe('statusText', () => {
  test('is one line', () =>
    expect(statusText(' first\n  second\r\n\r\nthird \n')).toBe('first second third'));

  test('is at most 1,000 bytes, truncated between characters', () => {
    expect(statusText('x'.repeat(1_000))).toBe('x'.repeat(1_000));
    expect(statusText('x'.repeat(1_001))).toBe(`${'x'.repeat(997)}...`);
    expect(statusText('键'.repeat(400))).toBe(`${'键'.repeat(332)}...`);
    expect(statusText(`x${'😀'.repeat(400)}`)).toBe(`x${'😀'.repeat(249)}...`);
  });

  test('is printable, short and idempotent for any text', () => {
    fc.assert(
      fc.property(anyText, (text) => {
        const status = statusText(text);
        expect(Buffer.byteLength(status)).toBeLessThanOrEqual(1_000);
        expect(status).not.toMatch(unprintable);
        expect(status).not.toContain('\ufffd');
        expect(statusText(status)).toBe(status);
      }),
    );
  });

  test('takes time in proportion to the length of any text', () => {
    for (const piece of [' ', '\n', ' \n', 'x', '\0']) {
      const inShortTexts = cpuTimeOf(100, () => statusText(piece.repeat(2_000)));
      const inLongTexts = cpuTimeOf(10, () => statusText(piece.repeat(20_000)));
      expect(inLongTexts / inShortTexts).toBeLessThan(4);
    }
  });
});

describe('sanitizeExternalText', () => {
  test('is at most 200 characters, truncated between characters', () => {
    expect(sanitizeUserText('x'.repeat(200))).toBe('x'.repeat(200));
    expect(sanitizeUserText('x'.repeat(201))).toBe(`${'x'.repeat(197)}...`);
    expect(sanitizeUserText(`${'x'.repeat(196)}😀😀😀`)).toBe(`${'x'.repeat(196)}...`);
  });

  test('is printable and short for any text', () => {
    fc.assert(
      fc.property(anyText, (text) => {
        const quoted = sanitizeExternalText(text, []);
        expect(quoted.length).toBeLessThanOrEqual(200);
        expect(quoted).not.toMatch(unprintable);
      }),
    );
  });

  test('withholds a text that contains a secret', () => {
    expect(sanitizeExternalText('token hunter22 refused', ['other', 'hunter22'])).toBe(
      '[text withheld: it held a secret]',
    );
    expect(sanitizeExternalText('token refused', ['hunter22'])).toBe('token refused');
  });

  test('withholds a text with a secret at the point of truncation', () => {
    const secret = 'hunter22hunter23hunter24';
    const encoded = ['hex', 'base64'].map((name) =>
      Buffer.from(secret).toString(name as BufferEncoding),
    );
    for (const form of [secret, ...encoded])
      expect(sanitizeExternalText(`${'.'.repeat(199)}${form}${'.'.repeat(999)}`, [secret])).toMatch(
        /withheld/,
      );
  });

  test('searches only the start of a long text', () => {
    const secrets = ['x'.repeat(6_000)];
    const shortText = 'x y'.repeat(400);
    const longText = shortText.repeat(100);
    const inShortText = cpuTimeOf(2, () => sanitizeExternalText(shortText, secrets));
    const inLongText = cpuTimeOf(2, () => sanitizeExternalText(longText, secrets));
    expect(inLongText / inShortText).toBeLessThan(10);
  });
});

describe('containsSecret', () => {
  const secret = 'pa/ss+wörd "7"\n~with=signs&more';
  const around = (encoded: string): string => `refused: ${encoded}, sorry`;
  test.each<[string, (text: string) => string]>([
    ['as it is', (text) => text],
    ['in JSON', (text) => JSON.stringify({ text })],
    ['in hex', (text) => Buffer.from(text).toString('hex')],
    ['in upper-case hex', (text) => Buffer.from(text).toString('hex').toUpperCase()],
    ['percent-encoded', (text) => encodeURIComponent(text)],
    [
      'percent-encoded in lower case',
      (text) => encodeURIComponent(text).replace(/%../g, (code) => code.toLowerCase()),
    ],
    ['in base64', (text) => Buffer.from(text).toString('base64')],
    ['in base64 behind one byte', (text) => Buffer.from(`:${text}`).toString('base64')],
    ['in base64 behind a name', (text) => Buffer.from(`user:${text}`).toString('base64')],
    [
      'in base64 within other data',
      (text) => Buffer.from(`{"user":"${text}","more":1}`).toString('base64'),
    ],
    ['in base64url behind a byte', (text) => Buffer.from(`-${text}`).toString('base64url')],
    ['escaped', escapeUnprintable],
  ])('%s', (_, encode) => {
    expect(containsSecret(around(encode(secret)), secret)).toBe(true);
    expect(containsSecret(around(encode('another text, of about that length')), secret)).toBe(
      false,
    );
  });

  test('truncated by another program', () => {
    const token = Buffer.from(
      Array.from({ length: 300 }, (_, index) => (index * 7) % 256),
    ).toString('base64url');
    expect(containsSecret(`got ${token.slice(0, 30)}...`, token)).toBe(true);
    expect(containsSecret(`got ...${token.slice(101, 125)}...`, token)).toBe(true);
    expect(containsSecret(`got ...${token.slice(-20)}`, token)).toBe(true);
    expect(containsSecret(`got ${token.slice(3, 12)}...`, token)).toBe(false);
  });

  test('not if it is too short', () => expect(containsSecret('an apple a day', 'app')).toBe(false));

  test('anywhere in any text and in any encoding', () => {
    const encodings = fc.constantFrom<(text: string) => string>(
      (text) => text,
      (text) => Buffer.from(text).toString('base64'),
      (text) => Buffer.from(text).toString('base64url'),
      (text) => Buffer.from(text).toString('hex'),
      encodeURIComponent,
      (text) => JSON.stringify(text),
    );
    // In base64, too few characters of a secret of less than 8 bytes are independent of its
    // neighbours.
    const secrets = fc.string({ minLength: 8, maxLength: 60, unit: 'grapheme' });
    fc.assert(
      fc.property(fc.string(), fc.string(), secrets, encodings, (before, after, hidden, encode) =>
        expect(containsSecret(encode(before + hidden + after), hidden)).toBe(true),
      ),
      { numRuns: 500 },
    );
  });
});
