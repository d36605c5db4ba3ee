import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs';
import type { Logger } from 'pino';
import { Gauge, type Registry } from 'prom-client';
import * as z from 'zod';
import { SecretError, fileProblemOf, toSecretError } from '../../../core/errors.ts';
import { sanitizeUserText } from '../../../core/safe-text.ts';
import { nearestName } from '../../../formats/suggest.ts';
import { type YamlNode, nodeAt } from '../../../formats/yaml-tree.ts';
import { readYamlDocument } from '../../../formats/yaml.ts';
import { yamlToPlain } from '../../../formats/yaml-values.ts';
import { type NameGlob, compileNameGlob } from '../../../formats/name-glob.ts';

/**
 * The providers whose shared identities the file grants. `cce` reads an annotation of the
 * ServiceAccount instead.
 */
export const grantableProviders = ['alibabacloud', 'aws', 'local', 'openbao', 'vault'] as const;

/** One entry of the grants file. */
export type SharedIdentityGrant = {
  readonly provider: string;
  readonly namespaces: readonly NameGlob[];
  readonly serviceAccounts: readonly NameGlob[];
  /** For `<service>/<name as sent to the store>`. */
  readonly names: readonly NameGlob[];
  readonly roles: readonly NameGlob[];
  /** The regions that it grants in addition to the operator's. */
  readonly regions: readonly NameGlob[];
  /** The endpoints that it grants in addition to the operator's. */
  readonly endpoints: readonly NameGlob[];
  /** The methods that it grants in addition to GET. */
  readonly methods: readonly string[];
};

const globs = z.array(z.string().min(1).max(2_048).transform(compileNameGlob));
const grantSchema = z.strictObject({
  provider: z.enum(grantableProviders),
  namespaces: globs.min(1),
  serviceAccounts: globs.min(1),
  names: globs.min(1),
  roles: globs.default([]),
  regions: globs.default([]),
  endpoints: globs.default([]),
  methods: z.array(z.enum(['POST', 'PUT'])).default([]),
});
const fileSchema = z.strictObject({ grants: z.array(grantSchema) });
const fileKeys = Object.keys(fileSchema.shape);
const grantKeys = Object.keys(grantSchema.shape);

/**
 * Parses a grants file: YAML or JSON. An unknown key or value is an error, because a grant that is
 * understood in part could grant too much.
 * @param file for messages
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
  // A mistyped key causes two issues: an unknown key and a missing one. The first is more helpful.
  const { issues } = parsed.error;
  const issue = issues.find(({ code }) => code === 'unrecognized_keys') ?? issues[0];
  if (issue === undefined) throw invalidGrantsError(file, 1, 'its content is not valid');
  throw invalidGrantsError(file, lineOf(root, issue), describeIssue(issue));
}

function describeIssue(issue: z.core.$ZodIssue): string {
  const issuePath = sanitizeUserText(issue.path.join('.'));
  if (issue.code === 'unrecognized_keys') {
    const [key = ''] = issue.keys;
    const nearest = nearestName(key, issue.path.length === 0 ? fileKeys : grantKeys);
    const advice = nearest === undefined ? '' : `, did you mean ${nearest}?`;
    return `unknown key ${sanitizeUserText([...issue.path, key].join('.'))}${advice}`;
  }
  if (issue.path.length === 0) return 'it is not a map with the key grants';
  if (issue.path.at(-1) === 'provider')
    return `${issuePath} is not one of ${grantableProviders.join(', ')}`;
  return `${issuePath}: ${issue.message.toLowerCase()}`;
}

function lineOf(root: YamlNode | undefined, issue: z.core.$ZodIssue): number {
  // A missing key has no position. So this takes the position of its parent.
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
    `cannot use the grants in ${sanitizeUserText(file)}: line ${line}: ${cause}`,
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

/** The shortest time between two reads of the file. */
const checkIntervalMs = 1_000;
const maxFileBytes = 1024 * 1024;

/**
 * The grants of a file. The constructor reads the file, and `read` reads it again after a second or
 * more. Each time it compares the whole text. So it misses no change, and it needs no watcher for
 * the links of a ConfigMap. If the file becomes unusable, the last valid grants stay in force, and
 * the log has one error.
 */
export class GrantsFile {
  readonly #file: string;
  readonly #log: Logger;
  readonly #now: () => number;
  readonly #metrics: SharedIdentityMetrics | undefined;
  #lastText: string;
  #lastValidGrants: readonly SharedIdentityGrant[];
  #checkedAt: number;
  /** The error that the log has. Undefined while the file is usable. */
  #loggedSummary: string | undefined;

  /** @throws SecretError NOT_CONFIGURED if the file cannot be used */
  constructor(
    file: string,
    {
      log,
      now,
      metrics,
    }: {
      readonly log: Logger;
      /** Milliseconds. */
      readonly now: () => number;
      readonly metrics: SharedIdentityMetrics | undefined;
    },
  ) {
    this.#file = file;
    this.#log = log;
    this.#now = now;
    this.#metrics = metrics;
    this.#lastText = readSmallFile(file);
    this.#lastValidGrants = parseSharedIdentityGrants(this.#lastText, file);
    this.#checkedAt = now();
    metrics?.broken.set(0);
  }

  /** Returns the grants in force. Never throws. */
  read(): readonly SharedIdentityGrant[] {
    // The absolute difference: the clock can go backwards.
    if (Math.abs(this.#now() - this.#checkedAt) < checkIntervalMs) return this.#lastValidGrants;
    this.#checkedAt = this.#now();
    try {
      this.#reload();
    } catch (thrown) {
      this.#reportError(toSecretError(thrown));
    }
    return this.#lastValidGrants;
  }

  #reload(): void {
    const text = readSmallFile(this.#file);
    if (text === this.#lastText && this.#loggedSummary === undefined) return;
    this.#lastValidGrants = parseSharedIdentityGrants(text, this.#file);
    this.#lastText = text;
    this.#loggedSummary = undefined;
    this.#metrics?.broken.set(0);
    this.#log.info(
      { file: this.#file, grants: this.#lastValidGrants.length },
      'read the grants for shared identities again',
    );
  }

  #reportError({ code, summary }: SecretError): void {
    this.#metrics?.broken.set(1);
    if (summary !== this.#loggedSummary)
      this.#log.error({ file: this.#file, code }, `${summary}; the last good grants stay in force`);
    this.#loggedSummary = summary;
  }
}

/**
 * Reads a regular file. Synchronous, because the file is small and local, and Keyferry reads it at
 * most once a second.
 */
function readSmallFile(file: string): string {
  try {
    const descriptor = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const stats = fstatSync(descriptor);
      if (!stats.isFile() || stats.size > maxFileBytes)
        throw unreadableFileError(file, 'it is not a regular file of at most 1 MiB');
      return readFileSync(descriptor, 'utf8');
    } finally {
      closeSync(descriptor);
    }
  } catch (thrown) {
    if (thrown instanceof SecretError) throw thrown;
    throw unreadableFileError(file, sanitizeUserText(fileProblemOf(thrown)), thrown);
  }
}

function unreadableFileError(file: string, cause: string, thrown?: unknown): SecretError {
  return new SecretError(
    'NOT_CONFIGURED',
    `cannot use the grants in ${sanitizeUserText(file)}: ${cause}`,
    {
      hint: '--shared-identity-grants names the file',
      cause: thrown,
    },
  );
}
