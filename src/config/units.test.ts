import { describe, expect, test } from '@jest/globals';
import { parseBytes, parseChoice, parseCount, parseDuration } from './settings.ts';

describe('units of settings', () => {
  test.each([
    ['0', 0],
    ['500ms', 500],
    ['30s', 30_000],
    ['2m', 120_000],
    ['24h', 86_400_000],
  ])('reads the duration %s', (text, ms) => expect(parseDuration(text, '--x')).toBe(ms));

  test.each([
    ['1048576', 1_048_576],
    ['512KiB', 524_288],
    ['32MiB', 33_554_432],
  ])('reads the size %s', (text, bytes) => expect(parseBytes(text, '--x')).toBe(bytes));

  test.each(['', '30', '-1s', '1.5m', '30 s', '5constructor', 's', '1d'])(
    'rejects the duration "%s" and names the setting',
    (text) => {
      expect(() => parseDuration(text, '--refresh-interval')).toThrow('--refresh-interval');
    },
  );

  test('rejects a size with an unknown unit', () => {
    expect(() => parseBytes('32MB', '--cache-bytes')).toThrow('--cache-bytes is "32MB"');
  });

  test('rejects a count below its minimum and text that is not a number', () => {
    expect(parseCount('1', '--n', 1)).toBe(1);
    expect(() => parseCount('0', '--n', 1)).toThrow('--n');
    expect(() => parseCount('many', '--n', 1)).toThrow('--n');
  });

  test('names the choices', () => {
    expect(parseChoice('all', '--mode', ['all', 'none'])).toBe('all');
    expect(() => parseChoice('some', '--mode', ['all', 'none'])).toThrow(
      expect.objectContaining({ hint: 'give one of all, none' }),
    );
  });
});
