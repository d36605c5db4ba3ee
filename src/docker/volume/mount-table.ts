import { statfs } from 'node:fs/promises';

/** A mount of `/proc/self/mountinfo`. */
export type Mount = {
  readonly point: string;
  /** Those of the mount, and those of its file system. */
  readonly options: readonly string[];
};

/** TMPFS_MAGIC and RAMFS_MAGIC of linux/magic.h: file systems without a disk. */
const memoryFileSystems = [0x01021994, 0x858458f6];

/** Whether what is written to a directory stays in memory. @throws Error of the file system */
export async function isInMemory(directory: string): Promise<boolean> {
  return memoryFileSystems.includes((await statfs(directory)).type);
}

/**
 * The mount that has a path. Of several at one point, the last one is seen.
 * @param path without links
 * @param mountinfo proc_pid_mountinfo(5)
 */
export function mountOf(path: string, mountinfo: string): Mount | undefined {
  let found: Mount | undefined;
  for (const line of mountinfo.split('\n')) {
    const [before = '', after = ''] = line.split(' - ');
    const fields = before.split(' ');
    const point = unescapeOctal(fields[4] ?? '');
    const isAbove = point === path || path.startsWith(point === '/' ? point : `${point}/`);
    if (point === '' || !isAbove || point.length < (found?.point.length ?? 0)) continue;
    const options = [...(fields[5] ?? '').split(','), ...(after.split(' ')[2] ?? '').split(',')];
    found = { point, options };
  }
  return found;
}

/** Spaces and the like are written as `\040`. */
function unescapeOctal(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
}
