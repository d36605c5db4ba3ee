import type { FileRequest } from '../plan/plan.ts';
import type { SecretValue } from '../providers/provider.ts';

/** What a file holds, and its version. */
export type Rendered = { readonly contents: Uint8Array; readonly version: string };

type Kept = { files: WeakMap<FileRequest, Rendered>; size: number };

/**
 * Remembers what was taken out of a secret for a file, so that a cached mount parses and decodes nothing. It is forgotten with the secret; beside
 * each secret at most as many bytes are kept as it has itself, and a kilobyte.
 */
export function createKeptFiles(): (value: SecretValue, file: FileRequest, make: () => Rendered) => Rendered {
  const byValue = new WeakMap<SecretValue, Kept>();
  return (value, file, make) => {
    let kept = byValue.get(value);
    const found = kept?.files.get(file);
    if (found !== undefined) return found;
    const made = make();
    const size = made.contents === value.bytes ? 0 : made.contents.length;
    if (kept === undefined || kept.size + size > value.bytes.length + 1_024)
      kept = { files: new WeakMap(), size: 0 };
    kept.files.set(file, made);
    kept.size += size;
    byValue.set(value, kept);
    return made;
  };
}
