import { type Part, composeFlags, dockerFlags, readFlags, valuesOf } from './flags.ts';

/** The command line of `docker dso`. */
export type CommandLine = {
  /** Whether Docker has started it. */
  readonly isPlugin: boolean;
  /** Docker's own flags, such as `--context`: they stand before `dso`. */
  readonly docker: readonly string[];
  /** Compose's flags, such as `-f`: they stand before the command. */
  readonly compose: readonly Part[];
  /** `--config`: the project's dso.yaml. */
  readonly config?: string;
  /** `--mode`, as written. */
  readonly mode?: string;
  /** Undefined: the line has no command. */
  readonly command?: string;
  /** The words after the command. */
  readonly args: readonly string[];
};

/**
 * Reads the words that follow the name of the program. Docker gives its plugin the whole line:
 * `["--context", "x", "dso", "up", "-d"]`. Without `dso` the program was started by itself.
 */
export function readCommandLine(words: readonly string[]): CommandLine {
  const { parts: own, rest: line } = readFlags(words, dockerFlags);
  const isPlugin = line[0] === 'dso';
  const { parts, rest } = readFlags(isPlugin ? line.slice(1) : words, composeFlags);
  const config = valuesOf(parts, 'config').at(-1);
  const mode = valuesOf(parts, 'mode').at(-1);
  const [command, ...args] = rest;
  return {
    isPlugin,
    docker: isPlugin ? own.flatMap((part) => part.words) : [],
    compose: parts.filter(({ flag }) => flag !== 'config' && flag !== 'mode'),
    ...(config !== undefined && { config }),
    ...(mode !== undefined && { mode }),
    ...(command !== undefined && { command }),
    args,
  };
}
