import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { ExactNumber, type JsonValue, parseJsonText, toJsonText } from './json.ts';

describe('JSON text', () => {
  test('is unchanged except for white space', () => {
    fc.assert(
      fc.property(fc.json(), fc.constantFrom(undefined, 1, '\t'), (json, space) => {
        const compact = JSON.stringify(JSON.parse(json));
        expect(toJsonText(parseJsonText(JSON.stringify(JSON.parse(json), null, space)))).toBe(
          compact,
        );
      }),
    );
  });

  test('keeps every digit', () => {
    const digits = '[1.50,12345678901234567890,-0,1e2,1E+400,0.1,100000000000000000000000.000]';
    expect(toJsonText(parseJsonText(digits))).toBe(digits);
  });

  test.each(['', '{', '[1,]', '{a:1}', '01', '+1', 'NaN', "'a'", '"\n"', '1 2', '[', '\u00a01'])(
    '%j is rejected, as by JSON.parse',
    (text) => {
      expect(() => void JSON.parse(text)).toThrow();
      expect(() => parseJsonText(text)).toThrow();
    },
  );

  test('the last value of a duplicate key wins', () =>
    expect(toJsonText(parseJsonText('{"a":1,"b":2,"a":3}'))).toBe('{"a":3,"b":2}'));

  test('keys may have any name', () => {
    const text = '{"__proto__":{"x":1},"constructor":2,"hasOwnProperty":3,"toJSON":4}';
    const parsed = parseJsonText(text) as Record<string, JsonValue>;
    expect(toJsonText(parsed)).toBe(text);
    expect(Object.keys(parsed)).toEqual(['__proto__', 'constructor', 'hasOwnProperty', 'toJSON']);
    expect('toString' in parsed).toBe(false);
    expect('x' in parsed).toBe(false);
  });

  test('is written with sorted keys on request', () =>
    expect(toJsonText(parseJsonText('{"b":{"z":1,"y":2},"a":0}'), { sorted: true })).toBe(
      '{"a":0,"b":{"y":2,"z":1}}',
    ));

  test('may nest 1,000 deep', () => {
    const nested = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth);
    expect(toJsonText(parseJsonText(nested(1_000)))).toBe(nested(1_000));
    expect(() => parseJsonText(nested(1_001))).toThrow('nested more than 1000 deep');
    expect(() => parseJsonText('{"a":'.repeat(200_000))).toThrow('nested');
    expect(toJsonText(parseJsonText(`["${'['.repeat(5_000)}\\""]`))).toContain('[[[');
  });

  test('stops at the limit', () => {
    let value: JsonValue = 'x';
    for (let doubling = 0; doubling < 60; doubling += 1) value = [value, value];
    expect(() => toJsonText(value, { limit: 10_000 })).toThrow(RangeError);
  });
});

describe('an exact number', () => {
  test('can be ordered, and has the type of a number', () => {
    const exact = new ExactNumber('1.50');
    expect(Object.prototype.toString.call(exact)).toBe('[object Number]');
    expect([Number(exact) > 1.4, Number(exact) < 1.6]).toEqual([true, true]);
  });
  test('throws where it would lose digits', () => {
    expect(() => Number(new ExactNumber('12345678901234567890'))).toThrow(RangeError);
    expect(() => Number(new ExactNumber('1e999'))).toThrow(RangeError);
    expect(() => JSON.stringify([new ExactNumber('1.50')])).toThrow(RangeError);
  });
});
