import { randomUUID } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A path in the temporary directory where nothing is, whatever the machine has. */
export function missingPath(): string {
  return join(tmpdir(), `kf-missing-${randomUUID()}`);
}
