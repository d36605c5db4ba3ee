import { isMap, isPair, LineCounter, parseDocument, type Document } from 'yaml';
import * as z from 'zod';
import { SecretError } from '../errors/secret-error.ts';
import { quoteForeign } from '../errors/status-text.ts';
import { nearestName } from '../plan/nearest.ts';
import { compileNameGlob, type NameGlob } from './name-glob.ts';

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
const keysOfFile = Object.keys(fileSchema.shape);
const keysOfGrant = Object.keys(grantSchema.shape);

/**
 * Reads the text of a grants file: YAML, of which JSON is a part. Strict: whatever is not understood is an error, so that no grant means
 * something else than it says.
 * @throws SecretError NOT_CONFIGURED with file, line and cause
 */
export function parseSharedIdentityGrants(text: string, file: string): readonly SharedIdentityGrant[] {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, stringKeys: true });
  const [error] = [...document.errors, ...document.warnings];
  if (error !== undefined)
    throw faulty(
      file,
      lines.linePos(error.pos[0]).line,
      `it is not YAML: ${error.code.toLowerCase().replaceAll('_', ' ')}`,
    );
  const parsed = fileSchema.safeParse(toPlain(document, file));
  if (parsed.success) return parsed.data.grants;
  // A mistyped key is also a missing one; the mistake itself says more.
  const { issues } = parsed.error;
  const issue = issues.find(({ code }) => code === 'unrecognized_keys') ?? issues[0];
  if (issue === undefined) throw faulty(file, 1, 'it is not understood');
  throw faulty(file, lineOf(document, lines, issue), explain(issue));
}

function toPlain(document: Document, file: string): unknown {
  try {
    return document.toJS({ maxAliasCount: 100 });
  } catch {
    throw faulty(file, 1, 'its aliases cannot be followed');
  }
}

function explain(issue: z.core.$ZodIssue): string {
  const place = quoteForeign(issue.path.join('.'));
  if (issue.code === 'unrecognized_keys') {
    const [key = ''] = issue.keys;
    const nearest = nearestName(key, issue.path.length === 0 ? keysOfFile : keysOfGrant);
    const advice = nearest === undefined ? '' : `, did you mean ${nearest}?`;
    return `unknown key ${quoteForeign([...issue.path, key].join('.'))}${advice}`;
  }
  if (issue.path.length === 0) return 'it is not a map with the key grants';
  if (issue.path.at(-1) === 'provider') return `${place} is none of ${grantableProviders.join(', ')}`;
  return `${place}: ${issue.message.toLowerCase()}`;
}

function lineOf(document: Document, lines: LineCounter, issue: z.core.$ZodIssue): number {
  // A missing key has no place of its own: then its parent's.
  for (let length = issue.path.length; length >= 0; length -= 1) {
    const node: unknown =
      length === 0 ? document.contents : document.getIn(issue.path.slice(0, length), true);
    const at = offsetOf(node, issue);
    if (at !== undefined) return lines.linePos(at).line;
  }
  return 1;
}

function offsetOf(node: unknown, issue: z.core.$ZodIssue): number | undefined {
  if (issue.code === 'unrecognized_keys' && isMap(node)) {
    const pair = node.items.find((item) => isPair(item) && String(item.key) === issue.keys[0]);
    const key = pair?.key as { readonly range?: readonly [number, number, number] } | undefined;
    if (key?.range !== undefined) return key.range[0];
  }
  if (typeof node !== 'object' || node === null || !('range' in node)) return undefined;
  return (node.range as readonly [number, number, number] | null | undefined)?.[0];
}

function faulty(file: string, line: number, cause: string): SecretError {
  return new SecretError(
    'NOT_CONFIGURED',
    `cannot use the grants in ${quoteForeign(file)}: line ${line}: ${cause}`,
    { hint: 'docs/providers/local.md has an example' },
  );
}
