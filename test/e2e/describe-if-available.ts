import { describe } from '@jest/globals';
import { basename } from 'node:path';

/** `describe`, or `describe.skip` with a visible notice if this machine lacks something. */
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
