import { Command } from 'commander';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { isServing } from '../../csi/client.ts';
import { DemoEnvironment, type DemoDeps, assertStep } from './environment.ts';
import {
  type Narrator,
  createNarrator,
  grants,
  secretProviderClass,
  invalidClass,
} from './narrator.ts';
import { DemoPod } from './pod.ts';

/**
 * `keyferry demo`: shows how a secret gets into a volume, without cloud or cluster. Its action
 * throws SecretError at the first step that fails.
 */
export function demoCommand(deps: DemoDeps): Command {
  return new Command('demo')
    .description(
      'show how a secret gets from an embedded store into a volume, without cloud or cluster',
    )
    .option('--docker', 'show `docker dso` with a Compose application instead')
    .action(async ({ docker = false }: { docker?: boolean }) => {
      if (!docker) return demo(deps);
      const { dockerDemo } = await import('./docker.ts');
      return dockerDemo(deps);
    });
}

async function demo({ executable, env, stdout, stop }: DemoDeps): Promise<void> {
  const narrator = createNarrator(stdout, env);
  const environment = await DemoEnvironment.create(executable, env, stop);
  try {
    narrator.print(`All files are in ${environment.dir}, which is removed at the end.`);
    await runSteps(environment, narrator, stop);
  } finally {
    await environment.cleanUp();
  }
  narrator.print('', 'Done: every step succeeded, and everything is removed.');
}

const localArgs = ['local', '--store', 'store.age', '--key', 'store.key'];
const serveArgs = [
  ...[
    'serve',
    '--providers',
    'local',
    '--providers-dir',
    'sockets',
    '--health-address',
    '127.0.0.1:0',
  ],
  ...['--local-store', 'store.age', '--local-key', 'store.key'],
  // Each mount reads the store again, so that the demo need not wait for a refresh.
  ...['--shared-identity-grants', 'grants.yaml', '--refresh-interval', '0'],
];

async function runSteps(
  environment: DemoEnvironment,
  { step, command, show }: Narrator,
  stop: AbortSignal,
): Promise<void> {
  const runCommand = async (
    args: readonly string[],
    options: { readonly input?: string; readonly exitCode?: number } = {},
  ): Promise<void> => {
    command(args, options.input);
    show(await environment.run(args, options));
  };

  step('Create a store: one file, encrypted with age, and its key.');
  await runCommand([...localArgs, 'init']);

  step('Put two secrets into it.');
  await runCommand([...localArgs, 'set', 'shop/db'], {
    input: '{"user":"shop","password":"first"}',
  });
  await runCommand([...localArgs, 'set', 'shop/api-key'], { input: 'key-of-the-shop' });

  step('Grant them to a service account of namespace shop. No other account can read them.');
  await environment.write('grants.yaml', grants);
  show(grants);

  step('Write a SecretProviderClass, as in a cluster, and check it.');
  await environment.write('class.yaml', secretProviderClass);
  show(secretProviderClass);
  await runCommand(['lint', 'class.yaml']);

  step('Start Keyferry. It listens on the socket of provider local, where the driver connects.');
  await mkdir(join(environment.dir, 'sockets'), { mode: 0o700 });
  command(serveArgs);
  const socketPath = join(environment.dir, 'sockets/local.sock');
  const server = await environment.serve(serveArgs, () => isServing(socketPath));
  show(`process ${server.pid} responds after ${server.startupMs} ms`);

  step('Act as the driver: a pod of namespace shop starts and needs its volume.');
  const pod = new DemoPod({
    socketPath,
    stop,
    namespace: 'shop',
    directory: join(environment.dir, 'volume'),
  });
  const firstMount = await pod.mount(secretProviderClass);
  show(firstMount.output);
  assertStep(firstMount.code === 'OK' && firstMount.output.includes('v1'), 'the first mount fails');

  step('The volume, as the driver writes it: all files appear at once, by one swap of ..data.');
  show(await pod.list(), '', `db/password holds: ${await pod.read('db/password')}`);
  assertStep((await pod.read('db/password')) === 'first', 'the volume does not hold the secret');

  step('Change the secret while the pod runs.');
  await runCommand([...localArgs, 'set', 'shop/db'], {
    input: '{"user":"shop","password":"second"}',
  });

  step(
    'Later the driver mounts again: the new value and its version arrive, the other files stay.',
  );
  const secondMount = await pod.mount(secretProviderClass);
  show(secondMount.output, '', `db/password holds: ${await pod.read('db/password')}`);
  assertStep(
    secondMount.output.includes('v2') && (await pod.read('db/password')) === 'second',
    'the change does not arrive',
  );

  step(
    'A class with mistakes: lint lists all of them, and the pod waits with an event about the worst.',
  );
  await environment.write('wrong.yaml', invalidClass);
  await runCommand(['lint', 'wrong.yaml'], { exitCode: 1 });
  const invalidMount = await pod.mount(invalidClass);
  show(invalidMount.output);
  assertStep(invalidMount.code === 'INVALID_ARGUMENT', 'a wrong class is not rejected');
  assertStep(
    (await pod.read('db/password')) === 'second',
    'a failed mount changed the files of a running pod',
  );

  step('A pod of another namespace requests the same secrets.');
  const otherPod = new DemoPod({
    socketPath,
    stop,
    namespace: 'other',
    directory: join(environment.dir, 'never'),
  });
  const deniedMount = await otherPod.mount(secretProviderClass);
  show(deniedMount.output);
  assertStep(deniedMount.code === 'PERMISSION_DENIED', 'a pod without a grant is not denied');

  step('Stop Keyferry: it finishes the mounts in flight, removes its socket and exits.');
  const code = await server.stop();
  show(`it exited with code ${code ?? 'none'}`);
  assertStep(code === 0, 'Keyferry did not exit by itself');
}
