import { createPublicKey } from 'node:crypto';
import { createTokenIssuer, type TokenIssuer } from '../../fakes/vault-jwt.ts';
import { startFakeServer, type FakeServer } from '../../fakes/http-server.ts';
import { createTestCa, type TestCa } from '../../fakes/tls.ts';
import type { Postgres } from '../postgres.ts';
import type { TestVault } from './testvault.ts';

/** Lifetimes, as Vault writes them: `3s`, `1h`. */
export type Lifetime = { readonly ttl?: string; readonly maxTtl?: string };

const appPolicy = `
path "secret/*" { capabilities = ["read"] }
path "kv/*" { capabilities = ["read"] }
path "database/creds/*" { capabilities = ["read"] }
path "pki/issue/*" { capabilities = ["create", "update"] }
path "transit/random/*" { capabilities = ["create", "update"] }
path "sys/leases/revoke" { capabilities = ["update"] }
path "secret/data/denied" { capabilities = ["deny"] }
`;

/**
 * Configures a Vault: KV 1 at `kv` and 2 at `secret`, PKI, transit and credentials of a database.
 * Its auth methods accept ServiceAccounts of namespace `team-a` (kubernetes and jwt, role `app`),
 * AppRoles, and certificates of Vault's own authority.
 */
export async function configureVault(vault: TestVault, postgres: Postgres) {
  const { root } = vault;
  const issuer = createTokenIssuer();
  const ca = createTestCa('Suite cluster');
  const cluster = await startFakeCluster(issuer, ca);
  const enable = (
    kind: 'auth' | 'mounts',
    path: string,
    type = path,
    options: object = {},
  ): Promise<unknown> => root('POST', `sys/${kind}/${path}`, { type, ...options });

  await root('PUT', 'sys/policies/acl/app', { policy: appPolicy });
  await enable('mounts', 'secret', 'kv', { options: { version: '2' } });
  await enable('mounts', 'kv', 'kv', { options: { version: '1' } });
  await enable('mounts', 'transit');
  await enable('mounts', 'pki');
  await root('POST', 'pki/root/generate/internal', { common_name: 'Suite', ttl: '24h' });
  for (const [name, generate_lease] of [
    ['web', false],
    ['leased', true],
  ] as const)
    await root('POST', `pki/roles/${name}`, { allow_any_name: true, ttl: '1h', generate_lease });

  await enable('mounts', 'database');
  const databaseAddress = `127.0.0.1:${postgres.port}/postgres?sslmode=disable&connect_timeout=5`;
  await root('POST', 'database/config/suite', {
    plugin_name: 'postgresql-database-plugin',
    connection_url: `postgresql://{{username}}:{{password}}@${databaseAddress}`,
    username: postgres.user,
    password: postgres.password,
    allowed_roles: '*',
  });

  await enable('auth', 'kubernetes');
  await root('POST', 'auth/kubernetes/config', {
    kubernetes_host: cluster.url.origin,
    kubernetes_ca_cert: ca.cert,
    token_reviewer_jwt: issuer.podToken({ namespace: 'vault', serviceAccount: 'vault' }),
    disable_local_ca_jwt: true,
  });
  await enable('auth', 'jwt');
  await root('POST', 'auth/jwt/config', {
    jwks_url: new URL('/jwks', cluster.url).href,
    jwks_ca_pem: ca.cert,
  });
  await enable('auth', 'approle');
  await enable('auth', 'cert');

  /** Accepts ServiceAccounts `app` of team-a, by both methods that take their tokens. */
  async function createLoginRole(
    role: string,
    { ttl = '1h', maxTtl = '24h' }: Lifetime = {},
  ): Promise<void> {
    const roleFields = { token_ttl: ttl, token_max_ttl: maxTtl, token_policies: ['app'] };
    await root('POST', `auth/kubernetes/role/${role}`, {
      ...{ bound_service_account_names: ['app'], bound_service_account_namespaces: ['team-a'] },
      ...{ audience: 'vault', ...roleFields },
    });
    await root('POST', `auth/jwt/role/${role}`, {
      ...{ role_type: 'jwt', bound_audiences: ['vault'], user_claim: 'sub' },
      ...{ bound_subject: 'system:serviceaccount:team-a:app', ...roleFields },
    });
  }
  await createLoginRole('app');

  return {
    issuer,
    createLoginRole,
    /** A role of the database with the lifetime of its users. */
    createDatabaseRole: (name: string, { ttl = '1h', maxTtl = '24h' }: Lifetime = {}) =>
      root('POST', `database/roles/${name}`, {
        db_name: 'suite',
        creation_statements: [
          `CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'`,
        ],
        ...{ default_ttl: ttl, max_ttl: maxTtl },
      }),
    /** The ids of an AppRole. */
    async createAppRole(name: string): Promise<{ role_id: string; secret_id: string }> {
      await root('POST', `auth/approle/role/${name}`, { token_policies: ['app'] });
      const { data: role } = await root('GET', `auth/approle/role/${name}/role-id`);
      const { data: secret } = await root('POST', `auth/approle/role/${name}/secret-id`);
      return { role_id: String(role?.role_id), secret_id: String(secret?.secret_id) };
    },
    /** Accepts certificates of this authority. */
    createCertificateRole: (name: string, certificate: string) =>
      root('POST', `auth/cert/certs/${name}`, { certificate, token_policies: ['app'] }),
    /** How many tokens there are, with root's. */
    async countTokens(): Promise<number> {
      const { data } = await root('GET', 'auth/token/accessors?list=true');
      return (data?.keys as unknown[]).length;
    },
    stop: cluster.close,
  };
}

/** The part of a cluster that Vault verifies tokens with: TokenReview, and its keys. */
function startFakeCluster(issuer: TokenIssuer, ca: TestCa): Promise<FakeServer> {
  const key = {
    ...createPublicKey(issuer.publicKey).export({ format: 'jwk' }),
    alg: 'ES256',
    use: 'sig',
  };
  return startFakeServer({
    tls: ca.issue(),
    handler({ path, body }) {
      if (path === '/jwks') return { body: { keys: [key] } };
      const { spec } = JSON.parse(body.toString()) as {
        spec: { token: string; audiences?: string[] };
      };
      const claims = issuer.verify(spec.token);
      const audiences = claims?.aud.filter((each) => spec.audiences?.includes(each) ?? true) ?? [];
      if (claims === undefined || audiences.length === 0)
        return { body: { status: { authenticated: false, error: 'invalid bearer token' } } };
      const { namespace, serviceaccount } = claims['kubernetes.io'] as {
        namespace: string;
        serviceaccount: { uid: string };
      };
      const groups = ['system:serviceaccounts', `system:serviceaccounts:${namespace}`];
      const user = { username: claims.sub, uid: serviceaccount.uid, groups };
      return { body: { status: { authenticated: true, user, audiences } } };
    },
  });
}
