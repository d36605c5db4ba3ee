import type { Retry } from '../../concurrency/retry.ts';
import type { HttpClient, HttpResponse } from '../../http/client.ts';
import { classify, isKnownError } from '../shared/reads/store-errors.ts';
import {
  type CceErrorContext,
  type CceErrorResponse,
  parseErrorResponse,
  transientErrors,
} from './errors.ts';
import { sign } from './sign.ts';
import { type CceCredential, secretsOf } from './types.ts';

/** A call to a service of Huawei Cloud. */
export type Call = {
  readonly method: 'GET' | 'POST';
  readonly url: URL;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as JSON. */
  readonly body?: unknown;
  /** Signs the call. Absent: the call is not signed. */
  readonly credential?: CceCredential;
  readonly signal: AbortSignal;
  /** Awaited before each attempt: the rate limiter. */
  readonly beforeAttempt?: () => Promise<void>;
};

/** A success, or the error response of the service. */
export type CallResult =
  | { readonly response: HttpResponse; readonly error?: undefined }
  | { readonly error: CceErrorResponse; readonly context: CceErrorContext };

/** See {@link createApi}. */
export type Api = {
  /**
   * Sends a call, and retries it after a transient error. No other layer retries.
   * @throws SecretError STORE_UNAVAILABLE, STORE_TIMEOUT, STORE_THROTTLED, STORE_ANSWER_TOO_LARGE;
   *   what `beforeAttempt` throws; the signal's reason
   */
  call(call: Call): Promise<CallResult>;
};

/** The signing client of Huawei Cloud's services. */
export function createApi(deps: {
  readonly http: HttpClient;
  readonly retry: Retry;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}): Api {
  const { http, retry, now } = deps;

  const attempt = async (call: Call): Promise<CallResult> => {
    await call.beforeAttempt?.();
    const response = await http.request({ ...signedRequest(call, now()), signal: call.signal });
    if (response.status < 300) return { response };
    const error = parseErrorResponse(response, now());
    const { credential, url } = call;
    const context = { host: url.host, owner: credential?.owner ?? '' };
    const secrets = credential === undefined ? [] : secretsOf(credential);
    if (isKnownError(transientErrors, error))
      throw classify(transientErrors, error, context, secrets);
    return { error, context };
  };

  return { call: (call) => retry.run(call.url.host, call.signal, () => attempt(call)) };
}

function signedRequest({ method, url, body, credential, headers }: Call, now: number) {
  const text = body === undefined ? undefined : JSON.stringify(body);
  const request = {
    method,
    url,
    headers: {
      ...headers,
      ...(text !== undefined && { 'Content-Type': 'application/json' }),
      ...(credential?.securityToken && { 'X-Security-Token': credential.securityToken.reveal() }),
    },
    ...(text !== undefined && { body: text }),
  };
  return credential === undefined
    ? request
    : { ...request, headers: sign(request, credential, now) };
}
