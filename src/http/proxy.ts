import { BlockList, isIP } from 'node:net';
import { SecretError } from '../core/errors.ts';
import { sanitizeUserText } from '../core/safe-text.ts';

/** The values of HTTPS_PROXY, HTTP_PROXY and NO_PROXY. */
export type ProxyOptions = {
  /** For https: `http://[user:password@]host[:port]`. The scheme is optional. Empty: no proxy. */
  readonly httpsProxy?: string | undefined;
  /** For plain http. */
  readonly httpProxy?: string | undefined;
  /**
   * The hosts that bypass the proxy, separated by commas or spaces: `*`, a name (and all names
   * below it), `.name` (only names below it), an address, or a network such as `10.0.0.0/8`. Each
   * except a network may end in `:port`.
   */
  readonly noProxy?: string | undefined;
};

/**
 * Chooses the proxy for a URL, as Go programs do (golang.org/x/net/http/httpproxy): https uses only
 * HTTPS_PROXY, and this machine never uses a proxy.
 * @throws SecretError NOT_CONFIGURED for an invalid setting
 */
export function createProxyChoice(options: ProxyOptions): (url: URL) => URL | undefined {
  const { noProxy = '' } = options;
  const https = parseProxy('HTTPS_PROXY', options.httpsProxy);
  const http = parseProxy('HTTP_PROXY', options.httpProxy);
  const exceptions = ['localhost', '127.0.0.0/8', '::1', ...noProxy.split(/[\s,]+/)]
    .filter((entry) => entry !== '')
    .map(parseException);
  return (url) => {
    const proxy = url.protocol === 'https:' ? https : http;
    if (proxy === undefined) return undefined;
    const host = url.hostname.replace(/^\[|\]$/g, '');
    const port = url.port === '' ? (url.protocol === 'https:' ? '443' : '80') : url.port;
    return exceptions.some((isExcepted) => isExcepted(host, port)) ? undefined : proxy;
  };
}

function parseProxy(setting: string, text = ''): URL | undefined {
  if (text === '') return undefined;
  const address = text.includes('://') ? text : `http://${text}`;
  const url = URL.canParse(address) ? new URL(address) : undefined;
  if (url?.protocol === 'http:' || url?.protocol === 'https:') return url;
  // The message does not quote the text: it may contain a password.
  throw new SecretError('NOT_CONFIGURED', `${setting} is not the address of a proxy`, {
    hint: 'write http://host:port',
  });
}

type ProxyException = (host: string, port: string) => boolean;

function parseException(entry: string): ProxyException {
  if (entry === '*') return () => true;
  const [network = '', bits] = entry.split('/');
  if (bits !== undefined || isIP(entry) !== 0) return matchAddresses(entry, network, bits);
  const [, name = entry, port] = /^(.+):(\d+)$/.exec(entry) ?? [];
  const hostname = name.replace(/^\[|\]$/g, '');
  const isHost =
    isIP(hostname) === 0 ? matchName(hostname.toLowerCase()) : matchAddresses(entry, hostname);
  return (host, hostPort) => (port === undefined || port === hostPort) && isHost(host, hostPort);
}

function matchName(name: string): ProxyException {
  const suffix = name.replace(/^\*?\.?/, '.');
  return (host) => host.endsWith(suffix) || host === name;
}

function matchAddresses(entry: string, network: string, bits?: string): ProxyException {
  const list = new BlockList();
  const family = familyOf(network);
  try {
    if (bits === undefined) list.addAddress(network, family);
    else list.addSubnet(network, Number(bits === '' ? NaN : bits), family);
  } catch {
    throw new SecretError(
      'NOT_CONFIGURED',
      `NO_PROXY: ${sanitizeUserText(entry)} is not a network`,
    );
  }
  return (host) => isIP(host) !== 0 && list.check(host, familyOf(host));
}

function familyOf(address: string): 'ipv4' | 'ipv6' {
  return isIP(address) === 6 ? 'ipv6' : 'ipv4';
}
