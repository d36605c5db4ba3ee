import { spawn } from 'node:child_process';
import { access, constants, mkdir, readdir, stat } from 'node:fs/promises';
import { delimiter, join } from 'node:path';

/** A Go module of this repository, and the program to build from it. */
export type GoProgram = {
  /** The directory of its go.mod. The program is written to `bin/` below it, which git ignores. */
  readonly directory: string;
  /** The program's file name. */
  readonly name: string;
  /** What to build: a package, or `tool` for the tools of go.mod. */
  readonly target: string;
  readonly ldflags?: string;
  /** A file beside go.mod that replaces it: the same program with other module versions. */
  readonly modFile?: string;
};

/**
 * Returns the path of the program. Builds it if it is missing or older than the files of the
 * module. A cold build can take minutes.
 */
export async function buildGoProgram({
  directory,
  name,
  target,
  ldflags = '',
  modFile,
}: GoProgram): Promise<string> {
  const bin = join(directory, 'bin');
  const program = join(bin, name);
  const sources = (await readdir(directory)).filter((file) => /\.(go|mod|sum)$/.test(file));
  const sourcesModifiedAt = Math.max(
    ...(await Promise.all(sources.map((file) => modifiedAt(join(directory, file))))),
  );
  if ((await modifiedAt(program)) > sourcesModifiedAt) return program;
  await mkdir(bin, { recursive: true });
  const modules = ['-mod=readonly', ...(modFile === undefined ? [] : [`-modfile=${modFile}`])];
  const flags = [...modules, '-trimpath', '-buildvcs=false', '-ldflags', `-s -w ${ldflags}`];
  const child = spawn('go', ['install', ...flags, target], {
    cwd: directory,
    env: { ...process.env, GOBIN: bin, CGO_ENABLED: '0' },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const output: Buffer[] = [];
  child.stderr.on('data', (chunk: Buffer) => output.push(chunk));
  const code = await new Promise((resolve, reject) =>
    child.once('error', reject).on('close', resolve),
  );
  if (code !== 0) throw new Error(`${name} cannot be built:\n${Buffer.concat(output).toString()}`);
  return program;
}

/** The path of a program in PATH; undefined if it is not found. */
export async function programInPath(
  name: string,
  path = process.env.PATH ?? '',
): Promise<string | undefined> {
  const paths = path.split(delimiter).map((directory) => join(directory, name));
  const usable = await Promise.all(
    paths.map((path) =>
      access(path, constants.X_OK).then(
        () => true,
        () => false,
      ),
    ),
  );
  return paths[usable.indexOf(true)];
}

async function modifiedAt(path: string): Promise<number> {
  return stat(path).then(
    ({ mtimeMs }) => mtimeMs,
    () => 0,
  );
}
