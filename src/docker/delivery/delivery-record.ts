import * as z from 'zod';
import { formatReference } from '../model/reference.ts';
import type { Injection } from '../model/types.ts';

/** The key of a variable in the versions of a delivery. */
export function variableKey(name: string): string {
  return `env/${name}`;
}

/** The key of a file in the versions of a delivery. */
export function fileKey(path: string): string {
  return `files/${path}`;
}

/** The secrets that a service got, and when. */
export type DeliveryRecord = {
  /** Milliseconds since the epoch. */
  readonly at: number;
  /** By {@link variableKey} and {@link fileKey}: a reference, a space, and a version. */
  readonly secrets: Readonly<Record<string, string>>;
};

/** The document of a {@link DeliveryRecord}. */
export const deliveryRecord = z.strictObject({
  at: z.number(),
  secrets: z.record(z.string(), z.string()),
});

/** Records what a service gets at a time. */
export function recordOf(
  { variables, files }: Injection,
  versions: ReadonlyMap<string, string>,
  at: number,
): DeliveryRecord {
  const targets = [
    ...variables.map(({ name, ref }) => [variableKey(name), ref] as const),
    ...files.map(({ path, ref }) => [fileKey(path), ref] as const),
  ];
  const secrets = targets.map(([key, ref]) => [
    key,
    `${formatReference({ kind: 'variable', ref })} ${versions.get(key) ?? ''}`,
  ]);
  return { at, secrets: Object.fromEntries(secrets) as Record<string, string> };
}

/**
 * The version of the secret behind a key, as the store has it. A field of a secret has a suffix in
 * `objectVersion` of the pipeline.
 */
export function versionIn(record: DeliveryRecord | undefined, key: string): string | undefined {
  const [, version] = /^\S+ (.+)$/.exec(record?.secrets[key] ?? '') ?? [];
  return version?.replace(/\+[0-9a-f]{8}(?=$| \()/, '');
}

/** A version that the fallback of a store has served. */
export function fallbackVersion(version: string, fallback: string): string {
  return `${version} (fallback ${fallback})`;
}

/** Whether one of the secrets is of the fallback of a store. */
export function hasFallback({ secrets }: Pick<DeliveryRecord, 'secrets'>): boolean {
  return Object.values(secrets).some((text) => / \(fallback [^()]+\)$/.test(text));
}

/** The keys that have the same reference in both records, in another version. */
export function changedVersions(
  from: Pick<DeliveryRecord, 'secrets'>,
  to: Pick<DeliveryRecord, 'secrets'>,
): readonly string[] {
  const refOf = (text: string): string => text.slice(0, text.indexOf(' '));
  return Object.entries(from.secrets).flatMap(([key, before]) => {
    const after = to.secrets[key];
    const isChanged = after !== undefined && after !== before && refOf(after) === refOf(before);
    return isChanged ? [key] : [];
  });
}

/** A record with the files of another delivery. */
export function withFilesOf(
  { secrets: delivered }: DeliveryRecord,
  { at, secrets }: DeliveryRecord,
): DeliveryRecord {
  const files = Object.entries(delivered).filter(([key]) => key.startsWith(fileKey('')));
  return { at, secrets: { ...secrets, ...Object.fromEntries(files) } };
}

/** Whether two records have the same secrets in the same versions. */
export function isSameDelivery(
  one: Pick<DeliveryRecord, 'secrets'> | undefined,
  other: Pick<DeliveryRecord, 'secrets'> | undefined,
): boolean {
  if (one === undefined || other === undefined) return false;
  const keys = Object.keys(one.secrets);
  return (
    keys.length === Object.keys(other.secrets).length &&
    keys.every((key) => one.secrets[key] === other.secrets[key])
  );
}
