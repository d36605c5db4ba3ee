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
