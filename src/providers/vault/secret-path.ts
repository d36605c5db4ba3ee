/** Characters that need no encoding in a path (RFC 3986), beside those that `encodeURIComponent` leaves; what the others of its are, it encodes. */
const plainInPaths = /%(24|26|2B|2C|3A|3B|3D|40)/g;

const longestPath = 4_096;

/**
 * A `secretPath` as it is sent below `v1/`: one spelling for all that ask the same. A leading `/` or `v1/` is taken away and slashes are
 * folded, as the vendors' clients do; the path is percent-encoded (it is written plain), and the parameters of its query are sorted.
 * @returns the path, or what is wrong with it, as words that follow it
 */
export function readSecretPath(text: string): { readonly path: string } | { readonly fault: string } {
  const [, plain = '', query = ''] = /^(?:\/?v1\/)?([^?]*)\??(.*)$/su.exec(text) ?? [];
  const segments = plain.split('/').filter((segment) => segment !== '');
  if (segments.length === 0) return { fault: 'names nothing' };
  if (text.length > longestPath) return { fault: `is longer than ${longestPath} characters` };
  if (!/^\P{C}*$/u.test(text)) return { fault: 'has control characters' };
  if (segments.some((segment) => segment === '.' || segment === '..'))
    return { fault: 'has "." or ".." as an element' };
  if (!isQuery(query)) return { fault: 'has a query with a "%" that encodes nothing' };
  const parameters = new URLSearchParams(query);
  parameters.sort();
  const path = segments.map(encode).join('/');
  return { path: parameters.size === 0 ? path : `${path}?${parameters.toString()}` };
}

/** A path without its query: what a grant for a shared identity names. */
export function withoutQuery(path: string): string {
  return path.split('?')[0] ?? '';
}

function encode(segment: string): string {
  return encodeURIComponent(segment)
    .replace(/[!'()*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`)
    .replace(plainInPaths, (code) => decodeURIComponent(code));
}

function isQuery(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
}
