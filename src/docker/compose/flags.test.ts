import { describe, expect, test } from '@jest/globals';
import { commandFlags, composeFlags, isOn, readFlags, valuesOf, without } from './flags.ts';

const up = commandFlags.get('up')!;

describe('flags of a command line', () => {
  test.each<[string, readonly string[]]>([
    ['the next word', ['--file', 'a.yaml']],
    ['an equals sign', ['--file=a.yaml']],
    ['a short flag and a word', ['-f', 'a.yaml']],
    ['a short flag with its value', ['-fa.yaml']],
    ['a short flag with an equals sign', ['-f=a.yaml']],
  ])('take a value by %s', (_, words) => {
    const { parts, rest } = readFlags([...words, 'up', '-d'], composeFlags);
    expect(valuesOf(parts, 'file')).toEqual(['a.yaml']);
    expect(parts.flatMap((part) => part.words)).toEqual(words);
    expect(rest).toEqual(['up', '-d']);
  });

  test('can be several switches in one word, the last with a value', () => {
    const { parts } = readFlags(['-dVt10', 'app'], up, { interspersed: true });
    expect(parts).toEqual([
      { flag: 'detach', words: ['-d'] },
      { flag: 'renew-anon-volumes', words: ['-V'] },
      { flag: 'timeout', value: '10', words: ['-t10'] },
      { words: ['app'] },
    ]);
  });

  test('end at the first word, or stand between words', () => {
    const words = ['app', '--build', 'web', '--', '-x'];
    expect(readFlags(words, up)).toEqual({ parts: [], rest: words });
    const { parts, rest } = readFlags(words, up, { interspersed: true });
    expect(parts).toEqual([
      { words: ['app'] },
      { flag: 'build', words: ['--build'] },
      { words: ['web'] },
    ]);
    expect(rest).toEqual(['--', '-x']);
  });

  test('are marked if they are not known, and take no word', () => {
    const { parts, rest } = readFlags(['--new', 'value', 'up'], composeFlags);
    expect(parts).toEqual([{ flag: 'new', unknown: true, words: ['--new'] }]);
    expect(rest).toEqual(['value', 'up']);
  });

  test('are off with =false, and the last one counts', () => {
    const on = (...words: readonly string[]) => isOn(readFlags(words, up).parts, 'build');
    expect([on(), on('--build'), on('--build=false'), on('--build=false', '--build')]).toEqual([
      ...[false, true, false, true],
    ]);
  });

  test('can be left out by name', () => {
    const { parts } = readFlags(['-p', 'x', '--ansi=never', '-fa'], composeFlags);
    expect(without(parts, ['project-name', 'file'])).toEqual(['--ansi=never']);
  });

  test('of a value that is missing are left to Compose', () => {
    expect(readFlags(['-f'], composeFlags).parts).toEqual([{ flag: 'file', words: ['-f'] }]);
    expect(readFlags(['--file'], composeFlags).parts).toEqual([
      { flag: 'file', words: ['--file'] },
    ]);
  });
});
