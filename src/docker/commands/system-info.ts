import { Command } from 'commander';
import { escapeUnprintable } from '../../core/safe-text.ts';
import { printableJson } from '../../formats/printable-json.ts';
import type { AgentInfo, StoreInfo } from '../agent-api.ts';
import type { CommandContext } from './context.ts';
import { type Format, formatOption } from './output.ts';
import { methodTitle, storeTitles } from './stores.ts';

/** `docker dso system info`: the stores of the host, and what its agent does. */
export function systemInfoCommand({ agent, stdout, version }: CommandContext): Command {
  return new Command('info')
    .addOption(formatOption())
    .action(async ({ format }: { format: Format }) => {
      const info = await agent.info();
      stdout.write(
        format === 'json'
          ? `${printableJson({ version: 1, mode: modeOf(info).toLowerCase(), plugin: version, agent: info })}\n`
          : asText(info, version),
      );
    });
}

function modeOf({ stores }: AgentInfo): string {
  const isLocal = stores.length > 0 && stores.every(({ type }) => type === 'local');
  return isLocal ? 'Local' : 'Cloud';
}

function asText(info: AgentInfo, plugin: string): string {
  const { stores, defaultStore, exec, pollingIntervalMs, hasGrants, configFile, version, mode } =
    info;
  const several = stores.length > 1;
  const blocks = stores.map((store) => [
    ...linesOf(store),
    ...(several ? [`Name: ${store.name}${store.name === defaultStore ? ' (default)' : ''}`] : []),
  ]);
  const host = [
    `Configuration: ${configFile}`,
    mode === 'local'
      ? 'Rotation: none; docker dso up reads the secrets again'
      : `Polling Interval: ${pollingIntervalMs / 1_000} s`,
    `Variables in docker exec: ${exec}`,
    hasGrants
      ? 'Grants: applications read what the grants of the configuration allow'
      : 'Grants: none; every application reads whatever this host may read',
    `Agent: ${mode === 'local' ? 'none (--mode local)' : version}`,
    `Plugin: ${plugin}`,
  ];
  const none = stores.length === 0 ? [['Provider: none; add one: docker dso init']] : [];
  const [first = [], ...others] = [...blocks, ...none];
  return [[`Mode: ${modeOf(info)}`, ...first], ...others, host]
    .map((block) => block.map((line) => `${escapeUnprintable(line)}\n`).join(''))
    .join('\n');
}

function linesOf({ type, region, address, authMethod }: StoreInfo): readonly string[] {
  return [
    `Provider: ${storeTitles[type]}`,
    ...(region === undefined ? [] : [`Region: ${region}`]),
    ...(address === undefined
      ? []
      : [`${type === 'openbao' ? 'OpenBao' : 'Vault'} Address: ${address}`]),
    ...(authMethod === undefined ? [] : [`Auth Method: ${methodTitle(authMethod)}`]),
  ];
}
