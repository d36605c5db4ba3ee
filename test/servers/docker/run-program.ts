import { spawn } from 'node:child_process';

/** The options of {@link runProgram}. */
export type RunOptions = {
  readonly cwd?: string;
  /** The whole environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** Its standard input. Default: none. */
  readonly input?: string;
  readonly timeoutMs?: number;
};

/** How a program ended. */
export type Finished = {
  /** The exit code; 128 or more if a signal ended it. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
};

/** Runs a program to its end. It is killed after `timeoutMs`, by default two minutes. */
export async function runProgram(
  program: string,
  args: readonly string[],
  { cwd, env = {}, input, timeoutMs = 120_000 }: RunOptions = {},
): Promise<Finished> {
  const child = spawn(program, args, { ...(cwd !== undefined && { cwd }), env });
  const chunks = { stdout: [] as Buffer[], stderr: [] as Buffer[] };
  child.stdout.on('data', (chunk: Buffer) => chunks.stdout.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => chunks.stderr.push(chunk));
  // It may end without reading its input.
  child.stdin.on('error', () => undefined).end(input);
  const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs);
  const code = await new Promise<number>((resolve, reject) =>
    child.on('error', reject).on('close', (exitCode) => resolve(exitCode ?? 128)),
  );
  clearTimeout(timer);
  const textOf = (stream: readonly Buffer[]): string => Buffer.concat(stream).toString();
  return { code, stdout: textOf(chunks.stdout), stderr: textOf(chunks.stderr) };
}
