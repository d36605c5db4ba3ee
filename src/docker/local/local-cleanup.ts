import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { SecretReader } from '../agent-api.ts';
import type { Environment } from '../compose/docker.ts';
import { isVolumeOf } from '../model/volumes.ts';
import { findLocalPlaces, lockPlaces } from './user-places.ts';

/** What `docker dso down` does of local mode. It reads no configuration, and opens no store. */
export class LocalCleanup implements Pick<SecretReader, 'deleteProject' | 'mayHaveProjects'> {
  readonly #env: Environment;

  constructor(env: Environment) {
    this.#env = env;
  }

  /** Whether local mode has written something that is still there. */
  async mayHaveProjects(): Promise<boolean> {
    const places = await findLocalPlaces(this.#env);
    return places !== undefined && (await namesIn(places.volumes)).length > 0;
  }

  /** Removes what a project's containers have mounted. They cannot start again then. */
  async deleteProject(project: string): Promise<void> {
    const places = await findLocalPlaces(this.#env);
    if (places === undefined) return;
    await lockPlaces(places).run(async () => {
      for (const directory of [places.volumes, places.records])
        for (const name of await namesIn(directory))
          if (isVolumeOf(project, name))
            await rm(join(directory, name), { recursive: true, force: true });
    });
  }
}

function namesIn(directory: string): Promise<readonly string[]> {
  return readdir(directory).catch(() => []);
}
