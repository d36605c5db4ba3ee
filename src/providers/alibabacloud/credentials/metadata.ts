import * as z from 'zod';
import { Redacted } from '../../../core/redacted.ts';
import { SecretError, toSecretError } from '../../../core/errors.ts';
import type { Retry } from '../../../concurrency/retry.ts';
import { encodeSegment } from '../../../http/endpoint.ts';
import type { HttpClient, HttpResponse } from '../../../http/client.ts';
import { readBody } from '../../../http/response.ts';
import type { AlibabaCredential } from '../types.ts';
import { time } from '../types.ts';

const timeoutMs = 1_000;
/** A token is asked for anew each time; nothing is asked but once an hour. */
const tokenLifeSeconds = 60;
const keysPath = '/latest/meta-data/ram/security-credentials/';

/** What the node knows of itself. */
export type Metadata = {
  /**
   * The keys of the RAM role that is attached to the node.
   * @throws SecretError NOT_CONFIGURED where there is none, CREDENTIALS_UNAVAILABLE
   */
  workerRole(signal: AbortSignal): Promise<AlibabaCredential>;
  /**
   * The node's region.
   * @throws SecretError NOT_CONFIGURED where the service does not tell
   */
  region(signal: AbortSignal): Promise<string>;
};

const roleKeys = z.object({
  Code: z.literal('Success'),
  AccessKeyId: z.string().min(1),
  AccessKeySecret: z.string().min(1),
  SecurityToken: z.string().min(1),
  Expiration: time,
});

/** The metadata service of an ECS instance; see {@link Metadata}. Never by a proxy. */
export function createMetadata(deps: {
  readonly http: HttpClient;
  readonly retry: Retry;
  readonly endpoint: URL;
}): Metadata {
  const { http, retry, endpoint } = deps;

  const ask = (
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

  /** Nothing where the service knows no tokens: it then answers without. */
  const tokenHeaders = async (signal: AbortSignal): Promise<Record<string, string>> => {
    try {
      const ttl = { 'X-aliyun-ecs-metadata-token-ttl-seconds': String(tokenLifeSeconds) };
      const { status, body } = await ask('PUT', '/latest/api/token', ttl, signal);
      const token = body.toString().trim();
      return status === 200 && /^[\x21-\x7e]+$/.test(token)
        ? { 'X-aliyun-ecs-metadata-token': token }
        : {};
    } catch {
      signal.throwIfAborted();
      return {};
    }
  };

  const get = (
    path: string,
    headers: Record<string, string>,
    signal: AbortSignal,
  ): Promise<HttpResponse> =>
    retry.run(
      endpoint.host,
      signal,
      async () => {
        const answer = await ask('GET', path, headers, signal);
        if (answer.status === 200 || answer.status === 404) return answer;
        throw new SecretError(
          'STORE_UNAVAILABLE',
          `${endpoint.host} answered HTTP ${answer.status}`,
        );
      },
      ({ code }) => code === 'STORE_UNAVAILABLE',
    );

  return {
    async workerRole(signal) {
      try {
        const headers = await tokenHeaders(signal);
        const names = await get(keysPath, headers, signal);
        const role = names.body.toString().trim();
        if (names.status === 404 || role === '') throw noRole();
        if (!/^[\w.+=,@-]{1,64}$/.test(role) || /^\.\.?$/.test(role))
          throw new SecretError(
            'STORE_ANSWER_INVALID',
            `${endpoint.host} named a role that cannot be one`,
          );
        const answer = await get(`${keysPath}${encodeSegment(role)}`, headers, signal);
        if (answer.status === 404) throw noRole();
        const keys = readBody(answer, roleKeys, 'the metadata service');
        return {
          accessKeyId: keys.AccessKeyId,
          accessKeySecret: new Redacted(keys.AccessKeySecret),
          securityToken: new Redacted(keys.SecurityToken),
          expiresAt: keys.Expiration,
          account: 'the worker role',
        };
      } catch (thrown) {
        signal.throwIfAborted();
        const error = toSecretError(thrown);
        if (error.kind !== 'outage') throw error;
        throw new SecretError(
          'CREDENTIALS_UNAVAILABLE',
          `the metadata service of this node cannot be used: ${error.message}`,
          {
            hint: 'the pod needs the way to it; or configure keys or a role with an OIDC provider',
          },
        );
      }
    },
    async region(signal) {
      const hint = 'set the parameter region';
      try {
        const answer = await get('/latest/meta-data/region-id', await tokenHeaders(signal), signal);
        const region = answer.body.toString().trim();
        if (answer.status === 200 && /^[a-z0-9-]{1,64}$/.test(region)) return region;
      } catch (thrown) {
        signal.throwIfAborted();
        const { message } = toSecretError(thrown);
        throw new SecretError(
          'NOT_CONFIGURED',
          `the region of this node cannot be found out: ${message}`,
          {
            hint,
          },
        );
      }
      throw new SecretError(
        'NOT_CONFIGURED',
        'the metadata service does not know the region of this node',
        {
          hint,
        },
      );
    },
  };
}

function noRole(): SecretError {
  return new SecretError('NOT_CONFIGURED', 'this node has no RAM role to read secrets with', {
    hint: 'attach a RAM role to the node, or configure keys or a role with an OIDC provider',
  });
}
