import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isVolumeName } from '../model/volumes.ts';

/**
 * The volumes that the engine has created. It asks for them by name after a restart of the agent,
 * and does not create them again. Each is an empty file, so nothing in it can break.
 */
export class CreatedVolumes {
  readonly #directory: string;
  readonly #names = new Set<string>();

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** @throws Error of the file system */
  async load(): Promise<void> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    for (const name of await readdir(this.#directory))
      if (isVolumeName(name)) this.#names.add(name);
  }

  has(name: string): boolean {
    return this.#names.has(name);
  }

  list(): readonly string[] {
    return [...this.#names];
  }

  /** @throws Error of the file system */
  async add(name: string): Promise<void> {
    if (this.#names.has(name)) return;
    await writeFile(join(this.#directory, name), '', { mode: 0o600 });
    this.#names.add(name);
  }

  async remove(name: string): Promise<void> {
    await rm(join(this.#directory, name), { force: true });
    this.#names.delete(name);
  }
}
