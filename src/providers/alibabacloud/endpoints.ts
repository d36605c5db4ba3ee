import type { TlsSettings } from '../../http/connections.ts';
import { classEndpoint, regionEndpoint } from '../../http/endpoint.ts';
import type { AlibabaCloudConfig, ServiceAddress } from './types.ts';

const dedicatedGateways = '*.cryptoservice.kms.aliyuncs.com';
const regionalKms = /^(https:\/\/)?kms(-vpc)?\.[a-z0-9-]+\.aliyuncs\.com(:443)?\/?$/;

/** The address of a service, and how to verify its certificate. */
export type Endpoint = { readonly url: URL; readonly tls?: TlsSettings };

/**
 * Returns the endpoint of a service in a region.
 * @throws SecretError INVALID_CLASS if `region` is not a region
 */
export function serviceEndpoint(address: ServiceAddress, region: string): Endpoint {
  return { url: address instanceof URL ? address : regionEndpoint(address, region) };
}

/**
 * Whether the operator configured a ref's endpoint: the KMS of the home region, or a host that
 * classes may name.
 */
export function isOperatorsEndpoint(
  endpoint: string,
  homeRegion: string | undefined,
  { kms, allowedEndpoints }: Pick<AlibabaCloudConfig, 'kms' | 'allowedEndpoints'>,
): boolean {
  if (homeRegion !== undefined && serviceEndpoint(kms, homeRegion).url.host === endpoint)
    return true;
  try {
    classEndpoint(endpoint, allowedEndpoints);
    return true;
  } catch {
    return false;
  }
}

/** Whether all KMS instances of a region share this `kmsEndpoint`. */
export function isSharedGateway(kmsEndpoint: string): boolean {
  return regionalKms.test(kmsEndpoint);
}

/**
 * Checks the `kmsEndpoint` of a class: a dedicated gateway, a regional endpoint, or a host that the
 * operator allows.
 *
 * If the operator configured certificates, these alone verify all endpoints but the regional ones:
 * the certificate of a dedicated gateway ends at a private intermediate certificate.
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
