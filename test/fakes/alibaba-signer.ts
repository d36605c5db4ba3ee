import core from '@alicloud/openapi-core/dist/utils.js';

type Utils = {
  getAuthorization(
    request: {
      method: string;
      pathname: string;
      query: Record<string, string>;
      headers: Record<string, string>;
    },
    algorithm: string,
    bodyDigest: string,
    accessKeyId: string,
    accessKeySecret: string,
  ): string;
  hash(body: Uint8Array, algorithm: string): Buffer;
};

/**
 * Alibaba Cloud's own signer, the oracle for Keyferry's. It is CommonJS: in Node its default export
 * is one level deeper than its types say, in a bundle it is not.
 */
const module = core as unknown as Utils & { readonly default?: Utils };
const utils: Utils = module.default ?? module;

const algorithm = 'ACS3-HMAC-SHA256';

/** The `Authorization` header of the SDK, which signs only `host`, `content-type` and `x-acs-*`. */
export function alibabaAuthorization(
  request: Parameters<typeof utils.getAuthorization>[0],
  bodyDigest: string,
  key: { readonly accessKeyId: string; readonly accessKeySecret: string },
): string {
  return utils.getAuthorization(
    request,
    algorithm,
    bodyDigest,
    key.accessKeyId,
    key.accessKeySecret,
  );
}

export function alibabaBodyDigest(body: string | Uint8Array): string {
  return utils.hash(Buffer.from(body), algorithm).toString('hex');
}
