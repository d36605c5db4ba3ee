import { constants } from 'node:fs';
import { access, open, unlink, type FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * A file without a name that has a text, for another process that gets its descriptor. It has no
 * values of secrets, but what the user's .env has, so it is in memory where that is possible.
 * @param name a name that no other file has
 */
export async function unnamedFile(text: string, name: string): Promise<FileHandle> {
  const inMemory = '/dev/shm';
  const directory = await access(inMemory, constants.W_OK).then(
    () => inMemory,
    () => tmpdir(),
  );
  const path = join(directory, name);
  const file = await open(path, 'wx+', 0o600);
  try {
    await unlink(path);
    // At an explicit position: the reader may share the position of this descriptor.
    await file.write(text, 0);
  } catch (error) {
    await file.close();
    throw error;
  }
  return file;
}
