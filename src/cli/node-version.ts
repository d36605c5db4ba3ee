/**
 * The line to print where Node is older than Keyferry needs; undefined where it is not. It uses
 * nothing that old versions lack.
 * @param version of the process: `18.19.1`
 * @param minimum from package.json: `20.19`
 */
export function describeOldNode(version: string, minimum: string): string | undefined {
  if (!isOlder(version, minimum)) return undefined;
  return `Node ${version} is too old; install Node ${minimum} or newer`;
}

/**
 * The warning of `serve` where its Node is older than 24; undefined where it is not. Node 20 runs
 * tests and all other commands: see docs/adr/0014.
 * @param version of the process: `20.20.2`
 */
export function warningForServe(version: string): string | undefined {
  if (!isOlder(version, '24.0')) return undefined;
  return `keyferry serve needs Node 24, and this is Node ${version}: a hostile client on a provider's socket can end the process; run it with Node 24.22.3 or newer`;
}

function isOlder(version: string, minimum: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const [minMajor = 0, minMinor = 0] = minimum.split('.').map(Number);
  return major < minMajor || (major === minMajor && minor < minMinor);
}
