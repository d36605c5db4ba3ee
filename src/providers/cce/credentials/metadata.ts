import type { Retry } from '../../../concurrency/retry.ts';
import type { SecretError } from '../../../core/errors.ts';
import type { HttpClient, HttpResponse } from '../../../http/client.ts';
import { readBody } from '../../../http/response.ts';
import { type OutageTexts, markOutage } from '../../shared/credentials/run-login.ts';
import { classify, isKnownError } from '../../shared/reads/store-errors.ts';
import { type CceCredential, makeCredential, temporaryKeys } from '../types.ts';
import {
  type MetadataResource,
  metadataErrors,
  metadataHint,
  noAgencyErrors,
  parseMetadataError,
  transientMetadataErrors,
} from './metadata-errors.ts';

export const nodeOwner = 'the agency of this node';

const tokenLifetimeSeconds = 21_600;
/** How long before its end the client replaces a token. */
const tokenRenewBeforeMs = 60_000;
/** How long the client sends no token if the service has none to give. */
const tokenlessRetryMs = 24 * 3_600_000;
const timeoutMs = 3_000;

type MetadataToken = { readonly text: string | undefined; readonly expiresAt: number };

type MetadataRequest = {
  readonly resource: MetadataResource;
  readonly method: 'GET' | 'PUT';
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
};

/** See {@link MetadataService}. */
export type MetadataServiceOptions = {
  readonly http: HttpClient;
  readonly retry: Retry;
  readonly endpoint: URL;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
};

/** The metadata service of an ECS. It gives the keys of the agency that is attached to the node. */
export class MetadataService {
  readonly #options: MetadataServiceOptions;
  #token: MetadataToken | undefined;

  constructor(options: MetadataServiceOptions) {
    this.#options = options;
  }

  /** @throws SecretError NOT_CONFIGURED, CREDENTIALS_UNAVAILABLE; the signal's reason */
  getKeys(signal: AbortSignal): Promise<CceCredential> {
    return markOutage(signal, describeOutage, async () => {
      let response = await this.#requestKeys(signal);
      if (response.status === 401 && !isKnownError(noAgencyErrors, this.#parse(response, 'keys'))) {
        this.#token = undefined;
        response = await this.#requestKeys(signal);
      }
      if (response.status !== 200) throw this.#errorOf(response, 'keys');
      return makeCredential({
        ...readBody(response, temporaryKeys, 'the metadata service'),
        owner: nodeOwner,
      });
    });
  }

  async #requestKeys(signal: AbortSignal): Promise<HttpResponse> {
    const text = await this.#getToken(signal);
    const headers: Record<string, string> = text === undefined ? {} : { 'X-Metadata-Token': text };
    const path = '/openstack/latest/securitykey';
    return this.#request({ resource: 'keys', method: 'GET', path, headers }, signal);
  }

  /** Undefined if the service has no tokens. */
  async #getToken(signal: AbortSignal): Promise<string | undefined> {
    const { now } = this.#options;
    if (this.#token !== undefined && now() < this.#token.expiresAt) return this.#token.text;
    const headers = { 'X-Metadata-Token-Ttl-Seconds': String(tokenLifetimeSeconds) };
    const path = '/meta-data/latest/api/token';
    const response = await this.#request(
      { resource: 'token', method: 'PUT', path, headers },
      signal,
    );
    if ([404, 405, 503].includes(response.status)) {
      this.#token = { text: undefined, expiresAt: now() + tokenlessRetryMs };
      return undefined;
    }
    const text = response.body.toString().trim();
    if (response.status !== 200 || !/^[\x21-\x7e]+$/.test(text))
      throw this.#errorOf(response, 'token');
    this.#token = { text, expiresAt: now() + tokenLifetimeSeconds * 1_000 - tokenRenewBeforeMs };
    return text;
  }

  #request(request: MetadataRequest, signal: AbortSignal): Promise<HttpResponse> {
    const { http, retry, endpoint } = this.#options;
    const { resource, method, path, headers } = request;
    const url = new URL(path, endpoint);
    const attempt = async (): Promise<HttpResponse> => {
      const response = await http.request({
        method,
        url,
        headers,
        signal,
        timeoutMs,
        direct: true,
      });
      if (isKnownError(transientMetadataErrors, this.#parse(response, resource)))
        throw this.#errorOf(response, resource);
      return response;
    };
    return retry.run(endpoint.host, signal, attempt, ({ code }) => code === 'STORE_UNAVAILABLE');
  }

  #parse(response: HttpResponse, resource: MetadataResource) {
    return parseMetadataError(response, resource, this.#options.now());
  }

  #errorOf(response: HttpResponse, resource: MetadataResource): SecretError {
    const { host } = this.#options.endpoint;
    return classify(metadataErrors, this.#parse(response, resource), { host }, []);
  }
}

function describeOutage({ message }: SecretError): OutageTexts {
  return {
    message: `the metadata service of this node cannot be used: ${message}`,
    hint: metadataHint,
  };
}
