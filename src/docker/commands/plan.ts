import { Command } from 'commander';
import { Readable } from 'node:stream';
import { text as readAll } from 'node:stream/consumers';
import { valuesOf } from '../compose/flags.ts';
import type { CommandContext } from './context.ts';
import { differencesText } from './diff.ts';
import { findDifferences } from './differences.ts';
import { start } from './start.ts';

/** `docker dso plan`: the differences of the secrets, and then what Compose would do. */
export function planCommand(context: CommandContext): Command {
  const { stdout, line, setExitCode } = context;
  return new Command('plan')
    .argument('[service...]', 'services of the application; default: all')
    .addHelpText(
      'after',
      `
It changes nothing: docker dso diff, and then docker dso up --dry-run. The exit code is that of
the latter. For a script that asks whether there is a difference: docker dso diff.`,
    )
    .action(async (services: readonly string[]) => {
      const readsStdin = valuesOf(line.compose, 'file').includes('-');
      // Both parts read it.
      const input = readsStdin ? await readAll(context.stdin) : '';
      const again = (): CommandContext => ({
        ...context,
        ...(readsStdin && { stdin: Readable.from([input]) }),
        line: { ...line, command: 'up', args: ['--dry-run', '--detach', ...services] },
      });
      // What is wrong with the files is said by the second part.
      const found = await findDifferences(again(), services);
      if (found.services !== undefined) stdout.write(`${differencesText(found.services)}\n`);
      setExitCode(await start(again()));
    });
}
