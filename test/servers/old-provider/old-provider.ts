import { existsSync } from 'node:fs';
import { buildGoProgram } from '../go-program.ts';
import { startProgram, type StartedProgram } from '../started-program.ts';

/**
 * A provider of a vendor that listens at `socketPath`. When it stops, it removes any socket at that
 * path.
 */
export async function startOldProvider(socketPath: string): Promise<StartedProgram> {
  const program = await buildGoProgram({
    directory: import.meta.dirname,
    name: 'old-provider',
    target: '.',
  });
  return startProgram({ program, args: [socketPath], isReady: async () => existsSync(socketPath) });
}
