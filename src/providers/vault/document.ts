import * as z from 'zod';
import { rawMembers } from './raw-members.ts';

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
    const version = readVersion(metadata);
    return { text: inner, ...(version && { kv2: version }) };
  }
  // Of a key that stands twice, readers of JSON take the last.
  return { text: isInnerMap ? joinObjects(inner, data) : data };
}

function readVersion(metadata: string): KvVersion | undefined {
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
  const membersOf = (text: string): string => text.slice(text.indexOf('{') + 1, text.lastIndexOf('}'));
  const parts = [first, second].map(membersOf).filter((part) => part.trim() !== '');
  return `{${parts.join(',')}}`;
}
