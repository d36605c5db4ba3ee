import { execFile } from 'node:child_process';
import { SecretError, errorCodeOf } from '../core/errors.ts';
import { sanitizeUserText } from '../core/safe-text.ts';
import type { Environment } from './compose/docker.ts';

/** What a program has printed, and its exit code. 127: it is not there. */
export type ProgramResult = {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
};

/** Runs a program and waits for its end. Never throws. */
export type RunProgram = (program: string, args: readonly string[]) => Promise<ProgramResult>;

const timeoutMs = 60_000;

/** Runs programs of the host, with these variables. */
export function createRunProgram(env: Environment): RunProgram {
  return (program, args) =>
    new Promise((resolve) => {
      const options = { env: { ...env }, timeout: timeoutMs, maxBuffer: 1_048_576 };
      execFile(program, [...args], options, (error, stdout, stderr) => {
        const code = error === null ? 0 : typeof error.code === 'number' ? error.code : 1;
        const isMissing = errorCodeOf(error) === 'ENOENT';
        resolve({ code: isMissing ? 127 : code, stdout, stderr });
      });
    });
}

/** @returns true @throws SecretError NOT_CONFIGURED unless the program succeeds */
export async function runOrThrow(
  run: RunProgram,
  program: string,
  args: readonly string[],
  hint: string,
): Promise<true> {
  const { code, stderr } = await run(program, args);
  if (code === 0) return true;
  // The last line of docker only refers to its help.
  const lines = stderr.split('\n').filter((line) => !/^\s*$|^(Run|See) '.* --help'/.test(line));
  const printed = lines.at(-1)?.trim() ?? '';
  const failure = printed === '' ? `exit code ${code}` : printed;
  const cause = code === 127 ? 'it is not installed' : failure;
  throw new SecretError(
    'NOT_CONFIGURED',
    `${program} ${args[0] ?? ''} failed: ${sanitizeUserText(cause)}`,
    { hint },
  );
}
