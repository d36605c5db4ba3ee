import { Command, Option } from 'commander';
import { withTimeout } from '../../concurrency/single-flight.ts';
import { type RawSettings, settingFlags } from '../../config/settings.ts';
import { SecretError } from '../../core/errors.ts';
import { sanitizeExternalText, statusText } from '../../core/safe-text.ts';
import { DriverClient } from '../../csi/client.ts';
import type { Mount } from '../../mount/mount.ts';
import type { RawMountRequest } from '../../csi/mount-request.ts';
import type { MountRequest, Volume } from '../../mount/types.ts';
import { formatMount, mountFormats } from './format.ts';
import { readOneClass, readPairs } from './input.ts';
import { type Requester, buildMountRequest, buildPipelineRequest } from './request.ts';
import { writeVolume } from './volume-writer.ts';

/** What {@link mountCommand} needs of the process. */
export type MountDeps = {
  readonly inProcessMount: InProcessMount;
  readonly stdin: AsyncIterable<Buffer>;
  readonly stdout: { write(text: string): unknown };
  /** Fires when the process is told to end. */
  readonly stop: AbortSignal;
};

/** Makes, inside this process, the walk that serves a provider, out of settings as `serve` takes them. `close` ends what it keeps open. */
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
/** Settings that say something of a server, not of a mount. */
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

/** `keyferry mount`: one mount as the driver would do it. Its action throws SecretError. */
export function mountCommand(deps: MountDeps): Command {
  const command = new Command('mount')
    .description('mount a class once, as the driver would, and show what came of it')
    .requiredOption(
      '-f, --file <file>',
      'YAML or JSON with the SecretProviderClass, or - for standard input',
    )
    .option('--class <name>', 'which class, if the file holds several')
    .option('--namespace <name>', 'namespace of the pod (default: that of the class, or "default")')
    .option('--pod <name>', 'name of the pod', 'keyferry-mount')
    .option('--service-account <name>', 'service account of the pod', 'default')
    .addOption(
      repeatable('--token <audience=file>', 'a token that the pod brings, by its audience'),
    )
    .addOption(repeatable('--secret <key=file>', 'a key of its nodePublishSecretRef'))
    .option(
      '--socket <path>',
      'ask the provider that listens there, instead of working in this process',
    )
    .option('--out <dir>', 'write the volume there, as the driver does; once more, as it rotates')
    .option('--show', 'print the values too')
    .addOption(
      new Option('--format <format>', 'how to print').choices(mountFormats).default('text'),
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
  const spc = await readOneClass(options.file, options.class, deps.stdin);
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
      new SecretError('DEADLINE', `no answer within ${timeoutMs / 1_000} s`);
    return await withTimeout(timeoutMs, stop, deadlineError, (signal) =>
      mount(request, { provider, signal, deadline }),
    );
  } finally {
    await close();
  }
}

/** Fails with the status's name and text, or with what the driver would refuse in the answer. */
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
          hint: 'start the provider there, or name its socket with --socket',
        },
      );
    throw new SecretError('INTERNAL', `${result.code}: ${statusText(result.message)}`);
  }
  const { error, files, objectVersion: versions } = result.response;
  if (error !== undefined && error.code !== '')
    throw new SecretError(
      'INTERNAL',
      `the provider answers with the error code ${sanitizeExternalText(error.code)}`,
    );
  if (versions.length === 0)
    throw new SecretError(
      'INTERNAL',
      'the provider answers without versions, which the driver refuses',
    );
  return { files, versions };
}

async function writeOutput(directory: string, volume: Volume): Promise<void> {
  try {
    await writeVolume(directory, volume);
  } catch (cause) {
    if (cause instanceof SecretError) throw cause;
    const { code = 'unknown error' } = cause as NodeJS.ErrnoException;
    throw new SecretError(
      'INVALID_REQUEST',
      `--out ${sanitizeExternalText(directory)} cannot be written: ${sanitizeExternalText(code)}`,
      {
        hint: 'name a directory that you may write',
        cause,
      },
    );
  }
}

/** An option keeps the heading it is shown under, and `serve` shows the same ones under its own. */
function copyOption({ flags, description, defaultValue, envVar }: Option): Option {
  const copy = new Option(flags, description).default(defaultValue);
  return envVar === undefined ? copy : copy.env(envVar);
}

function repeatable(flags: string, description: string): Option {
  return new Option(flags, `${description}; repeatable`).argParser(
    (value, previous: readonly string[] | undefined) => [...(previous ?? []), value],
  );
}
