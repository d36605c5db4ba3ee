import { inspect } from 'node:util';

/**
 * A secret on its way through the house: log, JSON, `inspect` and string conversion print `[redacted]`.
 * Only `reveal()` hands the value out, so every use of a plain secret can be found by that word.
 */
export class Redacted<T = string> {
  readonly #value: T;

  constructor(value: T) {
    this.#value = value;
  }

  /** The value itself. Never pass it to a log, an error or a metric. */
  reveal(): T {
    return this.#value;
  }

  toString(): string {
    return '[redacted]';
  }

  toJSON(): string {
    return '[redacted]';
  }

  [inspect.custom](): string {
    return '[redacted]';
  }
}
