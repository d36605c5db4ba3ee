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
import type { AlibabaTexts } from '../texts.ts';
import { type AlibabaCredential, time } from '../types.ts';

const timeoutMs = 1_000;
/** Each login takes a new token, because hours pass between two logins. */
const tokenLifetimeSeconds = 60;
const keysPath = '/latest/meta-data/ram/security-credentials/';

/** The values of the machine's metadata service. */
export type Metadata = {
  /**
   * Returns the keys of the RAM role that is attached to the machine.
   * @param roleName its name, if another role must not serve
   * @throws SecretError NOT_CONFIGURED if the machine has no such role, CREDENTIALS_UNAVAILABLE
   */
  workerRole(signal: AbortSignal, roleName?: string): Promise<AlibabaCredential>;
  /**
   * Returns the machine's region.
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
  readonly texts: AlibabaTexts;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}): Metadata {
  const { http, retry, endpoint, texts, now } = deps;
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

  /** Empty if the instance has no role. */
  const getAttachedRole = async (
    headers: Record<string, string>,
    signal: AbortSignal,
  ): Promise<string> => {
    const response = await get(keysPath, headers, signal);
    return response?.body.toString().trim() ?? '';
  };

  const describeOutage = ({ message }: SecretError): OutageTexts => ({
    message: `${texts.triedBefore}the metadata service of this ${texts.machine} cannot be used: ${message}`,
    hint: texts.metadataHint,
  });

  const noRoleError = (roleName?: string): SecretError => {
    const role = roleName === undefined ? 'RAM role to read secrets with' : `RAM role ${roleName}`;
    return new SecretError(
      'NOT_CONFIGURED',
      `${texts.triedBefore}this ${texts.machine} has no ${role}`,
      { hint: texts.noRoleHint },
    );
  };

  return {
    workerRole: (signal, roleName) =>
      markOutage(signal, describeOutage, async () => {
        const headers = await getTokenHeader(signal);
        const role = roleName ?? (await getAttachedRole(headers, signal));
        if (role === '') throw noRoleError();
        if (!/^[\w.+=,@-]{1,64}$/.test(role) || /^\.\.?$/.test(role))
          throw new SecretError(
            'STORE_ANSWER_INVALID',
            `${host} sent a role name that is not valid`,
          );
        const keysResponse = await get(`${keysPath}${encodeSegment(role)}`, headers, signal);
        if (keysResponse === undefined) throw noRoleError(roleName);
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
      const hint = texts.regionHint;
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
          `the region of this ${texts.machine} cannot be read: ${message}`,
          { hint },
        );
      }
      throw new SecretError(
        'NOT_CONFIGURED',
        `the metadata service does not know the region of this ${texts.machine}`,
        { hint },
      );
    },
  };
}
