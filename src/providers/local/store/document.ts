import { isUtf8 } from 'node:buffer';
import * as z from 'zod';
import { SecretError } from '../../../core/errors.ts';
import { Redacted } from '../../../core/redacted.ts';
import { sanitizeUserText } from '../../../core/safe-text.ts';
import { checkSecretName, versionNumber } from '../class.ts';

/** One version of a secret. */
export type StoredVersion = {
  /** `v1`, `v2`, ... */
  readonly version: string;
  /** When the value was set: ISO 8601, UTC. */
  readonly created: string;
  readonly bytes: Redacted<Uint8Array>;
};

/**
 * A secret with its kept versions, oldest first. A removed secret has no versions. It stays in the
 * store for its number.
 */
export type StoredSecret = {
  /**
   * The highest version number so far. No number is used twice, so the value of `v3` never changes.
   */
  readonly last: number;
  readonly versions: readonly StoredVersion[];
};

/** The plaintext of a local store, by secret name. */
export type StoreDocument = ReadonlyMap<string, StoredSecret>;

const format = 'keyferry-local/1';

const versionSchema = z
  .strictObject({
    version: z.string().refine((text) => versionNumber(text) !== undefined),
    created: z.iso.datetime(),
    value: z.string(),
    encoding: z.enum(['utf-8', 'base64']).default('utf-8'),
  })
  .refine(({ value, encoding }) => encoding === 'utf-8' || z.base64().safeParse(value).success);

const secretSchema = z
  .strictObject({ last: z.int().nonnegative().optional(), versions: z.array(versionSchema) })
  .refine(({ versions }) =>
    isAscending(versions.map(({ version }) => versionNumber(version) ?? 0)),
  );

const documentSchema = z.strictObject({
  format: z.literal(format),
  secrets: z.record(z.string(), secretSchema),
});

/**
 * Parses the plaintext. Messages name the position of an error, and never quote the content.
 * @throws SecretError LOCAL_STORE_UNREADABLE
 */
export function parseDocument(plaintext: Uint8Array): StoreDocument {
  const json = parseJson(plaintext);
  checkFormat(json);
  checkNames(json);
  const parsed = documentSchema.safeParse(json);
  if (!parsed.success) throw malformedError(`at ${sanitizeUserText(issuePath(parsed.error))}`);
  return new Map(
    Object.entries(parsed.data.secrets).map(([name, { last, versions }]) => {
      const highest = versionNumber(versions.at(-1)?.version ?? '') ?? 0;
      return [name, { last: Math.max(last ?? 0, highest), versions: versions.map(decode) }];
    }),
  );
}

/** Formats the plaintext: indented JSON, with the secrets in the order of their names. */
export function serializeDocument(document: StoreDocument): Uint8Array {
  const secrets = [...document]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, { last, versions }]) => [name, { last, versions: versions.map(encode) }] as const);
  return Buffer.from(
    `${JSON.stringify({ format, secrets: Object.fromEntries(secrets) }, undefined, 2)}\n`,
  );
}

function encode({ version, created, bytes }: StoredVersion): z.input<typeof versionSchema> {
  const buffer = Buffer.from(bytes.reveal());
  const encoding = isUtf8(buffer) ? 'utf-8' : 'base64';
  return { version, created, value: buffer.toString(encoding), encoding };
}

function decode({
  version,
  created,
  value,
  encoding,
}: z.output<typeof versionSchema>): StoredVersion {
  return { version, created, bytes: new Redacted<Uint8Array>(Buffer.from(value, encoding)) };
}

function parseJson(plaintext: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(plaintext));
  } catch {
    // The error of JSON.parse quotes the text around the position. It must not become a cause.
    throw malformedError('it is not JSON');
  }
}

/** A newer format gets its own message, because the file is not damaged. */
function checkFormat(json: unknown): asserts json is object {
  const foundFormat =
    typeof json === 'object' && json !== null && 'format' in json ? json.format : undefined;
  if (foundFormat === format) return;
  if (typeof foundFormat !== 'string' || !/^keyferry-local\/[0-9]{1,9}$/.test(foundFormat))
    throw malformedError(`it is not marked as "${format}"`);
  throw new SecretError(
    'LOCAL_STORE_UNREADABLE',
    `the local store has the format ${foundFormat}, this Keyferry reads ${format}`,
    {
      hint: 'use the version of Keyferry that wrote it, or a newer one',
    },
  );
}

/**
 * Runs before the schema, which skips a name such as `__proto__`. The next write would lose what
 * the schema skips.
 */
function checkNames(json: object): void {
  if (!('secrets' in json) || typeof json.secrets !== 'object') return;
  for (const name of Object.keys(json.secrets ?? {})) {
    const problem = checkSecretName(name);
    if (problem !== undefined)
      throw malformedError(`the name "${sanitizeUserText(name)}" ${problem}`);
  }
}

function malformedError(problem: string): SecretError {
  return new SecretError(
    'LOCAL_STORE_UNREADABLE',
    `the local store was decrypted, but its content is malformed: ${problem}`,
    {
      hint: 'docs/providers/local.md describes the format; restore the file from a backup',
    },
  );
}

function issuePath(error: z.ZodError): string {
  const [issue] = error.issues;
  const unknown = issue?.code === 'unrecognized_keys' ? issue.keys.slice(0, 1) : [];
  return [...(issue?.path ?? []), ...unknown].join('.');
}

function isAscending(numbers: readonly number[]): boolean {
  return numbers.every((number, index) => index === 0 || number > (numbers[index - 1] ?? 0));
}
