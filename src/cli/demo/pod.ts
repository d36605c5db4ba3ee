import { randomUUID } from 'node:crypto';
import { readFile, readdir, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { SecretError } from '../../core/errors.ts';
import { statusText } from '../../core/safe-text.ts';
import { createDriverClient } from '../../csi/client.ts';
import { readClassFile } from '../lint/class-file.ts';
import { volumeTable } from '../mount/format.ts';
import { mountQuestion } from '../mount/request.ts';
import { writeVolume } from '../mount/volume-writer.ts';

/** A pod with one volume, and the driver that mounts it. */
export type DemoPod = {
  /** One mount, first or again: files with their versions as a table, or the status that the driver hands to the pod's events. */
  mount(classText: string): Promise<{ readonly code: string; readonly shown: string }>;
  /** What the volume's root holds, links with what they lead to. */
  list(): Promise<string>;
  /** A file's content, read as a program in the pod would. */
  read(path: string): Promise<string>;
};

/** Plays the driver for a pod of that namespace, whose volume is `directory`. */
export function createDemoPod(options: {
  readonly socketPath: string;
  readonly namespace: string;
  readonly directory: string;
  readonly stop: AbortSignal;
}): DemoPod {
  const { socketPath, namespace, directory, stop } = options;
  const asker = { namespace, pod: 'web-1', serviceAccount: 'web', uid: randomUUID() };
  return {
    async mount(classText) {
      const [spc] = readClassFile('class.yaml', classText).classes;
      if (spc === undefined) throw new SecretError('INTERNAL', 'the demo has no class');
      const client = createDriverClient({ socketPath });
      const answer = await client.mount(mountQuestion(spc, asker), { timeoutMs: 20_000, signal: stop });
      client.close();
      stop.throwIfAborted();
      if (answer.code !== 'OK')
        return { code: answer.code, shown: `${answer.code}: ${statusText(answer.message)}` };
      const volume = { files: answer.response.files, versions: answer.response.objectVersion };
      await writeVolume(directory, volume);
      return { code: 'OK', shown: volumeTable(volume).join('\n') };
    },
    async list() {
      const entries = await readdir(directory, { withFileTypes: true });
      const lines = entries.map(async (entry) =>
        entry.isSymbolicLink()
          ? `${entry.name} -> ${await readlink(join(directory, entry.name))}`
          : `${entry.name}/`,
      );
      return (await Promise.all(lines)).sort().join('\n');
    },
    read: (path) => readFile(join(directory, path), 'utf8'),
  };
}
