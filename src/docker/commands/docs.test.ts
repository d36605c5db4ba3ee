import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { parse } from 'yaml';
import { readPage } from '../../../test/docs-page.ts';
import { readDsoConfig } from '../config/read.ts';
import { parseReference } from '../model/reference.ts';
import { initCommand } from './init.ts';

const names = readdirSync(join(import.meta.dirname, '../../../docs/docker'));

/** The commands `docker dso init` of a page's blocks, without what stands before and behind. */
function initLines(blocks: (language: string) => string[]): readonly string[] {
  return [...blocks('sh'), ...blocks('console')].flatMap((block) =>
    [...block.matchAll(/docker[- ]dso init ([^\n#]*)/g)].map(([, words = '']) => words.trim()),
  );
}

/** As a shell does with the words of the pages. */
function wordsOf(line: string, file: string): readonly string[] {
  return line
    .split(/ +/)
    .map((word) => word.replace(/^\.\/secret-id$/, file).replace(/^"?\$(\w+)"?$/, 'value-of-$1'));
}

const noStores = readDsoConfig('', '').config!;
let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'keyferry-docs-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

describe.each(names)('docs/docker/%s', (name) => {
  const { blocks } = readPage(join('docker', name));

  test('has commands init that work, in their order', async () => {
    const file = join(directory, 'secret-id');
    writeFileSync(file, 'from a file\n'.replaceAll(' ', '-'));
    const config = join(directory, 'dso.yaml');
    // A page may show a command for a store that an earlier page has made.
    writeFileSync(
      config,
      'providers: {vault: {type: vault, address: https://v, auth: {method: approle, params: {role_id: r}}}}\n',
    );
    for (const line of initLines(blocks)) {
      const output = { write: () => true };
      const command = initCommand({
        ...{ env: {}, stdout: output, stderr: output, userId: 0, calledAs: 'docker dso' },
        stdin: Readable.from([Buffer.from('value')]),
        makeLocalStore: () => Promise.resolve({ storeFile: '/s', keyFile: '/k', isNew: true }),
      }).exitOverride();
      await command.parseAsync([...wordsOf(line, file), '--config', config], { from: 'user' });
    }
    expect(readDsoConfig(readFileSync(config, 'utf8'), config).problems).toEqual([]);
  });

  test('has valid examples of dso.yaml', () => {
    const examples = blocks('yaml').filter((block) => /^providers?:/m.test(block));
    for (const example of examples)
      expect(
        readDsoConfig(example, name).problems.filter(({ severity }) => severity === 'error'),
      ).toEqual([]);
  });

  test('has valid references', () => {
    const applications = blocks('yaml').filter((block) => /^services:/m.test(block));
    for (const application of applications) {
      expect(parse(application)).toBeDefined();
      for (const [text] of application.matchAll(/dso(?:file)?:\/\/[^\s"']+/g))
        expect(parseReference(text, noStores)).not.toHaveProperty('fault');
    }
  });
});

test('the pages have commands to check', () =>
  expect(
    names.flatMap((name) => initLines(readPage(join('docker', name)).blocks)).length,
  ).toBeGreaterThan(8));
