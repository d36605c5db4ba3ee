import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describeIfAvailable } from '../if-available.ts';
import { buildCompose, missingDockerDependencies } from '../servers/docker/engine.ts';
import { findPlanted } from '../servers/docker/find-planted.ts';
import { importPostgresImage, testImages } from '../servers/docker/images.ts';
import { missingPostgresDependencies } from '../servers/postgres.ts';
import {
  buildTestVault,
  missingTestVaultDependencies,
  startTestVault,
} from '../servers/testvault/testvault.ts';
import {
  startDockerEnvironment,
  type DockerEnvironment,
  type Project,
} from './docker-environment.ts';

const missingDependencies = [
  ...(await missingDockerDependencies()),
  ...(await missingPostgresDependencies()),
  ...(await missingTestVaultDependencies()),
];

/** A rotation begins 15 s after `up`, and a round of reads after 30 s. */
const rotationMs = 90_000;
const adminPassword = randomBytes(12).toString('hex');

const applicationPolicy = `
path "secret/data/app/*" { capabilities = ["read"] }
path "database/creds/+" { capabilities = ["read"] }
path "sys/leases/revoke" { capabilities = ["update"] }
`;

/** The database runs in a container of the application, so Vault reaches it only after `up`. */
const composeFile = `
services:
  app:
    image: ${testImages.busybox}
    command: stay
    depends_on: {postgres: {condition: service_healthy}}
    environment:
      - DB_USER=dso://database/creds/app#username
      - DB_PASSWORD=dso://database/creds/app#password
  postgres:
    image: postgres:15
    ports: ["5432:5432"]
    environment:
      POSTGRES_USER: admin
      POSTGRES_PASSWORD: dso://secret/data/app/database#password
    healthcheck:
      test: PGPASSWORD="$$POSTGRES_PASSWORD" psql -h 127.0.0.1 -U admin -d postgres -c 'select 1'
      interval: 1s
      retries: 60
`;

describeIfAvailable(import.meta.filename, missingDependencies)('docker dso with Vault', () => {
  let environment: DockerEnvironment;
  let vault: Awaited<ReturnType<typeof startTestVault>>;
  let shop: Project;

  beforeAll(async () => {
    await Promise.all([buildCompose(), buildTestVault()]);
    environment = await startDockerEnvironment();
    await importPostgresImage(environment.engine, 'postgres:15');
    vault = await startTestVault();
    const { root } = vault;
    await root('PUT', 'sys/policies/acl/app', { policy: applicationPolicy });
    await root('POST', 'sys/mounts/secret', { type: 'kv', options: { version: '2' } });
    await root('POST', 'secret/data/app/database', { data: { password: adminPassword } });
    await root('POST', 'sys/mounts/database', { type: 'database' });
    await root('POST', 'database/config/shop', {
      plugin_name: 'postgresql-database-plugin',
      connection_url: `postgresql://{{username}}:{{password}}@${environment.engine.address}:5432/postgres?sslmode=disable&connect_timeout=5`,
      username: 'admin',
      password: adminPassword,
      allowed_roles: '*',
      verify_connection: false,
    });
    const createUser = `CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'`;
    for (const [role, times] of [
      ['app', { default_ttl: '1h', max_ttl: '24h' }],
      // Vault extends no lease of this role.
      ['fixed', { default_ttl: '1h', max_ttl: '1h' }],
    ] as const)
      await root('POST', `database/roles/${role}`, {
        ...{ db_name: 'shop', creation_statements: [createUser], ...times },
      });
    await root('POST', 'sys/auth/approle', { type: 'approle' });
    await root('POST', 'auth/approle/role/app', { token_policies: ['app'] });
    const { data: role } = await root('GET', 'auth/approle/role/app/role-id');
    const { data: secret } = await root('POST', 'auth/approle/role/app/secret-id');
    await environment.writeFile('secret-id', String(secret?.secret_id));
    await environment.configure(`
providers:
  vault:
    type: vault
    address: ${vault.url.origin}
    ca_file: ${vault.caFile}
    auth:
      method: approle
      params: {role_id: ${String(role?.role_id)}, secret_id_file: ${environment.path('secret-id')}}
agent: {watch: {polling_interval: 30s}}
`);
    shop = await environment.project('shop', { 'docker-compose.yaml': composeFile });
  }, 900_000);
  afterAll(async () => {
    await environment.stop();
    await vault.stop();
  }, 120_000);

  const variable = async (name: string): Promise<string> =>
    (await environment.engine.output(['exec', 'shop-app-1', 'printenv', name])).trim();

  /** Whether the database accepts them. */
  async function canLogIn(user: string, password: string): Promise<boolean> {
    const psql = 'psql -h 127.0.0.1 -d postgres -tAc "select current_user" -U "$0"';
    const { stdout } = await environment.engine.docker([
      ...['exec', '--env', `PGPASSWORD=${password}`, 'shop-postgres-1', 'sh', '-c', psql, user],
    ]);
    return stdout.trim() === user;
  }
  const leaseFile = (): string => join(environment.volumes, '.dso/leases.json');
  const leases = async (): Promise<readonly string[]> => {
    const path = 'sys/leases/lookup/database/creds/app?list=true';
    const listed = await vault.root('GET', path).catch(() => ({ data: { keys: [] } }));
    return (listed.data?.keys ?? []) as string[];
  };

  test('a service gets a credential that Vault makes after the database has started', async () => {
    await shop.dsoOutput(['up', '-d'], { timeoutMs: 110_000 });
    const [user, password] = [await variable('DB_USER'), await variable('DB_PASSWORD')];
    expect(await canLogIn(user, password)).toBe(true);
    expect(await canLogIn(user, 'another')).toBe(false);
    expect(await leases()).toHaveLength(1);
  });

  test('a service that stops gives it back, and its next start gets another one', async () => {
    const [user, password] = [await variable('DB_USER'), await variable('DB_PASSWORD')];
    await shop.dsoOutput(['stop', 'app']);
    await untilTrue(async () => !(await canLogIn(user, password)));
    expect(await leases()).toEqual([]);
    await shop.dsoOutput(['start', 'app']);
    expect(await variable('DB_USER')).not.toBe(user);
    expect(await canLogIn(await variable('DB_USER'), await variable('DB_PASSWORD'))).toBe(true);
  });

  test.each(['SIGTERM', 'SIGKILL'] as const)(
    'a service keeps it over a restart of the agent by %s, and nothing of it is on disk',
    async (signal) => {
      const [user, password] = [await variable('DB_USER'), await variable('DB_PASSWORD')];
      // What changed within the last second is lost with a process that is killed.
      await untilTrue(async () => (await readFile(leaseFile(), 'utf8')).includes(password));
      const [lease] = await leases();
      await environment.stopAgent(signal);
      await environment.startAgent();
      await shop.dsoOutput(['secret', 'refresh', 'secret/data/app/database']);
      expect(await shop.dsoOutput(['inspect', 'app'])).toContain(': ACTIVE');
      expect(await variable('DB_USER')).toBe(user);
      expect(await canLogIn(user, password)).toBe(true);
      expect(await leases()).toEqual([lease]);
      const found = await findPlanted([password], { directories: [environment.path('state')] });
      expect(found).toEqual([]);
    },
  );

  test('a credential that Vault does not extend is replaced by a rotation, and then given back', async () => {
    const fixed = await environment.project('fixed', {
      'dso.yaml': 'defaults: {rotation: {strategy: restart, grace: 0s}}\n',
      'compose.yaml': `services:
  app:
    image: ${testImages.busybox}
    command: stay
    environment:
      - DB_USER=dso://database/creds/fixed#username
      - DB_PASSWORD=dso://database/creds/fixed#password
`,
    });
    await fixed.dsoOutput(['up', '-d']);
    const ofProgram = async (name: string): Promise<string> => {
      const text = await environment.engine.output([
        'exec',
        'fixed-app-1',
        'cat',
        '/proc/1/environ',
      ]);
      return new RegExp(`(?:^|\0)${name}=([^\0]*)`).exec(text)?.[1] ?? '';
    };
    const [user, password] = [await ofProgram('DB_USER'), await ofProgram('DB_PASSWORD')];
    expect(await canLogIn(user, password)).toBe(true);
    await fixed.dsoOutput(['secret', 'refresh', 'database/creds/fixed']);
    expect(await canLogIn(user, password)).toBe(true);
    await untilTrue(
      async () => (await ofProgram('DB_USER').catch(() => user)) !== user,
      rotationMs,
    );
    // The next round finds that no container uses it any more.
    await untilTrue(async () => !(await canLogIn(user, password)), rotationMs);
    expect(await canLogIn(await ofProgram('DB_USER'), await ofProgram('DB_PASSWORD'))).toBe(true);
    expect(await fixed.dsoOutput(['inspect', 'app'])).toContain(': ACTIVE');
    await fixed.dsoOutput(['down', '-t', '0']);
  }, 240_000);

  test('down gives the lease back', async () => {
    await shop.dsoOutput(['stop', '-t', '0', 'app']);
    await untilTrue(async () => (await leases()).length === 0);
    await shop.dsoOutput(['down', '-t', '0']);
  });
});

async function untilTrue(check: () => Promise<boolean>, timeoutMs = 30_000): Promise<void> {
  for (const deadline = Date.now() + timeoutMs; !(await check()); await sleep(100))
    if (Date.now() > deadline) throw new Error('it did not happen');
}
