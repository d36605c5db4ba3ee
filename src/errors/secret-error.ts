import { codes, type ErrorCode, type FailureKind } from './codes.ts';

/** What may accompany a {@link SecretError}. */
export type SecretErrorDetails = {
  /** What to do about it, one sentence. */
  readonly hint?: string;
  /** What was thrown below; for the log, never for the status. */
  readonly cause?: unknown;
  /** How many further problems were found besides this one. */
  readonly more?: number;
  /** The request surely had no effect (it reached nobody, or one who turned it away unread): sending it again repeats nothing. */
  readonly unsent?: boolean;
};

/** What a class shows, without its store. */
const inClasses = new Set<ErrorCode>(['INVALID_CLASS', 'NOT_ALLOWED_FROM_CLASS']);

/**
 * The one error of the house. `message` names the thing and the cause and is safe to show: it holds no secret, and text
 * that came from elsewhere has passed {@link quoteForeign}.
 */
export class SecretError extends Error {
  override readonly name = 'SecretError';
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  readonly more: number;
  readonly unsent: boolean;

  constructor(code: ErrorCode, message: string, details: SecretErrorDetails = {}) {
    const { hint, cause, more = 0, unsent = false } = details;
    super(message, cause === undefined ? {} : { cause });
    this.code = code;
    this.hint = hint;
    this.more = more;
    this.unsent = unsent;
    // Until its stack is read, an error holds the functions on it, and by them a whole request; some are remembered for long.
    this.stack = String(this.stack);
  }

  /** What the failure tells about the store's answer. */
  get kind(): FailureKind {
    return codes[this.code].kind;
  }

  /** Message, hint and the count of further problems, in the order in which a reader needs them. */
  get summary(): string {
    const hint = this.hint === undefined ? '' : `; ${this.hint}`;
    const where = inClasses.has(this.code) ? ': keyferry lint' : '';
    const more = this.more === 0 ? '' : `; and ${this.more} more${where}`;
    return `${this.message}${hint}${more}`;
  }

  /** The summary behind the code by which docs/errors.md knows it: what a pod's event shows. */
  get event(): string {
    return `${this.code}: ${this.summary}`;
  }
}

/**
 * Whatever was thrown, as a SecretError. A foreign error becomes INTERNAL without its text, which could hold anything;
 * the text stays in `cause` for the log.
 */
export function toSecretError(thrown: unknown): SecretError {
  if (thrown instanceof SecretError) return thrown;
  return new SecretError('INTERNAL', 'Keyferry failed in a way it does not know', {
    hint: 'please report it; a server has the cause in its log',
    cause: thrown,
  });
}
