import * as z from 'zod';
import type { JsonValue } from '../../formats/json.ts';

/**
 * The members of a JSON object by key, each value's text as it stands there: numbers, escapes and the order of keys as they came. Of a key that stands
 * twice the last counts, as everywhere. For text that has been parsed before: of any other it makes no sense, but it ends.
 * @returns undefined where the text is no object
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

/** From a quotation mark to behind the one that ends it. */
function skipString(text: string, from: number): number {
  let at = from + 1;
  while (at < text.length && text[at] !== '"') at += text[at] === '\\' ? 2 : 1;
  return at + 1;
}

/** To the comma or bracket that ends the value. */
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

/** What Vault puts around every answer (https://developer.hashicorp.com/vault/api-docs#api-operations). */
export type Envelope = {
  /** Empty: no lease, whatever `leaseSeconds` says. */
  readonly leaseId: string;
  readonly leaseSeconds: number;
  readonly renewable: boolean;
  /** The JSON text of an object, as it came; undefined: none, or null. */
  readonly data: string | undefined;
  /** Seconds for which a token or a wrapping that the answer holds beside `data` is good; 0: for ever. */
  readonly tokenTtlSeconds: number | undefined;
  /** The accessor of a token that was made here and is a child of that which asked: it ends with it. */
  readonly childTokenAccessor: string | undefined;
  /** For messages only. */
  readonly warnings: readonly string[];
  readonly errors: readonly string[];
  /** From 1.17 on: `kv`, `database`, ... */
  readonly mountType: string | undefined;
  /**
   * What users `jq`: the fields of the vendor's own provider in its order, `data` to the letter. Without the id of the request, so that it stands still
   * while the secret does.
   */
  readonly text: string;
};

const seconds = z.number().int().nonnegative();
/** A path and some twenty characters more: it is kept until the lease ends. */
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
 * Takes an answer apart; undefined where it is none of Vault's.
 * @param json `text`, parsed
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

/** What `secretKey` looks in. */
export type Document = {
  /** JSON text. */
  readonly text: string;
  /** Of a secret of a KV engine, version 2. */
  readonly kv2?: KvVersion;
};

/** One version of a secret of a KV engine, version 2. */
export type KvVersion = {
  readonly number: string;
  /** As Vault writes it; numbers start again at 1 where a secret is deleted and made again. */
  readonly createdTime: string;
  /** When it was deleted, or is going to be. */
  readonly deletionTime?: string;
  /** For good. */
  readonly destroyed: boolean;
};

const metadataSchema = z.object({
  version: z.number().int().positive(),
  created_time: z.string().min(1),
  deletion_time: z.string().nullish(),
  destroyed: z.boolean().nullish(),
});

/**
 * Finds the document in an answer's `data`: in the map called `data` where `metadata` stands beside it (a KV engine, version 2), else in the answer
 * itself, and for keys it lacks in its map called `data`, if there is one.
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
  // Of a key that stands twice, readers of JSON take the last.
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

/** One object's text with the members of both. */
function joinObjects(first: string, second: string): string {
  const membersOf = (text: string): string =>
    text.slice(text.indexOf('{') + 1, text.lastIndexOf('}'));
  const parts = [first, second].map(membersOf).filter((part) => part.trim() !== '');
  return `{${parts.join(',')}}`;
}
