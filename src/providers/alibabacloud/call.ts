import { randomUUID } from 'node:crypto';
import type { Retry } from '../../concurrency/retry.ts';
import { SecretError } from '../../core/errors.ts';
import type { HttpClient, HttpResponse } from '../../http/client.ts';
import { retryAfterOf, skewOf } from '../../http/response.ts';
import type { TlsSettings } from '../../http/connections.ts';
import { encodeQuery } from '../../http/uri.ts';
import type { CallContext as AnyAsker } from '../shared/reads/authenticated-call.ts';
import {
  describeFault,
  isBadDate,
  isRefusal,
  isThrottled,
  isUnavailable,
  judge,
  readFault,
} from './errors.ts';
import { sign } from './sign.ts';
import { type AlibabaCredential, secretsOf } from './types.ts';

/** Beyond this the server takes no signature: it allows a quarter of an hour. */
const worrisomeSkewMs = 5 * 60_000;

/** A call of an operation, RPC style: everything by POST to `/`. */
export type Call = {
  readonly endpoint: URL;
  readonly tls?: TlsSettings;
  /** `GetSecretValue` */
  readonly action: string;
  /** `2016-01-20` */
  readonly version: string;
  readonly query?: Readonly<Record<string, string>>;
  /** Sent in the body: for what no proxy should write into its log. */
  readonly form?: Readonly<Record<string, string>>;
  /** Signs the call; without it goes as it is. */
  readonly credential?: AlibabaCredential;
  readonly signal: AbortSignal;
  /** Awaited before each attempt: the rate limiter. */
  readonly beforeAttempt?: () => Promise<void>;
};

/** See {@link createApi}. */
export type Api = {
  /**
   * Any answer but those that pass by themselves. Those are tried again, here and nowhere else.
   * @throws SecretError STORE_UNAVAILABLE, STORE_TIMEOUT, STORE_THROTTLED, STORE_ANSWER_TOO_LARGE; the signal's reason
   */
  call(call: Call): Promise<HttpResponse>;
  /**
   * That the service did not take the credential. Names nothing but its owner, for it is told to all who use it. A clock that is wrong makes
   * every signature bad, so it is looked at.
   * @param owner for the message: `the access key it is configured with`
   */
  refusal(answer: HttpResponse, credential: AlibabaCredential, owner: string): SecretError;
};

/** The one way to Alibaba Cloud's services: signed, tried again where that helps, errors told without what they repeat of a request. */
export function createApi(deps: {
  readonly http: HttpClient;
  readonly retry: Retry;
  readonly now: () => number;
}): Api {
  const { http, retry, now } = deps;

  const once = async (call: Call): Promise<HttpResponse> => {
    const { endpoint, tls, action, version, query = {}, form, credential, signal } = call;
    const url = new URL('/', endpoint);
    url.search = encodeQuery(Object.entries({ ...query, Format: 'JSON' }));
    const content = {
      method: 'POST',
      url,
      headers: {
        'x-acs-action': action,
        'x-acs-version': version,
        'x-acs-date': new Date(now()).toISOString().replace(/\.\d{3}/, ''),
        'x-acs-signature-nonce': randomUUID(),
        ...(form !== undefined && { 'content-type': 'application/x-www-form-urlencoded' }),
      },
      ...(form !== undefined && { body: encodeQuery(Object.entries(form)) }),
    };
    const headers = credential === undefined ? content.headers : sign(content, credential);
    return http.request({ ...content, headers, signal, ...(tls !== undefined && { tls }) });
  };

  return {
    call: (call) =>
      retry.run(call.endpoint.host, call.signal, async () => {
        await call.beforeAttempt?.();
        const answer = await once(call);
        // Its text could name another's secret, and this is told to all who wait for the same service.
        const fault = { ...readFault(answer), text: '' };
        const told = `${call.endpoint.host} ${describeFault(fault, secretsOf(call.credential))}`;
        if (answer.status < 400) return answer;
        const details = { retryAfterMs: retryAfterOf(answer.headers, now()) };
        if (isThrottled(fault))
          throw new SecretError('STORE_THROTTLED', `too many calls: ${told}`, details);
        if (isUnavailable(fault))
          throw new SecretError('STORE_UNAVAILABLE', `the service failed: ${told}`, details);
        return answer;
      }),
    refusal(answer, credential, owner) {
      const fault = readFault(answer);
      const skew = skewOf(answer, now());
      const told = describeFault(fault, secretsOf(credential));
      return new SecretError('CREDENTIALS_REFUSED', `Alibaba Cloud refused ${owner} ${told}`, {
        hint: Math.abs(skew) > worrisomeSkewMs || isBadDate(fault.code) ? clockHint(skew) : keyHint,
      });
    },
  };
}

const keyHint = 'check that the key exists, is enabled and complete';

function clockHint(skewMs: number): string {
  const minutes = Math.round(Math.abs(skewMs) / 60_000);
  return `the clock of this node is ${minutes} minutes ${skewMs > 0 ? 'fast' : 'slow'}: set it right`;
}

/** Who asks a store. */
export type Asker = Pick<
  AnyAsker<AlibabaCredential>,
  'credential' | 'owner' | 'signal' | 'beforeAttempt'
>;

/**
 * The answer to a call, once its turn has come, if it is a success.
 * @throws SecretError saying what the service's code means; names no secret
 */
export async function answerOf(
  api: Api,
  { credential, owner, signal, beforeAttempt }: Asker,
  call: Omit<Call, 'credential' | 'signal'> & {
    /** Who is asked, for messages. */
    readonly service: string;
    /** What it takes to be answered. */
    readonly permission: string;
  },
): Promise<HttpResponse> {
  const answer = await api.call({ ...call, credential, signal, beforeAttempt });
  if (answer.status === 200) return answer;
  const fault = readFault(answer);
  if (isRefusal(fault)) throw api.refusal(answer, credential, owner);
  const { code, says, hint } = judge(fault, call.service, call.permission);
  const told = describeFault(fault, secretsOf(credential));
  throw new SecretError(code, `${says} ${told}`, hint === undefined ? {} : { hint });
}
