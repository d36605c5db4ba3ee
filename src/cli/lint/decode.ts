/** The text of a file, or why its bytes are not text, with the line. */
export type DecodedText =
  { readonly text: string } | { readonly problem: string; readonly line: number };

/**
 * Decodes a manifest: UTF-8, or UTF-16 with a byte order mark, as editors on Windows write it. A
 * byte order mark is not part of the text.
 */
export function decodeManifest(bytes: Buffer): DecodedText {
  const encoding = encodingOf(bytes);
  const text = new TextDecoder(encoding).decode(bytes);
  const line = invalidLine(bytes, text, encoding);
  if (line !== undefined) return { problem: `is not valid ${encoding.toUpperCase()}`, line };
  const nul = text.indexOf('\0');
  if (nul >= 0)
    return {
      problem: 'has NUL characters, as UTF-16 without a byte order mark',
      line: lineAt(text, nul),
    };
  return { text };
}

/** Whether a file names the kind SecretProviderClass, without decoding it. */
export function mentionsClass(bytes: Buffer): boolean {
  const utf16 = Buffer.from('SecretProviderClass', 'utf16le');
  return (
    bytes.includes('SecretProviderClass') || bytes.includes(utf16) || bytes.includes(utf16.swap16())
  );
}

function encodingOf(bytes: Buffer): 'utf-8' | 'utf-16le' | 'utf-16be' {
  if (bytes[0] === 0xff && bytes[1] === 0xfe) return 'utf-16le';
  return bytes[0] === 0xfe && bytes[1] === 0xff ? 'utf-16be' : 'utf-8';
}

/** The line of the first character that is not valid; undefined if all are. */
function invalidLine(bytes: Buffer, text: string, encoding: string): number | undefined {
  try {
    new TextDecoder(encoding, { fatal: true }).decode(bytes);
    return undefined;
  } catch {
    return lineAt(text, Math.max(0, text.indexOf('\ufffd')));
  }
}

function lineAt(text: string, offset: number): number {
  return text.slice(0, offset).split('\n').length;
}
