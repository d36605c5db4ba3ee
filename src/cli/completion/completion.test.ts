import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Argument, Command, Option } from 'commander';
import { execFile, execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describeIfAvailable } from '../../../test/if-available.ts';
import { completionCommand } from './command.ts';

const run = promisify(execFile);

/** A program with every kind of flag and argument, and with text that shells treat as special. */
function program(): Command {
  const keyferry = new Command('keyferry').version('1');
  keyferry
    .command('lint [files...]')
    .description("it's [a] check: 100% of $HOME `pwd`")
    .option('-f, --file <file...>', 'a file')
    .addOption(new Option('-o, --format <format>', 'text').choices(['text', 'json']))
    .option('--out <dir>', 'a directory');
  const local = keyferry.command('local').description('secrets').option('--store <path>', 'a file');
  local.command('set <name>').option('--trim', "a flag's [text]");
  local.command('show').addArgument(new Argument('[what]').choices(['names', 'numbers']));
  return keyferry;
}

/** The candidates that a shell offers for the last word of a line. */
type Complete = (words: readonly string[]) => Promise<readonly string[]>;

/** Calls the function of the script, as bash does when a user presses TAB. */
const inBash: Complete = async (words) => {
  const code = `source script.bash
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); _keyferry; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const { stdout } = await run('bash', ['--norc', '-c', code, 'bash', ...words], { cwd: dir });
  return sorted(stdout);
};

/** Runs zsh in a terminal of its own. It writes every candidate that it finds to a file. */
const inZsh: Complete = async (words) => {
  const setUp = `PS1=; autoload -Uz compinit; compinit -D -u; source script.zsh; : >found
    compadd() { local -a found; builtin compadd -A found "$@"; print -rl -- $found >>found; builtin compadd "$@"; }
    finished() { print finished; }; zle -N finished; bindkey '^X' finished; print ready`;
  const code = `zmodload zsh/zpty; zpty inner zsh -f -i
    zpty -w inner $1; zpty -r -m inner out '*ready*ready*'
    zpty -w -n inner $2$'\\t'$'\\x18'; zpty -r -m inner out '*finished*'; zpty -d inner; cat found`;
  const line = words.map((word) => word.replaceAll(' ', String.raw`\ `)).join(' ');
  const { stdout } = await run('zsh', ['-f', '-c', code, 'zsh', setUp, line], { cwd: dir });
  return sorted(stdout);
};

const inFish: Complete = async (words) => {
  const code = 'source script.fish; complete -C "$argv"';
  const { stdout } = await run('fish', ['--no-config', '-c', code, words.join(' ')], { cwd: dir });
  return sorted(stdout.replaceAll(/\t.*/g, ''));
};

function sorted(lines: string): readonly string[] {
  const words = lines.split('\n').map((line) => line.trim().replace(/\/$/, ''));
  return [...new Set(words)].filter((word) => word !== '').sort();
}

function isInstalled(shell: string): boolean {
  try {
    execFileSync(shell, ['-c', 'exit']);
    return true;
  } catch {
    return false;
  }
}

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'kf-completion-'));
  await mkdir(join(dir, 'work/folder'), { recursive: true });
  dir = join(dir, 'work');
  for (const shell of ['bash', 'zsh', 'fish']) {
    let script = '';
    const stdout = { write: (text: string) => (script += text) };
    const command = completionCommand({ stdout, program: () => Promise.resolve(program()) });
    await command.parseAsync([shell], { from: 'user' });
    await writeFile(join(dir, `script.${shell}`), script);
  }
});
afterAll(() => rm(join(dir, '..'), { recursive: true }));

const shells: readonly (readonly [string, Complete])[] = [
  ['bash', inBash],
  ['zsh', inZsh],
  ['fish', inFish],
];

for (const [shell, complete] of shells) {
  const missing = isInstalled(shell) ? [] : [shell];
  describeIfAvailable(`completion in ${shell}`, missing)(`in ${shell}`, () => {
    test.each<[string, string[], string[]]>([
      ['commands', ['l'], ['lint', 'local']],
      ['subcommands', ['local', ''], ['set', 'show']],
      [
        'subcommands after a flag with its value',
        ['local', '--store', 'set', 's'],
        ['set', 'show'],
      ],
      ['flags', ['lint', '--f'], ['--file', '--format']],
      ['flags of a subcommand', ['local', 'set', '--t'], ['--trim']],
      ['the values of a flag', ['lint', '--format', ''], ['json', 'text']],
      ['the values of a short flag', ['lint', '-o', 'j'], ['json']],
      ['files for an argument', ['lint', 's'], ['script.bash', 'script.fish', 'script.zsh']],
      ['files for a flag', ['local', '--store', 'script.b'], ['script.bash']],
      ['directories for a flag', ['lint', '--out', ''], ['folder']],
      ['the values of an argument', ['local', 'show', 'n'], ['names', 'numbers']],
      ['nothing for a name', ['local', 'set', ''], []],
    ])('offers %s', async (_, words, expected) => {
      expect(await complete(['keyferry', ...words])).toEqual(expected);
    });
  });
}

test('bash completes the value behind an equals sign', async () => {
  expect(await inBash(['keyferry', 'lint', '--format', '=', 'j'])).toEqual(['json']);
  expect(await inBash(['keyferry', 'lint', '--format', '='])).toEqual(['json', 'text']);
});
