import type { Argument, Command, Option } from 'commander';

/** What a shell offers for a value: these words, names of files or directories, or nothing. */
export type Offer = readonly string[] | 'files' | 'directories' | 'nothing';

/** A flag of a command. */
export type Flag = {
  /** `-f` and `--file`, or only the long one. */
  readonly names: readonly string[];
  readonly description: string;
  /** What to offer for its value; absent if it has none. */
  readonly value?: Offer;
};

/** A command with everything that can follow it. */
export type CommandNode = {
  /** Its words: `keyferry local set`. */
  readonly path: string;
  readonly name: string;
  readonly description: string;
  readonly flags: readonly Flag[];
  readonly subcommands: readonly CommandNode[];
  /** What to offer for its arguments; absent if it has none. */
  readonly argument?: Offer;
};

/** Reads what commander shows in the help of a command and of all its subcommands. */
export function toCommandNode(command: Command, parentPath = ''): CommandNode {
  const path = `${parentPath} ${command.name()}`.trimStart();
  const help = command.createHelp();
  const subcommands = help.visibleCommands(command).filter((each) => each.name() !== 'help');
  const argument = command.registeredArguments[0];
  return {
    ...{ path, name: command.name(), description: command.description() },
    flags: help.visibleOptions(command).map(toFlag),
    subcommands: subcommands.map((subcommand) => toCommandNode(subcommand, path)),
    ...(argument !== undefined && { argument: offerOfArgument(argument) }),
  };
}

/** The command and all commands below it. */
export function allNodes(node: CommandNode): readonly CommandNode[] {
  return [node, ...node.subcommands.flatMap(allNodes)];
}

function toFlag({ short, long, description, required, optional, argChoices, flags }: Option): Flag {
  const placeholder = /[<[](.*)[>\]]/.exec(flags)?.[1] ?? '';
  return {
    names: [short, long].filter((name) => name !== undefined),
    description,
    ...((required || optional) && { value: argChoices ?? offerOf(placeholder) }),
  };
}

function offerOfArgument(argument: Argument): Offer {
  return argument.argChoices ?? offerOf(argument.name());
}

/** `<file>`, `<path>` and `<dir>` are what they say. `<audience=file>` is neither. */
function offerOf(placeholder: string): Offer {
  if (/^(files?|path)(\.\.\.)?$/.test(placeholder)) return 'files';
  return placeholder === 'dir' ? 'directories' : 'nothing';
}
