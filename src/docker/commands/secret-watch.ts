import { Command } from 'commander';
import { SecretError } from '../../core/errors.ts';
import { escapeUnprintable } from '../../core/safe-text.ts';
import { printableJson } from '../../formats/printable-json.ts';
import type { LogRecord } from '../agent-api.ts';
import { findProjectName } from '../compose/model.ts';
import type { CommandContext } from './context.ts';
import { showLog, sinceOption } from './log-options.ts';
import { type Format, formatOption, formatTime } from './output.ts';

type Options = { readonly project?: string; readonly since?: number; readonly format: Format };

/** `docker dso secret watch`: a line for whatever happens to the secrets of the application. */
export function secretWatchCommand(context: CommandContext): Command {
  const { stdout, line, docker } = context;
  return new Command('watch')
    .argument('[service...]', 'services of the application; default: all')
    .option('--project <name>', 'another application; default: that of -p or of the Compose files')
    .addOption(sinceOption())
    .addOption(formatOption())
    .addHelpText(
      'after',
      `
docker dso watch is another command: that of Compose, which watches the files of a build.`,
    )
    .action(async (services: readonly string[], options: Options) => {
      const project = options.project ?? (await findProjectName(docker, line.compose));
      if (project === undefined)
        throw new SecretError('INVALID_REQUEST', 'there is no Compose application here', {
          hint: 'name it: docker dso secret watch --project NAME; docker dso ls lists them',
        });
      const { since } = options;
      const asText = options.format === 'text';
      // Without a time: what happens from now on.
      const from = since === undefined ? { tail: 0 } : { since };
      await showLog(context, { follow: true, project, services, ...from }, (record) => {
        if (isEvent(record)) stdout.write(asText ? toText(record) : toJson(record));
      });
    });
}

type SecretEvent = LogRecord & { readonly service: string };

/** Other lines are about the agent, or help to find its faults. */
function isEvent(record: LogRecord): record is SecretEvent {
  return typeof record.service === 'string' && record.level !== 'debug';
}

function toJson({ msg, ...record }: SecretEvent): string {
  return `${printableJson({ version: 1, event: msg, ...record }, 0)}\n`;
}

/** What a line for people leaves out. */
const left = ['time', 'level', 'msg', 'project', 'service', 'volume', 'ms', 'code'];

function toText(record: SecretEvent): string {
  const { time, service, msg } = record;
  const details = Object.entries(record)
    .filter(([name]) => !left.includes(name))
    .map(([name, value]) => detailOf(name, value));
  const at = formatTime(Date.parse(time));
  return `${escapeUnprintable([`${at}  ${service}  ${msg}`, ...details].join('; '))}\n`;
}

type DeliveredSecret = { readonly target?: string; readonly version?: string };

function detailOf(name: string, value: unknown): string {
  if (name === 'secrets' && Array.isArray(value))
    return (value as readonly DeliveredSecret[])
      .map(({ target = '-', version = '-' }) => `${target} ${version}`)
      .join(', ');
  if (name === 'reason') return String(value);
  return `${name}: ${typeof value === 'string' ? value : JSON.stringify(value)}`;
}
