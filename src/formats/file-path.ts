const longestComponent = 255;
const longestPath = 4_096;

/**
 * What is wrong with a file's path by the rules of the driver's writer, as words that follow the path; `undefined` where nothing is. Stricter
 * in one thing: control characters, which nobody means, are refused.
 */
export function checkFilePath(path: string): string | undefined {
  if (path === '') return 'is empty';
  if (!path.isWellFormed()) return 'is not valid Unicode';
  // eslint-disable-next-line no-control-regex -- these are what is looked for
  if (/[\u0000-\u001f\u007f]/.test(path)) return 'has a control character or a line break';
  if (path.startsWith('/')) return 'is absolute; it must be relative';
  if (Buffer.byteLength(path) > longestPath) return `is longer than ${longestPath} bytes`;
  const components = path.split('/');
  if (components.includes('..')) return 'has a ".." element';
  if (components.includes('') || components.includes('.'))
    return 'is not clean: it has a "." or an empty element';
  if (path.startsWith('..')) return 'begins with "..", which the driver keeps for itself';
  if (components.some((component) => Buffer.byteLength(component) > longestComponent))
    return `has an element longer than ${longestComponent} bytes`;
  return undefined;
}

/**
 * Two paths that cannot stand in one volume: equal ones, or a file and one below it, in this order. For paths that passed {@link checkFilePath}:
 * with the separator as the least of all characters, what lies below a path follows it directly in sorted order.
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
