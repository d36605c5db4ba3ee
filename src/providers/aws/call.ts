import type { Retry } from '../../concurrency/retry.ts';
import type { HttpClient, HttpResponse } from '../../http/client.ts';
import { encodeQuery } from '../../http/uri.ts';
import type { CallContext } from '../shared/reads/authenticated-call.ts';
import { classify, isKnownError } from '../shared/reads/store-errors.ts';
import { type AwsService, type EndpointConfig, endpointOf, partitionOf } from './endpoints.ts';
import {
  type AwsErrorResponse,
  isBadDate,
  parseErrorResponse,
  readErrors,
  transientErrors,
} from './errors.ts';
import { createSign } from './sign.ts';
import { type AwsCredential, secretsOf } from './types.ts';

/** A call of one operation: always POST to `/`. */
export type Call = {
  readonly service: AwsService;
  readonly region: string;
  readonly content: Content;
  /** Signs the call. Absent: the call is not signed. */
  readonly credential?: AwsCredential;
  /** What must not appear in a message, beside the credential: a token in the form. */
  readonly secrets?: readonly string[];
  readonly signal: AbortSignal;
  /** Awaited before each attempt: the rate limiter. */
  readonly beforeAttempt?: () => Promise<void>;
};

/** The headers and the body by which a service knows its operation and the input. */
type Content = {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
};

/**
 * The content for a service that speaks AWS JSON 1.1.
 * @param target `AmazonSSM.GetParameters`
 */
function jsonContent(target: string, input: object): Content {
  return {
    headers: { 'content-type': 'application/x-amz-json-1.1', 'x-amz-target': target },
    body: JSON.stringify(input),
  };
}

/** The content for a service that speaks the AWS query protocol. */
export function formContent(fields: Readonly<Record<string, string>>): Content {
  return {
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    body: encodeQuery(Object.entries(fields)),
  };
}

/** A success, or the error response of the service. */
export type CallResult =
  | { readonly response: HttpResponse; readonly error?: undefined }
  | { readonly error: AwsErrorResponse };

/** See {@link createApi}. */
export type Api = {
  /**
   * Sends a call, and retries it after a transient error. No other layer retries after such
   * an error. A call that AWS rejects for its date is sent once more, with a date by AWS's clock.
   * @throws SecretError INVALID_CLASS if the region is invalid; STORE_UNAVAILABLE, STORE_TIMEOUT,
   *   STORE_THROTTLED, STORE_ANSWER_INVALID, STORE_ANSWER_TOO_LARGE; what `beforeAttempt` throws;
   *   the signal's reason
   */
  call(call: Call): Promise<CallResult>;
};

/** The names of the services in messages. */
const serviceNames: Readonly<Record<AwsService, string>> = {
  secretsmanager: 'Secrets Manager',
  ssm: 'SSM',
  sts: 'STS',
};

/** The signing client of AWS's services. */
export function createApi(deps: {
  readonly config: EndpointConfig;
  readonly http: HttpClient;
  readonly retry: Retry;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}): Api {
  const { config, http, retry, now } = deps;
  const sign = createSign();
  /** How far the clock of this node is ahead of AWS's, as far as AWS has complained. */
  let clockSkewMs = 0;

  const send = async (call: Call): Promise<CallResult> => {
    const { service, region, content, credential, secrets = [], signal, beforeAttempt } = call;
    const url = endpointOf(service, region, config);
    await beforeAttempt?.();
    const { body } = content;
    const at = now() - clockSkewMs;
    const headers =
      credential === undefined
        ? content.headers
        : await sign({ url, ...content }, { service, region, credential, at });
    const response = await http.request({
      ...{ method: 'POST', url, body, signal },
      headers: { ...headers, 'user-agent': 'keyferry' },
    });
    if (response.status < 300) return { response };
    const error = parseErrorResponse(response, now());
    if (isKnownError(transientErrors, error))
      throw classify(transientErrors, error, { service: serviceNames[service], region }, [
        ...secrets,
        ...(credential === undefined ? [] : secretsOf(credential)),
      ]);
    return { error };
  };

  const attempt = async (call: Call): Promise<CallResult> => {
    const result = await send(call);
    if (result.error === undefined || !isBadDate(result.error)) return result;
    clockSkewMs = result.error.clockSkewMs;
    return send(call);
  };

  return {
    call: (call) =>
      retry.run(`${serviceNames[call.service]} in ${call.region}`, call.signal, () =>
        attempt(call),
      ),
  };
}

/** Who calls a service, and in which region. */
export type AwsCallContext = CallContext<AwsCredential>;

/** A call that reads secrets. */
export type StoreCall = {
  readonly service: keyof typeof targets;
  /** `GetSecretValue` */
  readonly operation: string;
  readonly input: object;
  /** The resource as a policy names it, for the hint; see {@link resourceOf}. */
  readonly resource: string;
};

/** What the services call themselves in `X-Amz-Target`. */
const targets = { secretsmanager: 'secretsmanager', ssm: 'AmazonSSM' } as const;

/**
 * Calls a store.
 * @returns the response to a success
 * @throws SecretError by {@link readErrors}; see also {@link Api}. CREDENTIALS_REFUSED names only
 *   the owner of the credential, because all its users get this error.
 */
export async function callStore(
  api: Api,
  { region, credential, owner, signal, beforeAttempt }: AwsCallContext,
  { service, operation, input, resource }: StoreCall,
): Promise<HttpResponse> {
  const content = jsonContent(`${targets[service]}.${operation}`, input);
  const result = await api.call({
    ...{ service, region, content, credential, signal, beforeAttempt },
  });
  if (result.error === undefined) return result.response;
  const action = `${service}:${operation}`;
  const context = { service: serviceNames[service], region, owner, action, resource };
  throw classify(readErrors, result.error, context, secretsOf(credential));
}

/**
 * How a policy names an object, for hints:
 * `arn:aws:secretsmanager:eu-west-1:111122223333:secret:db-??????`.
 * @param account `*` if the account is not known
 * @param name as it is sent; an ARN is returned unchanged
 */
export function resourceOf(
  service: 'secretsmanager' | 'ssm',
  { region, credential }: Pick<AwsCallContext, 'region' | 'credential'>,
  name: string,
): string {
  if (name.startsWith('arn:')) return name;
  const accountId = /^\d{12}$/.test(credential.account) ? credential.account : '*';
  const tail = service === 'ssm' ? `parameter/${name.replace(/^\//, '')}` : `secret:${name}-??????`;
  return `arn:${partitionOf(region).id}:${service}:${region}:${accountId}:${tail}`;
}
