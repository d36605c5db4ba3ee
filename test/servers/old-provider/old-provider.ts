import { existsSync } from 'node:fs';
import { buildGoProgram } from '../go-program.ts';
import { startProgram, type StartedProgram } from '../started-program.ts';

/** A vendor's provider that listens at `socketPath`. Told to end, it removes whatever socket lies there by then. */
export async function startOldProvider(socketPath: string): Promise<StartedProgram> {
  const program = await buildGoProgram({
    directory: import.meta.dirname,
    name: 'old-provider',
    target: '.',
  });
  return startProgram({ program, args: [socketPath], isReady: async () => existsSync(socketPath) });
}
