import * as z from 'zod';
import { Redacted } from '../../../core/redacted.ts';
import { SecretError, toSecretError } from '../../../core/errors.ts';
import type { Retry } from '../../../concurrency/retry.ts';
import { encodeSegment } from '../../../http/endpoint.ts';
import type { HttpClient, HttpResponse } from '../../../http/client.ts';
import { readBody } from '../../../http/response.ts';
import { type OutageTexts, markOutage } from '../../shared/credentials/run-login.ts';
import { classify } from '../../shared/reads/store-errors.ts';
import { metadataErrors, parseErrorResponse } from '../errors.ts';
import { type AlibabaCredential, time } from '../types.ts';

const timeoutMs = 1_000;
/** Each login takes a new token, because hours pass between two logins. */
const tokenLifetimeSeconds = 60;
const keysPath = '/latest/meta-data/ram/security-credentials/';

/** The values of the node's metadata service. */
export type Metadata = {
  /**
   * Returns the keys of the RAM role that is attached to the node.
   * @throws SecretError NOT_CONFIGURED if the node has no such role, CREDENTIALS_UNAVAILABLE
   */
  workerRole(signal: AbortSignal): Promise<AlibabaCredential>;
  /**
   * Returns the node's region.
   * @throws SecretError NOT_CONFIGURED if the service does not return it
   */
  region(signal: AbortSignal): Promise<string>;
};

const roleKeysResponse = z.object({
  Code: z.literal('Success'),
  AccessKeyId: z.string().min(1),
  AccessKeySecret: z.string().min(1),
  SecurityToken: z.string().min(1),
  Expiration: time,
});

/** The metadata service of an ECS instance. Calls never use a proxy. */
export function createMetadata(deps: {
  readonly http: HttpClient;
  readonly retry: Retry;
  readonly endpoint: URL;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}): Metadata {
  const { http, retry, endpoint, now } = deps;
  const { host } = endpoint;

  const request = (
    method: string,
    path: string,
    headers: Record<string, string>,
    signal: AbortSignal,
  ): Promise<HttpResponse> =>
    http.request({
      method,
      url: new URL(path, endpoint),
      headers,
      signal,
      timeoutMs,
      direct: true,
    });

  /** The header with a new token. No header if the service has no tokens: it then needs none. */
  const getTokenHeader = async (signal: AbortSignal): Promise<Record<string, string>> => {
    try {
      const ttl = { 'X-aliyun-ecs-metadata-token-ttl-seconds': String(tokenLifetimeSeconds) };
      const { status, body } = await request('PUT', '/latest/api/token', ttl, signal);
      const token = body.toString().trim();
      return status === 200 && /^[\x21-\x7e]+$/.test(token)
        ? { 'X-aliyun-ecs-metadata-token': token }
        : {};
    } catch {
      signal.throwIfAborted();
      return {};
    }
  };

  /** Undefined if the service has no such value (HTTP 404). */
  const get = (
    path: string,
    headers: Record<string, string>,
    signal: AbortSignal,
  ): Promise<HttpResponse | undefined> =>
    retry.run(
      host,
      signal,
      async () => {
        const response = await request('GET', path, headers, signal);
        if (response.status === 200) return response;
        if (response.status === 404) return undefined;
        const error = parseErrorResponse(response, now());
        throw classify(metadataErrors, error, { host }, Object.values(headers));
      },
      ({ code }) => code === 'STORE_UNAVAILABLE',
    );

  return {
    workerRole: (signal) =>
      markOutage(signal, describeOutage, async () => {
        const headers = await getTokenHeader(signal);
        const roleResponse = await get(keysPath, headers, signal);
        const role = roleResponse?.body.toString().trim() ?? '';
        if (role === '') throw noRoleError();
        if (!/^[\w.+=,@-]{1,64}$/.test(role) || /^\.\.?$/.test(role))
          throw new SecretError(
            'STORE_ANSWER_INVALID',
            `${host} sent a role name that is not valid`,
          );
        const keysResponse = await get(`${keysPath}${encodeSegment(role)}`, headers, signal);
        if (keysResponse === undefined) throw noRoleError();
        const keys = readBody(keysResponse, roleKeysResponse, 'the metadata service');
        return {
          accessKeyId: keys.AccessKeyId,
          accessKeySecret: new Redacted(keys.AccessKeySecret),
          securityToken: new Redacted(keys.SecurityToken),
          expiresAt: keys.Expiration,
          account: 'the worker role',
        };
      }),
    async region(signal) {
      const hint = 'set the parameter region';
      try {
        const headers = await getTokenHeader(signal);
        const response = await get('/latest/meta-data/region-id', headers, signal);
        const region = response?.body.toString().trim() ?? '';
        if (/^[a-z0-9-]{1,64}$/.test(region)) return region;
      } catch (thrown) {
        signal.throwIfAborted();
        const { message } = toSecretError(thrown);
        throw new SecretError(
          'NOT_CONFIGURED',
          `the region of this node cannot be read: ${message}`,
          { hint },
        );
      }
      throw new SecretError(
        'NOT_CONFIGURED',
        'the metadata service does not know the region of this node',
        { hint },
      );
    },
  };
}

function describeOutage({ message }: SecretError): OutageTexts {
  return {
    message: `the metadata service of this node cannot be used: ${message}`,
    hint: 'the pod needs the way to it; or configure keys or a role with an OIDC provider',
  };
}

function noRoleError(): SecretError {
  return new SecretError('NOT_CONFIGURED', 'this node has no RAM role to read secrets with', {
    hint: 'attach a RAM role to the node, or configure keys or a role with an OIDC provider',
  });
}
