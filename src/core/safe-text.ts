const statusTextLimit = 1_000;
const externalTextLimit = 200;
/** Shorter secrets would match ordinary words. */
const minSecretLength = 4;
/** A match of this many characters of a secret, or of its encoding, is not a coincidence. */
const fragmentLength = 16;

/**
 * Control, format (also bidirectional), private and unassigned characters, separators of lines and
 * paragraphs, lone surrogates, U+FFFD.
 */
const unprintable = /[\p{Cc}\p{Cf}\p{Cn}\p{Co}\p{Cs}\p{Zl}\p{Zp}\ufffd]/gu;

/** Escapes characters that could break a line or change its direction as `\u{...}`. */
export function escapeUnprintable(text: string): string {
  return text.replace(
    unprintable,
    (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`,
  );
}

/**
 * Prepares text from a store or from the network for an error message: at most 200 characters, all
 * of them printable. The text is withheld if it contains one of `secrets`, see
 * {@link containsSecret}.
 * @param secrets the tokens, keys and other secrets of the request that was sent: a server can
 *   repeat them
 * @param rewrite changes what is left of the text, up to 1,000 characters, before it is cut
 */
export function sanitizeExternalText(
  text: string,
  secrets: Iterable<string>,
  rewrite: (text: string) => string = (unchanged) => unchanged,
): string {
  // A hostile store may send megabytes. Only the shown part, and enough after it to recognize a
  // secret that starts in it, is searched.
  const searched = text.slice(0, 5 * externalTextLimit);
  return sanitizeUserText(rewrite(withholdSecrets(searched, secrets)));
}

/** The text, or a note in its place if it contains one of `secrets`. */
export function withholdSecrets(text: string, secrets: Iterable<string>): string {
  for (const secret of secrets)
    if (containsSecret(text, secret)) return '[text withheld: it held a secret]';
  return text;
}

/**
 * Prepares what a user or the operator wrote for an error message, as {@link sanitizeExternalText}
 * does, but without a search for secrets: parameters, settings, names, paths of files, annotations.
 * Text from a store or from the network must not pass here.
 */
export function sanitizeUserText(text: string): string {
  const escaped = escapeUnprintable(text.slice(0, externalTextLimit + 1));
  return escaped.length <= externalTextLimit
    ? escaped
    : `${truncate(escaped, externalTextLimit - 3)}...`;
}

/** The text of a gRPC status: one printable line of at most 1,000 bytes. */
export function statusText(text: string): string {
  const line = escapeUnprintable(text.replace(/[\r\n]\s*/g, ' ').trim());
  if (Buffer.byteLength(line) <= statusTextLimit) return line;
  // A truncated character decodes to U+FFFD. No other U+FFFD occurs here, since it is escaped.
  const kept = new TextDecoder().decode(Buffer.from(line).subarray(0, statusTextLimit - 3));
  return `${kept.replace(/\ufffd+$/, '')}...`;
}

/**
 * Whether the text contains the secret, or 24 consecutive characters of it, since other programs
 * truncate their texts. It finds the secret as it is, in base64, hex, percent encoding or JSON, and
 * escaped as above. It does not look for secrets of less than 4 characters.
 */
export function containsSecret(text: string, secret: string): boolean {
  if (secret.length < minSecretLength) return false;
  const lower = text.toLowerCase();
  const bytes = Buffer.from(secret);
  const exact = [
    secret,
    JSON.stringify(secret).slice(1, -1),
    escapeUnprintable(secret),
    // In longer encoded data, a secret starts at one of three offsets. Its inner characters depend
    // on nothing else.
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

/**
 * Whether the text contains a fragment of the form. With the default length, it searches for the
 * fragments of 16 characters that start at the characters 0, 8, 16 and so on, and for the last 16
 * characters. Any 24 consecutive characters of the form contain one of them completely: one of the
 * first 8 is a start, and 16 characters follow from there.
 */
function containsFragment(text: string, form: string, length = fragmentLength): boolean {
  if (form.length <= length) return form.length >= minSecretLength && text.includes(form);
  for (let start = 0; start < form.length - length; start += length / 2)
    if (text.includes(form.slice(start, start + length))) return true;
  return text.includes(form.slice(-length));
}

/** The characters of the secret's base64 that do not depend on the surrounding data. */
function base64Core(bytes: Buffer, offset: number, encoding: 'base64' | 'base64url'): string {
  const shifted = Buffer.concat([Buffer.alloc(offset), bytes]);
  const alignedLength = shifted.length - (shifted.length % 3);
  return shifted
    .subarray(0, alignedLength)
    .toString(encoding)
    .slice(offset === 0 ? 0 : offset + 1);
}

/** Never splits a surrogate pair. */
function truncate(text: string, length: number): string {
  return text.slice(0, length).replace(/[\ud800-\udbff]$/, '');
}
