import { randomBytes } from 'node:crypto';
import { access, mkdir, readdir, symlink } from 'node:fs/promises';
import { connect } from 'node:net';
import { homedir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { SecretError } from '../../core/errors.ts';
import { DemoEnvironment, type DemoDeps, type Server, assertStep } from './environment.ts';
import { type Narrator, createNarrator } from './narrator.ts';

/** The files that `make demo-docker` builds beside this program. */
type BuiltFiles = { readonly plugin: string; readonly shims: string; readonly application: string };

/** The names of one run, so that two can run at once and nothing of the machine is touched. */
type Names = { readonly project: string; readonly driver: string; readonly image: string };

/**
 * `keyferry demo --docker`: a Compose application starts with its secrets, and nothing shows them.
 * It starts an agent of its own, with the embedded store.
 * @throws SecretError at the first step that fails, or for what the machine lacks
 */
export async function dockerDemo({ executable, env, stdout, stop }: DemoDeps): Promise<void> {
  const narrator = createNarrator(stdout, env);
  const built = findBuiltFiles(dirname(resolve(executable.script)));
  const environment = await DemoEnvironment.create(executable, env, stop);
  const id = randomBytes(4).toString('hex');
  const names = { project: `demo-${id}`, driver: `dso-demo-${id}`, image: `dso-demo:${id}` };
  try {
    await checkMachine(environment, built);
  } catch (error) {
    await environment.cleanUp();
    throw error;
  }
  let isClean = false;
  const cleanUpEngine = async (): Promise<void> => {
    if (!isClean) await removeFromEngine(environment, names);
    isClean = true;
  };
  try {
    narrator.print(`All files are in ${environment.dir}, which is removed at the end.`);
    const server = await runSteps(environment, narrator, built, names, env);
    // While the agent runs: without it, the engine waits 15 s for each volume.
    await cleanUpEngine();
    const code = await server.stop();
    assertStep(code === 0, 'the agent did not exit by itself');
  } finally {
    await cleanUpEngine();
    await environment.runCleanUp('umount', ['--lazy', volumesDirectory]);
    await environment.cleanUp();
  }
  narrator.print('', 'Done: every step succeeded, and everything is removed.');
  narrator.print(
    'Until Docker restarts, it waits 15 s for the volume driver of the demo in commands about volumes.',
  );
}

function findBuiltFiles(directory: string): BuiltFiles {
  return {
    plugin: join(directory, 'docker-dso'),
    shims: join(directory, 'shim'),
    application: join(directory, 'demo-app'),
  };
}

const lack = (what: string, remedy: string): SecretError =>
  new SecretError('NOT_CONFIGURED', `the demo needs ${what}`, { hint: remedy });

/** Finds out what the machine lacks. @throws SecretError with the first of it */
async function checkMachine(environment: DemoEnvironment, built: BuiltFiles): Promise<void> {
  for (const path of Object.values(built))
    if (!(await access(path).then(toTrue, toFalse)))
      throw lack(path, 'run it from the repository, which builds this: make demo-docker');
  const runs = (...args: readonly string[]): Promise<boolean> =>
    environment.runProgram('docker', args).then(toTrue, toFalse);
  if (!(await runs('--version'))) throw lack('Docker', 'install docker');
  if (!(await runs('compose', 'version')))
    throw lack('Docker Compose 2', 'install the package docker-compose-plugin');
  if (process.platform !== 'linux')
    throw lack(
      'Linux, because the agent mounts memory for the engine',
      'run it in a Linux machine',
    );
  if (process.getuid?.() !== 0)
    throw lack(
      'root, because its agent mounts memory and listens in /run/docker/plugins',
      // Not make: what root builds, the user could not build again.
      'sudo env "PATH=$PATH" node dist/keyferry.js demo --docker',
    );
  if (!(await runs('version')))
    throw lack('an engine that responds', 'start it, or see what `docker version` prints');
}

const toTrue = (): boolean => true;
const toFalse = (): boolean => false;

const volumesDirectory = 'volumes';
const localArgs = ['local', '--store', 'store.age', '--key', 'store.key'];

const hostConfig = `providers:
  local: {type: local, store_file: store.age, key_file: store.key}
`;

const composeFile = (project: string, image: string): string => `name: ${project}
services:
  app:
    image: ${image}
    environment:
      DB_HOST: postgres
      DB_USER: dso://shop/db#user
      DB_PASSWORD: dso://shop/db#password
`;

const absentSecret = (image: string): string => `services:
  other:
    image: ${image}
    environment:
      API_KEY: dso://shop/absent
`;

/** Shows everything, and leaves the agent running. */
async function runSteps(
  environment: DemoEnvironment,
  { step, command, shellCommand, show }: Narrator,
  built: BuiltFiles,
  { project, driver, image }: Names,
  env: DemoDeps['env'],
): Promise<Server> {
  const container = `${project}-app-1`;
  /** Runs a command of Docker, shows it as a user types it, and returns its output. */
  const docker = (args: string, exitCode = 0): Promise<string> => {
    shellCommand(`docker ${args}`);
    return environment.runProgram('docker', args.split(' '), { exitCode });
  };
  /** The same, through `grep`. */
  const dockerGrep = async (args: string, text: string): Promise<string> => {
    shellCommand(`docker ${args} | grep ${text}`);
    const output = await environment.runProgram('docker', args.split(' '));
    const found = output.split('\n').filter((line) => line.includes(text));
    show(found.length === 0 ? '(nothing)' : found.join('\n'));
    return found.join('\n');
  };
  const setPassword = async (password: string): Promise<void> => {
    const input = JSON.stringify({ user: 'shop', password });
    command([...localArgs, 'set', 'shop/db'], input);
    show(await environment.run([...localArgs, 'set', 'shop/db'], { input }));
  };

  step('Create a store, which is one encrypted file, and put a secret into it.');
  command([...localArgs, 'init']);
  show(await environment.run([...localArgs, 'init']));
  await setPassword('first-password');

  step('Start the agent. It reads the store, and gives containers their secrets in memory.');
  await environment.write('host.yaml', hostConfig);
  show(hostConfig);
  const server = await startAgent(environment, built, driver, command);
  show(`process ${server.pid} responds after ${server.startupMs} ms`);

  step('Make an image with one program. It has no shell and knows nothing of secrets.');
  await addPlugin(environment, built, env);
  const program = basename(built.application);
  await environment.runProgram('tar', [
    '-C',
    dirname(built.application),
    '-cf',
    'app.tar',
    program,
  ]);
  shellCommand(`docker import --change 'ENTRYPOINT ["/${program}"]' app.tar ${image}`);
  const entrypoint = `ENTRYPOINT ["/${program}"]`;
  await environment.runProgram('docker', ['import', '--change', entrypoint, 'app.tar', image]);

  step('Write a Compose file. Its references say which secrets the application needs.');
  await environment.write('compose.yaml', composeFile(project, image));
  show(composeFile(project, image));

  step('Start the application.');
  show(await docker('dso up -d'));

  step('The application has the secrets, and `docker exec` shows them.');
  show(await docker(`logs ${container}`));
  assertStep(
    (await dockerGrep(`exec ${container} env`, 'DB_PASSWORD')) === 'DB_PASSWORD=first-password',
    'the container does not have the secret',
  );

  step('Nothing else shows them: not inspect, not the log, not an export of the container.');
  for (const [shown, text] of [
    ['inspect', 'DB_PASSWORD'],
    ['inspect', 'first-password'],
    ['logs', 'first-password'],
    ['export', 'first-password'],
  ] as const)
    assertStep(
      (await dockerGrep(`${shown} ${container}`, text)) === '',
      `docker ${shown} shows ${text}`,
    );
  const status = await docker('dso inspect app');
  show(status);
  assertStep(status.includes('Secret injection status: ACTIVE'), 'the service is not active');

  step('Change the secret, and restart the application.');
  await setPassword('second-password');
  show(await docker('dso restart --timeout 1 app'));
  assertStep(
    (await dockerGrep(`exec ${container} env`, 'DB_PASSWORD')) === 'DB_PASSWORD=second-password',
    'the change does not arrive',
  );

  step('A secret that is absent: the container does not start, and the error says why.');
  await environment.write('absent.yaml', absentSecret(image));
  show(absentSecret(image));
  const failure = await docker('dso -f compose.yaml -f absent.yaml up -d', 1);
  show(failure);
  assertStep(failure.includes('shop/absent'), 'the error does not name the secret');

  step('Remove the application. Then stop the agent.');
  show(await docker('dso down --remove-orphans --timeout 1'));
  return server;
}

/** Removes what the engine has of the demo. Its volumes hold nothing, but they have names. */
async function removeFromEngine(
  environment: DemoEnvironment,
  { project, driver, image }: Names,
): Promise<void> {
  const docker = (...args: readonly string[]): Promise<string> =>
    environment.runCleanUp('docker', args);
  await docker('compose', '-p', project, 'down', '--remove-orphans', '--timeout', '1');
  const listed = await docker('volume', 'ls', '--quiet', '--filter', `driver=${driver}`);
  const volumes = listed.split('\n').filter((name) => name.includes(project));
  if (volumes.length > 0) await docker('volume', 'rm', ...volumes);
  await docker('image', 'rm', '--force', image);
}

/** Starts an agent with sockets and directories of its own. */
async function startAgent(
  environment: DemoEnvironment,
  { shims }: BuiltFiles,
  driver: string,
  command: Narrator['command'],
): Promise<Server> {
  const socketPath = join(environment.dir, 'agent.sock');
  environment.setVariable('DSO_AGENT_SOCKET', socketPath);
  environment.setVariable('DSO_VOLUME_DRIVER', driver);
  const args = [
    ...['docker-agent', '--config', 'host.yaml', '--socket', 'agent.sock'],
    ...['--plugin-socket', `/run/docker/plugins/${driver}.sock`],
    ...['--volumes-dir', join(environment.dir, volumesDirectory)],
    ...['--state-dir', 'state', '--shim-dir', shims],
    // Each start reads the store again, so that the demo need not wait for a refresh.
    ...['--refresh-interval', '0'],
  ];
  command(args);
  return environment.serve(args, () => accepts(socketPath));
}

function accepts(socketPath: string): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect(socketPath, () => {
      socket.destroy();
      done(true);
    }).on('error', () => done(false));
  });
}

/**
 * Lets `docker` find the plugin: its configuration is a copy of the user's, made of links, with one
 * plugin more.
 */
async function addPlugin(
  environment: DemoEnvironment,
  { plugin }: BuiltFiles,
  env: DemoDeps['env'],
): Promise<void> {
  const users = env.DOCKER_CONFIG ?? join(homedir(), '.docker');
  const config = join(environment.dir, 'docker');
  const plugins = 'cli-plugins';
  await mkdir(join(config, plugins), { recursive: true });
  for (const directory of ['', plugins])
    for (const name of await readdir(join(users, directory)).catch(() => []))
      if (![plugins, basename(plugin)].includes(name))
        await symlink(join(users, directory, name), join(config, directory, name));
  await symlink(plugin, join(config, plugins, basename(plugin)));
  environment.setVariable('DOCKER_CONFIG', config);
}
