import { describe, expect, test } from '@jest/globals';
import { readPage } from '../../../test/docs-page.ts';
import { problemCodes } from '../problem.ts';
import { keysAt } from './known-keys.ts';
import { readDsoConfig } from './read.ts';
import { fileSchema } from './schema.ts';
import { methodsOf } from './store-schema.ts';
import { storeTypes } from '../../core/host-store.ts';

const { text: page, blocks } = readPage('docker/dso-yaml.md');

/** The names of all keys of dso.yaml, as the page writes them. */
function keyNames(path: readonly PropertyKey[] = [], name = ''): readonly string[] {
  return keysAt(fileSchema, path).flatMap((key) => {
    const own = [...path, key];
    const written = name === '' ? key : `${name}.${key}`;
    return [
      written,
      ...keyNames(own, written),
      ...keyNames([...own, 0], key === 'providers' ? `${written}.NAME` : `${written}[]`),
    ];
  });
}

describe('the page of dso.yaml', () => {
  const names = keyNames();

  test('is compared with all keys', () => {
    expect(names).toEqual(
      expect.arrayContaining(['exec', 'providers.NAME.auth.method', 'secrets[].inject.mode']),
    );
    expect(names.length).toBeGreaterThan(50);
  });

  // `config` has the keys of the level above.
  const documented = names.filter((name) => !/(^|\.)config\./.test(name));
  test.each(documented)('describes %s', (name) => {
    expect(page).toContain(`\`${name}\``);
  });

  test('describes no key that does not exist', () => {
    const cells = [...page.matchAll(/^\| (`[^|]*`) \|/gm)].flatMap(([, cell = '']) =>
      [...cell.matchAll(/`((?:secrets|providers|defaults|agent)[^`]*)`/g)].map(([, key]) => key),
    );
    expect(cells.filter((key) => !names.includes(key!))).toEqual([]);
  });

  test('has every method of every type, with its parameters', () => {
    const rows = [...page.matchAll(/^\| (.*) \| (.*) \|(.*)\|$/gm)];
    for (const type of storeTypes)
      for (const [method, params] of Object.entries(methodsOf[type])) {
        const [, , , cell = ''] = rows.find(
          ([, types = '', methods = '']) =>
            types.includes(`\`${type}\``) && methods.includes(`\`${method}\``),
        )!;
        expect([...cell.matchAll(/`(\w+)`/g)].map(([, param]) => param)).toEqual(params);
      }
  });

  test('has examples that are read without a problem', () => {
    const examples = blocks('yaml').filter((block) => !block.startsWith('services:'));
    expect(examples).toHaveLength(4);
    for (const example of examples)
      expect(readDsoConfig(example, 'dso-yaml.md').problems).toEqual([]);
  });

  test('explains every code', () => {
    expect([...page.matchAll(/^### ([A-Z_]+)$/gm)].map(([, code]) => code)).toEqual([
      ...problemCodes,
    ]);
  });
});
