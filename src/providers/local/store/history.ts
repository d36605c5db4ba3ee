import { SecretError } from '../../../core/errors.ts';
import { Redacted } from '../../../core/redacted.ts';
import { sanitizeUserText } from '../../../core/safe-text.ts';
import { checkSecretName } from '../class.ts';
import type { StoreDocument, StoredSecret, StoredVersion } from './document.ts';

/** How many versions of a secret the store keeps. It drops the oldest ones. */
export const maxVersions = 10;

/** The maximum size of a value, in bytes: the limit of a Kubernetes Secret. */
export const maxValueBytes = 1024 * 1024;

/** The result of {@link addVersion}. */
export type AddVersionResult = {
  readonly document: StoreDocument;
  readonly version: string;
  /** The latest version already has this value, so no version was added. */
  readonly unchanged: boolean;
  /** The versions that the store does not keep any more. */
  readonly dropped: readonly string[];
};

/**
 * Returns a document in which `bytes` is the latest version of the secret.
 * @throws SecretError INVALID_REQUEST for a name that is not valid, and for an empty or a too large
 *   value
 */
export function addVersion(
  document: StoreDocument,
  name: string,
  bytes: Uint8Array,
  created: string,
): AddVersionResult {
  const problem = checkSecretName(name);
  if (problem !== undefined)
    throw new SecretError('INVALID_REQUEST', `the name "${sanitizeUserText(name)}" ${problem}`);
  if (bytes.length === 0)
    throw new SecretError('INVALID_REQUEST', `no value was given for ${name}`, {
      hint: 'the command that makes the value may have failed; the store takes no empty values',
    });
  if (bytes.length > maxValueBytes)
    throw new SecretError(
      'INVALID_REQUEST',
      `the value for ${name} is larger than ${maxValueBytes / 1024} KiB`,
    );
  const { last, versions } = document.get(name) ?? { last: 0, versions: [] };
  const latest = versions.at(-1);
  if (latest !== undefined && Buffer.compare(latest.bytes.reveal(), bytes) === 0)
    return { document, version: latest.version, unchanged: true, dropped: [] };
  const added: StoredVersion = { version: `v${last + 1}`, created, bytes: new Redacted(bytes) };
  const allVersions = [...versions, added];
  return {
    document: withSecret(document, name, {
      last: last + 1,
      versions: allVersions.slice(-maxVersions),
    }),
    version: added.version,
    unchanged: false,
    dropped: allVersions.slice(0, -maxVersions).map(({ version }) => version),
  };
}

/**
 * Returns a document without the secret, or without one of its versions. Their numbers are not used
 * again.
 * @throws SecretError OBJECT_NOT_FOUND
 */
export function removeVersions(
  document: StoreDocument,
  name: string,
  version?: string,
): StoreDocument {
  const removed = findVersion(document, name, version);
  const { last, versions } = document.get(name) ?? { last: 0, versions: [] };
  const remaining = version === undefined ? [] : versions.filter((each) => each !== removed);
  return withSecret(document, name, { last, versions: remaining });
}

/**
 * Returns a version of a secret. Default: the latest.
 * @throws SecretError OBJECT_NOT_FOUND
 */
export function findVersion(
  document: StoreDocument,
  name: string,
  version?: string,
): StoredVersion {
  const versions = document.get(name)?.versions ?? [];
  const found =
    version === undefined ? versions.at(-1) : versions.find((each) => each.version === version);
  if (found !== undefined) return found;
  const quotedName = sanitizeUserText(name);
  if (versions.length === 0)
    throw new SecretError('OBJECT_NOT_FOUND', `the local store has no secret ${quotedName}`, {
      hint: `\`keyferry local list\` has the names, \`keyferry local set ${quotedName}\` makes it`,
    });
  const availableVersions = versions.map((each) => each.version).join(', ');
  throw new SecretError(
    'OBJECT_NOT_FOUND',
    `the local store has no version ${sanitizeUserText(version ?? '')} of ${quotedName}`,
    {
      hint: `it has ${availableVersions}; \`keyferry local set ${quotedName}\` adds the next`,
    },
  );
}

function withSecret(document: StoreDocument, name: string, secret: StoredSecret): StoreDocument {
  return new Map([...document, [name, secret]]);
}
