import { Command, Option } from 'commander';
import { withTimeout } from '../../concurrency/deadline.ts';
import { type RawSettings, settingFlags } from '../../config/settings.ts';
import { type ErrorCode, SecretError, errorCodeOf, toSecretError } from '../../core/errors.ts';
import {
  sanitizeExternalText,
  sanitizeUserText,
  statusText,
  withholdSecrets,
} from '../../core/safe-text.ts';
import { DriverClient } from '../../csi/client.ts';
import type { Mount } from '../../mount/mount.ts';
import { suggestProvider } from '../lint/foreign-class.ts';
import type { ManifestSource } from '../lint/manifests.ts';
import type { RawMountRequest } from '../../csi/mount-request.ts';
import type { MountRequest, Volume } from '../../mount/types.ts';
import { providers } from '../../providers/registry.ts';
import { type Output, createStyler } from '../../formats/terminal-style.ts';
import { formatMount, formatWarnings, mountFormats } from './format.ts';
import { readOneClass, readPairs } from './input.ts';
import { type Requester, buildMountRequest, buildPipelineRequest } from './request.ts';
import { classWarnings } from './warnings.ts';
import { writeVolume } from '../../mount/volume-writer.ts';

/** What {@link mountCommand} needs of the process. */
export type MountDeps = {
  readonly inProcessMount: InProcessMount;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdin: ManifestSource['stdin'];
  /** For notices. */
  readonly stderr: { write(text: string): unknown };
  readonly stdout: Output;
  /** Aborts when the process is stopped. */
  readonly stop: AbortSignal;
};

/**
 * Creates the pipeline of a provider inside this process, from the settings of `serve`. `close`
 * stops its background work and closes its connections.
 */
export type InProcessMount = (
  provider: string,
  settings: RawSettings,
) => Promise<{ readonly mount: Mount; close(): Promise<void> }>;

type Options = {
  readonly file?: string;
  readonly class?: string;
  readonly namespace?: string;
  readonly pod: string;
  readonly serviceAccount: string;
  readonly token?: readonly string[];
  readonly secret?: readonly string[];
  readonly socket?: string;
  readonly out?: string;
  readonly show?: true;
  readonly format: (typeof mountFormats)[number];
};

/** The kubelet's deadline. */
const timeoutMs = 120_000;
/** Settings that apply to a server, not to a mount. */
const serverOnlyFlags = [
  ...[
    'providers',
    'providersDir',
    'healthAddress',
    'logLevel',
    'logFormat',
    'grace',
    'maxMounts',
    'maxResponseBytes',
    'firstMountPatience',
  ],
];

/** `keyferry mount`: one mount as the driver does it. Its action throws SecretError. */
export function mountCommand(deps: MountDeps): Command {
  const command: Command = new Command('mount')
    .description('mount a class once, as the driver does, and show the result')
    .argument('[file]', 'YAML or JSON with the SecretProviderClass, or - for standard input')
    .option('-f, --file <file>', 'the same, as kubectl has it')
    .option('--class <name>', 'which class, if the file has several')
    .option(
      '-n, --namespace <name>',
      'namespace of the pod (default: that of the class, or "default")',
    )
    .option('--pod <name>', 'name of the pod', 'keyferry-mount')
    .option('--service-account <name>', 'service account of the pod', 'default')
    .addOption(repeatable('--token <audience=file>', 'a token of the pod, by its audience'))
    .addOption(repeatable('--secret <key=file>', 'a key of its nodePublishSecretRef'))
    .option(
      '--socket <path>',
      'send the request to the provider on this socket, instead of mounting in this process',
    )
    .option(
      '--out <dir>',
      'write the volume there, as the driver does; a second run updates it, as at rotation',
    )
    .option('--show', 'print the values too')
    .addOption(
      new Option('-o, --format <format>', 'the output format')
        .choices(mountFormats)
        .default('text'),
    )
    .optionsGroup('Settings as for serve, without --socket:')
    .addHelpText(
      'after',
      `
Examples:
  keyferry mount class.yaml -n shop --service-account web
  keyferry mount class.yaml --token sts.amazonaws.com=token.jwt --out volume
  keyferry mount class.yaml --socket /var/run/secrets-store-csi-providers/local.sock --show`,
    );
  for (const flag of settingFlags)
    if (!serverOnlyFlags.includes(flag.attributeName())) command.addOption(copyOption(flag));
  return command.action((argument: string | undefined, options: Options & RawSettings) => {
    const file = argument ?? options.file;
    if (file === undefined) command.error("error: missing required argument 'file'");
    if (argument !== undefined && options.file !== undefined)
      command.error("error: the argument 'file' and --file name two files; give one of them");
    return mountOnce(file, options, deps);
  });
}

async function mountOnce(
  file: string,
  options: Options & RawSettings,
  deps: MountDeps,
): Promise<void> {
  const {
    pod,
    serviceAccount,
    token = [],
    secret = [],
    socket,
    out,
    show = false,
    format,
  } = options;
  const notice = (line: string): void => void deps.stderr.write(`keyferry: ${line}\n`);
  const spc = await readOneClass(file, options.class, { stdin: deps.stdin, notice });
  if (socket === undefined) checkProvider(spc.provider);
  const tokens = await readPairs('--token', token);
  const secrets = await readPairs('--secret', secret);
  const namespace = options.namespace ?? (spc.namespace === '' ? 'default' : spc.namespace);
  const requester: Requester = { namespace, pod, serviceAccount, tokens, secrets };
  const warnings = await classWarnings(spc);
  // The cause of a mount that fails can be among them.
  if (format === 'text') deps.stdout.write(formatWarnings(warnings));
  const volume =
    socket === undefined
      ? await mountInProcess(spc.provider, buildPipelineRequest(spc, requester), options, deps)
      : await mountOverSocket(socket, buildMountRequest(spc, requester), {
          stop: deps.stop,
          secrets: [...Object.values(tokens), ...Object.values(secrets)],
        });
  if (out !== undefined) await writeOutput(out, volume);
  const report = { spc, warnings, requester, volume, out, show };
  deps.stdout.write(formatMount(report, format, createStyler(deps.stdout, deps.env)));
}

/** @throws SecretError for a class of a provider that Keyferry does not serve */
function checkProvider(name: string): void {
  if (Object.hasOwn(providers, name)) return;
  const names = Object.keys(providers);
  const nearest = suggestProvider(name, names);
  throw new SecretError(
    'INVALID_CLASS',
    `INVALID_CLASS: the class is for the provider "${sanitizeUserText(name)}", which Keyferry does not serve`,
    {
      hint: nearest === undefined ? `it serves ${names.join(', ')}` : `did you mean ${nearest}?`,
    },
  );
}

async function mountInProcess(
  provider: string,
  request: MountRequest,
  settings: RawSettings,
  { inProcessMount, stop }: MountDeps,
): Promise<Volume> {
  const defaults = settingFlags.map((flag): [string, unknown] => [
    flag.attributeName(),
    flag.defaultValue,
  ]);
  const completeSettings = {
    ...(Object.fromEntries(defaults) as RawSettings),
    // A person waits for the result.
    firstMountPatience: '0',
    ...settings,
    providers: provider,
  };
  const { mount, close } = await inProcessMount(provider, completeSettings).catch(throwWithCode);
  try {
    const deadline = Date.now() + timeoutMs;
    const deadlineError = (): SecretError =>
      new SecretError('DEADLINE', `no response within ${timeoutMs / 1_000} s`);
    return await withTimeout(timeoutMs, stop, deadlineError, (signal) =>
      mount(request, { provider, signal, deadline }),
    ).catch(throwWithCode);
  } finally {
    await close();
  }
}

/** Remedies of this command, where those of a server are about the driver. */
const commandHints: Readonly<Partial<Record<ErrorCode, string>>> = {
  TOKEN_MISSING: 'give it with --token AUDIENCE=FILE: kubectl create token prints one',
  TOKEN_INVALID: 'check the file of --token, --namespace and --service-account',
};

/** Rethrows an error of a mount with its code, and with the request id of the store. */
function throwWithCode(thrown: unknown): never {
  const error = toSecretError(thrown);
  const { code, message, requestId } = error;
  // The user stopped the command.
  if (code === 'CANCELLED') throw error;
  const id = requestId === undefined ? '' : ` (request id ${requestId})`;
  const hint = commandHints[code] ?? error.hint;
  throw error.with({ message: `${code}: ${message}${id}`, hint });
}

/**
 * Throws the status's name and text, or what the driver would reject in the response.
 * @param options.secrets those of the request, which no message may have
 */
async function mountOverSocket(
  socketPath: string,
  request: RawMountRequest,
  { stop, secrets }: { readonly stop: AbortSignal; readonly secrets: readonly string[] },
): Promise<Volume> {
  const client = new DriverClient({ socketPath });
  const result = await client.mount(request, { timeoutMs, signal: stop });
  client.close();
  stop.throwIfAborted();
  if (result.code !== 'OK') {
    const connectError = /^connect (E[A-Z]+)/.exec(result.message)?.[1];
    if (connectError !== undefined)
      throw new SecretError(
        'INTERNAL',
        `cannot connect to ${sanitizeUserText(socketPath)}: ${connectError}`,
        {
          hint: 'start the provider there, or give the path of its socket with --socket',
        },
      );
    throw new SecretError(
      'INTERNAL',
      `${result.code}: ${statusText(withholdSecrets(result.message, secrets))}`,
    );
  }
  const { error, files, objectVersion: versions } = result.response;
  if (error !== undefined && error.code !== '')
    throw new SecretError(
      'INTERNAL',
      `the provider responds with the error code ${sanitizeExternalText(error.code, secrets)}`,
    );
  if (versions.length === 0)
    throw new SecretError(
      'INTERNAL',
      'the provider responds without versions, which the driver rejects',
    );
  return { files, versions };
}

async function writeOutput(directory: string, volume: Volume): Promise<void> {
  try {
    await writeVolume(directory, volume);
  } catch (cause) {
    if (cause instanceof SecretError) throw cause;
    const code = errorCodeOf(cause) ?? 'unknown error';
    throw new SecretError(
      'INVALID_REQUEST',
      `--out ${sanitizeUserText(directory)} cannot be written: ${sanitizeUserText(code)}`,
      {
        hint: 'name a directory that you can write to',
        cause,
      },
    );
  }
}

/** A copy: an option keeps its help heading, and `serve` shows the same options without one. */
function copyOption({ flags, description, defaultValue, envVar, argChoices }: Option): Option {
  const copy = new Option(flags, description).default(defaultValue);
  if (argChoices !== undefined) copy.argChoices = argChoices;
  return envVar === undefined ? copy : copy.env(envVar);
}

function repeatable(flags: string, description: string): Option {
  return new Option(flags, `${description}; repeatable`).argParser(
    (value, previous: readonly string[] | undefined) => [...(previous ?? []), value],
  );
}
