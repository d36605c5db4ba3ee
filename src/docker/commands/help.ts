import { type DsoCommand, commands, groups } from './index.ts';

/** `docker dso --help`. */
export function helpText(): string {
  const own = commands.map(({ name, flag, summary }): readonly [string, string] => [
    flag === undefined ? name : `${name} ${flag}`,
    summary,
  ]);
  const width = Math.max(...own.map(([name]) => name.length)) + 2;
  const lines = own.map(([name, summary]) => `  ${name.padEnd(width)}${summary}`);
  return `Usage: docker dso [OPTIONS] COMMAND

Docker Compose with secrets: dso:// references in a Compose file become the
values of a store, and docker inspect does not show them.

Commands:
${lines.join('\n')}

Commands of Compose, with secrets: create, exec, run, scale, up, watch
All other commands of Compose, unchanged: build, config, down, logs, ps, pull,
restart, stop and so on; docker compose --help lists them.

Options:
  -f, --file, -p, --project-name, --profile and all others of docker compose
      --config FILE   the dso.yaml of the project; also DSO_CONFIG
      --mode MODE     local: without an agent; default: agent; also DSO_MODE
  -v, --version       print the version
  -h, --help          print this help

Run docker dso COMMAND --help for more on a command.
`;
}

/** Whether a command and its arguments are not those of Compose. */
export function isOwnCommand(command: string, args: readonly string[]): boolean {
  const isOwn = ({ name, flag }: DsoCommand): boolean =>
    name.split(' ')[0] === command && (flag === undefined || args.includes(flag));
  return Object.hasOwn(groups, command) || commands.some(isOwn);
}
