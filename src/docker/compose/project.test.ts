import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { composeFlags, readFlags } from './flags.ts';
import { findProject } from './project.ts';

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'kf-project-'));
  const files: Readonly<Record<string, string>> = {
    'app/docker-compose.yaml': '',
    'app/docker-compose.override.yml': '',
    'app/.env': 'COMPOSE_PROFILES=debug, extra\n',
    'app/deep/er/x': '',
    'chosen/.env': 'COMPOSE_FILE=one.yaml:sub/two.yaml\n',
    'both/compose.yaml': '',
    'both/docker-compose.yml': '',
    'env/other.env': 'COMPOSE_PROFILES=of-file\n',
  };
  for (const [name, text] of Object.entries(files)) {
    await mkdir(join(root, name, '..'), { recursive: true });
    await writeFile(join(root, name), text);
  }
});
afterAll(() => rm(root, { recursive: true }));

async function find(words: string, folder: string, env: Record<string, string> = {}) {
  const { parts } = readFlags(words.split(' ').filter(Boolean), composeFlags);
  const project = await findProject(parts, env, join(root, folder));
  const short = (path: string): string => path.replace(`${root}/`, '');
  return {
    ...project,
    directory: short(project.directory),
    files: project.files.map(short),
    envFiles: project.envFiles.map(short),
  };
}

describe('the project of a command', () => {
  test('is in the folder of the file that is found there, with its override file', async () => {
    expect(await find('', 'app')).toEqual({
      directory: 'app',
      files: ['app/docker-compose.yaml', 'app/docker-compose.override.yml'],
      envFiles: ['app/.env'],
      readsStdin: false,
      profiles: ['debug', 'extra'],
      isNamed: false,
    });
  });

  test('is named by a flag or a variable, and not by a file', async () => {
    const named = async (...args: Parameters<typeof find>) => (await find(...args)).isNamed;
    expect(await named('-p other', 'app')).toBe(true);
    expect(await named('--project-name other', 'app')).toBe(true);
    expect(await named('', 'app', { COMPOSE_PROJECT_NAME: 'other' })).toBe(true);
    expect(await named('', 'app', { COMPOSE_PROJECT_NAME: '' })).toBe(false);
  });

  test('is in a folder above, with the .env there', async () => {
    const { directory, profiles } = await find('', 'app/deep/er');
    expect({ directory, profiles }).toEqual({ directory: 'app', profiles: ['debug', 'extra'] });
  });

  test('has the env files that a flag or a variable names', async () => {
    expect((await find('--env-file env/a --env-file env/b', '')).envFiles).toEqual([
      'env/a',
      'env/b',
    ]);
    const variables = { COMPOSE_ENV_FILES: 'a,b' };
    expect((await find('', 'both', variables)).envFiles).toEqual(['both/a', 'both/b']);
    expect((await find('', 'both', { COMPOSE_DISABLE_ENV_FILE: '1' })).envFiles).toEqual([]);
  });

  test('has one of several files', async () => {
    expect((await find('', 'both')).files).toEqual(['both/compose.yaml']);
  });

  test('is where the first of the files is that are named', async () => {
    const { directory, files } = await find('-f ../app/a.yaml -f b.yaml', 'both');
    expect({ directory, files }).toEqual({
      directory: 'app',
      files: ['app/a.yaml', 'both/b.yaml'],
    });
  });

  test('takes the files and the separator from variables, and from .env', async () => {
    const variables = { COMPOSE_FILE: 'a.yaml,b.yaml', COMPOSE_PATH_SEPARATOR: ',' };
    expect((await find('', 'both', variables)).files).toEqual(['both/a.yaml', 'both/b.yaml']);
    const { directory, files } = await find('', 'chosen');
    expect({ directory, files }).toEqual({
      directory: 'chosen',
      files: ['chosen/one.yaml', 'chosen/sub/two.yaml'],
    });
  });

  test('is where --project-directory says', async () => {
    expect(await find('--project-directory app', '.')).toMatchObject({
      directory: 'app',
      files: ['app/docker-compose.yaml', 'app/docker-compose.override.yml'],
    });
  });

  test('can come from standard input, or from elsewhere', async () => {
    expect(await find('-f -', 'both')).toMatchObject({
      ...{ directory: 'both', files: [], readsStdin: true },
    });
    expect(await find('-f oci://example.com/app', 'both')).toMatchObject({
      ...{ directory: 'both', files: [] },
    });
  });

  test('has the profiles of flags, of the variable, or of the file of --env-file', async () => {
    const variables = { COMPOSE_PROFILES: 'of-variable' };
    expect((await find('--profile a --profile b', 'app', variables)).profiles).toEqual(['a', 'b']);
    expect((await find('', 'app', variables)).profiles).toEqual(['of-variable']);
    expect((await find('--env-file other.env', 'env')).profiles).toEqual(['of-file']);
    expect((await find('', 'app', { COMPOSE_DISABLE_ENV_FILE: '1' })).profiles).toEqual(['']);
  });

  test('may have no file at all', async () => {
    expect(await find('', '.')).toMatchObject({ files: [], profiles: [''] });
  });
});
