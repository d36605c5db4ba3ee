import { isUtf8 } from 'node:buffer';
import { SecretError } from '../../../core/errors.ts';
import type { HttpClient, HttpResponse } from '../../../http/client.ts';

/** A signed request of the SDK. The services that Keyferry uses have no query parameters. */
type SdkRequest = {
  readonly protocol: string;
  readonly hostname: string;
  readonly port?: number | undefined;
  readonly path: string;
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
};

/** The HTTP handler of an SDK client, in the shape that the SDK expects. */
export type AwsRequestHandler = {
  readonly metadata: { readonly handlerProtocol: string };
  handle(
    request: SdkRequest,
    options?: { readonly abortSignal?: unknown },
  ): Promise<{
    readonly response: {
      readonly statusCode: number;
      readonly headers: Record<string, string>;
      readonly body: Uint8Array;
    };
  }>;
  updateHttpClientConfig(): void;
  httpHandlerConfigs(): Record<string, never>;
  destroy(): void;
};

/**
 * Sends the requests of SDK clients by Keyferry's HTTP client, so that they have the proxies,
 * certificate authorities, deadlines, body limits and connections of all providers. The handler
 * owns no connection. So the end of one SDK client does not end the connections of the others.
 */
export function createRequestHandler(http: HttpClient): AwsRequestHandler {
  return {
    metadata: { handlerProtocol: 'http/1.1' },
    async handle({ protocol, hostname, port, path, method, headers, body }, { abortSignal } = {}) {
      const url = new URL(`${protocol}//${hostname}${port === undefined ? '' : `:${port}`}${path}`);
      const signal =
        abortSignal instanceof AbortSignal ? abortSignal : new AbortController().signal;
      const response = await http.request({
        ...{ method, url, headers, signal },
        ...(body !== undefined && { body }),
      });
      return { response: toSdkResponse(response, url) };
    },
    updateHttpClientConfig: () => undefined,
    httpHandlerConfigs: () => ({}),
    destroy: () => undefined,
  };
}

/**
 * Rejects the body of a success that is not UTF-8: the SDK would put replacement characters into
 * the secret. The body of an error can be a proxy's page in any encoding, and its status counts.
 */
function toSdkResponse({ status, headers, body }: HttpResponse, { host }: URL) {
  if (status < 300 && !isUtf8(body))
    throw new SecretError('STORE_ANSWER_INVALID', `${host} sent a body that is not UTF-8`);
  return { statusCode: status, headers, body };
}
