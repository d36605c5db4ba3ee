import { Command } from 'commander';
import { escapeUnprintable } from '../../core/safe-text.ts';
import { printableJson } from '../../formats/printable-json.ts';
import type { RefreshResult } from '../agent-api.ts';
import type { CommandContext } from './context.ts';
import { type Format, formatOption } from './output.ts';
import { findStore } from './stores.ts';

type Options = { readonly provider?: string; readonly format: Format };

/** `docker dso secret refresh PATH`: reads a secret again now. */
export function secretRefreshCommand({ agent, stdout }: CommandContext): Command {
  return new Command('refresh')
    .argument('<path>', 'the path of the secret, as in a reference, or the reference')
    .option('--provider <name>', 'a store of the host, or its type; default: the default store')
    .addOption(formatOption())
    .action(async (text: string, { provider, format }: Options) => {
      const info = await agent.info();
      // The reference, as `docker dso inspect` prints it.
      const whole = text.replace(/^dso(file)?:\/\//, '').replace(/#.*$/s, '');
      const [first = '', ...rest] = whole.split('/');
      const namesStore =
        whole !== text && rest.length > 0 && info.stores.some(({ name }) => name === first);
      const store = findStore(info, provider ?? (namesStore ? first : undefined)).name;
      const path = namesStore && store === first ? rest.join('/') : whole;
      const result = await agent.refresh({ store, path });
      stdout.write(
        format === 'json'
          ? `${printableJson({ version: 1, path, result })}\n`
          : asText(path, result),
      );
    });
}

function asText(path: string, { store, version, services }: RefreshResult): string {
  if (services.length === 0)
    return `${escapeUnprintable(`No running service uses ${path} of ${store}: nothing was read.`)}\n`;
  const now = version === undefined ? '' : `, version ${version}`;
  const lines = services.map(({ name, changed, rotates }) => {
    const service = name.split('/').at(-1) ?? name;
    if (!changed) return `  ${name}: its containers have this value`;
    const remedy = rotates
      ? 'the agent brings it to the containers'
      : `to use it: docker dso restart ${service}`;
    return `  ${name}: the value has changed; ${remedy}`;
  });
  return [`Refreshed ${path} of ${store}${now}`, ...lines]
    .map((line) => `${escapeUnprintable(line)}\n`)
    .join('');
}
