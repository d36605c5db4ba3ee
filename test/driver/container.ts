import { readdir, readFile, stat } from 'node:fs/promises';
import { join, relative } from 'node:path';

/** A file as a container sees it in its volume. */
export type ContainerFile = {
  readonly text: string;
  readonly bytes: Buffer;
  readonly mode: number;
};

/** All files of a volume by path, read through the symlinks as a program does. */
export async function readContainerFiles(
  directory: string,
): Promise<Readonly<Record<string, ContainerFile>>> {
  const files: [string, ContainerFile][] = [];
  for (const name of await readdir(directory)) {
    if (name.startsWith('..')) continue;
    for (const path of await filesBelow(join(directory, name))) {
      const bytes = await readFile(path);
      files.push([
        relative(directory, path),
        { text: bytes.toString(), bytes, mode: (await stat(path)).mode & 0o7777 },
      ]);
    }
  }
  return Object.fromEntries(files.sort(([a], [b]) => (a < b ? -1 : 1)));
}

async function filesBelow(path: string): Promise<string[]> {
  if (!(await stat(path)).isDirectory()) return [path];
  const below = await Promise.all(
    (await readdir(path)).map((name) => filesBelow(join(path, name))),
  );
  return below.flat();
}
