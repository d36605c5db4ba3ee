import { SecretError } from '../../core/errors.ts';
import type { Retry } from '../../concurrency/retry.ts';
import { skewOf } from '../../http/response.ts';
import type { HttpClient, HttpResponse } from '../../http/client.ts';
import { secretsOf, type CceCredential } from './types.ts';
import {
  describeCceErrorResponse,
  isBadSignature,
  isThrottled,
  parseCceErrorResponse,
} from './errors.ts';
import { sign } from './sign.ts';

/** Beyond this the server takes no signature: it allows a quarter of an hour. */
const skewHintThresholdMs = 5 * 60_000;

/** A call to a service of Huawei Cloud. */
export type Call = {
  readonly method: 'GET' | 'POST';
  readonly url: URL;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as JSON. */
  readonly body?: unknown;
  /** Signs the call; without it goes as it is. */
  readonly credential?: CceCredential;
  readonly signal: AbortSignal;
};

/** See {@link createApi}. */
export type Api = {
  /**
   * Any answer but those that pass by themselves. Those are tried again, here and nowhere else.
   * @throws SecretError STORE_UNAVAILABLE, STORE_TIMEOUT, STORE_THROTTLED, STORE_ANSWER_TOO_LARGE; the signal's reason
   */
  call(call: Call): Promise<HttpResponse>;
  /**
   * That the service did not take the credential. Names nothing but the credential's owner, for it is told to all who use it.
   * A clock that is wrong makes every signature bad, so it is looked at.
   */
  credentialsRefusedError(response: HttpResponse, credential: CceCredential): SecretError;
};

/** The one way to Huawei Cloud's services: signed, tried again where that helps, errors told without what they repeat of a request. */
export function createApi(deps: {
  readonly http: HttpClient;
  readonly retry: Retry;
  readonly now: () => number;
}): Api {
  const { http, retry, now } = deps;

  async function attempt({
    method,
    url,
    body,
    credential,
    signal,
    ...call
  }: Call): Promise<HttpResponse> {
    const text = body === undefined ? undefined : JSON.stringify(body);
    const headers = {
      ...call.headers,
      ...(text !== undefined && { 'Content-Type': 'application/json' }),
      ...(credential?.securityToken && { 'X-Security-Token': credential.securityToken.reveal() }),
    };
    const content = { method, url, ...(text !== undefined && { body: text }) };
    const signed =
      credential === undefined ? headers : sign({ ...content, headers }, credential, now());
    const response = await http.request({ ...content, headers: signed, signal });
    // Its text could name another's secret, and this is told to all who wait for the same service.
    const errorResponse = { ...parseCceErrorResponse(response), text: '' };
    const describe = (): string =>
      `${url.host} ${describeCceErrorResponse(errorResponse, credential ? secretsOf(credential) : [])}`;
    if (response.status >= 400 && isThrottled(errorResponse))
      throw new SecretError('STORE_THROTTLED', `too many calls: ${describe()}`);
    if (response.status >= 500)
      throw new SecretError('STORE_UNAVAILABLE', `the service failed: ${describe()}`);
    return response;
  }

  return {
    call: (call) =>
      retry.run(
        call.url.host,
        call.signal,
        () => attempt(call),
        (error) => error.kind === 'outage' && error.code !== 'STORE_ANSWER_INVALID',
      ),
    credentialsRefusedError(response, credential) {
      const errorResponse = parseCceErrorResponse(response);
      const description = describeCceErrorResponse(errorResponse, secretsOf(credential));
      if (/AK access failed to reach the limit/i.test(errorResponse.text))
        return new SecretError(
          'CREDENTIALS_REFUSED',
          `Huawei Cloud has locked ${credential.owner} after too many bad signatures ${description}`,
          { hint: 'correct the secret key; the lock ends by itself after some minutes' },
        );
      const skew = skewOf(response, now());
      return new SecretError(
        'CREDENTIALS_REFUSED',
        `Huawei Cloud refused ${credential.owner} ${description}`,
        {
          hint:
            Math.abs(skew) > skewHintThresholdMs
              ? `the clock of this node is ${Math.round(Math.abs(skew) / 60_000)} minutes ${skew > 0 ? 'fast' : 'slow'}: set it right`
              : 'check that the key exists, is enabled and complete, and that the clock of this node is right',
        },
      );
    },
  };
}

/** Whether an answer says that the credential is not good. */
export function isCredentialRejection(response: HttpResponse): boolean {
  return response.status === 401 || isBadSignature(parseCceErrorResponse(response).code);
}
