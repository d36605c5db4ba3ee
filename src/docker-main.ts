import { describeOldNode } from './cli/node-version.ts';
import { SecretError, errorCodeOf, toSecretError } from './core/errors.ts';
import { escapeUnprintable, sanitizeUserText } from './core/safe-text.ts';
import type { Mode, SecretReader } from './docker/agent-api.ts';
import type { CommandContext } from './docker/commands/context.ts';
import { helpText, isOwnCommand } from './docker/commands/help.ts';
import { commands } from './docker/commands/index.ts';
import { type CommandLine, readCommandLine } from './docker/compose/command-line.ts';
import { Docker } from './docker/compose/docker.ts';
import { isOn } from './docker/compose/flags.ts';
import { nearestName } from './formats/suggest.ts';

/** Defined by the build from package.json. */
declare const KEYFERRY_VERSION: string;
declare const KEYFERRY_MIN_NODE: string;

/** Commands of Compose that create containers: they get secrets. */
const startCommands = new Set(['create', 'run', 'scale', 'up', 'watch']);

/** Other commands of Compose, only to explain a command that there is not. */
const otherCommands = [
  ...['attach', 'build', 'commit', 'config', 'convert', 'cp', 'down', 'events', 'exec', 'export'],
  ...['images', 'kill', 'logs', 'ls', 'pause', 'port', 'ps', 'publish', 'pull', 'push', 'restart'],
  ...['rm', 'start', 'stats', 'stop', 'top', 'unpause', 'version', 'volumes', 'wait'],
];

/** How Docker ends if it does not understand its flags. */
const usageError = 125;

const { env, stdin, stdout, stderr } = process;
const outputEnd = new AbortController();

function dockerFor(line: CommandLine): Docker {
  const hasTerminal = [stdin, stdout, stderr].some(({ isTTY }) => isTTY);
  return new Docker({ flags: line.docker, env, hasTerminal });
}

/** Loads the code that talks to the agent, which most commands of Compose do not need. */
async function contextOf(line: CommandLine, docker: Docker): Promise<CommandContext> {
  const mode = modeOf(line);
  const program = process.argv[1] ?? '';
  const openLocal = async (): Promise<SecretReader> =>
    (await import('./app/docker-local.ts')).composeLocalReader({
      ...{ version: KEYFERRY_VERSION, env, docker, program, stderr },
    });
  const openAgent = async (): Promise<SecretReader> =>
    new (await import('./docker/commands/agent-client.ts')).AgentClient(env);
  return {
    ...{ version: KEYFERRY_VERSION, env, cwd: process.cwd(), stdin, stdout, stderr, line, docker },
    agent: mode === 'local' ? await openLocal() : await openAgent(),
    ...{ mode, openLocal, program, calledAs: line.isPlugin ? 'docker dso' : program },
    outputEnd: outputEnd.signal,
    makeLocalStore: async (paths) => (await import('./app/local-store.ts')).makeLocalStore(paths),
    addLocalSecrets: async (paths, secrets) =>
      (await import('./app/local-store.ts')).addLocalSecrets(paths, secrets),
    setExitCode: (code) => (process.exitCode = code),
  };
}

/** @throws SecretError INVALID_REQUEST for a mode that does not exist */
function modeOf({ mode }: CommandLine): Mode | undefined {
  const chosen = mode ?? env.DSO_MODE ?? '';
  if (chosen === '') return undefined;
  if (chosen === 'agent' || chosen === 'local') return chosen;
  const name = mode === undefined ? 'DSO_MODE' : '--mode';
  throw new SecretError('INVALID_REQUEST', `${name} cannot be ${sanitizeUserText(chosen)}`, {
    hint: 'write local for starts without an agent, or agent',
  });
}

/** Commands of Compose that need nothing of ours run as they are. */
async function passThrough(line: CommandLine, command: string, docker: Docker): Promise<number> {
  const words = line.compose.flatMap((part) => part.words);
  const code = await docker.run(['compose', ...words, command, ...line.args]);
  // Without Compose, Docker takes the flags of Compose for its own.
  if (code === usageError) await (await import('./docker/compose/model.ts')).checkCompose(docker);
  const known = [...startCommands, ...otherCommands];
  const names = [...known, ...commands.map(({ name }) => name.split(' ')[0] ?? name)];
  const nearest = code === 0 || known.includes(command) ? undefined : nearestName(command, names);
  if (nearest !== undefined)
    stderr.write(
      `docker dso: ${sanitizeUserText(command)} is neither a command of docker dso nor one of Compose that it knows; did you mean ${nearest}?\n`,
    );
  return code;
}

/** @returns the exit code; undefined if the command has set it */
async function main(words: readonly string[]): Promise<number | undefined> {
  const line = readCommandLine(words);
  const { command, compose } = line;
  const isHelp = command === undefined || (command === 'help' && line.args.length === 0);
  if (isOn(compose, 'version') || command === 'version') {
    stdout.write(`docker dso version ${KEYFERRY_VERSION}\n`);
    return 0;
  }
  if (isHelp || isOn(compose, 'help')) {
    stdout.write(helpText());
    return 0;
  }
  const unknown = compose.find((part) => part.unknown === true && part.value === undefined);
  if (unknown !== undefined)
    // What follows could be its value or the command.
    throw new SecretError(
      'INVALID_REQUEST',
      `the flag ${sanitizeUserText(unknown.words.join(' '))} before the command is not known`,
      { hint: `write its value with it: --${sanitizeUserText(unknown.flag ?? '')}=VALUE` },
    );
  const docker = dockerFor(line);
  if (startCommands.has(command)) {
    const { start } = await import('./docker/commands/start.ts');
    return start(await contextOf(line, docker));
  }
  if (command === 'down') {
    const { down } = await import('./docker/commands/down.ts');
    return down(await contextOf(line, docker));
  }
  if (command === 'exec') {
    const { withShim } = await import('./docker/commands/exec.ts');
    return passThrough(await withShim(line, docker), command, docker);
  }
  if (command === 'ps') {
    const [code, { reportFailures }] = await Promise.all([
      passThrough(line, command, docker),
      import('./docker/commands/ps.ts'),
    ]);
    return (await reportFailures(await contextOf(line, docker))) && code === 0 ? 1 : code;
  }
  if (!isOwnCommand(command, line.args)) return passThrough(line, command, docker);
  const { runOwn } = await import('./docker/commands/run-own.ts');
  await runOwn(await contextOf(line, docker));
  return undefined;
}

function onFailure(error: unknown): void {
  // Commander has printed its own errors. Help comes here too, with exit code 0.
  if ((errorCodeOf(error) ?? '').startsWith('commander.')) {
    const { exitCode } = error as { readonly exitCode?: number };
    process.exitCode = exitCode === 0 ? 0 : 2;
    return;
  }
  const { summary } = toSecretError(error);
  stderr.write(`docker dso: ${escapeUnprintable(summary)}\n`);
  // A command may have said which code its failure has.
  process.exitCode ??= 1;
  // Handles that the failed command left open must not keep the process alive.
  setTimeout(() => process.exit(), 1_000).unref();
}

const oldNode = describeOldNode(process.versions.node, KEYFERRY_MIN_NODE);
if (oldNode === undefined)
  main(process.argv.slice(2)).then((code) => {
    if (code !== undefined) process.exitCode = code;
  }, onFailure);
else onFailure(new SecretError('NOT_CONFIGURED', oldNode));

// The reader of the output may leave: docker dso secret list | head.
stdout.on('error', () => outputEnd.abort());
