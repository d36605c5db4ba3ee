import { spawn } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

/** The longest time that a command of a guide may take. */
const timeoutMs = 110_000;

/**
 * One bash, in which the commands of a guide run as a user types them: variables and the directory
 * stay from one to the next.
 * @param program the words that start bash
 * @param options.directory for the files of the commands; the shell begins there
 */
export function startGuideShell(
  [program = '', ...args]: readonly string[],
  {
    directory,
    env,
  }: { readonly directory: string; readonly env: Readonly<Record<string, string>> },
) {
  const child = spawn(program, args, { env, stdio: ['pipe', 'pipe', 'inherit'] });
  const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const ended = new Promise((resolve) => child.once('close', resolve));
  let count = 0;
  child.stdin.write(`cd '${directory}'\n`);

  return {
    /** Runs a command. @returns its exit code, and what it has printed on both streams */
    async run(command: string): Promise<{ readonly code: number; readonly printed: string }> {
      const file = join(directory, `.command-${(count += 1)}`);
      await writeFile(file, `${command}\n`);
      // -it needs a terminal.
      const words = command.includes(' -it ')
        ? `script --quiet --return --command 'bash ${file}' /dev/null`
        : `. '${file}'`;
      child.stdin.write(`${words} >'${file}.out' 2>&1 </dev/null; echo $?\n`);
      const answer = await Promise.race([answers.next(), sleep(timeoutMs, undefined)]);
      const printed = await readFile(`${file}.out`, 'utf8').catch(() => '');
      if (answer === undefined || answer.done === true)
        throw new Error(`${command} ${answer ? 'ended the shell' : 'does not end'}:\n${printed}`);
      return { code: Number(answer.value), printed };
    },
    async stop(): Promise<void> {
      child.stdin.end();
      const timer = setTimeout(() => child.kill('SIGKILL'), 5_000);
      await ended;
      clearTimeout(timer);
    },
  };
}

/** See {@link startGuideShell}. */
export type GuideShell = ReturnType<typeof startGuideShell>;
