import type { TlsSettings } from '../../http/connections.ts';
import { classEndpoint, regionEndpoint } from '../../http/endpoint.ts';
import type { AlibabaCloudConfig, ServiceAddress } from './types.ts';

const dedicatedGateways = '*.cryptoservice.kms.aliyuncs.com';
const regionalKms = /^(https:\/\/)?kms(-vpc)?\.[a-z0-9-]+\.aliyuncs\.com(:443)?\/?$/;

/** Where a call goes, and what vouches for who answers. */
export type Endpoint = { readonly url: URL; readonly tls?: TlsSettings };

/**
 * Where a service of a region is.
 * @throws SecretError INVALID_CLASS for what is no region
 */
export function serviceEndpoint(address: ServiceAddress, region: string): Endpoint {
  return { url: address instanceof URL ? address : regionEndpoint(address, region) };
}

/** Whether a `kmsEndpoint` is one of those that all instances of a region share. */
export function isSharedGateway(kmsEndpoint: string): boolean {
  return regionalKms.test(kmsEndpoint);
}

/**
 * A `kmsEndpoint` out of a class: a dedicated gateway, a regional endpoint, or what the operator listed. All but the regional ones are
 * verified by the operator's own certificates where there are any: a gateway's chains to a private intermediate.
 * @throws SecretError INVALID_CLASS, NOT_ALLOWED_FROM_CLASS
 */
export function kmsEndpoint(
  text: string,
  { allowedEndpoints, gatewayCa }: Pick<AlibabaCloudConfig, 'allowedEndpoints' | 'gatewayCa'>,
): Endpoint {
  const isRegional = isSharedGateway(text);
  const url = classEndpoint(text, [
    dedicatedGateways,
    ...allowedEndpoints,
    ...(isRegional ? [text] : []),
  ]);
  if (isRegional || gatewayCa.length === 0) return { url };
  return { url, tls: { ca: gatewayCa, allowPartialTrustChain: true } };
}
