import { quoteForeign } from '../errors/status-text.ts';
import { SecretError } from '../errors/secret-error.ts';
import type { Volume } from '../mount/volume.ts';
import type { MountResponse } from './messages.ts';
import { sizeOfResponse } from './response-bytes.ts';

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
  const bytes = sizeOfResponse(toResponse(volume));
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
