import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs';
import type { Logger } from 'pino';
import { Gauge, type Registry } from 'prom-client';
import * as z from 'zod';
import { SecretError, toSecretError } from '../../../core/errors.ts';
import { sanitizeExternalText } from '../../../core/safe-text.ts';
import { nearestName } from '../../../formats/suggest.ts';
import { type YamlNode, nodeAt } from '../../../formats/yaml-tree.ts';
import { readYamlDocument } from '../../../formats/yaml.ts';
import { yamlToPlain } from '../../../formats/yaml-values.ts';
import { type NameGlob, compileNameGlob } from './name-glob.ts';

/** The providers whose shared identities are granted by the file. `cce` has the annotation of the service account instead. */
export const grantableProviders = ['alibabacloud', 'aws', 'local', 'openbao', 'vault'] as const;

/** One entry of the grants file, ready to be asked. */
export type SharedIdentityGrant = {
  readonly provider: string;
  readonly namespaces: readonly NameGlob[];
  readonly serviceAccounts: readonly NameGlob[];
  /** Matched against `<service>/<name as sent to the store>`. */
  readonly names: readonly NameGlob[];
  readonly roles: readonly NameGlob[];
  /** Beside GET. */
  readonly methods: readonly string[];
};

const globs = z.array(z.string().min(1).max(2_048).transform(compileNameGlob));
const grantSchema = z.strictObject({
  provider: z.enum(grantableProviders),
  namespaces: globs.min(1),
  serviceAccounts: globs.min(1),
  names: globs.min(1),
  roles: globs.default([]),
  methods: z.array(z.enum(['POST', 'PUT'])).default([]),
});
const fileSchema = z.strictObject({ grants: z.array(grantSchema) });
const fileKeys = Object.keys(fileSchema.shape);
const grantKeys = Object.keys(grantSchema.shape);

/**
 * Reads the text of a grants file: YAML, of which JSON is a part. Strict: whatever is not understood is an error, so that no grant means
 * something else than it says.
 * @throws SecretError NOT_CONFIGURED with file, line and cause
 */
export function parseSharedIdentityGrants(
  text: string,
  file: string,
): readonly SharedIdentityGrant[] {
  // Merge keys would make a grant mean more than its own lines show.
  const { root, problems } = readYamlDocument(text, { mergeKeys: false });
  if (problems[0] !== undefined) {
    const { at, kind, code, message } = problems[0];
    const cause =
      kind === 'limit' ? message : `it is not YAML: ${code.toLowerCase().replaceAll('_', ' ')}`;
    throw invalidGrantsError(file, at.line, cause);
  }
  const parsed = fileSchema.safeParse(root === undefined ? null : yamlToPlain(root));
  if (parsed.success) return parsed.data.grants;
  // A mistyped key is also a missing one; the mistake itself says more.
  const { issues } = parsed.error;
  const issue = issues.find(({ code }) => code === 'unrecognized_keys') ?? issues[0];
  if (issue === undefined) throw invalidGrantsError(file, 1, 'it is not understood');
  throw invalidGrantsError(file, lineOf(root, issue), describeIssue(issue));
}

function describeIssue(issue: z.core.$ZodIssue): string {
  const issuePath = sanitizeExternalText(issue.path.join('.'));
  if (issue.code === 'unrecognized_keys') {
    const [key = ''] = issue.keys;
    const nearest = nearestName(key, issue.path.length === 0 ? fileKeys : grantKeys);
    const advice = nearest === undefined ? '' : `, did you mean ${nearest}?`;
    return `unknown key ${sanitizeExternalText([...issue.path, key].join('.'))}${advice}`;
  }
  if (issue.path.length === 0) return 'it is not a map with the key grants';
  if (issue.path.at(-1) === 'provider')
    return `${issuePath} is none of ${grantableProviders.join(', ')}`;
  return `${issuePath}: ${issue.message.toLowerCase()}`;
}

function lineOf(root: YamlNode | undefined, issue: z.core.$ZodIssue): number {
  // A missing key has no line: then its parent's.
  for (let length = issue.path.length; length >= 0; length -= 1) {
    const node = nodeAt(root, issue.path.slice(0, length));
    if (node === undefined) continue;
    const unknownKey = issue.code === 'unrecognized_keys' ? issue.keys[0] : undefined;
    const entries = node.kind === 'map' ? node.entries : [];
    return (entries.find(({ key }) => key === unknownKey) ?? node).at.line;
  }
  return 1;
}

function invalidGrantsError(file: string, line: number, cause: string): SecretError {
  return new SecretError(
    'NOT_CONFIGURED',
    `cannot use the grants in ${sanitizeExternalText(file)}: line ${line}: ${cause}`,
    { hint: 'docs/providers/local.md has an example' },
  );
}

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
const checkIntervalMs = 1_000;
const maxFileBytes = 1024 * 1024;

/**
 * The grants in force, by a file that is read at once, and again at the first question a second or more after the last look. It is read whole and
 * compared: no time stamp misses a change, and a ConfigMap's swapped links need no watcher. When it breaks, that is logged once and
 * the last good grants stay.
 * @throws SecretError NOT_CONFIGURED when it is broken at once
 */
export function createGrantsReader(
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
  let lastText = readSmallFile(file);
  let lastValidGrants = parseSharedIdentityGrants(lastText, file);
  let checkedAt = now();
  let loggedSummary: string | undefined;
  metrics?.broken.set(0);

  function reload(): void {
    const text = readSmallFile(file);
    if (text === lastText && loggedSummary === undefined) return;
    lastValidGrants = parseSharedIdentityGrants(text, file);
    lastText = text;
    loggedSummary = undefined;
    metrics?.broken.set(0);
    log.info(
      { file, grants: lastValidGrants.length },
      'the grants for shared identities were read again',
    );
  }

  return () => {
    // Also after a step of the clock backwards.
    if (Math.abs(now() - checkedAt) < checkIntervalMs) return lastValidGrants;
    checkedAt = now();
    try {
      reload();
    } catch (thrown) {
      const error = toSecretError(thrown);
      metrics?.broken.set(1);
      if (error.summary !== loggedSummary)
        log.error(
          { file, code: error.code },
          `${error.summary}; the last good grants stay in force`,
        );
      loggedSummary = error.summary;
    }
    return lastValidGrants;
  };
}

/** The text of a regular file. Synchronous: it is small and local, and is read at most once a second. */
function readSmallFile(file: string): string {
  try {
    const descriptor = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const stats = fstatSync(descriptor);
      if (!stats.isFile() || stats.size > maxFileBytes)
        throw unreadableFileError(file, 'it is no file of at most 1 MiB');
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
    throw unreadableFileError(
      file,
      code === 'ENOENT' ? 'it does not exist' : sanitizeExternalText(code),
      thrown,
    );
  }
}

function unreadableFileError(file: string, cause: string, thrown?: unknown): SecretError {
  return new SecretError(
    'NOT_CONFIGURED',
    `cannot use the grants in ${sanitizeExternalText(file)}: ${cause}`,
    {
      hint: '--shared-identity-grants names the file',
      cause: thrown,
    },
  );
}
