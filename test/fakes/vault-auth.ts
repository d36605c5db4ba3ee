import { randomUUID, X509Certificate } from 'node:crypto';
import type { FakeResponse } from './http-server.ts';
import { permissionDenied, vaultErrorResponse } from './vault-responses.ts';
import type { TokenClaims, TokenIssuer } from './vault-jwt.ts';
import type { FakeTokens, TokenLifetime } from './vault-tokens.ts';

/** A login request. */
export type FakeLoginRequest = {
  readonly fields: Readonly<Record<string, unknown>>;
  /** DER. */
  readonly certificate?: Buffer;
};

type KubernetesRole = TokenLifetime & {
  readonly names?: readonly string[];
  readonly namespaces?: readonly string[];
  readonly audience?: string;
};
type JwtRole = TokenLifetime & {
  readonly audiences?: readonly string[];
  readonly subject?: string;
};
type AppRole = TokenLifetime & {
  readonly roleId: string;
  readonly secretIds: Map<string, { uses: number }>;
};
type CertRole = TokenLifetime & {
  /** The authority, PEM. */
  readonly ca: string;
};

/** A method mounted at `auth/<mount>`: responds to logins. */
export type FakeAuthMethod = (request: FakeLoginRequest) => FakeResponse;

/** The methods of one namespace. Their error texts are those of a real Vault 1.14. */
export function createFakeAuth(deps: {
  readonly tokens: FakeTokens;
  readonly issuer: TokenIssuer;
  readonly now: () => number;
}) {
  const { tokens, issuer, now } = deps;
  const mounts = new Map<string, FakeAuthMethod>();
  const textField = (fields: FakeLoginRequest['fields'], name: string): string => {
    const value = fields[name];
    return typeof value === 'string' ? value : '';
  };
  const loginResponse = (
    role: string,
    lifetime: TokenLifetime,
    metadata: Record<string, string> = { role },
  ): FakeResponse => tokens.loginResponse(tokens.issue({ ...lifetime, role, metadata }));
  const isExpired = ({ exp }: TokenClaims): boolean => exp * 1_000 <= now();

  return {
    mounts,
    kubernetes(mount = 'kubernetes') {
      const roles = new Map<string, KubernetesRole>();
      mounts.set(mount, ({ fields }) => {
        const name = textField(fields, 'role');
        if (name === '') return vaultErrorResponse(400, 'missing role');
        const role = roles.get(name);
        if (role === undefined) return vaultErrorResponse(400, `invalid role name "${name}"`);
        const claims = issuer.verify(textField(fields, 'jwt'));
        if (claims === undefined || isExpired(claims)) return permissionDenied;
        if (role.audience !== undefined && !claims.aud.includes(role.audience))
          return vaultErrorResponse(
            403,
            'invalid audience (aud) claim: audience claim does not match any bound audience',
          );
        const [, , namespace = '', account = ''] = claims.sub.split(':');
        const matchesBound = (bound: readonly string[] = ['*'], value: string): boolean =>
          bound.includes('*') || bound.includes(value);
        if (!matchesBound(role.namespaces, namespace))
          return vaultErrorResponse(403, 'namespace not authorized');
        if (!matchesBound(role.names, account))
          return vaultErrorResponse(403, 'service account name not authorized');
        return loginResponse(name, role);
      });
      return { role: (name: string, role: KubernetesRole = {}) => void roles.set(name, role) };
    },
    jwt(mount = 'jwt') {
      const roles = new Map<string, JwtRole>();
      mounts.set(mount, ({ fields }) => {
        const name = textField(fields, 'role');
        const role = roles.get(name);
        if (role === undefined) return vaultErrorResponse(400, `role "${name}" could not be found`);
        const claims = issuer.verify(textField(fields, 'jwt'));
        const invalid = (reason: string): FakeResponse =>
          vaultErrorResponse(400, `error validating token: ${reason}`);
        if (claims === undefined)
          return invalid(
            'error verifying token signature: no known key successfully validated the token signature',
          );
        if (isExpired(claims))
          return invalid('invalid expiration time (exp) claim: token is expired');
        if (
          role.audiences !== undefined &&
          !role.audiences.some((each) => claims.aud.includes(each))
        )
          return invalid(
            'invalid audience (aud) claim: audience claim does not match any expected audience',
          );
        if (role.subject !== undefined && role.subject !== claims.sub)
          return invalid('invalid subject (sub) claim');
        return loginResponse(name, role);
      });
      return { role: (name: string, role: JwtRole = {}) => void roles.set(name, role) };
    },
    approle(mount = 'approle') {
      const roles = new Map<string, AppRole>();
      mounts.set(mount, ({ fields }) => {
        const [name, role] =
          [...roles].find(([, { roleId }]) => roleId === textField(fields, 'role_id')) ?? [];
        if (name === undefined || role === undefined)
          return vaultErrorResponse(400, 'invalid role ID');
        const id = textField(fields, 'secret_id');
        const secret = role.secretIds.get(id);
        if (secret === undefined) return vaultErrorResponse(400, 'invalid secret id');
        secret.uses -= 1;
        if (secret.uses <= 0) role.secretIds.delete(id);
        return loginResponse(name, role, { role_name: name });
      });
      return {
        /** Makes a role; `secretId()` makes ids for it, valid for a number of logins. */
        role(name: string, lifetime: TokenLifetime = {}) {
          const role: AppRole = { ...lifetime, roleId: randomUUID(), secretIds: new Map() };
          roles.set(name, role);
          return {
            roleId: role.roleId,
            secretId(uses = Infinity): string {
              const id = randomUUID();
              role.secretIds.set(id, { uses });
              return id;
            },
            destroySecretId: (id: string) => void role.secretIds.delete(id),
          };
        },
      };
    },
    cert(mount = 'cert') {
      const roles = new Map<string, CertRole>();
      mounts.set(mount, ({ fields, certificate }) => {
        if (certificate === undefined)
          return vaultErrorResponse(400, 'client certificate must be supplied');
        const clientCertificate = new X509Certificate(certificate);
        const requestedName = textField(fields, 'name');
        const found = [...roles].find(
          ([name, { ca }]) =>
            (requestedName === '' || requestedName === name) &&
            clientCertificate.verify(new X509Certificate(ca).publicKey),
        );
        if (found === undefined)
          return vaultErrorResponse(400, 'invalid certificate or no client certificate supplied');
        return loginResponse(...found, {
          cert_name: found[0],
          common_name: clientCertificate.subject,
        });
      });
      return { role: (name: string, role: CertRole) => void roles.set(name, role) };
    },
  };
}

export type FakeAuth = ReturnType<typeof createFakeAuth>;
