import { Command } from 'commander';
import { resolve } from 'node:path';
import { SecretError } from '../../core/errors.ts';
import type { StoreType } from '../../core/host-store.ts';
import { Installation, readProviderNames } from '../setup/installation.ts';
import { nodeFlags } from '../setup/unit.ts';
import { createRunProgram } from '../run-program.ts';
import type { CommandContext } from './context.ts';

type Options = {
  readonly providers: readonly StoreType[];
  readonly container?: true;
  readonly image: string;
  readonly runtime?: true;
  readonly dryRun?: true;
  readonly root: string;
};

/** What the commands that change the host get besides, in tests. */
export type HostOverrides = {
  readonly hostRoot?: string;
  readonly userId?: number;
  /** The program that runs the agent. Default: that of this process. */
  readonly node?: string;
};

/** Stores that cannot be read without more than their type. */
const needsInit: Partial<Readonly<Record<StoreType, string>>> = {
  vault: '--provider vault --vault-address URL',
  openbao: '--provider openbao --openbao-address URL',
  local: '--mode local',
};

/** `docker dso system setup`: installs the agent, the plugin and the shims. */
export function systemSetupCommand(
  { version, env, stdout, program }: CommandContext,
  { hostRoot = '/', userId = process.getuid?.(), node = process.execPath }: HostOverrides = {},
): Command {
  return new Command('setup')
    .option(
      '--providers <types>',
      'add these stores, with the identity of the host: huawei,aws',
      (text: string, before: readonly StoreType[]) => [...before, ...readProviderNames(text)],
      [] as readonly StoreType[],
    )
    .option('--container', 'run the agent as the container dso-container')
    .option('--image <image>', "the agent's image for --container", `keyferry-docker:${version}`)
    .option('--runtime', 'register the runtime of runtime: on in the engine')
    .option('--dry-run', 'print what would be done, and change nothing')
    .option('--root <dir>', 'install into the image of a host', hostRoot)
    .action(async ({ providers, container, image, runtime, dryRun, root }: Options) => {
      const isHost = resolve(root) === hostRoot;
      if (isHost && dryRun !== true) requireRoot(userId, 'setup');
      const installation = new Installation({
        ...{ root: resolve(root), hostRoot, program, node },
        run: createRunProgram(env),
      });
      const kind = await installation.kind(container === true);
      const addable = providers.filter((type) => needsInit[type] === undefined);
      for (const step of await installation.steps(
        ...([kind, addable, image, runtime === true] as const),
      )) {
        const isDone = await step.isDone();
        if (!isDone && dryRun !== true) await step.apply();
        const state = isDone ? 'found' : dryRun === true ? 'would do' : 'done';
        stdout.write(`${state.padEnd(9)}${step.title}\n`);
      }
      for (const type of providers) {
        const init = needsInit[type];
        if (init !== undefined) stdout.write(`next     sudo docker dso init ${init}\n`);
      }
      if (kind === 'other') {
        const { library, configFile } = installation.places;
        const words = [node, ...nodeFlags, `${library}/keyferry.js`, 'docker-agent'];
        stdout.write(
          'systemd does not run here. Let your init system start this before Docker, as root:\n' +
            `  ${words.join(' ')} --config ${configFile}\n` +
            'Or run the agent as a container: docker dso system setup --container\n',
        );
      }
      if (isHost) stdout.write('next     docker dso system doctor\n');
    });
}

/** @throws SecretError NOT_CONFIGURED */
export function requireRoot(userId: number | undefined, command: string): void {
  if (userId === 0) return;
  throw new SecretError('NOT_CONFIGURED', `system ${command} changes this host, so it needs root`, {
    hint: 'call it again with sudo; --dry-run shows what it does',
  });
}
