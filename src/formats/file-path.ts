const maxComponentBytes = 255;
const maxPathBytes = 4_096;

/**
 * Checks a file's path by the rules of the driver's atomic writer. It also rejects control
 * characters, which are always a mistake.
 * @returns the problem, as words that follow the path; `undefined` for a valid path
 */
export function checkFilePath(path: string): string | undefined {
  if (path === '') return 'is empty';
  if (!path.isWellFormed()) return 'is not valid Unicode';
  // eslint-disable-next-line no-control-regex -- these are the characters to find
  if (/[\u0000-\u001f\u007f]/.test(path)) return 'has a control character or a line break';
  if (path.startsWith('/')) return 'is absolute; it must be relative';
  if (Buffer.byteLength(path) > maxPathBytes) return `is longer than ${maxPathBytes} bytes`;
  const components = path.split('/');
  if (components.includes('..')) return 'has a ".." element';
  if (components.includes('') || components.includes('.'))
    return 'is not clean: it has a "." or an empty element';
  if (path.startsWith('..')) return 'begins with "..", which is reserved for the driver';
  if (components.some((component) => Buffer.byteLength(component) > maxComponentBytes))
    return `has an element longer than ${maxComponentBytes} bytes`;
  return undefined;
}

/**
 * Finds two paths that cannot exist in one volume: equal paths, or a file and a path below it, in
 * this order. The paths must have passed {@link checkFilePath}: then no path has a NUL. With NUL,
 * the least character, as the separator, the paths below a path follow it directly in sorted order.
 */
export function findPathClash(paths: Iterable<string>): readonly [string, string] | undefined {
  const sorted = Array.from(paths, (path) => path.replaceAll('/', '\0')).sort();
  for (const [index, path] of sorted.entries()) {
    const next = sorted[index + 1];
    if (next === path || next?.startsWith(`${path}\0`))
      return [path.replaceAll('\0', '/'), next.replaceAll('\0', '/')];
  }
  return undefined;
}
