import { inspect } from 'node:util';

/**
 * Wraps a secret. Logs, JSON, `inspect` and string conversion print `[redacted]`. Only `reveal()`
 * returns the value, so a search for it finds every use of a plain secret.
 */
export class Redacted<T = string> {
  readonly #value: T;

  constructor(value: T) {
    this.#value = value;
  }

  /** Returns the value. Never pass it to a log, an error or a metric. */
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
