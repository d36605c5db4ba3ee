import { describe, expect, test } from '@jest/globals';
import type { Command } from 'commander';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { dockerAgentFlags } from '../config/docker-agent-settings.ts';
import { settingFlags } from '../config/settings.ts';
import { completionCommand } from './completion/command.ts';
import { healthCommand } from './health.ts';
import { lintCommand } from './lint/command.ts';
import { localCommand } from './local.ts';
import { mountCommand } from './mount/command.ts';

const docs = readFileSync(join(import.meta.dirname, '../../docs/cli.md'), 'utf8');
const notCalled = (): never => {
  throw new Error('no command runs here');
};
const io = {
  env: {},
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  setExitCode: notCalled,
};
const commands = [
  healthCommand(io),
  lintCommand({ ...io, providers: notCalled }),
  mountCommand({ ...io, inProcessMount: notCalled, stop: new AbortController().signal }),
  localCommand(),
  completionCommand({ ...io, program: notCalled }),
];

/** The page's section on a command. */
function section(name: string): string {
  const text = docs.split(/^## /m).find((part) => part.startsWith(`${name}\n`));
  return text ?? '';
}

describe('docs/cli.md', () => {
  test.each(
    [
      ...settingFlags.map((flag) => ['serve', flag] as const),
      ...dockerAgentFlags.map((flag) => ['docker-agent', flag] as const),
    ].map(([command, flag]) => [command, flag.long ?? '', flag] as const),
  )('has of %s %s as it is', (command, long, flag) => {
    const row =
      section(command)
        .split('\n')
        .find((line) => line.startsWith(`| \`${long}\` |`)) ?? '';
    expect(row).toContain(`| \`${flag.envVar ?? ''}\` |`);
    if (typeof flag.defaultValue === 'string')
      expect(row).toContain(`| \`${flag.defaultValue}\` |`);
  });

  test.each(commands.map((command) => [command.name(), command] as const))(
    'has all flags and subcommands of %s',
    (name, command) => {
      const text = section(name);
      const settings = new Set(settingFlags.map(({ long }) => long));
      const flags = [command, ...command.commands].flatMap((each: Command) => each.options);
      for (const { long } of flags)
        if (!settings.has(long)) expect(text).toContain(`\`${long ?? ''}`);
      for (const subcommand of command.commands) expect(text).toContain(`| \`${subcommand.name()}`);
    },
  );
});
