import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DsoProblem } from '../problem.ts';
import { formatProblems, locate } from './problems.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kf-problems-'));
  await writeFile(
    join(folder, 'a.yaml'),
    `services:
  app:
    image: x
    environment:
      - A=dso://a
      - B=dso:///b
  web:
    command: [run, dso://c]
    environment:
      C: dso:///c
`,
  );
  await writeFile(join(folder, 'b.yaml'), 'services:\n  web:\n    environment: {C: "dso:///d"}\n');
  await mkdir(join(folder, 'sub'));
  await writeFile(join(folder, 'main.yaml'), 'include:\n  - sub/c.yaml\nservices:\n  a: {}\n');
  await writeFile(
    join(folder, 'sub/c.yaml'),
    'include: [{path: [d.yaml, d.yaml, c.yaml]}]\nservices: {a: {image: x}, c: {}}\n',
  );
  await writeFile(join(folder, 'sub/d.yaml'), 'services: {d: {}}\n');
});
afterAll(() => rm(folder, { recursive: true }));

function problem(where: string): DsoProblem {
  const hint = 'write dso://b';
  return { severity: 'error', code: 'INVALID_REFERENCE', message: 'it is wrong', hint, where };
}

async function placeOf(where: string, names = ['a.yaml', 'b.yaml']) {
  const files = names.map((name) => join(folder, name));
  const [{ place } = problem('')] = await locate([problem(where)], files, folder);
  return place && `${place.file}:${place.line}:${place.column}`;
}

describe('the place of a problem', () => {
  test.each([
    ['an entry of a list of variables', 'services.app.environment.B', 'a.yaml:6:9'],
    ['a key of the last file that has it', 'services.web.environment.C', 'b.yaml:3:19'],
    ['an item of a list', 'services.web.command[1]', 'a.yaml:8:20'],
    ['the nearest key above', 'services.app.environment.OF_ENV_FILE', 'a.yaml:4:5'],
    ['the service', 'services.app.healthcheck.test[1]', 'a.yaml:2:3'],
    ['a part of the application', 'services', 'b.yaml:1:1'],
  ])('is that of %s', async (_, where, place) => {
    expect(await placeOf(where)).toBe(place);
  });

  test.each([
    ['services.a', 'main.yaml:4:3'],
    ['services.a.image', 'sub/c.yaml:2:16'],
    ['services.d.image', 'sub/d.yaml:1:12'],
  ])('can be in an included file: %s', async (where, place) => {
    expect(await placeOf(where, ['main.yaml'])).toBe(place);
  });

  test('is not known for a service of another file', async () => {
    expect(await placeOf('services.included.environment.X')).toBeUndefined();
  });

  test('stays what it is if it is known, whatever the files are', async () => {
    const known = { ...problem('x'), place: { file: 'dso.yaml', line: 1, column: 1 } };
    expect(await locate([known], ['/no/such/file'], folder)).toEqual([known]);
  });
});

describe('problems as people read them', () => {
  test('have the place, or the key, and the remedy below', () => {
    const place = { file: 'a.yaml', line: 6, column: 9 };
    const text = formatProblems(
      [{ ...problem('services.app'), place }, problem('services.app'), problem('')],
      (_, unstyled) => unstyled,
    );
    expect(text).toBe(
      `a.yaml:6:9: error: it is wrong [INVALID_REFERENCE]
    write dso://b
services.app: error: it is wrong [INVALID_REFERENCE]
    write dso://b
error: it is wrong [INVALID_REFERENCE]
    write dso://b
`,
    );
  });

  test('cannot write to the terminal what the file has in a name', () => {
    const text = formatProblems([{ ...problem('\u001b[2J'), message: 'a\nb' }], (_, same) => same);
    expect(text).toContain('\\u{1b}[2J: error: a\\u{a}b');
  });
});
