/**
 * Every way in which Keyferry fails. Each code has a paragraph in docs/errors.md.
 *
 * `grpc` is the gRPC status that the driver receives. Only statuses that are final for the kubelet
 * are allowed: after any other status the driver can start a pod on an empty volume
 * (docs/adr/0002).
 *
 * `kind` says what the failure means for a cached value:
 *  - `definite`: the store, or Keyferry's own authorization, refused. The cache drops the value.
 *  - `outage`: the store gave no response. Fallbacks and the last good value may serve.
 *  - `request`: the request or the class is wrong, independent of the store.
 *  - `internal`: a limit or a mistake of Keyferry. It says nothing about the store.
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
  ROTATION_FAILED: { grpc: 'INTERNAL', kind: 'internal' },
  LEASES_EXHAUSTED: { grpc: 'FAILED_PRECONDITION', kind: 'internal' },
  OVERLOADED: { grpc: 'INTERNAL', kind: 'internal' },
  DEADLINE: { grpc: 'INTERNAL', kind: 'internal' },
  CANCELLED: { grpc: 'INTERNAL', kind: 'internal' },
  SHUTTING_DOWN: { grpc: 'INTERNAL', kind: 'internal' },
  INTERNAL: { grpc: 'INTERNAL', kind: 'internal' },
} as const satisfies Record<string, { grpc: FinalStatus; kind: FailureKind }>;

/** The gRPC statuses that the kubelet treats as final. */
export type FinalStatus =
  | 'INVALID_ARGUMENT'
  | 'NOT_FOUND'
  | 'PERMISSION_DENIED'
  | 'UNAUTHENTICATED'
  | 'FAILED_PRECONDITION'
  | 'INTERNAL';

/** What a failure means for a cached value; see {@link codes}. */
export type FailureKind = 'definite' | 'outage' | 'request' | 'internal';

/** A key of {@link codes}. */
export type ErrorCode = keyof typeof codes;

/** Optional fields of a {@link SecretError}. */
export type SecretErrorDetails = {
  /** The remedy, in one sentence. */
  readonly hint?: string | undefined;
  /** The error that was caught. It goes to the log, never to the status. */
  readonly cause?: unknown;
  /** The names of further problems besides this one: secrets, files, lines of a class. */
  readonly others?: readonly string[];
  /**
   * The request had no effect: it did not reach the store, or the store rejected it unread. It is
   * safe to send it again. Default false.
   */
  readonly unsent?: boolean;
  /** The store requests this pause before the next request, in milliseconds (`Retry-After`). */
  readonly retryAfterMs?: number | undefined;
  /**
   * The store's id of the request, safe to show. The log and the audit log have it. The status has
   * not: Kubernetes counts equal events as one, and an id would make each of them different.
   */
  readonly requestId?: string | undefined;
};

/** Errors that a class shows by itself, so that `keyferry lint` finds all of them. */
const inClasses = new Set<ErrorCode>(['INVALID_CLASS', 'NOT_ALLOWED_FROM_CLASS']);

const maxNamed = 10;

function nameSome(names: readonly string[]): string {
  const named = names.slice(0, maxNamed).join(', ');
  return names.length > maxNamed ? `${named} and ${names.length - maxNamed} more` : named;
}

/**
 * The only error type of Keyferry. `message` names the object and the cause. It is safe to show: it
 * contains no secret, and text from outside in it has passed `sanitizeExternalText` or
 * `sanitizeUserText`.
 */
export class SecretError extends Error {
  override readonly name = 'SecretError';
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  readonly others: readonly string[];
  readonly unsent: boolean;
  readonly retryAfterMs: number | undefined;
  readonly requestId: string | undefined;

  constructor(code: ErrorCode, message: string, details: SecretErrorDetails = {}) {
    const { hint, cause, others = [], unsent = false, retryAfterMs, requestId } = details;
    super(message, cause === undefined ? {} : { cause });
    this.code = code;
    this.hint = hint;
    this.others = others;
    this.unsent = unsent;
    this.retryAfterMs = retryAfterMs;
    this.requestId = requestId;
    // V8 formats a stack on first access. Until then the error retains the functions on the stack,
    // and through them a whole request. Caches keep some errors for minutes.
    this.stack = String(this.stack);
  }

  /** A copy of this error with other details, another message, or both. */
  with(changes: SecretErrorDetails & { readonly message?: string }): SecretError {
    const { code, hint, cause, others, unsent, retryAfterMs, requestId } = this;
    const { message = this.message, ...details } = changes;
    const ownDetails = { hint, cause, others, unsent, retryAfterMs, requestId };
    return new SecretError(code, message, { ...ownDetails, ...details });
  }

  /** See {@link codes}. */
  get kind(): FailureKind {
    return codes[this.code].kind;
  }

  /** Message, hint and the names of further problems. */
  get summary(): string {
    const hint = this.hint === undefined ? '' : `; ${this.hint}`;
    const where = inClasses.has(this.code) ? ' (keyferry lint shows all)' : '';
    const others = this.others.length === 0 ? '' : `; also ${nameSome(this.others)}${where}`;
    return `${this.message}${hint}${others}`;
  }

  /** The code and the summary, as the event of a pod shows them. */
  get event(): string {
    return `${this.code}: ${this.summary}`;
  }
}

/**
 * An outage whose fallback has failed as well. The remedy is that of the fallback: it is in the
 * user's hands, and that of an outage is not.
 */
export function withFallbackFailure(
  outage: SecretError,
  { code, message, hint = outage.hint }: SecretError,
  fallback = 'the fallback',
): SecretError {
  return outage.with({
    message: `${outage.message}; and ${fallback} fails with ${code}: ${message}`,
    hint,
  });
}

/**
 * The code of an error of Node or of the operating system, such as `ENOENT`. Undefined for other
 * errors.
 */
export function errorCodeOf(thrown: unknown): string | undefined {
  if (typeof thrown !== 'object' || thrown === null || !('code' in thrown)) return undefined;
  return typeof thrown.code === 'string' ? thrown.code : undefined;
}

const fileProblems: Readonly<Record<string, string>> = {
  ENOENT: 'no such file',
  EACCES: 'permission denied',
  EISDIR: 'is a directory',
};

/** Why a file that a user named cannot be read: `no such file`. */
export function fileProblemOf(thrown: unknown): string {
  const code = errorCodeOf(thrown) ?? 'unknown error';
  return fileProblems[code] ?? code;
}

/**
 * Converts a thrown value to a SecretError. Any other error becomes INTERNAL without its text,
 * because that text can contain a secret. The error stays in `cause` for the log.
 */
export function toSecretError(thrown: unknown): SecretError {
  if (thrown instanceof SecretError) return thrown;
  return new SecretError('INTERNAL', 'Keyferry failed with an unexpected error', {
    hint: 'please report it; a server has the cause in its log',
    cause: thrown,
  });
}
