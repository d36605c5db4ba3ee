import { Command, Option } from 'commander';
import { withTimeout } from '../../concurrency/deadline.ts';
import { type RawSettings, settingFlags } from '../../config/settings.ts';
import { SecretError, errorCodeOf } from '../../core/errors.ts';
import { sanitizeExternalText, statusText } from '../../core/safe-text.ts';
import { DriverClient } from '../../csi/client.ts';
import type { Mount } from '../../mount/mount.ts';
import type { ManifestSource } from '../lint/manifests.ts';
import type { RawMountRequest } from '../../csi/mount-request.ts';
import type { MountRequest, Volume } from '../../mount/types.ts';
import { formatMount, mountFormats } from './format.ts';
import { readOneClass, readPairs } from './input.ts';
import { type Requester, buildMountRequest, buildPipelineRequest } from './request.ts';
import { writeVolume } from './volume-writer.ts';

/** What {@link mountCommand} needs of the process. */
export type MountDeps = {
  readonly inProcessMount: InProcessMount;
  readonly stdin: ManifestSource['stdin'];
  /** For notices. */
  readonly stderr: { write(text: string): unknown };
  readonly stdout: { write(text: string): unknown };
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
  readonly file: string;
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
    'grace',
    'maxMounts',
    'maxResponseBytes',
  ],
];

/** `keyferry mount`: one mount as the driver does it. Its action throws SecretError. */
export function mountCommand(deps: MountDeps): Command {
  const command = new Command('mount')
    .description('mount a class once, as the driver does, and show the result')
    .requiredOption(
      '-f, --file <file>',
      'YAML or JSON with the SecretProviderClass, or - for standard input',
    )
    .option('--class <name>', 'which class, if the file has several')
    .option('--namespace <name>', 'namespace of the pod (default: that of the class, or "default")')
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
      new Option('--format <format>', 'the output format').choices(mountFormats).default('text'),
    )
    .optionsGroup('Settings as for serve, without --socket:')
    .addHelpText(
      'after',
      `
Examples:
  keyferry mount -f class.yaml --namespace shop --service-account web
  keyferry mount -f class.yaml --token sts.amazonaws.com=token.jwt --out volume
  keyferry mount -f class.yaml --socket /var/run/secrets-store-csi-providers/local.sock --show`,
    );
  for (const flag of settingFlags)
    if (!serverOnlyFlags.includes(flag.attributeName())) command.addOption(copyOption(flag));
  return command.action((options: Options & RawSettings) => mountOnce(options, deps));
}

async function mountOnce(options: Options & RawSettings, deps: MountDeps): Promise<void> {
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
  const spc = await readOneClass(options.file, options.class, { stdin: deps.stdin, notice });
  const tokens = await readPairs('--token', token);
  const secrets = await readPairs('--secret', secret);
  const namespace = options.namespace ?? (spc.namespace === '' ? 'default' : spc.namespace);
  const requester: Requester = { namespace, pod, serviceAccount, tokens, secrets };
  const volume =
    socket === undefined
      ? await mountInProcess(spc.provider, buildPipelineRequest(spc, requester), options, deps)
      : await mountOverSocket(socket, buildMountRequest(spc, requester), deps.stop);
  if (out !== undefined) await writeOutput(out, volume);
  deps.stdout.write(formatMount({ spc, requester, volume, out, show }, format));
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
    ...settings,
    providers: provider,
  };
  const { mount, close } = await inProcessMount(provider, completeSettings);
  try {
    const deadline = Date.now() + timeoutMs;
    const deadlineError = (): SecretError =>
      new SecretError('DEADLINE', `no response within ${timeoutMs / 1_000} s`);
    return await withTimeout(timeoutMs, stop, deadlineError, (signal) =>
      mount(request, { provider, signal, deadline }),
    );
  } finally {
    await close();
  }
}

/** Throws the status's name and text, or what the driver would reject in the response. */
async function mountOverSocket(
  socketPath: string,
  request: RawMountRequest,
  stop: AbortSignal,
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
        `cannot connect to ${sanitizeExternalText(socketPath)}: ${connectError}`,
        {
          hint: 'start the provider there, or give the path of its socket with --socket',
        },
      );
    throw new SecretError('INTERNAL', `${result.code}: ${statusText(result.message)}`);
  }
  const { error, files, objectVersion: versions } = result.response;
  if (error !== undefined && error.code !== '')
    throw new SecretError(
      'INTERNAL',
      `the provider responds with the error code ${sanitizeExternalText(error.code)}`,
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
      `--out ${sanitizeExternalText(directory)} cannot be written: ${sanitizeExternalText(code)}`,
      {
        hint: 'name a directory that you can write to',
        cause,
      },
    );
  }
}

/** A copy: an option keeps its help heading, and `serve` shows the same options without one. */
function copyOption({ flags, description, defaultValue, envVar }: Option): Option {
  const copy = new Option(flags, description).default(defaultValue);
  return envVar === undefined ? copy : copy.env(envVar);
}

function repeatable(flags: string, description: string): Option {
  return new Option(flags, `${description}; repeatable`).argParser(
    (value, previous: readonly string[] | undefined) => [...(previous ?? []), value],
  );
}
