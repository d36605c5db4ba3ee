import core from '@alicloud/openapi-core/dist/utils.js';

/**
 * Alibaba Cloud's own signer, the oracle for Keyferry's. It is CommonJS, so its default export is
 * one level deeper than its types say.
 */
const { default: utils } = core as unknown as {
  readonly default: {
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
};

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
