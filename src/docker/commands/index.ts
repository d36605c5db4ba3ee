import type { Command } from 'commander';
import type { CommandContext } from './context.ts';

/** A command of `docker dso` that Compose does not have. */
export type DsoCommand = {
  /** `inspect`, or `system info`: the second word of a group. */
  readonly name: string;
  readonly summary: string;
  /** Compose has a command of this name, and this switch asks for ours. */
  readonly flag?: `--${string}`;
  /** Its code is loaded only when it is called. The command has the last word of the name. */
  readonly load: () => Promise<(context: CommandContext) => Command>;
};

/** The groups of commands, and what they are for. */
export const groups: Readonly<Record<string, string>> = {
  secret: 'list, refresh and watch secrets',
  system: 'set up, check and describe this host',
};

/** In the order of the help. */
export const commands: readonly DsoCommand[] = [
  {
    name: 'diff',
    summary: 'show which secrets up would change, without values',
    load: async () => (await import('./diff.ts')).diffCommand,
  },
  {
    name: 'init',
    summary: 'configure a store of this host',
    load: async () => (await import('./init.ts')).initCommand,
  },
  {
    name: 'inspect',
    summary: 'show which secrets a service has, without values',
    load: async () => (await import('./inspect.ts')).inspectCommand,
  },
  {
    name: 'lint',
    summary: 'check dso.yaml and the Compose files',
    load: async () => (await import('./lint.ts')).lintCommand,
  },
  {
    name: 'logs',
    flag: '--agent',
    summary: 'show the log of the agent',
    load: async () => (await import('./logs.ts')).logsCommand,
  },
  {
    name: 'migrate',
    summary: 'move the secrets of an application into a store',
    load: async () => (await import('./migrate.ts')).migrateCommand,
  },
  {
    name: 'plan',
    summary: 'show what up would do',
    load: async () => (await import('./plan.ts')).planCommand,
  },
  {
    name: 'secret list',
    summary: 'list the secrets of a store, without values',
    load: async () => (await import('./secret-list.ts')).secretListCommand,
  },
  {
    name: 'secret refresh',
    summary: 'read a secret again now',
    load: async () => (await import('./secret-refresh.ts')).secretRefreshCommand,
  },
  {
    name: 'secret watch',
    summary: 'follow what happens to the secrets of the application',
    load: async () => (await import('./secret-watch.ts')).secretWatchCommand,
  },
  {
    name: 'system doctor',
    summary: 'check the stores and this host',
    load: async () => (await import('./system-doctor.ts')).systemDoctorCommand,
  },
  {
    name: 'system info',
    summary: 'show the stores of this host',
    load: async () => (await import('./system-info.ts')).systemInfoCommand,
  },
  {
    name: 'system setup',
    summary: 'install the agent and the plugin',
    load: async () => (await import('./system-setup.ts')).systemSetupCommand,
  },
  {
    name: 'system test-vault',
    summary: 'log in to Vault, and say which step fails',
    load: async () => (await import('./system-test-vault.ts')).systemTestVaultCommand,
  },
  {
    name: 'system uninstall',
    summary: 'remove what system setup has installed',
    load: async () => (await import('./system-uninstall.ts')).systemUninstallCommand,
  },
];
