import type { Docker, Environment } from '../compose/docker.ts';
import { checkEngineIsHere } from '../local/engine-here.ts';
import { prepareLocalPlaces } from '../local/user-places.ts';
import { type Finding, failedBy, fine } from './findings.ts';
import { checkVolumes } from './host.ts';

/** What local mode needs instead of an agent: an engine of this machine, a tmpfs of the user. */
export async function checkLocal(
  docker: Pick<Docker, 'capture'>,
  env: Environment,
): Promise<readonly Finding[]> {
  const mode = fine('mode', 'local, without an agent', 'nothing rotates secrets');
  return [mode, await checkEnginePlace(docker), await checkTmpfs(env)];
}

async function checkEnginePlace(docker: Pick<Docker, 'capture'>): Promise<Finding> {
  const name = 'engine place';
  try {
    await checkEngineIsHere(docker);
    return fine(name, 'this machine');
  } catch (thrown) {
    return failedBy(name, thrown);
  }
}

async function checkTmpfs(env: Environment): Promise<Finding> {
  try {
    const { volumes } = await prepareLocalPlaces(env);
    return await checkVolumes({ volumesDirectory: volumes });
  } catch (thrown) {
    return failedBy('tmpfs', thrown);
  }
}
