/**
 * The line to print where Node is older than Keyferry needs; undefined where it is not. It uses
 * nothing that old versions lack.
 * @param version of the process: `18.19.1`
 * @param minimum from package.json: `20.19`
 */
export function describeOldNode(version: string, minimum: string): string | undefined {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const [minMajor = 0, minMinor = 0] = minimum.split('.').map(Number);
  if (major > minMajor || (major === minMajor && minor >= minMinor)) return undefined;
  return `Node ${version} is too old; install Node ${minimum} or newer`;
}
