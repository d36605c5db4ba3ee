import * as z from 'zod';
import type { Retry } from '../../../concurrency/retry.ts';
import type { SecretError } from '../../../core/errors.ts';
import type { HttpClient, HttpResponse } from '../../../http/client.ts';
import { readBody } from '../../../http/response.ts';
import { type OutageTexts, markOutage } from '../../shared/credentials/run-login.ts';
import { isRegion } from '../../shared/class/parameters.ts';
import { classify, isKnownError } from '../../shared/reads/store-errors.ts';
import type { Texts } from '../texts.ts';
import { type CceCredential, makeCredential, temporaryKeys } from '../types.ts';
import {
  type MetadataResource,
  metadataErrors,
  noAgencyErrors,
  parseMetadataError,
  transientMetadataErrors,
} from './metadata-errors.ts';

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
  readonly texts: Texts;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
};

/** Where an ECS is. */
export type EcsDescription = { readonly region: string; readonly projectId: string };

const descriptionResponse = z
  .object({ region_id: z.string().refine(isRegion), project_id: z.string().min(1) })
  .transform(({ region_id, project_id }) => ({ region: region_id, projectId: project_id }));

/** The metadata service of an ECS. It gives the keys of the agency that is attached to the ECS. */
export class MetadataService {
  readonly #options: MetadataServiceOptions;
  #token: MetadataToken | undefined;

  constructor(options: MetadataServiceOptions) {
    this.#options = options;
  }

  /** @throws SecretError NOT_CONFIGURED, CREDENTIALS_UNAVAILABLE; the signal's reason */
  async getKeys(signal: AbortSignal): Promise<CceCredential> {
    const keys = await this.#get('keys', '/openstack/latest/securitykey', temporaryKeys, signal);
    return makeCredential({ ...keys, owner: agencyOwner(this.#options.texts) });
  }

  /**
   * https://support.huaweicloud.com/intl/en-us/usermanual-ecs/ecs_03_0166.html
   * @throws SecretError CREDENTIALS_UNAVAILABLE; the signal's reason
   */
  describe(signal: AbortSignal): Promise<EcsDescription> {
    const path = '/openstack/latest/meta_data.json';
    return this.#get('description', path, descriptionResponse, signal);
  }

  #get<T>(
    resource: MetadataResource,
    path: string,
    schema: z.ZodType<T>,
    signal: AbortSignal,
  ): Promise<T> {
    const { texts } = this.#options;
    const describeOutage = ({ message }: SecretError): OutageTexts => ({
      message: `${texts.triedBefore}the metadata service of this ${texts.machine} cannot be used: ${message}`,
      hint: texts.metadataHint,
    });
    return markOutage(signal, describeOutage, async () => {
      let response = await this.#requestWithToken(resource, path, signal);
      if (
        response.status === 401 &&
        !isKnownError(noAgencyErrors, this.#parse(response, resource))
      ) {
        this.#token = undefined;
        response = await this.#requestWithToken(resource, path, signal);
      }
      if (response.status !== 200) throw this.#errorOf(response, resource);
      return readBody(response, schema, 'the metadata service');
    });
  }

  async #requestWithToken(
    resource: MetadataResource,
    path: string,
    signal: AbortSignal,
  ): Promise<HttpResponse> {
    const text = await this.#getToken(signal);
    const headers: Record<string, string> = text === undefined ? {} : { 'X-Metadata-Token': text };
    return this.#request({ resource, method: 'GET', path, headers }, signal);
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
    const { endpoint, texts } = this.#options;
    const context = { host: endpoint.host, texts };
    return classify(metadataErrors, this.#parse(response, resource), context, []);
  }
}

/** The owner of the keys of an agency, for messages. */
export function agencyOwner({ machine }: Pick<Texts, 'machine'>): string {
  return `the agency of this ${machine}`;
}
