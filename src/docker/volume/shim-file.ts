import { createHash } from 'node:crypto';
import { chmod, mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SecretError, fileProblemOf } from '../../core/errors.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';

/** Node's names of processors, and Go's. */
const architectures: Readonly<Record<string, string>> = { x64: 'amd64', arm64: 'arm64' };

/**
 * Copies the shim of this machine's processor into a directory on the volumes' file system. Each
 * volume has a link to this one copy.
 * @param shimDir where `make shim` has put it
 * @returns the path of the copy
 * @throws SecretError NOT_CONFIGURED
 */
export async function installShim(
  shimDir: string,
  directory: string,
  arch: string = process.arch,
): Promise<string> {
  const architecture = architectures[arch];
  if (architecture === undefined)
    throw new SecretError('NOT_CONFIGURED', `there is no shim for the processor ${arch}`, {
      hint: `run the agent on ${Object.values(architectures).join(' or ')}`,
    });
  const source = join(shimDir, `dso-shim-linux-${architecture}`);
  const program = await readFile(source).catch((cause: unknown) => {
    throw new SecretError(
      'NOT_CONFIGURED',
      `the shim ${sanitizeUserText(source)} cannot be read: ${fileProblemOf(cause)}`,
      {
        hint: 'build it with make shim, or name its directory: --shim-dir of the agent, DSO_SHIM_DIR in local mode',
        cause,
      },
    );
  });
  // A running container keeps the program that it was started with.
  const digest = createHash('sha256').update(program).digest('hex').slice(0, 16);
  const path = join(directory, `shim-${digest}`);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await writeFile(`${path}.tmp`, program);
  await chmod(`${path}.tmp`, 0o555);
  await rename(`${path}.tmp`, path);
  return path;
}
