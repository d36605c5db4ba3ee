import { SecretError, toSecretError } from '../../../core/errors.ts';
import type { Retry } from '../../../concurrency/retry.ts';
import type { HttpClient, HttpResponse } from '../../../http/client.ts';
import { readBody, retryAfterOf } from '../../../http/response.ts';
import { makeCredential, temporaryKeys, type CceCredential } from '../types.ts';

export const nodeOwner = 'the agency of this node';

const tokenLifetimeSeconds = 21_600;
/** How long before its end a token is replaced. */
const tokenRenewBeforeMs = 60_000;
/** How long requests go without a token if the service knows no tokens. */
const tokenlessRetryMs = 24 * 3_600_000;
const timeoutMs = 3_000;

type MetadataToken = { readonly text: string | undefined; readonly expiresAt: number };

/** The keys of the agency that is attached to the node, from the metadata service of its ECS. */
export function createMetadataSource(deps: {
  readonly http: HttpClient;
  readonly retry: Retry;
  readonly endpoint: URL;
  readonly now: () => number;
}): (signal: AbortSignal) => Promise<CceCredential> {
  const { http, retry, endpoint, now } = deps;
  let cachedToken: MetadataToken | undefined;

  const request = (
    method: string,
    path: string,
    headers: Record<string, string>,
    signal: AbortSignal,
  ): Promise<HttpResponse> =>
    retry.run(
      endpoint.host,
      signal,
      async () => {
        const url = new URL(path, endpoint);
        const response = await http.request({
          method,
          url,
          headers,
          signal,
          timeoutMs,
          direct: true,
        });
        // At the token path, 503 means that there are no tokens. At the path of the keys it is an
        // outage.
        if (response.status === 429 || (response.status >= 500 && method === 'GET'))
          throw new SecretError(
            'STORE_UNAVAILABLE',
            `${url.host} answered HTTP ${response.status}`,
            { retryAfterMs: retryAfterOf(response.headers, now()) },
          );
        return response;
      },
      (error) => error.code === 'STORE_UNAVAILABLE',
    );

  const getToken = async (signal: AbortSignal): Promise<string | undefined> => {
    if (cachedToken !== undefined && now() < cachedToken.expiresAt) return cachedToken.text;
    const headers = { 'X-Metadata-Token-Ttl-Seconds': String(tokenLifetimeSeconds) };
    const response = await request('PUT', '/meta-data/latest/api/token', headers, signal);
    if ([404, 405, 503].includes(response.status)) {
      cachedToken = { text: undefined, expiresAt: now() + tokenlessRetryMs };
      return undefined;
    }
    const text = response.body.toString().trim();
    if (response.status !== 200 || !/^[\x21-\x7e]+$/.test(text))
      throw unavailableError(`gave no token (HTTP ${response.status})`);
    cachedToken = { text, expiresAt: now() + tokenLifetimeSeconds * 1_000 - tokenRenewBeforeMs };
    return text;
  };

  const requestKeys = async (signal: AbortSignal): Promise<HttpResponse> => {
    const text = await getToken(signal);
    const headers = text === undefined ? {} : { 'X-Metadata-Token': text };
    return request('GET', '/openstack/latest/securitykey', headers, signal);
  };

  return async (signal) => {
    try {
      let response = await requestKeys(signal);
      if (response.status === 401 && !isNoAgencyResponse(response)) {
        cachedToken = undefined;
        response = await requestKeys(signal);
      }
      if (isNoAgencyResponse(response)) throw noAgencyError();
      if (response.status !== 200) throw unavailableError(`gave no keys (HTTP ${response.status})`);
      return makeCredential({
        ...readBody(response, temporaryKeys, 'the metadata service'),
        owner: nodeOwner,
      });
    } catch (thrown) {
      signal.throwIfAborted();
      const error = toSecretError(thrown);
      throw error.kind === 'outage' && error.code !== 'CREDENTIALS_UNAVAILABLE'
        ? unavailableError(`cannot be used: ${error.message}`)
        : error;
    }
  };
}

/** Huawei Cloud sends this with HTTP 401; a new token does not help. */
function isNoAgencyResponse({ status, body }: HttpResponse): boolean {
  return status >= 400 && body.includes('Please configure Cloud Service Agency first');
}

function noAgencyError(): SecretError {
  return new SecretError('NOT_CONFIGURED', 'this node has no agency to read secrets with', {
    hint: 'attach an agency to the ECS, or configure keys or an identity provider: see docs/providers/cce.md',
  });
}

function unavailableError(reason: string): SecretError {
  return new SecretError('CREDENTIALS_UNAVAILABLE', `the metadata service of this node ${reason}`, {
    hint: 'the pod needs the way to it (hostNetwork, or no policy in between); or configure keys or an identity provider',
  });
}
