import { randomUUID } from 'node:crypto';
import { readFile, readdir, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { SecretError } from '../../core/errors.ts';
import { statusText } from '../../core/safe-text.ts';
import { DriverClient } from '../../csi/client.ts';
import { readClassFile } from '../lint/class-file.ts';
import { volumeTable } from '../mount/format.ts';
import { type Requester, buildMountRequest } from '../mount/request.ts';
import { writeVolume } from '../../mount/volume-writer.ts';

/** What {@link DemoPod} needs. */
export type DemoPodOptions = {
  readonly socketPath: string;
  readonly namespace: string;
  /** Its volume. */
  readonly directory: string;
  readonly stop: AbortSignal;
};

/** A pod with one volume, and the driver that mounts it. */
export class DemoPod {
  readonly #options: DemoPodOptions;
  readonly #requester: Requester;

  constructor(options: DemoPodOptions) {
    this.#options = options;
    const { namespace } = options;
    this.#requester = { namespace, pod: 'web-1', serviceAccount: 'web', uid: randomUUID() };
  }

  /**
   * Mounts the volume, first or again. Returns a table of its files, or the status that the driver
   * shows in the pod's events.
   */
  async mount(classText: string): Promise<{ readonly code: string; readonly output: string }> {
    const { socketPath, directory, stop } = this.#options;
    const [spc] = readClassFile('class.yaml', classText).classes;
    if (spc === undefined) throw new SecretError('INTERNAL', 'the demo has no class');
    const client = new DriverClient({ socketPath });
    const result = await client.mount(buildMountRequest(spc, this.#requester), {
      timeoutMs: 20_000,
      signal: stop,
    });
    client.close();
    stop.throwIfAborted();
    if (result.code !== 'OK')
      return { code: result.code, output: `${result.code}: ${statusText(result.message)}` };
    const volume = { files: result.response.files, versions: result.response.objectVersion };
    await writeVolume(directory, volume);
    return { code: 'OK', output: volumeTable(volume).join('\n') };
  }

  /** The entries of the volume's root, symbolic links with their targets. */
  async list(): Promise<string> {
    const { directory } = this.#options;
    const entries = await readdir(directory, { withFileTypes: true });
    const lines = entries.map(async (entry) =>
      entry.isSymbolicLink()
        ? `${entry.name} -> ${await readlink(join(directory, entry.name))}`
        : `${entry.name}/`,
    );
    return (await Promise.all(lines)).sort().join('\n');
  }

  /** A file's content, as a program in the pod reads it. */
  read(path: string): Promise<string> {
    return readFile(join(this.#options.directory, path), 'utf8');
  }
}
