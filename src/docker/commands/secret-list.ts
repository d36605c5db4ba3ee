import { Command } from 'commander';
import { escapeUnprintable } from '../../core/safe-text.ts';
import { printableJson } from '../../formats/printable-json.ts';
import type { CommandContext } from './context.ts';
import { type Format, formatOption, formatTable, formatTime, isoTime } from './output.ts';
import { findStore } from './stores.ts';

type Options = { readonly provider?: string; readonly format: Format };

/** `docker dso secret list`: the secrets of a store. No values. */
export function secretListCommand({ agent, stdout }: CommandContext): Command {
  return new Command('list')
    .option('--provider <name>', 'a store of the host, or its type; default: the default store')
    .addOption(formatOption())
    .action(async ({ provider, format }: Options) => {
      const { name } = findStore(await agent.info(), provider);
      const listed = await agent.storeSecrets(name);
      const secrets = listed.toSorted((one, other) => (one.path < other.path ? -1 : 1));
      if (format === 'json') {
        const dated = secrets.map(({ changedAt, ...secret }) => ({
          ...secret,
          ...(changedAt !== undefined && { changedAt: isoTime(changedAt) }),
        }));
        stdout.write(`${printableJson({ version: 1, provider: name, secrets: dated })}\n`);
        return;
      }
      if (secrets.length === 0) {
        stdout.write(`${escapeUnprintable(name)} has no secrets that this host can list.\n`);
        return;
      }
      const rows = secrets.map(({ path, version = '-', changedAt, usedBy }) => [
        ...[path, version, formatTime(changedAt), usedBy.join(', ') || '-'],
      ]);
      stdout.write(formatTable([['PATH', 'VERSION', 'CHANGED', 'USED BY'], ...rows]));
    });
}
