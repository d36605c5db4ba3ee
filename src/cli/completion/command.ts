import { Argument, Command } from 'commander';
import { bashScript } from './bash.ts';
import { fishScript } from './fish.ts';
import { toCommandNode } from './tree.ts';
import { zshScript } from './zsh.ts';

/** What {@link completionCommand} needs of the process. */
export type CompletionDeps = {
  /** The program with all its commands. */
  readonly program: () => Promise<Command>;
  readonly stdout: { write(text: string): unknown };
};

const scripts = { bash: bashScript, zsh: zshScript, fish: fishScript } as const;

/** `keyferry completion`: prints a script that completes the command line in a shell. */
export function completionCommand({ program, stdout }: CompletionDeps): Command {
  const shells = Object.keys(scripts);
  return new Command('completion')
    .description('print the script that completes the command line in a shell')
    .addArgument(new Argument('<shell>', 'for which shell').choices(shells))
    .addHelpText(
      'after',
      `
Examples:
  source <(keyferry completion bash)
  source <(keyferry completion zsh)
  keyferry completion fish | source`,
    )
    .action(async (shell: keyof typeof scripts) => {
      stdout.write(scripts[shell](toCommandNode(await program())));
    });
}
