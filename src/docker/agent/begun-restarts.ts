import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/**
 * The containers that the agent has begun to restart. If the engine or the agent is killed, or the
 * start fails, the agent owes the container its start: it has stopped it, and the engine starts
 * only what a restart policy says. Each is an empty file, so nothing in it can break.
 */
export class BegunRestarts {
  readonly #directory: string;
  /** The ids of those that are not under way any more. */
  readonly #owed = new Set<string>();

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Those of an earlier process are owed. @throws Error of the file system */
  async load(): Promise<void> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    for (const id of await readdir(this.#directory)) this.#owed.add(id);
  }

  /** The ids of the containers that are owed a start. */
  get owed(): ReadonlySet<string> {
    return this.#owed;
  }

  /** Runs a restart. The container is owed its start if that fails. */
  async run(id: string, restart: () => Promise<void>): Promise<void> {
    await writeFile(join(this.#directory, id), '', { mode: 0o600 });
    try {
      await restart();
    } catch (error) {
      this.#owed.add(id);
      throw error;
    }
    await this.settle(id);
  }

  /** To be called when a container runs, or is gone. */
  async settle(id: string): Promise<void> {
    this.#owed.delete(id);
    await rm(join(this.#directory, id), { force: true });
  }
}
