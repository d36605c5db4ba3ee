import { runProgram } from './run-program.ts';

/**
 * The files of the machine's root file system that were written after a file, and that have one of
 * these values, as it is or in base64. The value needs at least 12 characters. Other file systems,
 * such as tmpfs, are left out, but all files below the directories `also` are in.
 */
export async function findPlanted(
  values: readonly string[],
  { newerThan, also = [] }: { readonly newerThan: string; readonly also?: readonly string[] },
): Promise<readonly string[]> {
  const patterns = values.flatMap(spellings);
  const script = `
    { find / -xdev -type f -newerct "$(stat -c %z "$1")" -print0
      shift
      find "$@" -type f -print0; } 2>/dev/null |
    xargs -0 -r grep -laFs -e "$PATTERNS" -- || true`;
  const { stdout } = await runProgram('bash', ['-c', script, 'bash', newerThan, ...also], {
    env: { PATH: process.env.PATH ?? '', LC_ALL: 'C', PATTERNS: patterns.join('\n') },
  });
  return [...new Set(stdout.split('\n'))].filter((path) => path !== '');
}

/** A value, and what is constant of it in base64 wherever it begins. */
function spellings(value: string): readonly string[] {
  const inBase64 = [0, 1, 2].map((offset) => {
    const text = Buffer.from(`${' '.repeat(offset)}${value}`)
      .toString('base64')
      .replace(/=+$/, '');
    return text.slice(offset === 0 ? 0 : offset + 1, -1);
  });
  return [value, ...inBase64];
}
