/** The flags of a command, by their long names without dashes; `file f` has the short form `-f`. */
type FlagNames = { readonly switches: readonly string[]; readonly values: readonly string[] };

/** How a command reads its words. */
export type FlagTable = {
  /** The long name of each name, long or short. */
  readonly names: ReadonlyMap<string, string>;
  /** The long names of the flags that take a value. */
  readonly values: ReadonlySet<string>;
};

/** A flag or a word of a command line. */
export type Part = {
  /** The flag's long name, as written if it is not known. Absent: this is a word. */
  readonly flag?: string;
  readonly value?: string;
  /** As Compose takes them. */
  readonly words: readonly string[];
  /** The flag is not in the table, so the next word may be its value. */
  readonly unknown?: boolean;
};

/** Docker's own flags, which stand before `dso`. Some Docker versions take them later, too. */
const docker: FlagNames = {
  switches: ['debug D', 'help h', 'tls', 'tlsverify', 'version v'],
  values: ['config', 'context c', 'host H', 'log-level l', 'tlscacert', 'tlscert', 'tlskey'],
};

/** The flags of `docker compose`, which stand before its command. */
const compose: FlagNames = {
  switches: [
    ...['all-resources', 'compatibility', 'dry-run', 'help h', 'no-ansi', 'verbose', 'version v'],
    ...['debug D', 'tls', 'tlsverify'],
  ],
  values: [
    ...['ansi', 'env-file', 'file f', 'parallel', 'profile', 'progress', 'project-directory'],
    ...['project-name p', 'workdir', ...docker.values],
    // Of docker dso itself, as is `config` here.
    'mode',
  ],
};

const creating = {
  switches: [
    ...['build', 'dry-run', 'force-recreate', 'help h', 'no-build', 'no-recreate', 'quiet-pull'],
    ...['remove-orphans', 'yes y'],
  ],
  values: ['pull', 'scale'],
};

const commands: Readonly<Record<string, FlagNames>> = {
  create: creating,
  up: {
    switches: [
      ...creating.switches,
      ...['abort-on-container-exit', 'abort-on-container-failure', 'always-recreate-deps'],
      ...['attach-dependencies', 'detach d', 'menu', 'no-color', 'no-deps', 'no-log-prefix'],
      ...['no-start', 'quiet-build', 'renew-anon-volumes V', 'timestamps', 'wait', 'watch w'],
    ],
    values: [
      ...creating.values,
      ...['attach', 'exit-code-from', 'no-attach', 'timeout t', 'wait-timeout'],
    ],
  },
  run: {
    switches: [
      ...['build', 'detach d', 'dry-run', 'help h', 'interactive i', 'no-TTY T', 'no-deps'],
      ...['quiet q', 'quiet-build', 'quiet-pull', 'remove-orphans', 'rm', 'service-ports P'],
      ...['tty t', 'use-aliases'],
    ],
    values: [
      ...['cap-add', 'cap-drop', 'entrypoint', 'env e', 'env-from-file', 'label l', 'name'],
      ...['publish p', 'pull', 'user u', 'volume v', 'workdir w'],
    ],
  },
  scale: { switches: ['dry-run', 'help h', 'no-deps'], values: [] },
  watch: { switches: ['dry-run', 'help h', 'no-up', 'prune', 'quiet'], values: [] },
  exec: {
    switches: [
      ...['detach d', 'dry-run', 'help h', 'interactive i', 'no-TTY', 'no-tty T', 'privileged'],
      'tty t',
    ],
    values: ['env e', 'index', 'user u', 'workdir w'],
  },
  ps: {
    switches: ['all a', 'dry-run', 'help h', 'no-trunc', 'orphans', 'quiet q', 'services'],
    values: ['filter', 'format', 'status'],
  },
  down: {
    switches: ['dry-run', 'help h', 'remove-orphans', 'volumes v'],
    values: ['rmi', 'timeout t'],
  },
};

/** See {@link docker}. */
export const dockerFlags = toTable(docker);
/** See {@link compose}. */
export const composeFlags = toTable(compose);
/** The flags of commands of Compose that `docker dso` looks into. */
export const commandFlags: ReadonlyMap<string, FlagTable> = new Map(
  Object.entries(commands).map(([name, flags]) => [name, toTable(flags)]),
);

function toTable({ switches, values }: FlagNames): FlagTable {
  const names = new Map<string, string>();
  for (const name of [...switches, ...values])
    for (const each of name.split(' ')) names.set(each, name.split(' ')[0] ?? '');
  const longNames = values.map((name) => name.split(' ')[0] ?? '');
  return { names, values: new Set(longNames) };
}

/**
 * Reads the words of a command line as Docker's commands do: `--name value`, `--name=value`,
 * `-n value`, `-nvalue`, `-n=value`, and `-ab` for two switches.
 * @param options.interspersed whether flags may follow words; otherwise the first word ends them
 * @returns the flags and words in their order, and the rest after them
 */
export function readFlags(
  words: readonly string[],
  table: FlagTable,
  { interspersed = false } = {},
): { readonly parts: readonly Part[]; readonly rest: readonly string[] } {
  const parts: Part[] = [];
  let index = 0;
  for (; index < words.length; index += 1) {
    const word = words[index] ?? '';
    if (word === '--') break;
    if (!word.startsWith('-') || word === '-') {
      if (!interspersed) break;
      parts.push({ words: [word] });
      continue;
    }
    const next = words[index + 1];
    const read = word.startsWith('--')
      ? [readLong(word, next, table)]
      : readShort(word.slice(1), next, table);
    parts.push(...read);
    if (read.at(-1)?.words.length === 2) index += 1;
  }
  return { parts, rest: words.slice(index) };
}

function readLong(word: string, next: string | undefined, { names, values }: FlagTable): Part {
  const [, flag = '', assigned] = /^--([^=]*)(?:=(.*))?$/s.exec(word) ?? [];
  const known = { flag, ...(!names.has(flag) && { unknown: true }) };
  if (assigned !== undefined) return { ...known, value: assigned, words: [word] };
  if (!values.has(flag) || next === undefined) return { ...known, words: [word] };
  return { ...known, value: next, words: [word, next] };
}

function readShort(letters: string, next: string | undefined, table: FlagTable): readonly Part[] {
  const letter = letters.slice(0, 1);
  const rest = letters.slice(1);
  const flag = table.names.get(letter);
  const known = flag === undefined ? { flag: letter, unknown: true } : { flag };
  if (flag !== undefined && table.values.has(flag)) {
    if (rest !== '') return [{ ...known, value: rest.replace(/^=/, ''), words: [`-${letters}`] }];
    const words = next === undefined ? [`-${letter}`] : [`-${letter}`, next];
    return [{ ...known, ...(next !== undefined && { value: next }), words }];
  }
  if (rest.startsWith('=')) return [{ ...known, value: rest.slice(1), words: [`-${letters}`] }];
  const part = { ...known, words: [`-${letter}`] };
  return rest === '' ? [part] : [part, ...readShort(rest, next, table)];
}

/** The values of a flag, in their order. */
export function valuesOf(parts: readonly Part[], flag: string): readonly string[] {
  return parts.flatMap((part) => (part.flag === flag ? (part.value ?? []) : []));
}

/** Whether a switch is on: it can be written `--build=false`. */
export function isOn(parts: readonly Part[], flag: string): boolean {
  const last = parts.findLast((part) => part.flag === flag);
  return (
    last !== undefined && !['false', '0', 'f', 'F', 'FALSE', 'False'].includes(last.value ?? '')
  );
}

/** The words without those of some flags. */
export function without(parts: readonly Part[], flags: readonly string[]): readonly string[] {
  return parts.filter(({ flag }) => !flags.includes(flag ?? '')).flatMap(({ words }) => words);
}
