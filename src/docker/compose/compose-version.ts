import type { Docker } from './docker.ts';

/** Older versions print a model that cannot be given back to them. */
export const oldestCompose = '2.20';

/** The version of Compose that Docker has as a plugin; undefined if it has none. */
export async function findCompose(
  docker: Pick<Docker, 'capture'>,
): Promise<{ readonly version: string; readonly isTooOld: boolean } | undefined> {
  const { code, stdout } = await docker.capture(['compose', 'version', '--short']);
  const version = stdout.trim();
  if (code !== 0 || !/^v?\d/.test(version)) return undefined;
  const [major = 0, minor = 0] = version.replace(/^v/, '').split('.').map(Number);
  const [oldMajor = 0, oldMinor = 0] = oldestCompose.split('.').map(Number);
  return { version, isTooOld: major < oldMajor || (major === oldMajor && minor < oldMinor) };
}
