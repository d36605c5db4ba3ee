import { Command } from 'commander';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { SecretError } from '../../core/errors.ts';
import { type Self, type Stage, setStage } from './environment.ts';
import { type Teller, createTeller, grants, secretProviderClass, wrongClass } from './narrator.ts';
import { createDemoPod } from './pod.ts';

/** What {@link demoCommand} needs of the process. */
export type DemoDeps = {
  readonly self: Self;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdout: { write(text: string): unknown; readonly isTTY?: boolean };
  /** Fires when the process is told to end: the demo clears up and ends. */
  readonly stop: AbortSignal;
};

/** `keyferry demo`: a secret's whole way, without cloud or cluster. Its action throws SecretError at the first step that goes wrong. */
export function demoCommand(deps: DemoDeps): Command {
  return new Command('demo')
    .description('see a secret travel from an embedded store into a volume, without cloud or cluster')
    .action(() => demo(deps));
}

async function demo({ self, env, stdout, stop }: DemoDeps): Promise<void> {
  const teller = createTeller(stdout);
  const stage = await setStage(self, env, stop);
  try {
    teller.say(`Everything happens in ${stage.dir}, which is removed at the end.`);
    await play(stage, teller, stop);
  } finally {
    await stage.clear();
  }
  teller.say('', 'Done: every step did what it should, and nothing of it is left.');
}

const local = ['local', '--store', 'store.age', '--key', 'store.key'];
const serve = [
  ...['serve', '--providers', 'local', '--providers-dir', 'sockets', '--health-address', '127.0.0.1:0'],
  ...['--local-store', 'store.age', '--local-key', 'store.key'],
  // Asked again at each mount, so that nobody has to wait for the demo's second half.
  ...['--shared-identity-grants', 'grants.yaml', '--refresh-interval', '0'],
];

async function play(stage: Stage, { step, command, show }: Teller, stop: AbortSignal): Promise<void> {
  const run = async (args: readonly string[], options: Parameters<Stage['run']>[1] = {}): Promise<void> => {
    command(args, options.input);
    show(await stage.run(args, options));
  };

  step('Make a store: one file, encrypted with age, and its key.');
  await run([...local, 'init']);

  step('Put two secrets into it.');
  await run([...local, 'set', 'shop/db'], { input: '{"user":"shop","password":"first"}' });
  await run([...local, 'set', 'shop/api-key'], { input: 'key-of-the-shop' });

  step('Grant them to a service account of namespace shop: nobody else is served.');
  await stage.write('grants.yaml', grants);
  show(grants);

  step('Write a SecretProviderClass, as a cluster would hold it, and check it.');
  await stage.write('class.yaml', secretProviderClass);
  show(secretProviderClass);
  await run(['lint', 'class.yaml']);

  step("Start Keyferry. It answers on the socket where the driver looks for provider local's.");
  await mkdir(join(stage.dir, 'sockets'), { mode: 0o700 });
  command(serve);
  const server = await stage.serve(serve, 'sockets/local.sock');
  show(`process ${server.pid} answers after ${server.startedIn} ms`);

  step('Play the driver: a pod of namespace shop starts and asks for its volume.');
  const { socketPath } = server;
  const pod = createDemoPod({ socketPath, stop, namespace: 'shop', directory: join(stage.dir, 'volume') });
  const first = await pod.mount(secretProviderClass);
  show(first.shown);
  check(first.code === 'OK' && first.shown.includes('v1'), 'the first mount fails');

  step('The volume, as the driver writes it: files appear all at once, by one swap of ..data.');
  show(await pod.list(), '', `db/password holds: ${await pod.read('db/password')}`);
  check((await pod.read('db/password')) === 'first', 'the volume does not hold the secret');

  step('Change the secret while the pod runs.');
  await run([...local, 'set', 'shop/db'], { input: '{"user":"shop","password":"second"}' });

  step(
    'Some time later the driver asks again: the new value and its version arrive, the rest stays as it is.',
  );
  const second = await pod.mount(secretProviderClass);
  show(second.shown, '', `db/password holds: ${await pod.read('db/password')}`);
  check(
    second.shown.includes('v2') && (await pod.read('db/password')) === 'second',
    'the change does not arrive',
  );

  step('A class with mistakes: lint names every one, the pod waits and its event names the worst.');
  await stage.write('wrong.yaml', wrongClass);
  await run(['lint', 'wrong.yaml'], { exitCode: 1 });
  const wrong = await pod.mount(wrongClass);
  show(wrong.shown);
  check(wrong.code === 'INVALID_ARGUMENT', 'a wrong class is not refused');
  check((await pod.read('db/password')) === 'second', 'a refusal touched the files of a running pod');

  step('A pod of another namespace asks for the same secrets.');
  const stranger = createDemoPod({
    socketPath,
    stop,
    namespace: 'other',
    directory: join(stage.dir, 'never'),
  });
  const refused = await stranger.mount(secretProviderClass);
  show(refused.shown);
  check(refused.code === 'PERMISSION_DENIED', 'a stranger is not refused');

  step('Stop Keyferry: it answers what is under way, removes its socket and ends.');
  const code = await server.end();
  show(`it ended with code ${code ?? 'none'}`);
  check(code === 0, 'Keyferry did not end by itself');
}

function check(right: boolean, wrong: string): void {
  if (!right) throw new SecretError('INTERNAL', `the demo went wrong: ${wrong}`);
}
