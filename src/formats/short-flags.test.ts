import { describe, expect, test } from '@jest/globals';
import { separateShortFlags } from './short-flags.ts';

describe('separateShortFlags', () => {
  test.each<[string, string[], string[]]>([
    ['a short flag with an equals sign', ['lint', '-o=json'], ['lint', '-o', 'json']],
    ['only the first equals sign', ['mount', '-f=a=b'], ['mount', '-f', 'a=b']],
    ['nothing of a long flag', ['lint', '--format=json'], ['lint', '--format=json']],
    ['nothing of a short flag without a value', ['lint', '-o='], ['lint', '-o=']],
    ['nothing of a short flag with its value behind it', ['lint', '-ojson'], ['lint', '-ojson']],
    ['nothing of an argument', ['lint', 'a=b', '-'], ['lint', 'a=b', '-']],
    ['nothing behind --', ['lint', '--', '-o=json'], ['lint', '--', '-o=json']],
  ])('separates %s', (_, words, expected) => {
    expect(separateShortFlags(words)).toEqual(expected);
  });
});
