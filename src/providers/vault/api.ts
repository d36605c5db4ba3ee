import type { Logger } from 'pino';
import { SecretError } from '../../errors/secret-error.ts';
import { createBreaker } from '../../flow/breaker.ts';
import type { Retry } from '../../flow/retry.ts';
import type { Http, HttpAnswer } from '../../http/http.ts';
import { parseJsonText, type JsonValue } from '../../plan/json-text.ts';
import { asSent, fixedHeaders, headersOf, type VaultCall } from './call.ts';
import { createCluster, type NodeAnswer } from './cluster.ts';
import { hasNoNamespace, pathOf, productOf, readFault } from './fault.ts';
import { createNodes, type Node } from './nodes.ts';
import { targetOf } from './target.ts';
import { createTlsFiles } from './tls-files.ts';
import { judge, passing } from './verdict.ts';

/** What Vault answered: 200 to 299, 404, or a status the call accepts. */
export type VaultAnswer = {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
  /** Which of the login's addresses answered. */
  readonly address: string;
  /** The body, every number as it stood. @throws SecretError STORE_ANSWER_INVALID */
  json(): JsonValue;
};

/** See {@link createVaultApi}. */
export type VaultApi = {
  /**
   * Asks the addresses of the login, by turns where that helps.
   * @throws SecretError, its text naming path, role, mount and namespace and never a token:
   *   CREDENTIALS_REFUSED (403: the token itself is bad: expired, revoked, over its max TTL), ACCESS_DENIED (403: its policies),
   *   STORE_REFUSED_REQUEST (other 4xx), STORE_UNAVAILABLE (nobody there, sealed, 5xx), STORE_TIMEOUT, STORE_THROTTLED (429),
   *   STORE_ANSWER_INVALID (no Vault; a redirect that is not followed), STORE_ANSWER_TOO_LARGE, NOT_CONFIGURED (TLS files),
   *   INVALID_CLASS (a path that is none); the signal's reason
   */
  call(call: VaultCall): Promise<VaultAnswer>;
};

/** What {@link createVaultApi} needs. */
export type VaultApiDeps = {
  readonly http: Http;
  readonly retry: Retry;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** From 0 up to, but not, 1. */
  readonly random?: () => number;
  readonly log: Logger;
};

/** A read that is slow may be asked of another node in time; what issues (a user in a slow database) gets nearly all there is. */
const timeouts = { readMs: 10_000, issueMs: 25_000, healthMs: 3_000 };

/** The one way to Vault: by turns over its addresses, tried again where that helps, errors told without what they repeat of a secret. */
export function createVaultApi(deps: VaultApiDeps): VaultApi {
  const { http, retry, now, random, log } = deps;
  const tlsFiles = createTlsFiles({ now });

  const send = async (
    { login, address }: Node,
    path: string,
    request: Omit<Parameters<Http['request']>[0], 'url'>,
  ): Promise<HttpAnswer> => {
    const target = targetOf(address, path);
    const tls = target.url.protocol === 'https:' ? await tlsFiles.read(login.tls) : undefined;
    return http.request({ ...request, ...target, ...(tls !== undefined && { tls }) });
  };

  const health = async (node: Node, signal: AbortSignal): Promise<number> => {
    const { healthMs: timeoutMs } = timeouts;
    const { status } = await send(node, 'sys/health', {
      method: 'GET',
      headers: fixedHeaders,
      signal,
      timeoutMs,
    });
    return status;
  };

  const breaker = createBreaker({ now, ...(random !== undefined && { random }) });
  const cluster = createCluster({
    nodes: createNodes({ breaker, health }),
    onMove: (from, to) => log.warn({ from, to }, 'another address of vault answers'),
  });

  const attempt = (call: VaultCall): Promise<NodeAnswer> => {
    const { login, issues, signal, body } = call;
    const { method, path } = asSent(call);
    const headers = headersOf(call);
    return cluster.ask({ login, issues, signal }, (address) =>
      send({ login, address }, path, {
        ...{ method, headers, signal, ...(body !== undefined && { body }) },
        timeoutMs: issues ? timeouts.issueMs : timeouts.readMs,
      }),
    );
  };

  return {
    async call(call) {
      const { login, issues, signal, accept = [] } = call;
      const mayPass = ({ code, kind, unsent }: SecretError): boolean =>
        kind === 'outage' && code !== 'STORE_ANSWER_INVALID' && (unsent || !issues);
      let askedMs = 0;
      const { answer, address } = await retry.run(
        login.addresses.join(','),
        signal,
        async () => {
          askedMs = 0;
          const answered = await attempt(call);
          const { answer, address } = answered;
          if (isPassing(answer)) {
            askedMs = retryAfterMs(answer);
            throw passing(readFault(answer), call, address);
          }
          return answered;
        },
        (error) => mayPass(error) && { afterMs: Math.max(askedMs, cluster.restMs(login)) },
      );
      const { status, headers, body } = answer;
      if (status >= 300) {
        const fault = readFault(answer);
        const isWanted = accept.includes(status) || (status === 404 && !hasNoNamespace(fault));
        if (!isWanted || !fault.isVaults) throw judge(fault, call);
      }
      return { status, headers, body, address, json: () => parse(body, call) };
    },
  };
}

/** What is worth another attempt in a moment: a node that has not caught up, a quota, trouble inside. */
function isPassing({ status }: HttpAnswer): boolean {
  return status === 412 || status === 429 || status >= 500;
}

function retryAfterMs({ headers }: HttpAnswer): number {
  return Number(/^\d{1,6}$/.exec(headers['retry-after'] ?? '')?.[0] ?? 0) * 1_000;
}

function parse(body: Buffer, { login, ...call }: VaultCall): JsonValue {
  try {
    return parseJsonText(new TextDecoder('utf-8', { fatal: true }).decode(body));
  } catch {
    throw new SecretError(
      'STORE_ANSWER_INVALID',
      `${productOf(login)} answered ${pathOf(call)} with something that is not JSON`,
      { hint: 'check that the address is the right one, and no proxy answers in its place' },
    );
  }
}
