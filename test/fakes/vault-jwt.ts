import { createPublicKey, generateKeyPairSync, sign, verify } from 'node:crypto';

/** The claims of a token. */
export type TokenClaims = {
  readonly sub: string;
  readonly aud: readonly string[];
  /** Seconds since the epoch. */
  readonly exp: number;
  readonly [claim: string]: unknown;
};

/** The ServiceAccount and the audience of a pod's projected token. */
export type PodTokenOptions = {
  readonly namespace?: string;
  readonly serviceAccount?: string;
  readonly audience?: string;
  /** Absent: the token is bound to no pod. */
  readonly podUid?: string;
  readonly serviceAccountUid?: string;
  readonly lifeMs?: number;
};

/** Issues tokens as a cluster does, and verifies them. */
export function createTokenIssuer({ now = Date.now } = {}) {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const encodePart = (value: object): string =>
    Buffer.from(JSON.stringify(value)).toString('base64url');

  function mint(claims: TokenClaims): string {
    const content = `${encodePart({ alg: 'ES256', typ: 'JWT' })}.${encodePart(claims)}`;
    const signature = sign('sha256', Buffer.from(content), {
      key: privateKey,
      dsaEncoding: 'ieee-p1363',
    });
    return `${content}.${signature.toString('base64url')}`;
  }

  return {
    mint,
    podToken(options: PodTokenOptions = {}): string {
      const {
        namespace = 'team-a',
        serviceAccount = 'app',
        audience = 'vault',
        lifeMs = 3_600_000,
      } = options;
      const { podUid, serviceAccountUid = 'sa-uid' } = options;
      const issuedAt = Math.floor((now() + Math.min(0, lifeMs)) / 1_000) - 1;
      return mint({
        ...{ iss: 'https://kubernetes.default.svc', iat: issuedAt, nbf: issuedAt },
        sub: `system:serviceaccount:${namespace}:${serviceAccount}`,
        aud: [audience],
        exp: Math.floor((now() + lifeMs) / 1_000),
        'kubernetes.io': {
          namespace,
          ...(podUid !== undefined && { pod: { uid: podUid } }),
          serviceaccount: { name: serviceAccount, uid: serviceAccountUid },
        },
      });
    },
    /** The claims of a token of this issuer, expired or not; undefined for any other token. */
    verify(token: string): TokenClaims | undefined {
      const [, content = '', claims = '', signature = ''] =
        /^([^.]+\.([^.]+))\.([^.]+)$/.exec(token) ?? [];
      const key = { key: publicKey, dsaEncoding: 'ieee-p1363' as const };
      if (!verify('sha256', Buffer.from(content), key, Buffer.from(signature, 'base64url')))
        return undefined;
      return JSON.parse(Buffer.from(claims, 'base64url').toString()) as TokenClaims;
    },
    /** PEM. */
    publicKey: createPublicKey(privateKey).export({ type: 'spki', format: 'pem' }).toString(),
  };
}

export type TokenIssuer = ReturnType<typeof createTokenIssuer>;
