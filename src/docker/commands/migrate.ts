import { Command, Option } from 'commander';
import { rm } from 'node:fs/promises';
import { SecretError, toSecretError } from '../../core/errors.ts';
import { storeTypes } from '../../core/host-store.ts';
import { Redacted } from '../../core/redacted.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import { loadModel } from '../compose/model.ts';
import type { ComposeModel } from '../model/compose-model.ts';
import { type Backup, backupPlace, writeBackup, writeValues } from '../migrate/backup.ts';
import { findDifference } from '../migrate/check-change.ts';
import { storedBytes } from '../migrate/name-secrets.ts';
import {
  type MigrateOptions,
  type PreparedMigration,
  prepareMigration,
  projectOf,
} from '../migrate/prepare.ts';
import { storeCommands, valueFile } from '../migrate/store-commands.ts';
import { writeFiles } from '../migrate/write-files.ts';
import { loadApplication } from './application.ts';
import type { CommandContext } from './context.ts';
import type { LocalStorePaths } from './init.ts';
import { type MigrationReport, reportAsJson, reportAsText } from './migrate-report.ts';
import { type Format, formatOption } from './output.ts';
import { displayName } from './problems.ts';

type Options = MigrateOptions & { readonly apply?: true; readonly format: Format };

/** What tests replace. */
export type MigrateOverrides = {
  readonly userId?: number | undefined;
  readonly now?: () => number;
};

const collect = (text: string, before: readonly string[]): readonly string[] => [...before, text];

/** `docker dso migrate`: moves values from an application's files to a store. */
export function migrateCommand(
  context: CommandContext,
  { userId = process.getuid?.(), now = Date.now }: MigrateOverrides = {},
): Command {
  return new Command('migrate')
    .option('--apply', 'write the changes; without it, they are only shown')
    .addOption(
      new Option(
        '--provider <type>',
        'the type of the store; default: that of dso.yaml beside the Compose file, or local',
      ).choices([...storeTypes]),
    )
    .option('--store <name>', 'the name of the store, if there are several of the type')
    .option('--variable <name>', 'also move this variable; repeatable', collect, [])
    .option('--except <name>', 'do not move this variable; repeatable', collect, [])
    .option('--prefix <path>', "where the secrets are in the store; default: the project's name")
    .option('--mount <path>', 'vault, openbao: the mount of KV version 2', 'secret')
    .addOption(formatOption())
    .addHelpText(
      'after',
      `
It shows a diff without values. --apply writes the values to the local store, or to files for the
commands of another store that it prints; then it changes the files, and keeps the old ones
outside of the repository. Give -f, -p and --config before migrate.
Exit codes: 0 done, or nothing to do; 1 failed; 2 a wrong command line.`,
    )
    .action(async (options: Options) => {
      const { stdout } = context;
      const run = new MigrationRun(context, options, userId, now);
      const report = await run.run();
      stdout.write(options.format === 'json' ? reportAsJson(report) : reportAsText(report));
    });
}

/** One call of the command. */
class MigrationRun {
  readonly #context: CommandContext;
  readonly #options: Options;
  readonly #userId: number | undefined;
  readonly #now: () => number;

  constructor(
    context: CommandContext,
    options: Options,
    userId: number | undefined,
    now: () => number,
  ) {
    this.#context = context;
    this.#options = options;
    this.#userId = userId;
    this.#now = now;
  }

  async run(): Promise<MigrationReport> {
    const { env, docker, line, cwd } = this.#context;
    const { project, composed, dsoYaml } = await loadApplication(this.#context);
    if (project.readsStdin)
      throw new SecretError('INVALID_REQUEST', 'standard input cannot be changed', {
        hint: 'name the Compose files with -f',
      });
    // Compose can repeat lines of an env file in its messages.
    if (composed.model === undefined)
      throw new SecretError('INVALID_REQUEST', 'docker compose config fails', {
        hint: 'run it to see why, and correct the files first',
      });
    const { model } = composed;
    const prepared = await prepareMigration({
      ...{ project, model, docker, env },
      dsoYaml: dsoYaml.path,
      flags: line.compose,
      options: this.#options,
      userId: this.#userId,
      nameOf: (path) => displayName(path, cwd),
    });
    const { plan, chosen, target } = prepared;
    const isLocal = target.type === 'local';
    const notes = this.#lacksStore(prepared)
      ? [...prepared.notes, `there is no local store yet: make it with ${this.#initCommand()}`]
      : prepared.notes;
    const report = { ...prepared, notes, isOfUser: isLocal && this.#userId !== 0 };
    const commands = (directory: string): readonly string[] =>
      isLocal || plan.secrets.length === 0
        ? []
        : storeCommands(plan.secrets, target, directory, chosen.config);
    if (this.#options.apply !== true || plan.files.length === 0)
      return { ...report, commands: commands('DIRECTORY') };
    const { backup, values } = await this.#apply(prepared, model);
    return { ...report, backup, commands: commands(values) };
  }

  /** The store comes first: references without values would stop the application. */
  async #apply(
    prepared: PreparedMigration,
    before: ComposeModel,
  ): Promise<{ readonly backup: Backup; readonly values: string }> {
    const { plan, root, mounts } = prepared;
    if (this.#lacksStore(prepared))
      throw new SecretError('NOT_CONFIGURED', 'there is no local store yet', {
        hint: `make it with ${this.#initCommand()}; nothing was written`,
      });
    const place = await backupPlace(this.#context.env, root);
    const time = new Date(this.#now()).toISOString().replace(/[-:]|\.\d+/g, '');
    const files = plan.files.map(({ file }) => file);
    const backup = await writeBackup(place, `${projectOf(before)}-${time}`, files);
    const values = await this.#store(prepared, backup).catch(async (thrown: unknown) => {
      // The files are as they were, so their copies are not needed.
      await rm(backup.directory, { recursive: true, force: true });
      throw thrown;
    });
    await writeFiles(plan.files, () => this.#check(before, plan.references, mounts)).catch(
      (thrown: unknown) => {
        const { code, message, hint } = toSecretError(thrown);
        const kept = `${message}; the backup is in ${sanitizeUserText(backup.directory)}`;
        throw new SecretError(code, kept, { hint, cause: thrown });
      },
    );
    return { backup, values };
  }

  /** @returns the directory of the values, if another program puts them into the store */
  async #store({ plan, target, chosen }: PreparedMigration, backup: Backup): Promise<string> {
    const stored = plan.secrets.map((secret) => ({ secret, bytes: storedBytes(secret, target) }));
    if (stored.length === 0) return '';
    if (target.type !== 'local')
      return writeValues(
        backup,
        stored.map(({ secret, bytes }) => valueFile(secret, bytes, target)),
      );
    await this.#context.addLocalSecrets(
      localPaths(chosen.config),
      new Map(stored.map(({ secret, bytes }) => [secret.name, new Redacted(bytes)])),
    );
    return '';
  }

  #lacksStore({ plan, target, chosen }: PreparedMigration): boolean {
    return target.type === 'local' && plan.secrets.length > 0 && chosen.config === undefined;
  }

  #initCommand(): string {
    return `${this.#userId === 0 ? 'sudo ' : ''}docker dso init --mode local`;
  }

  /** Compose must read the changed files as the plan says. */
  async #check(
    before: ComposeModel,
    references: ReadonlyMap<string, string>,
    mounts: PreparedMigration['mounts'],
  ): Promise<void> {
    const { docker, line } = this.#context;
    const { model } = await loadModel({ docker, flags: line.compose });
    const key =
      model === undefined ? 'the application' : findDifference(before, model, references, mounts);
    if (key === undefined) return;
    throw new SecretError(
      'INVALID_REQUEST',
      `the change would alter ${sanitizeUserText(key)} in another way than intended`,
      { hint: 'leave the variable out with --except, and write its reference by hand' },
    );
  }
}

function localPaths(config: PreparedMigration['chosen']['config']): LocalStorePaths {
  const { storeFile, keyFile } = config ?? {};
  return {
    ...(storeFile !== undefined && { storeFile }),
    ...(keyFile !== undefined && { keyFile }),
  };
}
