/**
 * Every way in which Keyferry fails, each with its paragraph in docs/errors.md.
 *
 * `grpc` is the name of the status the driver gets. Only codes that are final for the kubelet may stand here: after a
 * non-final one the driver can start a pod on an empty volume (docs/adr/0002).
 *
 * `kind` says what the failure tells about the store's answer:
 *  - `definite`: the store, or our own admission, has answered no; a cached value is dropped at once.
 *  - `outage`: nobody answered; fallbacks and the last good value may serve.
 *  - `request`: the request or the class is wrong, whatever the store would say.
 *  - `internal`: our own limits or mistakes; says nothing about the store.
 */
export const codes = {
  INVALID_REQUEST: { grpc: 'INVALID_ARGUMENT', kind: 'request' },
  INVALID_CLASS: { grpc: 'INVALID_ARGUMENT', kind: 'request' },
  NOT_ALLOWED_FROM_CLASS: { grpc: 'PERMISSION_DENIED', kind: 'request' },
  TOKEN_MISSING: { grpc: 'UNAUTHENTICATED', kind: 'request' },
  TOKEN_INVALID: { grpc: 'UNAUTHENTICATED', kind: 'request' },
  NOT_GRANTED: { grpc: 'PERMISSION_DENIED', kind: 'definite' },
  IDENTITY_DOWNGRADE: { grpc: 'FAILED_PRECONDITION', kind: 'request' },
  ADMISSION_UNAVAILABLE: { grpc: 'INTERNAL', kind: 'internal' },
  NOT_CONFIGURED: { grpc: 'FAILED_PRECONDITION', kind: 'internal' },
  OBJECT_NOT_FOUND: { grpc: 'NOT_FOUND', kind: 'definite' },
  OBJECT_DISABLED: { grpc: 'FAILED_PRECONDITION', kind: 'definite' },
  ACCESS_DENIED: { grpc: 'PERMISSION_DENIED', kind: 'definite' },
  CREDENTIALS_REFUSED: { grpc: 'UNAUTHENTICATED', kind: 'definite' },
  CREDENTIALS_UNAVAILABLE: { grpc: 'INTERNAL', kind: 'outage' },
  STORE_REFUSED_REQUEST: { grpc: 'INVALID_ARGUMENT', kind: 'definite' },
  STORE_UNAVAILABLE: { grpc: 'INTERNAL', kind: 'outage' },
  STORE_THROTTLED: { grpc: 'INTERNAL', kind: 'outage' },
  STORE_TIMEOUT: { grpc: 'INTERNAL', kind: 'outage' },
  STORE_ANSWER_INVALID: { grpc: 'INTERNAL', kind: 'outage' },
  STORE_ANSWER_TOO_LARGE: { grpc: 'FAILED_PRECONDITION', kind: 'internal' },
  RATE_BUDGET_EXHAUSTED: { grpc: 'INTERNAL', kind: 'outage' },
  LOCAL_STORE_UNREADABLE: { grpc: 'FAILED_PRECONDITION', kind: 'outage' },
  NOT_JSON: { grpc: 'FAILED_PRECONDITION', kind: 'request' },
  KEY_NOT_FOUND: { grpc: 'NOT_FOUND', kind: 'request' },
  INVALID_ENCODING: { grpc: 'FAILED_PRECONDITION', kind: 'request' },
  RESPONSE_TOO_LARGE: { grpc: 'FAILED_PRECONDITION', kind: 'request' },
  LEASES_EXHAUSTED: { grpc: 'FAILED_PRECONDITION', kind: 'internal' },
  OVERLOADED: { grpc: 'INTERNAL', kind: 'internal' },
  DEADLINE: { grpc: 'INTERNAL', kind: 'internal' },
  CANCELLED: { grpc: 'INTERNAL', kind: 'internal' },
  SHUTTING_DOWN: { grpc: 'INTERNAL', kind: 'internal' },
  INTERNAL: { grpc: 'INTERNAL', kind: 'internal' },
} as const satisfies Record<string, { grpc: FinalStatus; kind: FailureKind }>;

/** The statuses that the kubelet takes as final. */
export type FinalStatus =
  | 'INVALID_ARGUMENT'
  | 'NOT_FOUND'
  | 'PERMISSION_DENIED'
  | 'UNAUTHENTICATED'
  | 'FAILED_PRECONDITION'
  | 'INTERNAL';

/** What a failure tells about the store's answer; see {@link codes}. */
export type FailureKind = 'definite' | 'outage' | 'request' | 'internal';

/** A name out of {@link codes}. */
export type ErrorCode = keyof typeof codes;

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
