import { readFile, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { parseEnv } from 'node:util';
import type { Environment } from './docker.ts';
import { type Part, valuesOf } from './flags.ts';

/** Where a Compose application is. */
export type Project = {
  readonly directory: string;
  /** Absolute paths, without standard input and remote files. Later files override earlier ones. */
  readonly files: readonly string[];
  /** Absolute paths of the files that variables are interpolated from. They may be missing. */
  readonly envFiles: readonly string[];
  /** Whether a file is standard input. */
  readonly readsStdin: boolean;
  /** The active profiles. */
  readonly profiles: readonly string[];
  /** Whether the command line or a variable names the project. */
  readonly isNamed: boolean;
};

/** https://docs.docker.com/reference/cli/docker/compose/#use--f-to-specify-the-name-and-path-of-one-or-more-compose-files */
const fileNames = ['compose.yaml', 'compose.yml', 'docker-compose.yml', 'docker-compose.yaml'];
const overrideNames = [
  ...['compose.override.yml', 'compose.override.yaml'],
  ...['docker-compose.override.yml', 'docker-compose.override.yaml'],
];

/** Finds the files and the directory of an application as Compose does. */
export async function findProject(
  flags: readonly Part[],
  env: Environment,
  cwd: string,
): Promise<Project> {
  const given =
    valuesOf(flags, 'project-directory').at(-1) ?? valuesOf(flags, 'workdir').at(-1) ?? '';
  const named = valuesOf(flags, 'file');
  const directoryOf = (files: readonly string[]): string => {
    if (given !== '') return resolve(cwd, given);
    const [first] = files.filter((file) => file !== '-');
    return first === undefined || isRemote(first) ? cwd : dirname(resolve(cwd, first));
  };
  let dotEnv = await readEnvFiles(flags, env, cwd, directoryOf(named));
  const lookUp = (name: string): string => env[name] ?? dotEnv[name] ?? '';
  const inVariable = lookUp('COMPOSE_FILE')
    .split(lookUp('COMPOSE_PATH_SEPARATOR') || ':')
    .filter((file) => file !== '');
  const chosen = named.length > 0 ? named : inVariable;
  const files = chosen.length > 0 ? chosen : await discover(directoryOf([]));
  const directory = directoryOf(files);
  // The file can be in a directory above, with a .env of its own.
  if (directory !== directoryOf(named))
    dotEnv = { ...(await readEnvFiles(flags, env, cwd, directory)), ...dotEnv };
  const profiles = valuesOf(flags, 'profile');
  return {
    directory,
    files: files
      .filter((file) => file !== '-' && !isRemote(file))
      .map((file) => resolve(cwd, file)),
    envFiles: [
      ...new Set(
        [directoryOf(named), directory].flatMap((folder) => envFilesOf(flags, env, cwd, folder)),
      ),
    ],
    readsStdin: files.includes('-'),
    profiles: profiles.length > 0 ? profiles : lookUp('COMPOSE_PROFILES').split(/\s*,\s*/),
    isNamed: valuesOf(flags, 'project-name').length > 0 || (env.COMPOSE_PROJECT_NAME ?? '') !== '',
  };
}

/** From Git, or from a registry. */
function isRemote(file: string): boolean {
  return /^(\w+:\/\/|git@|oci:)/.test(file);
}

async function readEnvFiles(
  flags: readonly Part[],
  env: Environment,
  cwd: string,
  directory: string,
): Promise<Environment> {
  // Compose reports a file that it cannot read.
  const texts = await Promise.all(
    envFilesOf(flags, env, cwd, directory).map((file) => readFile(file, 'utf8').catch(() => '')),
  );
  return Object.assign({}, ...texts.map((text) => parseEnv(text))) as Environment;
}

function envFilesOf(
  flags: readonly Part[],
  env: Environment,
  cwd: string,
  directory: string,
): readonly string[] {
  const named = valuesOf(flags, 'env-file');
  const inVariable = (env.COMPOSE_ENV_FILES ?? '').split(',').filter((file) => file !== '');
  const isOff = ['1', 't', 'T', 'true', 'TRUE', 'True'].includes(
    env.COMPOSE_DISABLE_ENV_FILE ?? '',
  );
  const chosen = named.length > 0 ? named : inVariable;
  return chosen.length > 0
    ? chosen.map((file) => resolve(cwd, file))
    : [join(directory, '.env')].slice(isOff ? 1 : 0);
}

/** The file in the directory or in the nearest one above it, and its override file. */
async function discover(directory: string): Promise<readonly string[]> {
  for (let folder = directory; ; folder = dirname(folder)) {
    const [file] = await existing(folder, fileNames);
    if (file !== undefined) return [file, ...(await existing(folder, overrideNames)).slice(0, 1)];
    if (folder === dirname(folder)) return [];
  }
}

async function existing(folder: string, names: readonly string[]): Promise<readonly string[]> {
  const paths = names.map((name) => join(folder, name));
  const found = await Promise.all(paths.map((path) => stat(path).then(Boolean, () => false)));
  return paths.filter((_, index) => found[index]);
}
