/** A text with everything but letters, digits and `-._~` percent-encoded (RFC 3986); half a surrogate pair becomes U+FFFD. */
export function encode(text: string): string {
  return encodeURIComponent(text.toWellFormed()).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

/** Parameters as a query or a form, each encoded, in the order of {@link compare}: what signatures are made over. */
export function encodeQuery(parameters: Iterable<readonly [string, string]>): string {
  return [...parameters]
    .sort(([a, x], [b, y]) => compare(a, b) || compare(x, y))
    .map(([name, value]) => `${encode(name)}=${encode(value)}`)
    .join('&');
}

/** By code units, for sorting: in no language's order. */
export function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
