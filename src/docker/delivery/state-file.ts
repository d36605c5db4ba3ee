import { randomBytes } from 'node:crypto';
import { mkdir, readFile, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { errorCodeOf } from '../../core/errors.ts';
import { replaceFile } from '../../files/replace-file.ts';

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
    const unfinished = `${path}.${randomBytes(6).toString('hex')}.tmp`;
    await replaceFile(path, JSON.stringify(document), { mode: 0o600, unfinished });
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
