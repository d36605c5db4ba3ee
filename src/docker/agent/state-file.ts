import { randomBytes } from 'node:crypto';
import { mkdir, open, readFile, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Logger } from 'pino';
import { errorCodeOf } from '../../core/errors.ts';

/** Reads a document, or throws. */
export type Decode<T> = (json: unknown) => T;

/**
 * A directory with a JSON document in each file `NAME.json`. A document is replaced by a rename, so
 * that a killed process leaves the old one or the new one.
 */
export class StateDirectory<T> {
  readonly #directory: string;
  readonly #decode: Decode<T>;
  readonly #log: Logger;

  constructor(directory: string, { decode, log }: { decode: Decode<T>; log: Logger }) {
    this.#directory = directory;
    this.#decode = decode;
    this.#log = log;
  }

  /**
   * All documents by name. A broken one is reported and set aside as `NAME.json.broken`.
   * @throws Error of the file system if the directory cannot be read
   */
  async load(): Promise<ReadonlyMap<string, T>> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    const documents = new Map<string, T>();
    for (const file of (await readdir(this.#directory)).sort()) {
      const path = join(this.#directory, file);
      // What a killed process was writing.
      if (file.endsWith('.tmp')) await rm(path, { force: true });
      const [, name] = /^(.+)\.json$/.exec(file) ?? [];
      if (name === undefined) continue;
      try {
        documents.set(name, this.#decode(JSON.parse(await readFile(path, 'utf8'))));
      } catch (thrown) {
        await this.#setAside(path, thrown);
      }
    }
    return documents;
  }

  /** @throws Error of the file system */
  async save(name: string, document: T): Promise<void> {
    const path = this.#pathOf(name);
    const temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`;
    try {
      const handle = await open(temporary, 'wx', 0o600);
      try {
        await handle.writeFile(JSON.stringify(document));
        await handle.sync();
      } finally {
        await handle.close();
      }
      await rename(temporary, path);
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
    await syncDirectory(dirname(path));
  }

  async remove(name: string): Promise<void> {
    await rm(this.#pathOf(name), { force: true });
  }

  #pathOf(name: string): string {
    return join(this.#directory, `${name}.json`);
  }

  async #setAside(path: string, thrown: unknown): Promise<void> {
    const aside = `${path}.broken`;
    await rename(path, aside);
    this.#log.error(
      { file: aside, code: errorCodeOf(thrown) },
      'a file of the state cannot be used and is set aside: run docker dso up again in the directory of the project',
    );
  }
}

async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
