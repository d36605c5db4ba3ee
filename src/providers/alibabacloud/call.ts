import { randomUUID } from 'node:crypto';
import type { Retry } from '../../concurrency/retry.ts';
import type { SecretRef } from '../../core/plan.ts';
import type { HttpClient, HttpResponse } from '../../http/client.ts';
import type { TlsSettings } from '../../http/connections.ts';
import { encodeQuery } from '../../http/uri.ts';
import type { CallContext } from '../shared/reads/authenticated-call.ts';
import { classify, isKnownError } from '../shared/reads/store-errors.ts';
import {
  type AlibabaErrorResponse,
  parseErrorResponse,
  storeErrors,
  transientErrors,
} from './errors.ts';
import { sign } from './sign.ts';
import { type AlibabaCredential, secretsOf } from './types.ts';

/** A call of an operation in RPC style: always POST to `/`. */
export type Call = {
  readonly endpoint: URL;
  readonly tls?: TlsSettings;
  /** `GetSecretValue` */
  readonly action: string;
  /** `2016-01-20` */
  readonly version: string;
  readonly query?: Readonly<Record<string, string>>;
  /** Sent in the body. Proxies write addresses into their logs, but not bodies. */
  readonly form?: Readonly<Record<string, string>>;
  /** Signs the call. Absent: the call is not signed. */
  readonly credential?: AlibabaCredential;
  /** What must not appear in a message, beside the credential: a token in the form. */
  readonly secrets?: readonly string[];
  readonly signal: AbortSignal;
  /** Awaited before each attempt: the rate limiter. */
  readonly beforeAttempt?: () => Promise<void>;
};

/** A success (HTTP 200), or the error response of the service. */
export type CallResult =
  | { readonly response: HttpResponse; readonly error?: undefined }
  | { readonly error: AlibabaErrorResponse };

/** See {@link createApi}. */
export type Api = {
  /**
   * Sends a call, and retries it after a transient error. No other layer retries after such
   * an error.
   * @throws SecretError STORE_UNAVAILABLE, STORE_TIMEOUT, STORE_THROTTLED, STORE_ANSWER_TOO_LARGE;
   *   what `beforeAttempt` throws; the signal's reason
   */
  call(call: Call): Promise<CallResult>;
};

/** The signing client of Alibaba Cloud's services. */
export function createApi(deps: {
  readonly http: HttpClient;
  readonly retry: Retry;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}): Api {
  const { http, retry, now } = deps;

  const attempt = async (call: Call): Promise<CallResult> => {
    await call.beforeAttempt?.();
    const response = await http.request(toHttpRequest(call, now()));
    if (response.status === 200) return { response };
    const error = parseErrorResponse(response, now());
    const { endpoint, credential, secrets = [] } = call;
    if (isKnownError(transientErrors, error))
      throw classify(transientErrors, error, { host: endpoint.host }, [
        ...secretsOf(credential),
        ...secrets,
      ]);
    return { error };
  };

  return { call: (call) => retry.run(call.endpoint.host, call.signal, () => attempt(call)) };
}

function toHttpRequest(call: Call, now: number) {
  const { endpoint, tls, action, version, query = {}, form, credential, signal } = call;
  const url = new URL('/', endpoint);
  url.search = encodeQuery(Object.entries({ ...query, Format: 'JSON' }));
  const request = {
    method: 'POST',
    url,
    headers: {
      'x-acs-action': action,
      'x-acs-version': version,
      'x-acs-date': new Date(now).toISOString().replace(/\.\d{3}/, ''),
      'x-acs-signature-nonce': randomUUID(),
      ...(form !== undefined && { 'content-type': 'application/x-www-form-urlencoded' }),
    },
    ...(form !== undefined && { body: encodeQuery(Object.entries(form)) }),
  };
  const headers = credential === undefined ? request.headers : sign(request, credential);
  return { ...request, headers, signal, ...(tls !== undefined && { tls }) };
}

/** What a read of a store needs to know about its caller. */
export type ReadContext = Pick<
  CallContext<AlibabaCredential>,
  'credential' | 'owner' | 'signal' | 'beforeAttempt'
>;

/** A signed call to a store. */
export type StoreCall = Omit<Call, keyof ReadContext> & {
  /** The name of the store, for messages. */
  readonly service: string;
  /** The permission that the call needs, for messages. */
  readonly permission: string;
  /** What is requested besides the name, for messages. */
  readonly requested: Pick<SecretRef, 'version' | 'stage'>;
};

/**
 * Calls a store.
 * @returns the response, with HTTP 200
 * @throws SecretError; its message names no secret
 */
export async function callStore(
  api: Api,
  { credential, owner, signal, beforeAttempt }: ReadContext,
  { service, permission, requested, ...call }: StoreCall,
): Promise<HttpResponse> {
  const result = await api.call({ ...call, credential, signal, beforeAttempt });
  if (result.error === undefined) return result.response;
  const isSession = credential.securityToken !== undefined;
  const context = { owner, isSession, service, permission, requested };
  throw classify(storeErrors, result.error, context, secretsOf(credential));
}
