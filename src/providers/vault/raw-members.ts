/**
 * The members of a JSON object by key, each value's text as it stands there: numbers, escapes and the order of keys as they came. Of a key that stands
 * twice the last counts, as everywhere. For text that has been parsed before: of any other it makes no sense, but it ends.
 * @returns undefined where the text is no object
 */
export function rawMembers(text: string): ReadonlyMap<string, string> | undefined {
  const members = new Map<string, string>();
  let at = skipBlanks(text, 0);
  if (text[at] !== '{') return undefined;
  at = skipBlanks(text, at + 1);
  while (at < text.length && text[at] !== '}') {
    const endOfKey = skipString(text, at);
    const start = skipBlanks(text, skipBlanks(text, endOfKey) + 1);
    const end = skipValue(text, start);
    members.set(JSON.parse(text.slice(at, endOfKey)) as string, text.slice(start, end).trimEnd());
    at = skipBlanks(text, end + 1);
  }
  return members;
}

function skipBlanks(text: string, from: number): number {
  let at = from;
  while (' \t\n\r'.includes(text[at] ?? '.')) at += 1;
  return at;
}

/** From a quotation mark to behind the one that ends it. */
function skipString(text: string, from: number): number {
  let at = from + 1;
  while (at < text.length && text[at] !== '"') at += text[at] === '\\' ? 2 : 1;
  return at + 1;
}

/** To the comma or bracket that ends the value. */
function skipValue(text: string, from: number): number {
  let depth = 0;
  let at = from;
  while (at < text.length) {
    const character = text[at];
    if (depth === 0 && (character === ',' || character === '}')) return at;
    if (character === '{' || character === '[') depth += 1;
    else if (character === '}' || character === ']') depth -= 1;
    at = character === '"' ? skipString(text, at) : at + 1;
  }
  return at;
}
