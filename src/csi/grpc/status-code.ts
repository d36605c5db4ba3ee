/** The statuses of gRPC by their names (https://github.com/grpc/grpc/blob/master/doc/statuscodes.md). */
export const statusCodes = {
  OK: 0,
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
} as const;

/** The name of a gRPC status: `OK`, `NOT_FOUND`, ... */
export type StatusName = keyof typeof statusCodes;

const names = new Map<number, StatusName>(
  Object.entries(statusCodes).map(([name, code]) => [code, name as StatusName]),
);

/** The name of what came as `grpc-status`; undefined where it is no status that gRPC knows. */
export function statusNameOf(code: string): StatusName | undefined {
  return /^\d{1,2}$/.test(code) ? names.get(Number(code)) : undefined;
}
