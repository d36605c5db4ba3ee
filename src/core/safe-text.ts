const statusTextLimit = 1_000;
const externalTextLimit = 200;
/** A shorter secret would match ordinary words. */
const minSecretLength = 4;
/** Characters of a secret, or of an encoding of it, that are too many to be met by chance, or to be shown. */
const fragmentLength = 16;

/** Controls, formats (bidirectional ones among them), line and paragraph separators, lone surrogates, unassigned characters, and U+FFFD. */
const unprintable = /[\p{Cc}\p{Cf}\p{Cn}\p{Co}\p{Cs}\p{Zl}\p{Zp}\ufffd]/gu;

/** The text with everything that could break a line, or turn its direction, written as `\u{...}`. */
export function escapeUnprintable(text: string): string {
  return text.replace(
    unprintable,
    (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`,
  );
}

/**
 * Foreign text made fit for an error message: at most 200 characters, printable, and dropped whole where it holds one of
 * `secrets`; see {@link containsSecret}.
 */
export function sanitizeExternalText(text: string, secrets: Iterable<string> = []): string {
  // Only what is shown counts, and what a secret that begins there could need to be known by: a hostile store may send megabytes.
  const searched = text.slice(0, 5 * externalTextLimit);
  for (const secret of secrets)
    if (containsSecret(searched, secret)) return '[text withheld: it held a secret]';
  const escaped = escapeUnprintable(text.slice(0, externalTextLimit + 1));
  return escaped.length <= externalTextLimit
    ? escaped
    : `${truncate(escaped, externalTextLimit - 3)}...`;
}

/** One printable line of at most 1,000 bytes: the text of a gRPC status. */
export function statusText(text: string): string {
  const line = escapeUnprintable(text.replace(/[\r\n]\s*/g, ' ').trim());
  if (Buffer.byteLength(line) <= statusTextLimit) return line;
  // A character cut in half comes out as U+FFFD, which does not occur otherwise: it is escaped.
  const kept = new TextDecoder().decode(Buffer.from(line).subarray(0, statusTextLimit - 3));
  return `${kept.replace(/\ufffd+$/, '')}...`;
}

/**
 * Whether the text holds the secret, or (since other parties cut their texts) 24 characters of it in a row: as it is, in base64, hex, percent
 * encoding or JSON, or escaped as here. Secrets of less than 4 characters are not looked for.
 */
export function containsSecret(text: string, secret: string): boolean {
  if (secret.length < minSecretLength) return false;
  const lower = text.toLowerCase();
  const bytes = Buffer.from(secret);
  const exact = [
    secret,
    JSON.stringify(secret).slice(1, -1),
    escapeUnprintable(secret),
    // A secret inside longer encoded data starts at one of three offsets; its inner characters are the same in each.
    ...[0, 1, 2].flatMap((offset) => [
      base64Core(bytes, offset, 'base64'),
      base64Core(bytes, offset, 'base64url'),
    ]),
  ];
  return (
    exact.some((form) => containsFragment(text, form)) ||
    containsFragment(lower, bytes.toString('hex'), 2 * fragmentLength) ||
    containsFragment(lower, encodeURIComponent(secret.toWellFormed()).toLowerCase())
  );
}

function containsFragment(text: string, form: string, length = fragmentLength): boolean {
  if (form.length <= length) return form.length >= minSecretLength && text.includes(form);
  for (let start = 0; start < form.length - length; start += length / 2)
    if (text.includes(form.slice(start, start + length))) return true;
  return text.includes(form.slice(-length));
}

/** The characters of the secret's base64 that do not depend on what surrounds it. */
function base64Core(bytes: Buffer, offset: number, encoding: 'base64' | 'base64url'): string {
  const shifted = Buffer.concat([Buffer.alloc(offset), bytes]);
  const alignedLength = shifted.length - (shifted.length % 3);
  return shifted
    .subarray(0, alignedLength)
    .toString(encoding)
    .slice(offset === 0 ? 0 : offset + 1);
}

/** Never through the middle of a surrogate pair. */
function truncate(text: string, length: number): string {
  return text.slice(0, length).replace(/[\ud800-\udbff]$/, '');
}
