import { isRegion } from '../region.ts';

/** A RAM role: `acs:ram::1234567890:role/reader`. */
export const roleArnShape = /^acs:ram::\d{1,32}:role\/[A-Za-z0-9._-]{1,64}$/;

/** An OIDC provider of RAM: `acs:ram::1234567890:oidc-provider/ack-rrsa-c0123`. */
export const oidcProviderArnShape = /^acs:ram::\d{1,32}:oidc-provider\/[A-Za-z0-9._-]{1,128}$/;

/** Where the secret of an ARN lies, or `undefined` for what is no ARN of a KMS secret. */
export function readArn(text: string): { readonly region: string; readonly account: string } | undefined {
  const [, region = '', account = ''] = /^acs:kms:([^:]*):(\d{1,32}):secret\/[^:\s]+$/.exec(text) ?? [];
  return isRegion(region) ? { region, account } : undefined;
}
