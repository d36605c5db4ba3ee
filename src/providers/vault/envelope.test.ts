import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { rawMembers } from './envelope.ts';

describe('the raw members of a JSON object', () => {
  test('keep their characters and their order', () => {
    const text = String.raw` { "10" : 1.50 , "9":[1, {"a":"]}"}],"q\"\u0061" : "\\\",{" ,"e":{ } } `;
    expect([...(rawMembers(text) ?? [])]).toEqual([
      ['10', '1.50'],
      ['9', '[1, {"a":"]}"}]'],
      ['q"a', String.raw`"\\\",{"`],
      ['e', '{ }'],
    ]);
  });

  test('have the last value of two equal keys', () => {
    expect(rawMembers('{"a":1,"b":2,"a":3}')?.get('a')).toBe('3');
  });

  test.each(['[{"a":1}]', '"{"', 'null', '1', '', ' '])(
    'do not exist for %j, which is not an object',
    (text) => {
      expect(rawMembers(text)).toBeUndefined();
    },
  );

  test('equal those of JSON.parse for every object', () => {
    const json = fc.dictionary(fc.string(), fc.jsonValue());
    const indent = fc.constantFrom(undefined, 2, '\t');
    fc.assert(
      fc.property(json, indent, (object, space) => {
        const members = rawMembers(JSON.stringify(object, undefined, space)) ?? [];
        const parsed = [...members].map(([key, value]): [string, unknown] => [
          key,
          JSON.parse(value),
        ]);
        expect(parsed).toEqual(Object.entries(JSON.parse(JSON.stringify(object)) as object));
      }),
    );
  });

  test('end for text that is not JSON', () => {
    const hostile = fc.string({ unit: fc.constantFrom(...Array.from('{}[],:"\\ a1')) });
    fc.assert(
      fc.property(hostile, (text) => {
        try {
          rawMembers(`{${text}`);
        } catch (thrown) {
          expect(String(thrown)).toMatch(/^SyntaxError/);
        }
      }),
    );
  });
});
