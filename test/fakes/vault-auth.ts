import { randomUUID, X509Certificate } from 'node:crypto';
import type { FakeAnswer } from './http-server.ts';
import { permissionDenied, vaultFault } from './vault-answers.ts';
import type { TokenClaims, TokenIssuer } from './vault-jwt.ts';
import type { FakeTokens, TokenLife } from './vault-tokens.ts';

/** What a login brings. */
export type LoginQuestion = {
  readonly fields: Readonly<Record<string, unknown>>;
  /** DER. */
  readonly certificate?: Buffer;
};

type KubernetesRole = TokenLife & {
  readonly names?: readonly string[];
  readonly namespaces?: readonly string[];
  readonly audience?: string;
};
type JwtRole = TokenLife & {
  readonly audiences?: readonly string[];
  readonly subject?: string;
};
type AppRole = TokenLife & { readonly roleId: string; readonly secretIds: Map<string, { uses: number }> };
type CertRole = TokenLife & {
  /** PEM, of the authority. */
  readonly ca: string;
};

/** A method mounted at `auth/<mount>`: its roles, and how it judges. */
export type FakeAuthMethod = (question: LoginQuestion) => FakeAnswer;

/** The methods of one namespace. Their words are those a real Vault 1.14 says. */
export function createFakeAuth(deps: {
  readonly tokens: FakeTokens;
  readonly issuer: TokenIssuer;
  readonly now: () => number;
}) {
  const { tokens, issuer, now } = deps;
  const mounts = new Map<string, FakeAuthMethod>();
  const text = (fields: LoginQuestion['fields'], name: string): string => {
    const value = fields[name];
    return typeof value === 'string' ? value : '';
  };
  const welcome = (role: string, life: TokenLife, metadata: Record<string, string> = { role }): FakeAnswer =>
    tokens.welcome(tokens.issue({ ...life, role, metadata }));
  const isOver = ({ exp }: TokenClaims): boolean => exp * 1_000 <= now();

  return {
    mounts,
    kubernetes(mount = 'kubernetes') {
      const roles = new Map<string, KubernetesRole>();
      mounts.set(mount, ({ fields }) => {
        const name = text(fields, 'role');
        if (name === '') return vaultFault(400, 'missing role');
        const role = roles.get(name);
        if (role === undefined) return vaultFault(400, `invalid role name "${name}"`);
        const claims = issuer.verify(text(fields, 'jwt'));
        if (claims === undefined || isOver(claims)) return permissionDenied;
        if (role.audience !== undefined && !claims.aud.includes(role.audience))
          return vaultFault(
            403,
            'invalid audience (aud) claim: audience claim does not match any bound audience',
          );
        const [, , namespace = '', account = ''] = claims.sub.split(':');
        const fits = (bound: readonly string[] = ['*'], value: string): boolean =>
          bound.includes('*') || bound.includes(value);
        if (!fits(role.namespaces, namespace)) return vaultFault(403, 'namespace not authorized');
        if (!fits(role.names, account)) return vaultFault(403, 'service account name not authorized');
        return welcome(name, role);
      });
      return { role: (name: string, role: KubernetesRole = {}) => void roles.set(name, role) };
    },
    jwt(mount = 'jwt') {
      const roles = new Map<string, JwtRole>();
      mounts.set(mount, ({ fields }) => {
        const name = text(fields, 'role');
        const role = roles.get(name);
        if (role === undefined) return vaultFault(400, `role "${name}" could not be found`);
        const claims = issuer.verify(text(fields, 'jwt'));
        const invalid = (why: string): FakeAnswer => vaultFault(400, `error validating token: ${why}`);
        if (claims === undefined)
          return invalid(
            'error verifying token signature: no known key successfully validated the token signature',
          );
        if (isOver(claims)) return invalid('invalid expiration time (exp) claim: token is expired');
        if (role.audiences !== undefined && !role.audiences.some((each) => claims.aud.includes(each)))
          return invalid('invalid audience (aud) claim: audience claim does not match any expected audience');
        if (role.subject !== undefined && role.subject !== claims.sub)
          return invalid('invalid subject (sub) claim');
        return welcome(name, role);
      });
      return { role: (name: string, role: JwtRole = {}) => void roles.set(name, role) };
    },
    approle(mount = 'approle') {
      const roles = new Map<string, AppRole>();
      mounts.set(mount, ({ fields }) => {
        const [name, role] = [...roles].find(([, { roleId }]) => roleId === text(fields, 'role_id')) ?? [];
        if (name === undefined || role === undefined) return vaultFault(400, 'invalid role ID');
        const id = text(fields, 'secret_id');
        const secret = role.secretIds.get(id);
        if (secret === undefined) return vaultFault(400, 'invalid secret id');
        secret.uses -= 1;
        if (secret.uses <= 0) role.secretIds.delete(id);
        return welcome(name, role, { role_name: name });
      });
      return {
        /** Makes a role; `secretId()` makes ids for it, good for so many logins. */
        role(name: string, life: TokenLife = {}) {
          const role: AppRole = { ...life, roleId: randomUUID(), secretIds: new Map() };
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
        if (certificate === undefined) return vaultFault(400, 'client certificate must be supplied');
        const shown = new X509Certificate(certificate);
        const wanted = text(fields, 'name');
        const found = [...roles].find(
          ([name, { ca }]) =>
            (wanted === '' || wanted === name) && shown.verify(new X509Certificate(ca).publicKey),
        );
        if (found === undefined)
          return vaultFault(400, 'invalid certificate or no client certificate supplied');
        return welcome(...found, { cert_name: found[0], common_name: shown.subject });
      });
      return { role: (name: string, role: CertRole) => void roles.set(name, role) };
    },
  };
}

export type FakeAuth = ReturnType<typeof createFakeAuth>;
