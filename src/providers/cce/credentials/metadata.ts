import { SecretError, toSecretError } from '../../../core/errors.ts';
import type { Retry } from '../../../concurrency/retry.ts';
import type { Http, HttpAnswer } from '../../../http/client.ts';
import { readBody } from '../../../http/response.ts';
import { makeCredential, temporaryKeys, type CceCredential } from '../types.ts';

export const nodeOwner = 'the agency of this node';

const tokenLifeSeconds = 21_600;
/** A token is renewed this long before its end. */
const tokenReserveMs = 60_000;
/** How long a service that knows no tokens is asked without one. */
const withoutTokenMs = 24 * 3_600_000;
const timeoutMs = 3_000;

type Token = { readonly text: string | undefined; readonly until: number };

/** The keys of the agency that is attached to the node, from the metadata service of its ECS. */
export function createMetadataSource(deps: {
  readonly http: Http;
  readonly retry: Retry;
  readonly endpoint: URL;
  readonly now: () => number;
}): (signal: AbortSignal) => Promise<CceCredential> {
  const { http, retry, endpoint, now } = deps;
  let kept: Token | undefined;

  const ask = (
    method: string,
    path: string,
    headers: Record<string, string>,
    signal: AbortSignal,
  ): Promise<HttpAnswer> =>
    retry.run(
      endpoint.host,
      signal,
      async () => {
        const url = new URL(path, endpoint);
        const answer = await http.request({ method, url, headers, signal, timeoutMs, direct: true });
        // 503 says that there are no tokens (below); from the keys' own path it is an outage.
        if (answer.status === 429 || (answer.status >= 500 && method === 'GET'))
          throw new SecretError('STORE_UNAVAILABLE', `${url.host} answered HTTP ${answer.status}`);
        return answer;
      },
      (error) => error.code === 'STORE_UNAVAILABLE',
    );

  const token = async (signal: AbortSignal): Promise<string | undefined> => {
    if (kept !== undefined && now() < kept.until) return kept.text;
    const headers = { 'X-Metadata-Token-Ttl-Seconds': String(tokenLifeSeconds) };
    const answer = await ask('PUT', '/meta-data/latest/api/token', headers, signal);
    if ([404, 405, 503].includes(answer.status)) {
      kept = { text: undefined, until: now() + withoutTokenMs };
      return undefined;
    }
    const text = answer.body.toString().trim();
    if (answer.status !== 200 || !/^[\x21-\x7e]+$/.test(text))
      throw unavailable(`gave no token (HTTP ${answer.status})`);
    kept = { text, until: now() + tokenLifeSeconds * 1_000 - tokenReserveMs };
    return text;
  };

  const keys = async (signal: AbortSignal): Promise<HttpAnswer> => {
    const text = await token(signal);
    const headers = text === undefined ? {} : { 'X-Metadata-Token': text };
    return ask('GET', '/openstack/latest/securitykey', headers, signal);
  };

  return async (signal) => {
    try {
      let answer = await keys(signal);
      if (answer.status === 401 && !saysNoAgency(answer)) {
        kept = undefined;
        answer = await keys(signal);
      }
      if (saysNoAgency(answer)) throw noAgency();
      if (answer.status !== 200) throw unavailable(`gave no keys (HTTP ${answer.status})`);
      return makeCredential({
        ...readBody(answer, temporaryKeys, 'the metadata service'),
        owner: nodeOwner,
      });
    } catch (thrown) {
      signal.throwIfAborted();
      const error = toSecretError(thrown);
      throw error.kind === 'outage' && error.code !== 'CREDENTIALS_UNAVAILABLE'
        ? unavailable(`cannot be used: ${error.message}`)
        : error;
    }
  };
}

/** Said with HTTP 401, of all codes; a new token would not help. */
function saysNoAgency({ status, body }: HttpAnswer): boolean {
  return status >= 400 && body.includes('Please configure Cloud Service Agency first');
}

function noAgency(): SecretError {
  return new SecretError('NOT_CONFIGURED', 'this node has no agency to read secrets with', {
    hint: 'attach an agency to the ECS, or configure keys or an identity provider: see docs/providers/cce.md',
  });
}

function unavailable(what: string): SecretError {
  return new SecretError('CREDENTIALS_UNAVAILABLE', `the metadata service of this node ${what}`, {
    hint: 'the pod needs the way to it (hostNetwork, or no policy in between); or configure keys or an identity provider',
  });
}
