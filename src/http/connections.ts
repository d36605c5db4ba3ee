import { LRUCache } from 'lru-cache';
import { X509Certificate, createHash } from 'node:crypto';
import * as nodeTls from 'node:tls';
import type { Dispatcher } from 'undici';
import { SecretError } from '../core/errors.ts';
import type { Redacted } from '../core/redacted.ts';

/** How many kinds of connection are kept; the least used is closed when its last request ends. */
const maxDispatchers = 64;

/** What a connection is secured with, beyond the defaults. */
export type TlsSettings = {
  /** PEM: trusted **instead of** all other authorities. */
  readonly ca?: string | readonly string[];
  /** PEM: what we show of ourselves, with its key. */
  readonly cert?: string;
  readonly key?: Redacted;
  /** The name to ask for and to expect in the certificate; default the host. */
  readonly servername?: string;
  /** False: nothing is verified. */
  readonly rejectUnauthorized?: boolean;
  /** An intermediate among `ca` is enough. */
  readonly allowPartialTrustChain?: boolean;
};

/** By which way a request goes. */
export type Route = {
  readonly proxy: URL | undefined;
  readonly tls: TlsSettings | undefined;
  readonly socketPath: string | undefined;
};

/** Keeps connections, apart for each route and, within it, for each origin. */
export type Dispatchers = {
  /** @throws SecretError NOT_CONFIGURED where the TLS settings cannot be read */
  to(route: Route): Promise<Dispatcher>;
  /** Breaks what is under way. */
  close(): Promise<void>;
};

/** See {@link createDispatchers}. */
export type DispatcherOptions = {
  readonly ca: readonly string[];
  readonly connectTimeoutMs: number;
  readonly connections: number;
};

type ConnectSettings = Pick<
  nodeTls.ConnectionOptions,
  'secureContext' | 'servername' | 'rejectUnauthorized'
>;

/** Makes connections on first use; undici itself (10 MB) is loaded by the first request. */
export function createDispatchers({
  ca,
  connectTimeoutMs,
  connections,
}: DispatcherOptions): Dispatchers {
  const dispatchers = new LRUCache<string, Promise<Dispatcher>>({
    max: maxDispatchers,
    // Closing waits for what is under way. Whoever holds it learns of its failure.
    dispose: (evicted) =>
      void evicted.then((dispatcher) => dispatcher.close()).catch(() => undefined),
  });

  async function create({ proxy, tls, socketPath }: Route): Promise<Dispatcher> {
    const { Agent, ProxyAgent } = await import('undici');
    // One deadline covers the whole request; undici's own timers would only add to it.
    const common = { connections, headersTimeout: 0, bodyTimeout: 0 };
    const connect = { timeout: connectTimeoutMs, ...connectSettings(tls) };
    if (proxy === undefined) {
      return new Agent({
        ...common,
        connect: socketPath === undefined ? connect : { ...connect, socketPath },
      });
    }
    const proxyTls = { timeout: connectTimeoutMs, ...connectSettings(undefined) };
    // Plain http is handed to the proxy whole: many refuse to tunnel it.
    return new ProxyAgent({
      ...common,
      uri: proxy.href,
      requestTls: connect,
      proxyTls,
      proxyTunnel: false,
    });
  }

  function connectSettings(tls: TlsSettings | undefined): ConnectSettings {
    const { ca: exclusiveCa, cert, key, allowPartialTrustChain, ...rest } = tls ?? {};
    const authorities = exclusiveCa === undefined ? ca : [exclusiveCa].flat();
    try {
      // OpenSSL passes over what it cannot read; this throws.
      for (const pem of authorities) new X509Certificate(pem);
      const trusted =
        exclusiveCa === undefined ? [...defaultAuthorities(), ...authorities] : authorities;
      const secureContext = nodeTls.createSecureContext({
        // Without any of ours, Node's own store, which costs nothing.
        ...(authorities.length > 0 && { ca: [...trusted] }),
        ...(cert !== undefined && { cert }),
        ...(key !== undefined && { key: key.reveal() }),
        ...(allowPartialTrustChain !== undefined && { allowPartialTrustChain }),
      });
      return { ...rest, secureContext };
    } catch {
      // OpenSSL's own words are about its insides, and the key may be what it stumbled over.
      throw new SecretError('NOT_CONFIGURED', 'a CA, certificate or key cannot be read', {
        hint: 'each must be PEM, and the key must fit the certificate',
      });
    }
  }

  return {
    to(route) {
      const key = digest(route);
      const known = dispatchers.get(key);
      if (known !== undefined) return known;
      const created = create(route);
      dispatchers.set(key, created);
      created.catch(() => dispatchers.delete(key));
      return created;
    },
    async close() {
      const open = [...dispatchers.values()];
      await Promise.allSettled(open.map(async (dispatcher) => (await dispatcher).destroy()));
    },
  };
}

/** A digest, since a key may be among the settings. */
function digest({ proxy, tls = {}, socketPath }: Route): string {
  const settings = Object.entries({ ...tls, key: tls.key?.reveal() }).sort(([a], [b]) =>
    a < b ? -1 : 1,
  );
  return createHash('sha256')
    .update(JSON.stringify([proxy?.href, socketPath, settings]))
    .digest('base64');
}

/** What Node trusts by default: from 22.15 on with NODE_EXTRA_CA_CERTS and --use-system-ca, before that its bundle. */
function defaultAuthorities(): readonly string[] {
  const { getCACertificates } = nodeTls as { getCACertificates?: (type: 'default') => string[] };
  return getCACertificates?.('default') ?? nodeTls.rootCertificates;
}
