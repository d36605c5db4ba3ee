import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs';
import type { Logger } from 'pino';
import { Gauge, type Registry } from 'prom-client';
import { SecretError, toSecretError } from '../errors/secret-error.ts';
import { quoteForeign } from '../errors/status-text.ts';
import { parseSharedIdentityGrants, type SharedIdentityGrant } from './shared-identity-grants.ts';

/** Metrics of the grants file. */
export type SharedIdentityMetrics = { readonly broken: Gauge };

/** Declares the metrics of the grants file. */
export function createSharedIdentityMetrics(registry: Registry): SharedIdentityMetrics {
  const broken = new Gauge({
    name: 'keyferry_shared_identity_grants_broken',
    help: '1 while the file of --shared-identity-grants cannot be read and the last good grants stay in force',
    registers: [registry],
  });
  return { broken };
}

/** How often the file is looked at, at most, in ms. */
const lookEveryMs = 1_000;
const largestFile = 1024 * 1024;

/**
 * The grants in force, by a file that is read at once, and again at the first question a second or more after the last look. It is read whole and
 * compared: no time stamp misses a change, and a ConfigMap's swapped links need no watcher. When it breaks, that is logged once and
 * the last good grants stay.
 * @throws SecretError NOT_CONFIGURED when it is broken at once
 */
export function followGrantsFile(
  file: string,
  {
    log,
    now,
    metrics,
  }: {
    readonly log: Logger;
    readonly now: () => number;
    readonly metrics: SharedIdentityMetrics | undefined;
  },
): () => readonly SharedIdentityGrant[] {
  let seen = readSmallFile(file);
  let good = parseSharedIdentityGrants(seen, file);
  let lookedAt = now();
  let complaint: string | undefined;
  metrics?.broken.set(0);

  function look(): void {
    const text = readSmallFile(file);
    if (text === seen && complaint === undefined) return;
    good = parseSharedIdentityGrants(text, file);
    seen = text;
    complaint = undefined;
    metrics?.broken.set(0);
    log.info({ file, grants: good.length }, 'the grants for shared identities were read again');
  }

  return () => {
    // Also after a step of the clock backwards.
    if (Math.abs(now() - lookedAt) < lookEveryMs) return good;
    lookedAt = now();
    try {
      look();
    } catch (thrown) {
      const error = toSecretError(thrown);
      metrics?.broken.set(1);
      if (error.summary !== complaint)
        log.error({ file, code: error.code }, `${error.summary}; the last good grants stay in force`);
      complaint = error.summary;
    }
    return good;
  };
}

/** The text of a regular file. Synchronous: it is small and local, and is read at most once a second. */
function readSmallFile(file: string): string {
  try {
    const descriptor = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const stats = fstatSync(descriptor);
      if (!stats.isFile() || stats.size > largestFile) throw unusable(file, 'it is no file of at most 1 MiB');
      return readFileSync(descriptor, 'utf8');
    } finally {
      closeSync(descriptor);
    }
  } catch (thrown) {
    if (thrown instanceof SecretError) throw thrown;
    const code =
      typeof thrown === 'object' && thrown !== null && 'code' in thrown
        ? String(thrown.code)
        : 'unknown failure';
    throw unusable(file, code === 'ENOENT' ? 'it does not exist' : quoteForeign(code), thrown);
  }
}

function unusable(file: string, cause: string, thrown?: unknown): SecretError {
  return new SecretError('NOT_CONFIGURED', `cannot use the grants in ${quoteForeign(file)}: ${cause}`, {
    hint: '--shared-identity-grants names the file',
    cause: thrown,
  });
}
