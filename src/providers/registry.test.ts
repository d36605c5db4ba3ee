import { existsSync, readdirSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import { providers } from './registry.ts';
import { grantableProviders } from './shared/identity/grants-file.ts';
import { runSteps } from '../core/steps.ts';

/** Folders that serve other providers than the one of their name. */
const namesOf: Readonly<Record<string, readonly string[]>> = { vault: ['vault', 'openbao'] };
const folders = readdirSync('src/providers', { withFileTypes: true }).filter(
  (entry) => entry.isDirectory() && entry.name !== 'shared',
);

describe('the registry', () => {
  test('has the providers of all folders, and no others', () => {
    const names = folders.flatMap(({ name }) => namesOf[name] ?? [name]);
    expect(Object.keys(providers).sort()).toEqual(names.sort());
  });

  test.each(folders.map(({ name }) => name))('has a page of documentation for %s', (name) => {
    expect(existsSync(`docs/providers/${name}.md`)).toBe(true);
  });

  test.each(Object.keys(providers))(
    'loads the code that compiles the classes of %s',
    async (name) => {
      const plan = await providers[name]!.plan();
      const { problems } = runSteps(plan({}));
      expect(problems).toContainEqual(expect.objectContaining({ severity: 'error' }));
    },
  );

  test('grants shared identities for every provider except cce, which has its annotation', () => {
    const others = Object.keys(providers).filter((name) => name !== 'cce');
    expect(grantableProviders).toEqual(expect.arrayContaining(others));
  });
});
