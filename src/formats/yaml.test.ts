import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { Step } from '../core/steps.ts';
import { readYamlDocument, readYamlInSteps } from './yaml.ts';

/** The steps of a text, without what runs before the first. */
function stepsOf(text: string): readonly Step[] {
  return [...readYamlInSteps(text)];
}

/** Moves all positions up, so that the texts of items compare wherever they stand. */
function movedUp(value: unknown, lines: number): unknown {
  return JSON.parse(
    JSON.stringify(value, (key, field: unknown) =>
      (key === 'line' || key === 'firstLine') && typeof field === 'number' ? field - lines : field,
    ),
  );
}

describe('a long list is read in pieces', () => {
  const fillerItems = 10;
  const filler = `- ${'x'.repeat(1_000)}\n`.repeat(fillerItems);
  const token = fc.constantFrom(
    ...[
      'a',
      ': ',
      '\n  ',
      '\n- ',
      '- ',
      '{',
      '}',
      '[',
      ']',
      ', ',
      '"',
      "'",
      '#',
      ' # c',
      '|\n    ',
    ],
    ...[
      '&x ',
      '*x',
      '<<: *x',
      '!t ',
      '!!str ',
      'b: 2',
      '\n  c: 3',
      '? ',
      '\t',
      '\n...\n',
      '\n---\n',
    ],
  );
  const items = fc.array(token, { maxLength: 12 }).map((tokens) => `- ${tokens.join('')}\n`);

  test('and gives what the same items give alone', () => {
    fc.assert(
      fc.property(items, (text) => {
        const alone = readYamlDocument(text);
        const { root, problems } = readYamlDocument(filler + text);
        expect(movedUp(problems, fillerItems)).toEqual(movedUp(alone.problems, 0));
        expect(root === undefined).toBe(alone.root === undefined);
        if (root?.kind === 'list' && alone.root?.kind === 'list')
          expect(movedUp(root.items.slice(fillerItems), fillerItems)).toEqual(
            movedUp(alone.root.items, 0),
          );
      }),
      { numRuns: 300 },
    );
  });

  test('with aliases of anchors in other pieces', () => {
    const { root, problems } = readYamlDocument(`- &x {b: 2}\n${filler}- *x\n`);
    expect(problems).toEqual([]);
    const last = root?.kind === 'list' ? root.items.at(-1) : undefined;
    expect(last).toMatchObject({ entries: [{ key: 'b', value: { text: '2' } }] });
  });

  test('up to its first error, without what the pieces before it report', () => {
    const { root, problems } = readYamlDocument(`- {a: 1, a: 2}\n${filler}- "open`);
    expect(root).toBeUndefined();
    expect(problems).toMatchObject([{ kind: 'syntax', at: { line: fillerItems + 2 } }]);
  });
});

describe('the steps of a text', () => {
  test('are many for many items: each takes about a millisecond', () => {
    const steps = stepsOf('- {objectName: a, objectType: b, objectAlias: c}\n'.repeat(2_000));
    expect(steps.length).toBeGreaterThan(200);
    expect(new Set(steps)).toEqual(new Set(['held']));
  });

  test('are large where one item is long, because it cannot be divided', () => {
    expect(stepsOf(`- [${'a, '.repeat(12_000)}]`)).toContain('held-large');
    expect(stepsOf(`[${'{a: 1}, '.repeat(5_000)}]`)).toContain('held-large');
  });
});
