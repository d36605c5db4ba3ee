import { randomUUID } from 'node:crypto';
import type { FakeResponse } from './http-server.ts';

/** An authorized request to a backend. */
export type VaultBackendRequest = {
  /** `LIST` for a GET with `list=true`. */
  readonly method: string;
  /** Below the backend's mount, decoded. */
  readonly path: string;
  readonly query: URLSearchParams;
  /** The fields of a JSON body; empty without a body. */
  readonly fields: Readonly<Record<string, unknown>>;
};

/** An error as Vault writes it. */
export function vaultErrorResponse(status: number, ...errors: string[]): FakeResponse {
  return { status, body: { errors } };
}

/** The response to a request that no policy allows. Its text differs from that for a bad token. */
export const deniedByPolicy = vaultErrorResponse(
  403,
  '1 error occurred:\n\t* permission denied\n\n',
);
/** The response for a bad, expired or missing token, and for a login where nothing is mounted. */
export const permissionDenied = vaultErrorResponse(403, 'permission denied');
export const notFound: FakeResponse = vaultErrorResponse(404);
/** The response of a node that does not have the latest writes yet (Enterprise). */
export const indexNotPresent = vaultErrorResponse(412, 'required index state not present');
/** The response where a rate limit quota is exceeded. */
export const rateLimited = (path: string, retryAfter?: number): FakeResponse => ({
  ...vaultErrorResponse(429, `request path "${path}": rate limit quota exceeded`),
  ...(retryAfter !== undefined && { headers: { 'retry-after': String(retryAfter) } }),
});

/**
 * A success, in the order of fields that Vault has.
 * @param data JSON text, so that its characters are sent as they are
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
