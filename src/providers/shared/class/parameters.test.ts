import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { Problem } from '../../../core/plan.ts';
import { readPathTranslation } from './parameters.ts';

function translation(text?: string) {
  const problems: Problem[] = [];
  const given = text === undefined ? undefined : { name: 'PathTranslation', text };
  return { translate: readPathTranslation(given, (problem) => problems.push(problem)), problems };
}

const names = fc.string({
  unit: fc.constantFrom('/', '.', '_', 'a', '$', '&', '💧'),
  maxLength: 20,
});

describe('pathTranslation', () => {
  test('replaces every "/" with the character, and nothing else', () => {
    const characters = fc.constantFrom(undefined, '', '-', '$', '.', 'é');
    fc.assert(
      fc.property(names, characters, (name, text) => {
        const { translate, problems } = translation(text);
        expect(problems).toEqual([]);
        expect(translate(name)).toBe(name.split('/').join(text === '' ? '_' : (text ?? '_')));
      }),
    );
  });

  test('removes only slashes at the beginning when it is false, in any letter case', () => {
    fc.assert(
      fc.property(names, fc.constantFrom('False', 'false', 'FALSE'), (name, text) => {
        const path = translation(text).translate(name);
        expect(path.startsWith('/')).toBe(false);
        expect(name.endsWith(path)).toBe(true);
        expect(name.slice(0, name.length - path.length)).toMatch(/^\/*$/);
      }),
    );
  });

  test.each(['/', '--', 'true', 'no'])('reports %j with the name of the parameter', (text) => {
    expect(translation(text).problems).toEqual([
      expect.objectContaining({ severity: 'error', parameter: 'PathTranslation' }),
    ]);
  });
});
