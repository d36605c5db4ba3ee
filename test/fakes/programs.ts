import { appendFileSync, chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** What a fake program does if its words, joined by blanks, match a pattern of the shell. */
export type ProgramAnswer = {
  /** A pattern of `case`: `is-active *`. */
  readonly when: string;
  readonly stdout?: string;
  readonly stderr?: string;
  readonly code?: number;
};

/**
 * Makes programs in a directory, which becomes the first of PATH. They record their calls and do
 * nothing else, so a test with them changes nothing of the machine.
 */
export function createFakePrograms(directory: string, names: readonly string[]) {
  const bin = join(directory, 'fake-bin');
  const log = join(bin, 'calls');
  mkdirSync(bin);
  appendFileSync(log, '');
  const answer = (name: string, answers: readonly ProgramAnswer[]): void => {
    const cases = answers.map(
      ({ when, stdout = '', stderr = '', code = 0 }) =>
        `${when.replaceAll(' ', '\\ ')}) printf %s ${quote(stdout)}; printf %s ${quote(stderr)} >&2; exit ${code};;`,
    );
    writeFileSync(
      join(bin, name),
      `#!/bin/sh\nprintf '%s %s\\n' ${name} "$*" >>${quote(log)}\ncase "$*" in\n${cases.join('\n')}\nesac\n`,
    );
    chmodSync(join(bin, name), 0o755);
  };
  for (const name of names) answer(name, []);
  return {
    path: `${bin}:/usr/bin:/bin`,
    answer,
    calls: (): readonly string[] => readFileSync(log, 'utf8').split('\n').filter(Boolean),
    forget: (): void => writeFileSync(log, ''),
  };
}

function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
