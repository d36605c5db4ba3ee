import { LRUCache } from 'lru-cache';
import { X509Certificate, hash } from 'node:crypto';
import * as nodeTls from 'node:tls';
import type { Dispatcher } from 'undici';
import { SecretError } from '../core/errors.ts';
import type { Redacted } from '../core/redacted.ts';

/** The limit of dispatchers. The least recently used one is closed when its last request ends. */
const maxDispatchers = 64;

/** TLS settings of a connection, in addition to the defaults. */
export type TlsSettings = {
  /** PEM: trusted **instead of** all other authorities. */
  readonly ca?: string | readonly string[];
  /** PEM: the client certificate, with its key. */
  readonly cert?: string;
  readonly key?: Redacted;
  /** The name for SNI that the certificate must have. Default: the host. */
  readonly servername?: string;
  /** False: the certificate is not verified. */
  readonly rejectUnauthorized?: boolean;
  /** Whether an intermediate certificate in `ca` suffices. */
  readonly allowPartialTrustChain?: boolean;
};

/** The route of a request. */
export type Route = {
  readonly proxy: URL | undefined;
  readonly tls: TlsSettings | undefined;
  readonly socketPath: string | undefined;
};

/** Options of {@link Dispatchers}. */
export type DispatcherOptions = {
  readonly ca: readonly string[];
  readonly connectTimeoutMs: number;
  readonly connections: number;
};

type ConnectSettings = Pick<
  nodeTls.ConnectionOptions,
  'secureContext' | 'servername' | 'rejectUnauthorized'
>;

/**
 * Keeps separate connections for each route and, within a route, for each origin. It opens them at
 * first use. The first request loads undici, which takes 10 MB.
 */
export class Dispatchers {
  readonly #options: DispatcherOptions;
  readonly #dispatchers = new LRUCache<string, Promise<Dispatcher>>({
    max: maxDispatchers,
    // close() waits for the requests in flight. A failed creation is reported to its request.
    dispose: (evicted) =>
      void evicted.then((dispatcher) => dispatcher.close()).catch(() => undefined),
  });

  constructor(options: DispatcherOptions) {
    this.#options = options;
  }

  /** @throws SecretError NOT_CONFIGURED if the TLS settings are invalid */
  to(route: Route): Promise<Dispatcher> {
    const { proxy, tls, socketPath } = route;
    const key = JSON.stringify([proxy?.href, socketPath, tls && digest(tls)]);
    const known = this.#dispatchers.get(key);
    if (known !== undefined) return known;
    const created = this.#create(route);
    this.#dispatchers.set(key, created);
    created.catch(() => this.#dispatchers.delete(key));
    return created;
  }

  /** Aborts the requests in flight. */
  async close(): Promise<void> {
    const open = [...this.#dispatchers.values()];
    await Promise.allSettled(open.map(async (dispatcher) => (await dispatcher).destroy()));
  }

  async #create({ proxy, tls, socketPath }: Route): Promise<Dispatcher> {
    const { connections, connectTimeoutMs } = this.#options;
    const { Agent, ProxyAgent } = await import('undici');
    // One time limit covers the whole request, so undici's own timeouts are off.
    const common = { connections, headersTimeout: 0, bodyTimeout: 0 };
    const connect = { timeout: connectTimeoutMs, ...this.#connectSettings(tls) };
    if (proxy === undefined) {
      return new Agent({
        ...common,
        connect: socketPath === undefined ? connect : { ...connect, socketPath },
      });
    }
    const proxyTls = { timeout: connectTimeoutMs, ...this.#connectSettings(undefined) };
    // Plain http is forwarded by the proxy and not tunnelled: many proxies refuse to tunnel it.
    return new ProxyAgent({
      ...common,
      uri: proxy.href,
      requestTls: connect,
      proxyTls,
      proxyTunnel: false,
    });
  }

  #connectSettings(tls: TlsSettings | undefined): ConnectSettings {
    const { ca: exclusiveCa, cert, key, allowPartialTrustChain, ...rest } = tls ?? {};
    const authorities = exclusiveCa === undefined ? this.#options.ca : [exclusiveCa].flat();
    try {
      // OpenSSL ignores invalid certificates; this constructor throws.
      for (const pem of authorities) new X509Certificate(pem);
      const trusted =
        exclusiveCa === undefined ? [...defaultAuthorities(), ...authorities] : authorities;
      const secureContext = nodeTls.createSecureContext({
        // Without further authorities, Node uses its own store, which costs nothing.
        ...(authorities.length > 0 && { ca: [...trusted] }),
        ...(cert !== undefined && { cert }),
        ...(key !== undefined && { key: key.reveal() }),
        ...(allowPartialTrustChain !== undefined && { allowPartialTrustChain }),
      });
      return { ...rest, secureContext };
    } catch {
      // Without OpenSSL's message: it does not help the user, and the key may be its subject.
      throw new SecretError('NOT_CONFIGURED', 'a CA, certificate or key cannot be read', {
        hint: 'each must be PEM, and the key must fit the certificate',
      });
    }
  }
}

/** A digest, because the settings may hold a key. */
function digest(tls: TlsSettings): string {
  const settings = Object.entries({ ...tls, key: tls.key?.reveal() }).sort(([a], [b]) =>
    a < b ? -1 : 1,
  );
  return hash('sha256', JSON.stringify(settings), 'base64');
}

/**
 * The authorities that Node trusts by default: from 22.15 on including NODE_EXTRA_CA_CERTS and
 * --use-system-ca, before that its own bundle.
 */
function defaultAuthorities(): readonly string[] {
  const { getCACertificates } = nodeTls as { getCACertificates?: (type: 'default') => string[] };
  return getCACertificates?.('default') ?? nodeTls.rootCertificates;
}
