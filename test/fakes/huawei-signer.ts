import { AKSKSigner } from '@huaweicloud/huaweicloud-sdk-core/auth/AKSKSigner.js';

/**
 * The signer of Huawei's SDK, the oracle for ours. Its methods are private in its types, but not in
 * its code.
 */
export const huaweiSigner = AKSKSigner as unknown as {
  sign(request: object, credential: { getAk(): string; getSk(): string }): Record<string, string>;
  CanonicalURI(path: string): string;
  CanonicalQueryString(request: { queryParams: Record<string, string[]> }): string;
  buildCanonicalHeaders(headers: Record<string, string>): string;
  buildCanonicalRequest(...parts: string[]): string;
  getStringToSign(algorithm: string, date: string, digest: string): string;
  Hex(content: string | Uint8Array): string;
  hmacSHA256(key: string, text: string): string;
  EMPTY_BODY_SHA256: string;
};
