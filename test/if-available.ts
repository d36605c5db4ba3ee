import { describe, test } from '@jest/globals';
import { basename } from 'node:path';

/** `describe`, or `describe.skip` with a notice if this machine lacks something. */
export function describeIfAvailable(
  suite: string,
  missing: readonly string[],
): typeof describe | typeof describe.skip {
  return isAvailable(suite, missing) ? describe : describe.skip;
}

/** `test`, or `test.skip` with a notice if this machine lacks something. */
export function testIfAvailable(
  name: string,
  missing: readonly string[],
): typeof test | typeof test.skip {
  return isAvailable(name, missing) ? test : test.skip;
}

/** Prints a line that begins with SKIPPED if something is missing. CI fails for such a line. */
function isAvailable(name: string, missing: readonly string[]): boolean {
  if (missing.length === 0) return true;
  process.stderr.write(
    `\nSKIPPED ${basename(name)}: this machine has no ${missing.join(', and no ')}\n\n`,
  );
  return false;
}
