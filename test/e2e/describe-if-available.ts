import { describe } from '@jest/globals';
import { basename } from 'node:path';

/** `describe`, or where this machine lacks something `describe.skip`, and a line that nobody overlooks says so. */
export function describeIfAvailable(
  suite: string,
  missing: readonly string[],
): typeof describe | typeof describe.skip {
  if (missing.length === 0) return describe;
  process.stderr.write(
    `\nSKIPPED ${basename(suite)}: this machine has no ${missing.join(', and no ')}\n\n`,
  );
  return describe.skip;
}
