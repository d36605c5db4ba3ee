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
 * A number that JavaScript would print in other characters (`1.50`, `12345678901234567890`). Passes for a number with JMESPath: it can be ordered and
 * computed with, but equals none, and what could lose digits throws instead.
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
 * Reads JSON text as `JSON.parse` does (of a key that stands twice the last value holds), but loses no digit: a number is a JavaScript number
 * only where that prints as the same characters, and an {@link ExactNumber} otherwise. Objects inherit nothing that a key could meet.
 * @throws SyntaxError, whose text may quote the input: do not show it. Text nested more than 1,000 deep is one too.
 */
export function parseJsonText(text: string): JsonValue {
  if (isTooDeep(text)) throw new SyntaxError(`nested more than ${maxDepth} deep`);
  return takePrototypes(
    parse(text, null, { parseNumber, onDuplicateKey: ({ newValue }) => newValue }) as JsonValue,
  );
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

function parseNumber(characters: string): number | ExactNumber {
  const number = Number(characters);
  return String(number) === characters ? number : new ExactNumber(characters);
}

/** All that jmespath asks of an object itself; it asks only about the object's own keys. */
const bareObject = Object.freeze(
  Object.create(null, { hasOwnProperty: { value: () => true } }) as Record<string, never>,
);

/** In place: a copy of a hostile document (a megabyte of `{},`) would not fit into the heap. */
function takePrototypes(value: JsonValue): JsonValue {
  if (typeof value !== 'object' || value === null || value instanceof ExactNumber) return value;
  if (!Array.isArray(value)) Object.setPrototypeOf(value, bareObject);
  for (const item of Object.values(value) as JsonValue[]) takePrototypes(item);
  return value;
}

/**
 * The value as compact JSON text, keys in their order (those that look like array indices first, as everywhere in JavaScript), or sorted by code
 * unit where `sorted`. Every number as it stood.
 * @throws RangeError beyond `limit` characters, default none: shared parts can stand for any length.
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
