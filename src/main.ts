import { Command, CommanderError } from 'commander';
import { describeOldNode } from './cli/node-version.ts';
import { separateShortFlags } from './formats/short-flags.ts';
import { SecretError, toSecretError } from './core/errors.ts';
import { statusText } from './core/safe-text.ts';

/** Defined by the build from package.json. */
declare const KEYFERRY_VERSION: string;
declare const KEYFERRY_MIN_NODE: string;

const oldNode = describeOldNode(process.versions.node, KEYFERRY_MIN_NODE);
if (oldNode !== undefined) {
  process.stderr.write(`keyferry: ${oldNode}\n`);
  process.exit(1);
}

const stop = new AbortController();

/**
 * How long a command may clean up after the first signal, in milliseconds. Servers have their own
 * limits. The other commands, which are not listed, end at once.
 */
const cleanupMs: Readonly<Record<string, number>> = { demo: 10_000, local: 1_000, mount: 1_000 };
const servers = ['serve', 'docker-agent'];

/** The first signal stops the command, the second ends the process. */
function onSignal(name: NodeJS.Signals): void {
  if (stop.signal.aborted) endBySignal(name);
  stop.abort(new SecretError('CANCELLED', `stopped by ${name}`));
  const command = process.argv[2] ?? '';
  if (!servers.includes(command))
    setTimeout(() => endBySignal(name), cleanupMs[command] ?? 0).unref();
}

/**
 * Ends the process by the signal itself: `process.exit` waits for threads, and one that opens a
 * FIFO waits for its writer.
 */
function endBySignal(name: NodeJS.Signals): void {
  process.removeAllListeners(name);
  process.kill(process.pid, name);
}

/**
 * An unhandled rejection is a defect. It is logged, and the process continues: ending it would drop
 * every mount in flight. The message is not logged, because it could hold a secret.
 */
function onUnhandledRejection(reason: unknown): void {
  const stack = reason instanceof Error ? (reason.stack ?? '') : '';
  const frames = stack.split('\n').filter((line) => /^\s+at /.test(line));
  process.stderr.write(
    `${JSON.stringify({ level: 'error', msg: 'unhandled rejection', stack: frames })}\n`,
  );
}

/**
 * EPIPE: the reader has closed the pipe (`keyferry demo | head`), so the command stops as it does
 * on a signal. After any other error output is lost, so the exit code is 1.
 */
function onStdoutError({ code = 'unknown error' }: NodeJS.ErrnoException): void {
  stop.abort(new SecretError('CANCELLED', 'the reader of the output has closed it'));
  if (code === 'EPIPE') return;
  process.stderr.write(
    `keyferry: the output cannot be written: ${code}; free space, or write it elsewhere\n`,
  );
  process.exitCode = 1;
}

function onFailure(error: unknown): void {
  // Commander has printed its own errors. Help and version come here too, with exit code 0.
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? 0 : 2;
    return;
  }
  process.stderr.write(`keyferry: ${statusText(toSecretError(error).summary)}\n`);
  process.exitCode = 1;
  // Handles that the failed command left open must not keep the process alive.
  setTimeout(() => process.exit(), 1_000).unref();
}

process.on('SIGTERM', onSignal);
process.on('SIGINT', onSignal);
process.on('SIGHUP', onSignal);
process.stdout.on('error', onStdoutError);
process.on('unhandledRejection', onUnhandledRejection);

const { env, stdin, stdout, stderr } = process;
const executable = { execPath: process.execPath, script: process.argv[1] ?? '' };
const commonDeps = { env, stdin, stdout, stderr, stop: stop.signal };

/** Every command. Modules are loaded on demand, so that `serve` needs less memory on every node. */
const commands: Readonly<Record<string, () => Promise<Command>>> = {
  serve: async () =>
    (await import('./cli/serve.ts')).serveCommand({ ...commonDeps, version: KEYFERRY_VERSION }),
  health: async () =>
    (await import('./cli/health.ts')).healthCommand({
      stdout,
      setExitCode: (code) => (process.exitCode = code),
    }),
  mount: async () => {
    const { createInProcessMount } = await import('./cli/mount/in-process.ts');
    return (await import('./cli/mount/command.ts')).mountCommand({
      ...commonDeps,
      inProcessMount: createInProcessMount(env),
    });
  },
  lint: async () => {
    const { loadPlanners } = await import('./cli/lint/command.ts');
    return (await import('./cli/lint/command.ts')).lintCommand({
      ...commonDeps,
      providers: loadPlanners,
      setExitCode: (code) => (process.exitCode = code),
    });
  },
  local: async () => (await import('./cli/local.ts')).localCommand(commonDeps),
  version: () =>
    Promise.resolve(
      new Command('version')
        .description('print the version')
        .action(() => void stdout.write(`${KEYFERRY_VERSION}\n`)),
    ),
  completion: async () =>
    (await import('./cli/completion/command.ts')).completionCommand({
      stdout,
      program: () => createProgram(Object.keys(commands)),
    }),
  'docker-agent': async () =>
    (await import('./cli/docker-agent.ts')).dockerAgentCommand({
      ...commonDeps,
      version: KEYFERRY_VERSION,
      script: executable.script,
    }),
  demo: async () =>
    (await import('./cli/demo/command.ts')).demoCommand({ ...commonDeps, executable }),
};

/**
 * Commander must not exit the process, and its errors name the help. Commands added later do not
 * inherit these settings.
 */
function configureErrors(command: Command, path: string): void {
  command.exitOverride().showHelpAfterError(`see ${path} --help`);
  // Commander answers `help` for an unknown command with the help of its parent, without a cause.
  command.addHelpText('after', ({ error }) => {
    const [first, name] = command.args;
    return error && first === 'help' && name !== undefined
      ? `\nerror: unknown command '${name}'`
      : '';
  });
  for (const subcommand of command.commands)
    configureErrors(subcommand, `${path} ${subcommand.name()}`);
}

/** The program with these commands. */
async function createProgram(names: readonly string[]): Promise<Command> {
  const program = new Command('keyferry')
    .description(
      'Carries secrets from the store where a team keeps them to the place where a program reads them.',
    )
    .version(KEYFERRY_VERSION)
    .enablePositionalOptions();
  for (const name of names) {
    const command = await commands[name]?.();
    if (command !== undefined) program.addCommand(command);
  }
  configureErrors(program, program.name());
  return program;
}

async function main(argv: readonly string[]): Promise<void> {
  const requestedName = argv[2] ?? '';
  const names = Object.hasOwn(commands, requestedName) ? [requestedName] : Object.keys(commands);
  await (await createProgram(names)).parseAsync(separateShortFlags(argv));
}

main(process.argv).catch(onFailure);
