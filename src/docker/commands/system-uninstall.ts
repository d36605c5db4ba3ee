import { Command } from 'commander';
import { resolve } from 'node:path';
import { sanitizeUserText } from '../../core/safe-text.ts';
import { Installation } from '../setup/installation.ts';
import { createRunProgram } from '../run-program.ts';
import type { CommandContext } from './context.ts';
import { type HostOverrides, requireRoot } from './system-setup.ts';

/** `docker dso system uninstall`: removes what `system setup` has installed. */
export function systemUninstallCommand(
  { env, stdout, stderr, program, agent }: CommandContext,
  { hostRoot = '/', userId = process.getuid?.() }: HostOverrides = {},
): Command {
  return new Command('uninstall')
    .option('--dry-run', 'print what would be removed, and change nothing')
    .option('--root <dir>', 'remove it from the image of a host', hostRoot)
    .action(async ({ dryRun, root }: { readonly dryRun?: true; readonly root: string }) => {
      const isHost = resolve(root) === hostRoot;
      if (isHost && dryRun !== true) requireRoot(userId, 'uninstall');
      if (isHost) {
        const services = await agent.services().catch(() => []);
        const inUse = services.filter(({ mounts }) => mounts > 0);
        const names = inUse.map(({ project, service }) => `${project}/${service}`);
        if (names.length > 0)
          stderr.write(
            `note: these services have secrets; they run on, and do not start again without the agent: ${sanitizeUserText(names.join(', '))}\n`,
          );
      }
      const installation = new Installation({
        ...{ root: resolve(root), hostRoot, program, node: process.execPath },
        run: createRunProgram(env),
      });
      const { configDirectory, stateDirectory } = installation.places;
      const removals = installation.removals();
      // All are looked at first: the last file of a unit takes the reason to reload with it.
      const present = await Promise.all(removals.map((removal) => removal.isThere()));
      for (const [index, removal] of removals.entries()) {
        if (present[index] !== true) continue;
        const isGone = dryRun === true || (await removal.remove());
        const verb = dryRun === true ? 'would remove' : 'removed';
        if (isGone) stdout.write(`${verb}  ${removal.title}\n`);
      }
      if (!present.includes(true)) stdout.write('there is nothing to remove\n');
      stdout.write(
        `kept     ${configDirectory} and ${stateDirectory}: configuration, credentials, names of secrets; remove them by hand\n`,
      );
    });
}
