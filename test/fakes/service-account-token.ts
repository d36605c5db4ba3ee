import { createHmac } from 'node:crypto';

/** The claims of a ServiceAccount's token. */
type TokenClaims = {
  readonly iss: string;
  readonly sub: string;
  readonly aud: readonly string[];
  /** Seconds since the epoch. */
  readonly exp: number;
  readonly 'kubernetes.io': {
    readonly namespace: string;
    readonly pod: { readonly name: string; readonly uid: string };
    readonly serviceaccount: { readonly name: string; readonly uid: string };
  };
};

/** Makes a ServiceAccount's token that fakes can verify. */
export function mintToken(claims: {
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly audience: string;
  /** Milliseconds since the epoch. */
  readonly expiresAt: number;
  readonly serviceAccountUid?: string;
  readonly podName?: string;
  /** The tokens of two pods of one account differ in it. */
  readonly podUid?: string;
  readonly issuer?: string;
}): string {
  const { namespace, serviceAccount, audience, expiresAt } = claims;
  const { serviceAccountUid = 'sa-uid', podUid = 'pod-uid', podName = 'pod' } = claims;
  const content: TokenClaims = {
    iss: claims.issuer ?? 'https://kubernetes.default.svc',
    sub: `system:serviceaccount:${namespace}:${serviceAccount}`,
    aud: [audience],
    exp: Math.floor(expiresAt / 1_000),
    'kubernetes.io': {
      namespace,
      pod: { name: podName, uid: podUid },
      serviceaccount: { name: serviceAccount, uid: serviceAccountUid },
    },
  };
  const text = [{ alg: 'HS256', typ: 'JWT' }, content]
    .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
    .join('.');
  return `${text}.${signature(text)}`;
}

/** Returns the claims of a token that the cluster issued. The caller checks expiry and audience. */
export function verifyToken(token: string, isIssued = isMinted): TokenClaims | undefined {
  const [, claims = ''] = token.split('.');
  return isIssued(token)
    ? (JSON.parse(Buffer.from(claims, 'base64url').toString()) as TokenClaims)
    : undefined;
}

/** Whether {@link mintToken} made the token. */
export function isMinted(token: string): boolean {
  const end = token.lastIndexOf('.');
  return token.slice(end + 1) === signature(token.slice(0, end));
}

function signature(content: string): string {
  return createHmac('sha256', 'the cluster').update(content).digest('base64url');
}
