import { createPublicKey, verify, type JsonWebKey, type KeyObject } from 'node:crypto';
import { createKubeClient } from '../../driver/kube-client.ts';

/**
 * Whether the cluster signed a ServiceAccount token, its issuer is the cluster, and it has not
 * expired. The caller compares audience and subject.
 */
export type TokenVerifier = (token: string) => boolean;

/**
 * Reads the public keys of the cluster as a cloud that trusts it does: from its issuer, without a
 * credential.
 */
export async function createTokenVerifier(cluster: {
  readonly server: URL;
  readonly ca: string;
  readonly issuer: string;
}): Promise<TokenVerifier> {
  const anonymous = createKubeClient({ server: cluster.server, ca: cluster.ca });
  const discovery = await anonymous.get<{ issuer: string; jwks_uri: string }>(
    '/.well-known/openid-configuration',
  );
  const { keys } = await anonymous.get<{ keys: (JsonWebKey & { kid: string })[] }>(
    new URL(discovery.jwks_uri).pathname,
  );
  await anonymous.close();
  const keysById = new Map<string, KeyObject>(
    keys.map((key) => [key.kid, createPublicKey({ key, format: 'jwk' })]),
  );
  return (token) => {
    const [header = '', payload = '', signature = ''] = token.split('.');
    const { alg, kid } = decode(header) as { alg: string; kid: string };
    const { iss, exp } = decode(payload) as { iss: string; exp: number };
    const key = keysById.get(kid);
    if (
      key === undefined ||
      alg !== 'RS256' ||
      iss !== discovery.issuer ||
      exp * 1_000 <= Date.now()
    )
      return false;
    return verify(
      'sha256',
      Buffer.from(`${header}.${payload}`),
      key,
      Buffer.from(signature, 'base64url'),
    );
  };
}

function decode(part: string): unknown {
  return JSON.parse(Buffer.from(part, 'base64url').toString() || '{}');
}
