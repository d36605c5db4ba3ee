import { runProgram } from './run-program.ts';

/**
 * The files that have one of these values, as it is or in base64: all files below `directories`,
 * and those of the machine's root file system that were written after the file `newerThan`. Folders
 * of installed programs are left out. A value needs at least 12 characters.
 */
export async function findPlanted(
  values: readonly string[],
  {
    directories,
    newerThan,
  }: { readonly directories: readonly string[]; readonly newerThan?: string },
): Promise<readonly string[]> {
  const patterns = values.flatMap(spellings);
  const script = `
    { find "$@" -type f -print0
      [ -z "$NEWER_THAN" ] || find / -xdev \\
        \\( -path /usr -o -path /root/go -o -name node_modules -o -name .git \\) -prune -o \\
        -type f -newerct "$(stat -c %z "$NEWER_THAN")" -print0
    } 2>/dev/null | xargs -0 -r grep -laFs -e "$PATTERNS" -- || true`;
  const { stdout } = await runProgram('bash', ['-c', script, 'bash', ...directories], {
    env: {
      ...{ PATH: process.env.PATH ?? '', LC_ALL: 'C' },
      ...{ NEWER_THAN: newerThan ?? '', PATTERNS: patterns.join('\n') },
    },
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
