import { stat } from 'node:fs/promises';

/** Whether a file or a directory is there, and this process can see it. */
export async function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
