import { sanitizeUserText } from '../core/safe-text.ts';
import { plainKeys, rootHint } from '../formats/jmespath.ts';
import { type JsonValue, isJsonObject, ownProperty, parseJsonText } from '../formats/json.ts';

/**
 * The remedies where a selector finds nothing. None names a key that the class does not name: the
 * keys of a secret can tell what it is for.
 */

const checkSpelling = 'check the spelling, letter case counts';

/** The remedy for a key whose value is null. */
export const nullHint = 'store a value under it, or read another key';

/** The remedy where a document has no key of that name. A key is taken literally. */
export function hintForKey(key: string, document: JsonValue): string {
  const written = ownKeyIn(key, document);
  if (written !== undefined) return `write ${sanitizeUserText(written)}`;
  const [first = '', ...rest] = plainKeys(key) ?? [];
  const hasParent = rest.length > 0 && ownProperty(document, first) !== undefined;
  if (hasParent)
    return `a key is no path, and does not look inside another: read ${quote(first)} alone`;
  return rootHint(key) ?? checkSpelling;
}

/** The key that a text names together with the map above it, or in quotes. */
function ownKeyIn(text: string, document: JsonValue): string | undefined {
  const { inside = '' } =
    /^(?:data\.|(?<quote>["']))(?<inside>.+)\k<quote>$/s.exec(text)?.groups ?? {};
  return ownProperty(document, inside) === undefined ? undefined : inside;
}

/**
 * The remedy where an expression finds nothing.
 * @param keys those of an expression that consists only of keys and dots
 */
export function hintForExpression(
  expression: string,
  keys: readonly string[],
  document: JsonValue,
): string {
  if (keys.length > 1 && ownProperty(document, expression) !== undefined)
    return `the secret has a key of that name: write it in quotes, path: '${JSON.stringify(expression)}'`;
  let found: JsonValue | undefined = document;
  for (const key of keys) {
    found = ownProperty(found, key);
    if (typeof found === 'string' && holdsJsonObject(found))
      return `the key ${quote(key)} is text that holds JSON, which has no keys here: store an object in its place, or read ${quote(key)} alone`;
  }
  return found === null ? `it is null: ${nullHint}` : checkSpelling;
}

function holdsJsonObject(text: string): boolean {
  try {
    return text.trimStart().startsWith('{') && isJsonObject(parseJsonText(text));
  } catch {
    return false;
  }
}

function quote(text: string): string {
  return `"${sanitizeUserText(text)}"`;
}
