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

/** A request to a service of Huawei Cloud. */
export type ApiRequest = {
  readonly method: 'GET' | 'POST';
  readonly url: URL;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as JSON. */
  readonly body?: unknown;
  /** Signs the request. Absent: the request is not signed. */
  readonly credential?: CceCredential;
  /** Tokens in the body or the headers. They must not appear in a message. */
  readonly secrets?: readonly string[];
  readonly signal: AbortSignal;
  /** Awaited before each attempt: the rate limiter. */
  readonly beforeAttempt?: () => Promise<void>;
};

/** A success, or the error response of the service. */
export type ApiResult =
  | { readonly response: HttpResponse; readonly error?: undefined }
  | { readonly error: CceErrorResponse; readonly context: CceErrorContext };

/**
 * Sends a request, and retries it after a transient error. No other layer retries after such
 * an error.
 * @throws SecretError STORE_UNAVAILABLE, STORE_TIMEOUT, STORE_THROTTLED, STORE_ANSWER_TOO_LARGE;
 *   what `beforeAttempt` throws; the signal's reason
 */
export type ApiCall = (request: ApiRequest) => Promise<ApiResult>;

/** Makes the signing client of Huawei Cloud's services. */
export function createApiCall(deps: {
  readonly http: HttpClient;
  readonly retry: Retry;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}): ApiCall {
  const { http, retry, now } = deps;

  const attempt = async (request: ApiRequest): Promise<ApiResult> => {
    const { credential, secrets = [], url, signal, beforeAttempt } = request;
    await beforeAttempt?.();
    const response = await http.request({ ...toHttpRequest(request, now()), signal });
    if (response.status < 300) return { response };
    const error = parseErrorResponse(response, now());
    const context = {
      host: url.host,
      owner: credential?.owner ?? '',
      isSession: credential?.securityToken !== undefined,
    };
    if (isKnownError(transientErrors, error)) {
      const keys = credential === undefined ? [] : secretsOf(credential);
      throw classify(transientErrors, error, context, [...secrets, ...keys]);
    }
    return { error, context };
  };

  return (request) => retry.run(request.url.host, request.signal, () => attempt(request));
}

function toHttpRequest({ method, url, body, credential, headers }: ApiRequest, now: number) {
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
