import { isLosslessNumber, LosslessNumber, parse } from 'lossless-json';

/** A JSON value whose numbers keep their characters. Objects have no prototype. */
export type JsonValue =
  | null
  | boolean
  | string
  | number
  | LosslessNumber
  | readonly JsonValue[]
  | { readonly [key: string]: JsonValue };

const maxDepth = 1_000;

/**
 * Reads JSON text as `JSON.parse` does (of a key that stands twice the last value holds), but loses no digit: a number is a JavaScript number
 * only where that prints as the same characters, so that it can be compared, and a LosslessNumber otherwise.
 * @throws SyntaxError, whose text may quote the input: do not show it. Text nested more than 1,000 deep is one too.
 */
export function parseJsonText(text: string): JsonValue {
  if (isTooDeep(text)) throw new SyntaxError(`nested more than ${maxDepth} deep`);
  const parsed: unknown = parse(text, null, { parseNumber, onDuplicateKey: ({ newValue }) => newValue });
  return withoutPrototypes(parsed);
}

/** Looked at beforehand: the library recurses, and a stack that runs out inside the engine's own code can end the process. */
function isTooDeep(text: string): boolean {
  let depth = 0;
  let inString = false;
  for (let index = 0; index < text.length && depth <= maxDepth; index += 1) {
    const character = text[index];
    if (character === '"') inString = !inString;
    else if (inString) index += character === '\\' ? 1 : 0;
    else if (character === '[' || character === '{') depth += 1;
    else if (character === ']' || character === '}') depth -= 1;
  }
  return depth > maxDepth;
}

function parseNumber(characters: string): number | LosslessNumber {
  const number = Number(characters);
  return String(number) === characters ? number : new LosslessNumber(characters);
}

function withoutPrototypes(value: unknown): JsonValue {
  if (Array.isArray(value)) return value.map(withoutPrototypes);
  if (typeof value !== 'object' || value === null || isLosslessNumber(value)) return value as JsonValue;
  const bare = Object.create(null) as Record<string, JsonValue>;
  for (const [key, item] of Object.entries(value)) bare[key] = withoutPrototypes(item);
  return bare;
}

/** The value as compact JSON text, keys in their order, or sorted by code unit where `sorted`. Every number as it stood. */
export function toJsonText(value: JsonValue, { sorted = false } = {}): string {
  if (Array.isArray(value))
    return `[${value.map((item: JsonValue) => toJsonText(item, { sorted })).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  if (value instanceof LosslessNumber) return value.toString();
  const entries = Object.entries(value as Record<string, JsonValue>);
  if (sorted) entries.sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${entries.map(([key, item]) => `${JSON.stringify(key)}:${toJsonText(item, { sorted })}`).join(',')}}`;
}
