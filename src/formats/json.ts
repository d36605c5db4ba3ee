import { parse } from 'lossless-json';

/** A JSON value whose numbers keep their characters. */
export type JsonValue =
  | null
  | boolean
  | string
  | number
  | ExactNumber
  | readonly JsonValue[]
  | { readonly [key: string]: JsonValue };

/**
 * A number that JavaScript would print in other characters (`1.50`, `12345678901234567890`).
 * JMESPath treats it as a number: it can be ordered and computed with, but it equals no other
 * number. An operation that could lose digits throws.
 */
export class ExactNumber {
  readonly #characters: string;
  readonly [Symbol.toStringTag] = 'Number';

  constructor(characters: string) {
    this.#characters = characters;
  }

  toString(): string {
    return this.#characters;
  }

  valueOf(): number {
    const number = Number(this.#characters);
    if (Number.isInteger(number) ? Number.isSafeInteger(number) : Number.isFinite(number))
      return number;
    throw new RangeError('a number has too many digits to compute with');
  }

  toJSON(): never {
    throw new RangeError('a number would lose digits');
  }
}

const maxDepth = 1_000;

/**
 * Parses JSON text as `JSON.parse` does (the last value of a duplicate key wins), but loses no
 * digits: a number is a JavaScript number only if it prints as the same characters, and an
 * {@link ExactNumber} otherwise. Objects inherit no properties that a key could name.
 * @throws SyntaxError, also for text nested more than 1,000 deep. Do not show its message: it may
 * quote the input.
 */
export function parseJsonText(text: string): JsonValue {
  if (isTooDeep(text)) throw new SyntaxError(`nested more than ${maxDepth} deep`);
  return removePrototypes(
    parse(text, null, { parseNumber, onDuplicateKey: ({ newValue }) => newValue }) as JsonValue,
  );
}

/**
 * Checked before parsing: the library recurses, and a stack that is exhausted inside the engine's
 * own code can end the process.
 */
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

function parseNumber(characters: string): number | ExactNumber {
  const number = Number(characters);
  return String(number) === characters ? number : new ExactNumber(characters);
}

/** The only method that `jmespath` calls on an object, always with one of its own keys. */
const bareObject = Object.freeze(
  Object.create(null, { hasOwnProperty: { value: () => true } }) as Record<string, never>,
);

/** In place: the copy of a hostile document (a megabyte of `{},`) would not fit into the heap. */
function removePrototypes(value: JsonValue): JsonValue {
  if (typeof value !== 'object' || value === null || value instanceof ExactNumber) return value;
  if (!Array.isArray(value)) Object.setPrototypeOf(value, bareObject);
  for (const item of Object.values(value) as JsonValue[]) removePrototypes(item);
  return value;
}

/**
 * The value as compact JSON text, with numbers as written.
 * @param options.sorted whether keys are sorted by code unit; default: in their order, array
 * indices first as everywhere in JavaScript
 * @param options.limit characters; default: no limit. A value with shared parts can have any
 * length.
 * @throws RangeError beyond the limit
 */
export function toJsonText(value: JsonValue, { sorted = false, limit = Infinity } = {}): string {
  let text = '';
  const add = (piece: string): void => {
    text += piece;
    if (text.length > limit) throw new RangeError(`longer than ${limit} characters`);
  };
  const write = (item: JsonValue): void => {
    if (Array.isArray(item)) {
      add('[');
      for (const [index, inner] of (item as readonly JsonValue[]).entries()) {
        if (index > 0) add(',');
        write(inner);
      }
      add(']');
    } else if (item instanceof ExactNumber) add(item.toString());
    else if (typeof item === 'object' && item !== null) {
      const entries = Object.entries(item);
      if (sorted) entries.sort(([a], [b]) => (a < b ? -1 : 1));
      add('{');
      for (const [index, [key, inner]] of entries.entries()) {
        add(`${index > 0 ? ',' : ''}${JSON.stringify(key)}:`);
        write(inner);
      }
      add('}');
    } else
      add(['string', 'number', 'boolean'].includes(typeof item) ? JSON.stringify(item) : 'null');
  };
  write(value);
  return text;
}

/** Whether a value is an object with keys. */
export function isJsonObject(
  value: JsonValue | undefined,
): value is Readonly<Record<string, JsonValue>> {
  return (
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    !(value instanceof ExactNumber)
  );
}

/** The value of an object's own key; undefined if it has no such key. */
export function ownProperty(value: JsonValue | undefined, key: string): JsonValue | undefined {
  return isJsonObject(value) && Object.hasOwn(value, key) ? value[key] : undefined;
}
