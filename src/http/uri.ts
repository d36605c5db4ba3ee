/**
 * Percent-encodes everything except letters, digits and `-._~` (RFC 3986). A lone surrogate becomes
 * U+FFFD.
 */
export function encode(text: string): string {
  return encodeURIComponent(text.toWellFormed()).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

/** Parameters as an encoded query or form, sorted by {@link compare}, as signatures require. */
export function encodeQuery(parameters: Iterable<readonly [string, string]>): string {
  return [...parameters]
    .sort(([a, x], [b, y]) => compare(a, b) || compare(x, y))
    .map(([name, value]) => `${encode(name)}=${encode(value)}`)
    .join('&');
}

/** Compares by UTF-16 code units, independent of the locale. */
export function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
