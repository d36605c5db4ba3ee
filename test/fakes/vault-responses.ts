import { randomUUID } from 'node:crypto';
import type { FakeResponse } from './http-server.ts';

/** What a backend is asked, once the core has found out who asks and whether he may. */
export type VaultBackendRequest = {
  /** `LIST` where it came as a GET with `list=true`. */
  readonly method: string;
  /** Below the backend's mount, decoded. */
  readonly path: string;
  readonly query: URLSearchParams;
  /** The fields of a JSON body; empty where there is none. */
  readonly fields: Readonly<Record<string, unknown>>;
};

/** An error as Vault writes it. */
export function vaultErrorResponse(status: number, ...errors: string[]): FakeResponse {
  return { status, body: { errors } };
}

/** The answer of a policy that does not allow it: other words than those for a token that is none. */
export const deniedByPolicy = vaultErrorResponse(
  403,
  '1 error occurred:\n\t* permission denied\n\n',
);
/** A bad, ended or missing token, and a login where nothing is mounted. */
export const permissionDenied = vaultErrorResponse(403, 'permission denied');
export const notFound: FakeResponse = vaultErrorResponse(404);
/** Read before this node has seen what was written to another (Enterprise). */
export const indexNotPresent = vaultErrorResponse(412, 'required index state not present');
/** A rate limit quota. */
export const rateLimited = (path: string, retryAfter?: number): FakeResponse => ({
  ...vaultErrorResponse(429, `request path "${path}": rate limit quota exceeded`),
  ...(retryAfter !== undefined && { headers: { 'retry-after': String(retryAfter) } }),
});

/**
 * A success, in the order of fields that Vault has.
 * @param data JSON text, so that it goes out character by character
 */
export function vaultResponse(
  data: string,
  lease: { readonly id?: string; readonly seconds?: number; readonly renewable?: boolean } = {},
  rest: {
    readonly warnings?: readonly string[];
    readonly auth?: object;
    readonly status?: number;
  } = {},
): FakeResponse {
  const { id = '', seconds = 0, renewable = false } = lease;
  const { warnings = null, auth = null, status = 200 } = rest;
  const head = JSON.stringify({
    request_id: randomUUID(),
    lease_id: id,
    renewable,
    lease_duration: seconds,
  }).slice(0, -1);
  const tail = JSON.stringify({ wrap_info: null, warnings, auth }).slice(1);
  return {
    status,
    headers: { 'content-type': 'application/json', 'cache-control': 'no-store' },
    body: `${head},"data":${data},${tail}\n`,
  };
}
