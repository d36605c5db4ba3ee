import { Command, Option } from 'commander';
import { readFile, realpath, rm, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import type { Readable } from 'node:stream';
import { SecretError, errorCodeOf, fileProblemOf } from '../../core/errors.ts';
import { type StoreType, storeTypes } from '../../core/host-store.ts';
import type { Redacted } from '../../core/redacted.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import type { Output } from '../../formats/terminal-style.ts';
import { changeStore, findMethod } from '../config/change-store.ts';
import { readDsoConfig } from '../config/read.ts';
import { methodsOf } from '../config/store-schema.ts';
import { loginNote } from '../doctor/stores.ts';
import { type CredentialSource, readCredential } from '../host/credential-source.ts';
import { makeDirectory, replaceHostFile } from '../host/host-files.ts';
import { type StoreOptions, createStoreFlags, readStoreOptions } from '../host/store-options.ts';
import { userConfigFile } from '../local/user-places.ts';
import { placesBelow } from '../setup/places.ts';

/** The paths of a local store. Absent: those that the agent uses by default. */
export type LocalStorePaths = { readonly storeFile?: string; readonly keyFile?: string };

/**
 * Makes a local store and its key if they are missing.
 * @throws SecretError
 */
export type MakeLocalStore = (paths: LocalStorePaths) => Promise<{
  readonly storeFile: string;
  readonly keyFile: string;
  readonly isNew: boolean;
}>;

/**
 * Adds secrets to a local store: all of them, or none.
 * @throws SecretError also if the store has another value under one of the names
 */
export type AddLocalSecrets = (
  paths: LocalStorePaths,
  secrets: ReadonlyMap<string, Redacted<Uint8Array>>,
) => Promise<void>;

/** What {@link initCommand} needs of the process. */
export type InitDeps = {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdin: Readable & { readonly isTTY?: boolean };
  readonly stdout: Output;
  readonly stderr: Output;
  readonly makeLocalStore: MakeLocalStore;
  /** `docker dso`, or the path of the program. */
  readonly calledAs: string;
  /** Default: that of the process. */
  readonly userId?: number;
};

type Options = {
  readonly mode?: 'cloud' | 'local';
  readonly provider?: StoreType;
  readonly store?: string;
  readonly config?: string;
};

/** The configuration of the host, which the agent reads. */
const hostConfigFile = placesBelow('/').configFile;

/** `docker dso init`: says in dso.yaml which store the host reads, and how it logs in. */
export function initCommand(deps: InitDeps): Command {
  const flags = createStoreFlags();
  const command = new Command('init')
    .description('configure a store of this host; what is not named stays as it is')
    .addOption(
      new Option(
        '--mode <mode>',
        'cloud: a store on the network; local: an encrypted file here',
      ).choices(['cloud', 'local']),
    )
    .addOption(new Option('--provider <type>', 'the type of the store').choices([...storeTypes]))
    .option('--store <name>', 'its name in dso.yaml; default: the type')
    .option('--config <file>', `write another file than ${hostConfigFile}`)
    .addHelpText(
      'after',
      '\nOther users can see arguments in the process list. Give a credential as -, to read it from standard input, or as a file:\n' +
        '  printf %s "$SECRET_ID" | sudo docker dso init --provider vault --vault-secret-id -',
    );
  for (const { option } of flags) command.addOption(option);
  return command.action(async (options: Options) => {
    const type = typeOf(options);
    const storeOptions = readStoreOptions(command, flags, type);
    if (storeOptions === undefined)
      throw new SecretError('INVALID_REQUEST', 'init needs to know the type of the store', {
        hint: `give --provider ${storeTypes.join('|')}, or --mode local`,
      });
    await new Initialization(options, storeOptions, deps).run();
  });
}

function typeOf({ mode, provider }: Options): StoreType | undefined {
  if (mode === 'local' && provider !== undefined && provider !== 'local')
    throw new SecretError('INVALID_REQUEST', `--mode local has no provider ${provider}`, {
      hint: 'give --mode cloud for it',
    });
  if (mode === 'cloud' && provider === 'local')
    throw new SecretError('INVALID_REQUEST', '--provider local is not a cloud', {
      hint: 'give --mode local',
    });
  return mode === 'local' ? 'local' : provider;
}

/** One call of the command. It checks everything before it writes anything. */
class Initialization {
  readonly #options: Options;
  readonly #store: StoreOptions;
  readonly #deps: InitDeps;
  readonly #name: string;

  constructor(options: Options, store: StoreOptions, deps: InitDeps) {
    this.#options = options;
    this.#store = store;
    this.#deps = deps;
    this.#name = options.store ?? store.type;
  }

  async run(): Promise<void> {
    const file = await this.#configFile();
    const before = await readIfPresent(file);
    const directory = join(dirname(file), 'credentials');
    const credentialFile = (param: string): string => join(directory, `${this.#name}.${param}`);
    const { type, settings, warnings } = this.#store;
    const { method, params, credentials } = this.#login(before ?? '', file);
    const paths = type === 'local' ? this.#localPaths() : {};
    const changed = changeStore(before ?? '', file, {
      name: this.#name,
      type,
      settings: new Map([
        ...settings,
        ...(paths.storeFile === undefined ? [] : ([['store_file', paths.storeFile]] as const)),
        ...(paths.keyFile === undefined ? [] : ([['key_file', paths.keyFile]] as const)),
      ]),
      auth: {
        ...(method !== undefined && { method }),
        params: new Map([
          ...params,
          ...[...credentials.keys()].map(
            (param) => [`${param}_file`, credentialFile(param)] as const,
          ),
        ]),
      },
    });
    const config = this.#check(changed.text, file);
    const values = await this.#readCredentials(credentials);

    await makeDirectory(dirname(file), 0o755);
    if (values.size > 0) await makeDirectory(directory, 0o700);
    for (const [param, value] of values)
      await replaceHostFile(credentialFile(param), value.reveal(), 0o600);
    const mode = before === undefined ? 0o600 : (await stat(file)).mode & 0o777;
    if (changed.text !== before) await replaceHostFile(file, changed.text, mode);
    const unused = changed.unusedFiles.filter((path) => dirname(path) === directory);
    for (const path of unused) await rm(path, { force: true });

    const state = before === undefined ? 'new' : changed.text === before ? 'unchanged' : 'changed';
    this.#print(`config      ${sanitizeUserText(file)} (${state})`);
    this.#print(`store       ${describeStore(this.#name, type, config, changed.method)}`);
    for (const param of values.keys())
      this.#print(`credential  ${sanitizeUserText(credentialFile(param))} (mode 0600)`);
    for (const path of unused) this.#print(`removed     ${sanitizeUserText(path)}`);
    if (type === 'local') await this.#makeLocalStore(config);
    for (const note of [...changed.notes, ...warnings]) this.#note(note);
    this.#adviseOnCredentials(changed.method);
    const program = sanitizeUserText(this.#deps.calledAs);
    this.#print(
      this.#isOfUser()
        ? `next        ${program} --mode local up -d`
        : `next        sudo ${program} system setup, or sudo systemctl restart dso-agent`,
    );
  }

  /**
   * The file of a credential is copied. A method that has only a file, such as that of jwt, reads
   * the file itself, so dso.yaml names it.
   */
  #login(before: string, file: string): Pick<StoreOptions, 'method' | 'params' | 'credentials'> {
    const { type, method: named, params, credentials } = this.#store;
    const present = readDsoConfig(before, file).config?.providers.get(this.#name)?.auth?.method;
    const given = [...params.keys(), ...[...credentials.keys()].map((param) => `${param}_file`)];
    const method = named ?? present ?? findMethod(type, given);
    const known = methodsOf[type][method ?? ''] ?? [];
    const isCopied = ([param]: readonly [string, CredentialSource]): boolean =>
      known.includes(param) || !known.includes(`${param}_file`);
    const files = [...credentials].flatMap(([param, source]) =>
      source.from === 'file' && !isCopied([param, source])
        ? [[`${param}_file`, resolve(source.path)] as const]
        : [],
    );
    return {
      ...(given.length > 0 && method !== undefined && { method }),
      ...(named !== undefined && { method: named }),
      params: new Map([...params, ...files]),
      credentials: new Map([...credentials].filter(isCopied)),
    };
  }

  /** The file behind a link: a rename onto a link would replace the link. */
  async #configFile(): Promise<string> {
    const { config = this.#ownConfig() } = this.#options;
    const { userId = process.getuid?.() } = this.#deps;
    if (config === undefined && userId !== 0)
      throw new SecretError('NOT_CONFIGURED', `only root can write ${hostConfigFile}`, {
        hint: `call it again with sudo, or write yours, which --mode local reads: --config ${sanitizeUserText(userConfigFile(this.#deps.env, userId))}`,
      });
    const path = resolve(config ?? hostConfigFile);
    try {
      return await realpath(path);
    } catch (thrown) {
      if (errorCodeOf(thrown) === 'ENOENT') return path;
      throw new SecretError(
        'INVALID_REQUEST',
        `cannot read ${sanitizeUserText(path)}: ${fileProblemOf(thrown)}`,
        { hint: 'check the path', cause: thrown },
      );
    }
  }

  /** A user's own store needs no root, and no agent. */
  #ownConfig(): string | undefined {
    const { userId = process.getuid?.(), env } = this.#deps;
    return this.#isOfUser() ? userConfigFile(env, userId) : undefined;
  }

  #isOfUser(): boolean {
    const { userId = process.getuid?.() } = this.#deps;
    return this.#options.mode === 'local' && userId !== 0;
  }

  /** Root's store is where the agent looks for it. That of a user is with the user's data. */
  #localPaths(): LocalStorePaths {
    const { userId = process.getuid?.(), env } = this.#deps;
    if (userId === 0) return {};
    const { settings } = this.#store;
    const home = env.XDG_DATA_HOME ?? join(env.HOME ?? '/', '.local/share');
    return {
      ...(!settings.has('store_file') && { storeFile: join(home, 'keyferry/store.age') }),
      ...(!settings.has('key_file') && { keyFile: join(home, 'keyferry/store.key') }),
    };
  }

  /** @throws SecretError INVALID_REQUEST with the first fault of the new text */
  #check(text: string, file: string): ReturnType<typeof readDsoConfig>['config'] {
    const { config, problems } = readDsoConfig(text, sanitizeUserText(file));
    const errors = problems.filter(({ severity }) => severity === 'error');
    const [error] = errors;
    if (error === undefined) return config;
    const { place, message, hint } = error;
    const at = `line ${place?.line ?? 1} of ${sanitizeUserText(file)}`;
    const more = errors.length > 1 ? ` (and ${errors.length - 1} more)` : '';
    throw new SecretError(
      'INVALID_REQUEST',
      `with this change ${at} has a fault: ${message}${more}`,
      {
        hint: `nothing was written; ${hint}`,
      },
    );
  }

  async #readCredentials(sources: ReadonlyMap<string, CredentialSource>) {
    const { stdin } = this.#deps;
    const fromStdin = [...sources].filter(([, { from }]) => from === 'stdin');
    if (fromStdin.length > 1)
      throw new SecretError('INVALID_REQUEST', 'only one credential can come from standard input', {
        hint: 'give the other one as a file',
      });
    const values = new Map<string, Awaited<ReturnType<typeof readCredential>>>();
    for (const [param, source] of sources)
      values.set(param, await readCredential(source, this.#flag(param), stdin));
    return values;
  }

  async #makeLocalStore(config: ReturnType<typeof readDsoConfig>['config']): Promise<void> {
    const { storeFile, keyFile } = config?.providers.get(this.#name) ?? {};
    const made = await this.#deps.makeLocalStore({
      ...(storeFile !== undefined && { storeFile }),
      ...(keyFile !== undefined && { keyFile }),
    });
    const note = made.isNew ? 'new; without its key it cannot be read' : 'found';
    this.#print(`encrypted   ${sanitizeUserText(made.storeFile)} (${note})`);
    this.#print(`key         ${sanitizeUserText(made.keyFile)}`);
  }

  #adviseOnCredentials(method: string | undefined): void {
    const { type, credentials } = this.#store;
    for (const [param, { from }] of credentials)
      if (from === 'argument')
        this.#note(
          `other users of this host could see ${this.#flag(param)} while the command ran; ${this.#flag(param)} - reads it from standard input`,
        );
    const ofLogin = loginNote(type, method);
    if (ofLogin !== undefined) this.#note(ofLogin);
  }

  #flag(param: string): string {
    return `--${this.#store.type}-${param.replaceAll('_', '-')}`;
  }

  #print(line: string): void {
    this.#deps.stdout.write(`${line}\n`);
  }

  #note(line: string): void {
    this.#deps.stderr.write(`note: ${line}\n`);
  }
}

function describeStore(
  name: string,
  type: StoreType,
  config: ReturnType<typeof readDsoConfig>['config'],
  method: string | undefined,
): string {
  const { region, addresses, roleArn } = config?.providers.get(name) ?? {};
  const facts = [
    ...(name === type ? [] : [`type ${type}`]),
    ...(region === undefined ? [] : [region]),
    ...(addresses ?? []),
    ...(roleArn === undefined ? [] : [roleArn]),
    ...(method === undefined ? [] : [`auth ${method}`]),
  ];
  const details = facts.length === 0 ? '' : ` (${facts.map(sanitizeUserText).join(', ')})`;
  return `${sanitizeUserText(name)}${details}`;
}

async function readIfPresent(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8');
  } catch (thrown) {
    if (errorCodeOf(thrown) === 'ENOENT') return undefined;
    throw new SecretError(
      'INVALID_REQUEST',
      `cannot read ${sanitizeUserText(file)}: ${fileProblemOf(thrown)}`,
      { hint: 'check the path, or run it with sudo', cause: thrown },
    );
  }
}
