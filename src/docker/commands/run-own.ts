import { Command } from 'commander';
import { separateShortFlags } from '../../formats/short-flags.ts';
import type { CommandContext } from './context.ts';
import { commands, groups } from './index.ts';

/**
 * Runs a command that Compose does not have.
 * @throws SecretError, or CommanderError for a wrong command line, which has been printed
 */
export async function runOwn(context: CommandContext): Promise<void> {
  const { command = '', args } = context.line;
  const program = new Command('docker dso');
  const called = commands.filter(({ name }) => name.split(' ')[0] === command);
  const group = Object.hasOwn(groups, command)
    ? new Command(command).description(groups[command] ?? '')
    : program;
  if (group !== program) program.addCommand(group);
  for (const { load, summary } of called)
    group.addCommand((await load())(context).description(summary));
  configure(program, program.name(), context);
  await program.parseAsync(separateShortFlags([command, ...args]), { from: 'user' });
}

/** Only the entry ends the process, and errors name the help. */
function configure(command: Command, path: string, context: CommandContext): void {
  const { stdout, stderr } = context;
  command
    .exitOverride()
    .showHelpAfterError(`see ${path} --help`)
    .configureOutput({
      writeOut: (text) => void stdout.write(text),
      writeErr: (text) => void stderr.write(text),
    });
  for (const inner of command.commands) configure(inner, `${path} ${inner.name()}`, context);
}
