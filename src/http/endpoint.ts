import { BlockList, isIP } from 'node:net';
import { SecretError } from '../core/errors.ts';
import { sanitizeUserText } from '../core/safe-text.ts';
import { encode } from './uri.ts';

const specialNetworks: readonly (readonly [
  network: string,
  bits: number,
  family: 'ipv4' | 'ipv6',
])[] = [
  ['0.0.0.0', 8, 'ipv4'], // unspecified: this machine
  ['127.0.0.0', 8, 'ipv4'], // loopback
  ['169.254.0.0', 16, 'ipv4'], // link-local: metadata services
  ['100.100.100.200', 32, 'ipv4'], // Alibaba's metadata service
  ['168.63.129.16', 32, 'ipv4'], // Azure's
  ['::', 127, 'ipv6'], // unspecified, loopback
  ['fe80::', 10, 'ipv6'], // link-local
  ['fd00:ec2::', 32, 'ipv6'], // AWS's metadata service and pod identity agent
  ['64:ff9b::', 96, 'ipv6'], // any IPv4 address inside IPv6: the plain form can be used instead
];

/**
 * Whether a host is this machine, on its link, or a metadata service. A class may name such a host
 * only if the operator lists it. An IPv4-mapped IPv6 address counts as its IPv4 address.
 */
export function isSpecialHost(hostname: string): boolean {
  const host = hostname.toLowerCase().replace(/^\[|\]$|\.$/g, '');
  if (host === 'localhost' || host.endsWith('.localhost')) return true;
  const addresses = new BlockList();
  for (const network of specialNetworks) addresses.addSubnet(...network);
  const family = isIP(host);
  return family !== 0 && addresses.check(host, family === 4 ? 'ipv4' : 'ipv6');
}

const regionShape = /^[a-z]{2,}(-[a-z0-9]+){1,4}$/;
/** Scheme, host and port, and nothing else. */
const endpointShape = /^(?:(https?):\/\/)?([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::(\d{1,5}))?\/?$/;

/**
 * The host of a region, from a template such as `kms.{region}.myhuaweicloud.com`.
 * @throws SecretError INVALID_CLASS for an invalid region
 */
export function regionHost(template: string, region: string): string {
  const host = template.split('{region}').join(region);
  if (!regionShape.test(region) || !isPlainHost(host)) {
    throw new SecretError('INVALID_CLASS', `"${sanitizeUserText(region)}" is not a region`, {
      hint: 'regions look like cn-north-4 or eu-west-101',
    });
  }
  return host;
}

/** {@link regionHost} as an https URL. */
export function regionEndpoint(template: string, region: string): URL {
  return new URL(`https://${regionHost(template, region)}`);
}

/**
 * An endpoint from the operator's settings: `host`, `host:port` or `https://host:port`.
 * @throws SecretError NOT_CONFIGURED
 */
export function parseEndpoint(
  text: string,
  {
    setting = 'the endpoint',
    allowHttp = false,
  }: { readonly setting?: string; readonly allowHttp?: boolean } = {},
): URL {
  const url = parse(text);
  if (url === undefined) {
    throw new SecretError('NOT_CONFIGURED', `${setting} ${quoted(text)} is not an endpoint`, {
      hint: `write host, host:port or https://host:port, the host in its plain form`,
    });
  }
  if (url.protocol === 'http:' && !allowHttp) {
    throw new SecretError('NOT_CONFIGURED', `${setting} ${quoted(text)} is not https`);
  }
  return url;
}

/**
 * An endpoint from a class or a pod, which are tenants: the operator must have listed it. An entry
 * is
 * `host`, `host:port`, `http://host:port` (the only form that allows plain http), or `*.domain` for
 * https on the default port of any host below. This machine, its link and metadata services must be
 * listed with their exact host **and port**.
 * @throws SecretError INVALID_CLASS for an invalid endpoint, NOT_ALLOWED_FROM_CLASS for one that is
 *   not listed, NOT_CONFIGURED for an invalid entry
 */
export function classEndpoint(text: string, allowList: readonly string[]): URL {
  const url = parse(text);
  if (url === undefined) {
    throw new SecretError('INVALID_CLASS', `${quoted(text)} is not an endpoint`, {
      hint: 'write host, host:port or https://host:port, the host in its plain form',
    });
  }
  const isSpecial = isSpecialHost(url.hostname);
  if (!allowList.some((entry) => covers(entry, url, isSpecial))) {
    throw new SecretError(
      'NOT_ALLOWED_FROM_CLASS',
      `the endpoint ${url.host} is not among those allowed to classes`,
      {
        hint: isSpecial
          ? 'this is a local or metadata address: the operator has to list it with its port'
          : 'the operator has to list it',
      },
    );
  }
  return url;
}

/**
 * A text as one segment of a path. Everything except letters, digits and `-._~` is percent-encoded
 * (RFC 3986).
 * @throws SecretError INVALID_CLASS for a text that cannot be a segment: empty, `.`, `..`, a lone
 *   surrogate
 */
export function encodeSegment(text: string): string {
  if (['', '.', '..'].includes(text) || !text.isWellFormed()) {
    throw new SecretError('INVALID_CLASS', `"${sanitizeUserText(text)}" cannot be a name`);
  }
  return encode(text);
}

function covers(entry: string, url: URL, isSpecial: boolean): boolean {
  const options = { setting: 'the allowed endpoint', allowHttp: true };
  if (!entry.startsWith('*.')) {
    const listed = parseEndpoint(entry, options);
    return listed.origin === url.origin && (!isSpecial || /:\d+\/?$/.test(entry));
  }
  const { hostname } = parseEndpoint(entry.slice(2), options);
  // An origin does not contain the default port.
  return !isSpecial && url.origin.startsWith('https:') && url.origin.endsWith(`.${hostname}`);
}

function parse(text: string): URL | undefined {
  const [, scheme = 'https', host = '', port] = endpointShape.exec(text) ?? [];
  const address = `${scheme}://${host}${port === undefined ? '' : `:${port}`}`;
  return isPlainHost(host) && URL.canParse(address) ? new URL(address) : undefined;
}

/**
 * Whether URL parsers leave the host unchanged. They rewrite `0x7f.1`, `2130706433` and
 * `①.example`.
 */
function isPlainHost(host: string): boolean {
  const address = `https://${host}/`;
  return (
    host !== '' &&
    !host.endsWith('.') &&
    URL.canParse(address) &&
    new URL(address).host === host.toLowerCase()
  );
}

/** Hides a text with an `@`: it may contain a password. */
function quoted(text: string): string {
  return text.includes('@') ? '(it holds an @)' : `"${sanitizeUserText(text)}"`;
}
