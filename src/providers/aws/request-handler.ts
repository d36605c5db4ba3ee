import { isUtf8 } from 'node:buffer';
import { SecretError } from '../../errors/secret-error.ts';
import type { Http, HttpAnswer } from '../../http/http.ts';

/** A request as the SDK hands it over, signed. Its services put nothing into a query. */
type SdkRequest = {
  readonly protocol: string;
  readonly hostname: string;
  readonly port?: number | undefined;
  readonly path: string;
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
};

/** The SDK's way out, in the shape it expects. */
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
 * Lets the SDK's clients ask by our own door: proxies, authorities, deadlines, body caps and connections are those of every provider. It owns
 * nothing, so a client that is destroyed breaks nobody's connection.
 */
export function createRequestHandler(http: Http): AwsRequestHandler {
  return {
    metadata: { handlerProtocol: 'http/1.1' },
    async handle({ protocol, hostname, port, path, method, headers, body }, { abortSignal } = {}) {
      const url = new URL(`${protocol}//${hostname}${port === undefined ? '' : `:${port}`}${path}`);
      const signal = abortSignal instanceof AbortSignal ? abortSignal : new AbortController().signal;
      const answer = await http.request({
        ...{ method, url, headers, signal },
        ...(body !== undefined && { body }),
      });
      return { response: responseOf(answer, url) };
    },
    updateHttpClientConfig: () => undefined,
    httpHandlerConfigs: () => ({}),
    destroy: () => undefined,
  };
}

/** The SDK would read what is no UTF-8 with replacement characters in it. */
function responseOf({ status, headers, body }: HttpAnswer, { host }: URL) {
  if (!isUtf8(body)) throw new SecretError('STORE_ANSWER_INVALID', `${host} answered with what is no UTF-8`);
  return { statusCode: status, headers, body };
}
