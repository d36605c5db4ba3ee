import { Command, InvalidArgumentError, Option } from 'commander';
import { toTextLine } from '../../formats/log-text.ts';
import { printableJson } from '../../formats/printable-json.ts';
import type { CommandContext } from './context.ts';
import { showLog, sinceOption } from './log-options.ts';
import { type Format, formatOption } from './output.ts';

type Options = {
  readonly follow?: true;
  readonly tail: number;
  readonly since?: number;
  readonly format: Format;
};

/** `docker dso logs --agent`: the log of the agent itself. */
export function logsCommand(context: CommandContext): Command {
  const { stdout } = context;
  return new Command('logs')
    .requiredOption('--agent', 'the log of the agent; without it: docker compose logs')
    .option('-f, --follow', 'show the lines to come, too')
    .addOption(
      new Option('-n, --tail <number>', 'how many of the newest lines')
        .argParser(readTail)
        .default(Infinity, 'all'),
    )
    .addOption(sinceOption())
    .addOption(formatOption())
    .addHelpText(
      'after',
      `
The agent keeps its last lines in memory. Older ones: journalctl -u dso-agent, or
docker logs dso-container if it runs as a container.`,
    )
    .allowExcessArguments(false)
    .action(async ({ format, follow, tail, since }: Options) => {
      const query = {
        ...(follow && { follow }),
        ...(tail < Infinity && { tail }),
        ...(since !== undefined && { since }),
      };
      await showLog(context, query, (record) => {
        stdout.write(
          format === 'json' ? `${printableJson(record, 0)}\n` : toTextLine(JSON.stringify(record)),
        );
      });
    });
}

function readTail(text: string): number {
  if (text === 'all') return Infinity;
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('Write a number, or all.');
}
