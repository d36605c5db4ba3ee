import { execFile } from 'node:child_process';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { programInPath } from '../go-program.ts';
import { freePorts, startProgram } from '../started-program.ts';

const run = promisify(execFile);
const environment = join(import.meta.dirname, '.venv');
const requirements = join(import.meta.dirname, 'requirements.txt');

/** What this machine lacks to run moto, in words. */
export async function motoLacks(): Promise<string[]> {
  const python = await programInPath('python3');
  if (python === undefined) return ['python3'];
  const hasPip = await run(python, ['-c', 'import venv, ensurepip']).then(
    () => true,
    () => false,
  );
  return hasPip ? [] : ['venv and pip for python3 (Debian: python3-venv)'];
}

/** moto's server on a free port. What it has is lost when it ends. It verifies no signature and no token. */
export async function startMoto() {
  await makeEnvironment();
  const [port = 0] = await freePorts(1);
  const url = new URL(`http://127.0.0.1:${port}/`);
  const server = await startProgram({
    program: join(environment, 'bin/moto_server'),
    args: ['-H', '127.0.0.1', '-p', String(port)],
    env: { PATH: process.env.PATH ?? '', HOME: environment },
    isReady: async () => (await fetch(new URL('/moto-api/data.json', url))).ok,
  });
  return { url, stop: () => server.stop() };
}

/** A virtual environment with exactly what requirements.txt says; made in some 20 s, and again when that changes. */
async function makeEnvironment(): Promise<void> {
  const wanted = await readFile(requirements, 'utf8');
  const stamp = join(environment, 'requirements.txt');
  if ((await readFile(stamp, 'utf8').catch(() => '')) === wanted) return;
  await rm(environment, { recursive: true, force: true });
  await run('python3', ['-m', 'venv', environment]);
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
  await run(join(environment, 'bin/python'), pip);
  await writeFile(stamp, wanted);
}
