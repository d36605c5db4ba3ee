import type { FileRequest } from '../plan/plan.ts';
import type { SecretValue } from '../providers/provider.ts';

/** What a file holds, and its version. */
export type Rendered = { readonly contents: Uint8Array; readonly version: string };

type Kept = { files: WeakMap<FileRequest, Rendered>; size: number };

/**
 * Remembers what was taken out of a secret for a file, so that a cached mount parses and decodes nothing. It is forgotten with the secret; beside
 * each secret at most as many bytes are kept as it has itself, and a kilobyte.
 */
export function createKeptFiles(): {
  get(value: SecretValue, file: FileRequest): Rendered | undefined;
  keep(value: SecretValue, file: FileRequest, made: Rendered): void;
} {
  const byValue = new WeakMap<SecretValue, Kept>();
  return {
    get: (value, file) => byValue.get(value)?.files.get(file),
    keep(value, file, made) {
      let kept = byValue.get(value);
      const size = made.contents === value.bytes ? 0 : made.contents.length;
      if (kept === undefined || kept.size + size > value.bytes.length + 1_024)
        kept = { files: new WeakMap(), size: 0 };
      kept.files.set(file, made);
      kept.size += size;
      byValue.set(value, kept);
    },
  };
}
