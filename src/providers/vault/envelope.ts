import * as z from 'zod';
import type { JsonValue } from '../../formats/json.ts';

/**
 * The members of a JSON object by key, each with the text of its value. Users get this text, so
 * numbers, escapes, blanks and the order of keys stay: a parser, lossless-json too, changes the
 * last three. Of two equal keys the last one counts.
 * @param text has been parsed before; for any other text the result has no meaning, but the loop
 *   ends
 * @returns undefined where the text is not an object
 */
export function rawMembers(text: string): ReadonlyMap<string, string> | undefined {
  const members = new Map<string, string>();
  let at = skipWhitespace(text, 0);
  if (text[at] !== '{') return undefined;
  at = skipWhitespace(text, at + 1);
  while (at < text.length && text[at] !== '}') {
    const endOfKey = skipString(text, at);
    const start = skipWhitespace(text, skipWhitespace(text, endOfKey) + 1);
    const end = skipValue(text, start);
    members.set(JSON.parse(text.slice(at, endOfKey)) as string, text.slice(start, end).trimEnd());
    at = skipWhitespace(text, end + 1);
  }
  return members;
}

function skipWhitespace(text: string, from: number): number {
  let at = from;
  while (' \t\n\r'.includes(text[at] ?? '.')) at += 1;
  return at;
}

/** The position behind a string that begins at `from`. */
function skipString(text: string, from: number): number {
  let at = from + 1;
  while (at < text.length && text[at] !== '"') at += text[at] === '\\' ? 2 : 1;
  return at + 1;
}

/** The position of the comma or brace that ends the value. */
function skipValue(text: string, from: number): number {
  let depth = 0;
  let at = from;
  while (at < text.length) {
    const character = text[at];
    if (depth === 0 && (character === ',' || character === '}')) return at;
    if (character === '{' || character === '[') depth += 1;
    else if (character === '}' || character === ']') depth -= 1;
    at = character === '"' ? skipString(text, at) : at + 1;
  }
  return at;
}

/** The fields of every response (https://developer.hashicorp.com/vault/api-docs#api-operations). */
export type Envelope = {
  /** Empty: no lease. `leaseSeconds` can be above 0 nevertheless. */
  readonly leaseId: string;
  readonly leaseSeconds: number;
  readonly renewable: boolean;
  /** The JSON text of an object, as received; undefined: missing, or null. */
  readonly data: string | undefined;
  /** The life of a token or a wrapping in the response, in seconds; 0: no end. */
  readonly tokenTtlSeconds: number | undefined;
  /** The accessor of a new token that is a child of the request's token, and so ends with it. */
  readonly childTokenAccessor: string | undefined;
  /** For messages only. */
  readonly warnings: readonly string[];
  readonly errors: readonly string[];
  /** Vault 1.17 and later: `kv`, `database`, ... */
  readonly mountType: string | undefined;
  /**
   * What users get as a file: the fields of the vendor's own provider in its order, with `data` as
   * received. The id of the request is empty, so that the file changes only with the secret.
   */
  readonly text: string;
};

const seconds = z.number().int().nonnegative();
/** An id is a path and some twenty characters. Keyferry keeps it until the lease ends. */
const maxLeaseIdLength = 8_192;
const schema = z.object({
  lease_id: z.string().max(maxLeaseIdLength).nullish(),
  lease_duration: seconds.nullish(),
  renewable: z.boolean().nullish(),
  auth: z
    .object({
      lease_duration: seconds.nullish(),
      accessor: z.string().max(maxLeaseIdLength).nullish(),
      orphan: z.boolean().nullish(),
    })
    .nullish(),
  wrap_info: z.object({ ttl: seconds.nullish() }).nullish(),
  warnings: z.array(z.string()).nullish(),
  errors: z.array(z.string()).nullish(),
  mount_type: z.string().nullish(),
});

/**
 * Parses the envelope of a response.
 * @param json `text`, parsed
 * @returns undefined where it is not a response of Vault
 */
export function parseEnvelope(text: string, json: JsonValue): Envelope | undefined {
  const parsed = schema.safeParse(json);
  const raw = rawMembers(text);
  const data = raw?.get('data') ?? 'null';
  if (!parsed.success || raw === undefined || !(data.startsWith('{') || data === 'null'))
    return undefined;
  const { lease_id, lease_duration, renewable, auth, wrap_info, ...rest } = parsed.data;
  const fields: readonly (readonly [key: string, text: string])[] = [
    ['request_id', '""'],
    ['lease_id', JSON.stringify(lease_id ?? '')],
    ['lease_duration', String(lease_duration ?? 0)],
    ['renewable', String(renewable ?? false)],
    ['data', data],
    ['warnings', raw.get('warnings') ?? 'null'],
    ...(auth ? [['auth', raw.get('auth') ?? 'null'] as const] : []),
    ...(wrap_info ? [['wrap_info', raw.get('wrap_info') ?? 'null'] as const] : []),
  ];
  return {
    leaseId: lease_id ?? '',
    leaseSeconds: lease_duration ?? 0,
    renewable: renewable ?? false,
    data: data === 'null' ? undefined : data,
    tokenTtlSeconds: auth?.lease_duration ?? wrap_info?.ttl ?? undefined,
    childTokenAccessor: auth?.orphan === false ? (auth.accessor ?? undefined) : undefined,
    warnings: rest.warnings ?? [],
    errors: rest.errors ?? [],
    mountType: rest.mount_type ?? undefined,
    text: `{${fields.map(([key, value]) => `"${key}":${value}`).join(',')}}`,
  };
}

/** Where `secretKey` finds its key. */
export type Document = {
  /** JSON text. */
  readonly text: string;
  /** For a secret of a KV engine, version 2. */
  readonly kv2?: KvVersion;
};

/** One version of a secret of a KV engine, version 2. */
export type KvVersion = {
  readonly number: string;
  /**
   * As Vault writes it. It distinguishes versions if a secret is deleted and created again:
   * numbers restart at 1.
   */
  readonly createdTime: string;
  /** When it was or will be deleted. */
  readonly deletionTime?: string;
  /** It cannot be undeleted. */
  readonly destroyed: boolean;
};

const metadataSchema = z.object({
  version: z.number().int().positive(),
  created_time: z.string().min(1),
  deletion_time: z.string().nullish(),
  destroyed: z.boolean().nullish(),
});

/**
 * Finds the document in the `data` of a response. With a map `metadata` (a KV engine, version 2) it
 * is the map `data` inside. Else it is `data` itself, with the keys that it lacks from a map `data`
 * inside, if there is one.
 */
export function findDocument(data: string): Document {
  const members = rawMembers(data) ?? new Map<string, string>();
  const inner = members.get('data') ?? '';
  const metadata = members.get('metadata') ?? '';
  const isInnerMap = inner.startsWith('{');
  if (metadata.startsWith('{') && (isInnerMap || inner === 'null')) {
    const version = parseKvVersion(metadata);
    return { text: inner, ...(version && { kv2: version }) };
  }
  // Of two equal keys, parsers of JSON take the last one.
  return { text: isInnerMap ? joinObjects(inner, data) : data };
}

function parseKvVersion(metadata: string): KvVersion | undefined {
  const { success, data } = metadataSchema.safeParse(JSON.parse(metadata));
  if (!success) return undefined;
  const { version, created_time: createdTime, deletion_time: deletionTime, destroyed } = data;
  return {
    number: String(version),
    createdTime,
    ...(deletionTime && { deletionTime }),
    destroyed: destroyed === true,
  };
}

/** The text of one object with the members of both. */
function joinObjects(first: string, second: string): string {
  const membersOf = (text: string): string =>
    text.slice(text.indexOf('{') + 1, text.lastIndexOf('}'));
  const parts = [first, second].map(membersOf).filter((part) => part.trim() !== '');
  return `{${parts.join(',')}}`;
}
