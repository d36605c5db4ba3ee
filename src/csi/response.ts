import { quoteForeign } from '../errors/status-text.ts';
import { SecretError } from '../errors/secret-error.ts';
import type { Volume } from '../mount/volume.ts';
import type { MountResponse } from './messages.ts';

/** The volume as the driver's message. `MountResponse.error` stays out of it: with a code there the driver drops the text. */
export function toResponse({ files, versions }: Volume): MountResponse {
  return { objectVersion: versions, error: undefined, files };
}

/**
 * The length in bytes of the volume's message, by arithmetic: a volume too large is not to be copied first.
 * @throws SecretError INTERNAL where the volume is none (an empty one would leave the old files in place), RESPONSE_TOO_LARGE beyond `maxBytes`
 */
export function measureResponse(volume: Volume, maxBytes: number): number {
  const { files, versions } = volume;
  if (files.length === 0 || versions.length === 0 || versions.some(({ version }) => version === '')) {
    throw new SecretError('INTERNAL', 'the mount made a volume without files or versions', {
      hint: 'nothing was sent, the pod keeps what it has; please report this',
    });
  }
  const bytes =
    sum(files, ({ path, mode, contents }) =>
      field(field(Buffer.byteLength(path)) + 1 + varint(mode) + field(contents.length)),
    ) +
    sum(versions, ({ id, version }) =>
      field(field(Buffer.byteLength(id)) + field(Buffer.byteLength(version))),
    );
  if (bytes > maxBytes) throw tooLarge(volume, bytes, maxBytes);
  return bytes;
}

function tooLarge({ files }: Volume, bytes: number, maxBytes: number): SecretError {
  const largest = [...files].sort((a, b) => b.contents.length - a.contents.length).slice(0, 3);
  const named = largest.map(({ path, contents }) => `${quoteForeign(path)} (${contents.length})`).join(', ');
  return new SecretError(
    'RESPONSE_TOO_LARGE',
    `the volume takes ${bytes} bytes and the driver accepts ${maxBytes}; its largest files: ${named}`,
    { hint: 'split the class, or raise maxCallRecvMsgSize of the driver together with --max-response-bytes' },
  );
}

/** A field of so many bytes, with its tag (all our field numbers are below 16) and its length. */
function field(bytes: number): number {
  return 1 + varint(bytes) + bytes;
}

function varint(value: number): number {
  let bytes = 1;
  for (let rest = value; rest >= 128; rest /= 128) bytes += 1;
  return bytes;
}

function sum<T>(items: readonly T[], of: (item: T) => number): number {
  return items.reduce((total, item) => total + of(item), 0);
}
