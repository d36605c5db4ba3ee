const statusLimit = 1_000;
const foreignLimit = 200;

/** Control characters, line and paragraph separators, bidirectional controls and lone surrogates. */
const unprintable =
  // eslint-disable-next-line no-control-regex -- these are what is looked for
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\uffff]|\p{Surrogate}/gu;

/** The text with everything that could break a line, or turn its direction, written as `\u{...}`. */
export function escapeUnprintable(text: string): string {
  return text.replace(unprintable, (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`);
}

/**
 * Foreign text made fit for an error message: at most 200 characters, printable, and dropped whole where it holds one of
 * `secrets`, raw or in base64, hex or percent encoding. Secrets shorter than 4 characters are not looked for: they would match anything.
 */
export function quoteForeign(text: string, secrets: Iterable<string> = []): string {
  for (const secret of secrets) {
    if (secret.length >= 4 && holdsSecret(text, secret)) return '[text withheld: it held a secret]';
  }
  return cut(escapeUnprintable(text), foreignLimit);
}

/** One printable line of at most 1,000 bytes: the text of a gRPC status. */
export function statusText(text: string): string {
  const line = escapeUnprintable(text.replace(/\s*[\r\n]+\s*/g, ' ')).trim();
  if (Buffer.byteLength(line) <= statusLimit) return line;
  const kept = new TextDecoder().decode(Buffer.from(line).subarray(0, statusLimit - 3));
  return `${kept.replace(/\ufffd+$/, '')}...`;
}

/** Whether `text` holds `secret`, raw or in base64, hex, percent or JSON encoding. */
export function holdsSecret(text: string, secret: string): boolean {
  const bytes = Buffer.from(secret);
  const lower = text.toLowerCase();
  return (
    text.includes(secret) ||
    // A secret inside longer encoded data starts at one of three offsets; its inner characters are the same in each.
    [0, 1, 2].some((offset) => text.includes(base64Core(bytes, offset, 'base64'))) ||
    [0, 1, 2].some((offset) => text.includes(base64Core(bytes, offset, 'base64url'))) ||
    lower.includes(bytes.toString('hex')) ||
    text.includes(encodeURIComponent(secret.toWellFormed())) ||
    text.includes(JSON.stringify(secret).slice(1, -1))
  );
}

function base64Core(bytes: Buffer, offset: number, encoding: 'base64' | 'base64url'): string {
  const shifted = Buffer.concat([Buffer.alloc(offset), bytes]);
  const whole = shifted.length - (shifted.length % 3);
  const text = shifted.subarray(0, whole).toString(encoding).slice(offset === 0 ? 0 : offset + 1);
  return text.length >= 4 ? text : '\u0000';
}

function cut(text: string, limit: number): string {
  return text.length <= limit ? text : `${text.slice(0, limit - 3)}...`;
}
