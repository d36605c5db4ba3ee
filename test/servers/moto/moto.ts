import { execFile } from 'node:child_process';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { programInPath } from '../go-program.ts';
import { freePorts, startProgram } from '../started-program.ts';

const run = promisify(execFile);
const virtualEnv = join(import.meta.dirname, '.venv');
/** The Python that has moto's packages, after {@link startMoto}. */
export const motoPython = join(virtualEnv, 'bin/python');
const requirements = join(import.meta.dirname, 'requirements.txt');

/** What this machine lacks to run moto, as text. */
export async function missingMotoDependencies(): Promise<string[]> {
  const python = await programInPath('python3');
  if (python === undefined) return ['python3'];
  const hasPip = await run(python, ['-c', 'import venv, ensurepip']).then(
    () => true,
    () => false,
  );
  return hasPip ? [] : ['venv and pip for python3 (Debian: python3-venv)'];
}

/**
 * The server of moto on a free port. Its data is lost when it stops. It verifies no signature and
 * no token.
 */
export async function startMoto() {
  await createVirtualEnv();
  const [port = 0] = await freePorts(1);
  const url = new URL(`http://127.0.0.1:${port}/`);
  const server = await startProgram({
    program: join(virtualEnv, 'bin/moto_server'),
    args: ['-H', '127.0.0.1', '-p', String(port)],
    env: { PATH: process.env.PATH ?? '', HOME: virtualEnv },
    isReady: async () => (await fetch(new URL('/moto-api/data.json', url))).ok,
  });
  return { url, stop: () => server.stop() };
}

/**
 * A virtual environment with exactly the packages of requirements.txt. Creating it takes about 20
 * s. It is created again when that file changes.
 */
async function createVirtualEnv(): Promise<void> {
  const expected = await readFile(requirements, 'utf8');
  const stamp = join(virtualEnv, 'requirements.txt');
  if ((await readFile(stamp, 'utf8').catch(() => '')) === expected) return;
  await rm(virtualEnv, { recursive: true, force: true });
  await run('python3', ['-m', 'venv', virtualEnv]);
  const pip = [
    '-m',
    'pip',
    'install',
    '--quiet',
    '--disable-pip-version-check',
    '--no-deps',
    '-r',
    requirements,
  ];
  await run(motoPython, pip);
  await writeFile(stamp, expected);
}
