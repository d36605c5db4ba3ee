import type * as Signer from '@smithy/signature-v4';
import { createHash, createHmac, createSecretKey } from 'node:crypto';
import type { AwsService } from './endpoints.ts';
import type { AwsCredential } from './types.ts';

/** A POST to a service. */
export type SignableRequest = {
  readonly url: URL;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
};

/** What a signature names. */
export type SignatureScope = {
  readonly service: AwsService;
  readonly region: string;
  readonly credential: AwsCredential;
  /** Milliseconds since the epoch, by the clock of AWS. */
  readonly at: number;
};

/** Signs a request. @returns its headers, and those of the signature */
export type Sign = (
  request: SignableRequest,
  scope: SignatureScope,
) => Promise<Record<string, string>>;

/** Signs by AWS's own signer of Signature Version 4, which is loaded at the first use. */
export function createSign(): Sign {
  let loaded: Promise<typeof Signer> | undefined;
  return async ({ url, headers, body }, { service, region, credential, at }) => {
    const { SignatureV4 } = await (loaded ??= import('@smithy/signature-v4'));
    const { accessKeyId, secretAccessKey, sessionToken } = credential;
    const signer = new SignatureV4({
      ...{ service, region, sha256: Sha256 },
      credentials: {
        accessKeyId,
        secretAccessKey: secretAccessKey.reveal(),
        ...(sessionToken !== undefined && { sessionToken: sessionToken.reveal() }),
      },
    });
    const request = {
      ...{ method: 'POST', protocol: url.protocol, hostname: url.host, path: url.pathname },
      ...{ headers: { host: url.host, ...headers }, body },
    };
    const signed = await signer.sign(request, { signingDate: new Date(at) });
    return signed.headers;
  };
}

/** SHA-256 of Node, or its HMAC where there is a key, in the shape that the signer expects. */
class Sha256 {
  readonly #hash: ReturnType<typeof createHash> | ReturnType<typeof createHmac>;

  constructor(key?: string | ArrayBuffer | ArrayBufferView) {
    // From bytes Node 24 makes an HMAC five times as slowly as from a KeyObject.
    this.#hash =
      key === undefined
        ? createHash('sha256')
        : createHmac('sha256', typeof key === 'string' ? key : createSecretKey(toBytes(key)));
  }

  update(data: Uint8Array): void {
    this.#hash.update(data);
  }

  async digest(): Promise<Uint8Array> {
    return this.#hash.digest();
  }
}

function toBytes(data: ArrayBuffer | ArrayBufferView): Uint8Array {
  return ArrayBuffer.isView(data)
    ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
    : new Uint8Array(data);
}
