import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { createHttpClient } from '../../src/http/client.ts';
import { createTestCa } from '../fakes/tls.ts';
import { createVaultHostOpener, type HostAuth } from '../fakes/vault-host.ts';
import { describeIfAvailable } from '../if-available.ts';
import { missingPostgresDependencies, startPostgres } from '../servers/postgres.ts';
import { freePorts } from '../servers/started-program.ts';
import { configureVault } from '../servers/testvault/configure.ts';
import {
  buildTestVault,
  missingTestVaultDependencies,
  startTestVault,
} from '../servers/testvault/testvault.ts';

const missingDependencies = [
  ...(await missingTestVaultDependencies()),
  ...(await missingPostgresDependencies()),
];
const canary = 'CANARY-4711';
const neverAborted = new AbortController().signal;

/** A configured Vault with its database, and what a host without Kubernetes opens it with. */
async function startEnvironment(cleanups: (() => Promise<unknown>)[]) {
  const directory = mkdtempSync(join(tmpdir(), 'kf-vault-host-'));
  cleanups.push(async () => rmSync(directory, { recursive: true }));
  const postgres = await startPostgres();
  cleanups.push(postgres.stop);
  const vault = await startTestVault();
  cleanups.push(vault.stop);
  const configured = await configureVault(vault, postgres);
  cleanups.push(configured.stop);
  const lines: string[] = [];
  const log = pino({ level: 'trace' }, { write: (line: string) => void lines.push(line) });
  const http = createHttpClient();
  cleanups.push(http.close);
  const closing: (() => Promise<unknown>)[] = [];
  cleanups.push(async () => {
    for (const close of closing) await close();
  });
  const open = createVaultHostOpener({
    ...({ dialect: 'vault', addresses: [vault.url.origin], caFile: vault.caFile } as const),
    ...{ http, now: Date.now, log, closing },
  });

  /** The role of the guide, with other numbers. */
  async function createAppRole(name: string, fields: Readonly<Record<string, unknown>> = {}) {
    await vault.root('POST', `auth/approle/role/${name}`, { token_policies: ['app'], ...fields });
    const { data } = await vault.root('GET', `auth/approle/role/${name}/role-id`);
    const secretId = async (): Promise<string> => {
      const response = await vault.root('POST', `auth/approle/role/${name}/secret-id`);
      return String(response.data?.secret_id);
    };
    const authWith = (secret: string): HostAuth => ({
      method: 'approle',
      params: { role_id: String(data?.role_id) },
      credentials: { secret_id: secret },
    });
    return { roleId: String(data?.role_id), secretId, authWith };
  }

  const file = (name: string, text: string): string => {
    const path = join(directory, name);
    writeFileSync(path, text);
    return path;
  };
  return { ...configured, vault, postgres, lines, open, createAppRole, file };
}

type Environment = Awaited<ReturnType<typeof startEnvironment>>;

describeIfAvailable(import.meta.filename, missingDependencies)(
  'a real Vault, read by a host without Kubernetes',
  () => {
    let environment: Environment;
    const cleanups: (() => Promise<unknown>)[] = [];

    beforeAll(async () => {
      await buildTestVault();
      environment = await startEnvironment(cleanups);
      const { root } = environment.vault;
      await root('POST', 'secret/data/app/database', { data: { user: 'app', password: canary } });
      await root('POST', 'secret/data/app/key', { data: { value: canary } });
      await root('POST', 'kv/old', { password: canary });
    }, 900_000);

    afterAll(async () => {
      for (const cleanup of cleanups.reverse()) await cleanup();
    }, 60_000);

    afterEach(() => {
      expect(environment.lines.join('')).not.toContain(canary);
      expect(environment.lines.join('')).not.toMatch(/hvs\.[A-Za-z0-9]{20}/);
    });

    const sleepSeconds = (count: number): Promise<void> =>
      new Promise((resolve) => setTimeout(resolve, count * 1_000));

    async function waitUntil(description: string, condition: () => boolean): Promise<void> {
      for (const end = Date.now() + 30_000; !condition(); await sleepSeconds(0.1))
        if (Date.now() > end)
          throw new Error(`never came true: ${description}\n${environment.lines.join('')}`);
    }

    test('reads by each method', async () => {
      const { vault, open, createAppRole, createCertificateRole, issuer, file } = environment;
      const { secretId, authWith } = await createAppRole('methods');
      const clients = createTestCa('Hosts');
      const { cert, key } = clients.issue({ hosts: ['host-1'] });
      await createCertificateRole('hosts', clients.cert);
      const methods: readonly HostAuth[] = [
        { method: 'token', credentials: { token: vault.rootToken } },
        authWith(await secretId()),
        { method: 'jwt', params: { role: 'app', token_file: file('jwt', issuer.podToken()) } },
        {
          method: 'cert',
          params: {
            name: 'hosts',
            cert_file: file('tls.crt', cert),
            key_file: file('tls.key', key),
          },
        },
      ];
      for (const auth of methods) {
        const { read, check, steps } = open(auth);
        expect(await check()).toBe('ok');
        expect(await steps()).toEqual([
          `reach Vault: ${vault.url.origin} serves`,
          expect.stringMatching(
            /^(log in with \w+|use the token): .* has a token (that ends at 20|w)/,
          ),
          expect.stringMatching(/^look up the token: it has the policies .*renewed$/),
        ]);
        const field = { kind: 'key-or-jmespath', text: 'password' } as const;
        expect(await read('secret/data/app/database', field)).toBe(canary);
        expect(await read('secret/data/app/key')).toBe(canary);
        expect(await read('kv/old')).toBe(canary);
      }
    });

    test('says why a secret id is not taken', async () => {
      const { vault, open, createAppRole } = environment;
      const expiring = await createAppRole('expiring', { secret_id_ttl: '1s' });
      const once = await createAppRole('once', { secret_id_num_uses: 1 });
      const expired = await expiring.secretId();
      const used = await once.secretId();
      expect(await open(once.authWith(used)).check()).toBe('ok');
      // This Vault forgets an expired secret id only when it tidies up, which it does each minute.
      await sleepSeconds(2);
      await vault.root('POST', 'auth/approle/tidy/secret-id');
      const refused =
        /^CREDENTIALS_REFUSED: .*invalid secret id.*; the secret id is wrong, has expired, or has been used as often as it may be: make a new one and give it to docker dso init$/;
      expect(await open(once.authWith('wrong')).check()).toMatch(refused);
      let summary = '';
      for (const end = Date.now() + 20_000; !refused.test(summary) && Date.now() < end;) {
        summary = await open(expiring.authWith(expired)).check();
        await sleepSeconds(0.2);
      }
      expect(summary).toMatch(refused);
      expect(await open(once.authWith(used)).check()).toMatch(refused);
      const params = { role_id: once.roleId };
      expect(await open({ method: 'approle', params }).check()).toMatch(
        /^CREDENTIALS_REFUSED: .*needs a secret id beside the role id/,
      );
      expect(await open({ method: 'approle', params: { role_id: 'wrong' } }).check()).toMatch(
        /^CREDENTIALS_REFUSED: .*role/,
      );
    });

    test('takes a changed token of a file', async () => {
      const { vault, open, file } = environment;
      const makeToken = async (): Promise<string> => {
        const { auth } = await vault.root('POST', 'auth/token/create', { policies: ['app'] });
        return String(auth?.client_token);
      };
      const first = await makeToken();
      const path = file('token', first);
      const { read } = open({ method: 'token', params: { token_file: path } });
      expect(await read('secret/data/app/key')).toBe(canary);
      await vault.root('POST', 'auth/token/revoke', { token: first });
      expect(await read('secret/data/app/key')).toMatch(
        /^CREDENTIALS_REFUSED: .*put another one in its place$/,
      );
      file('token', await makeToken());
      expect(await read('secret/data/app/key')).toBe(canary);
    });

    test('renews its token without use, and logs in again at the max TTL', async () => {
      const { open, createAppRole, lines } = environment;
      const role = await createAppRole('short', { token_ttl: '6s', token_max_ttl: '15s' });
      const { read } = open(role.authWith(await role.secretId()));
      const from = lines.length;
      expect(await read('secret/data/app/key')).toBe(canary);
      const count = (text: string): number =>
        lines.slice(from).filter((line) => line.includes(text)).length;
      expect(count('the next token renewal is at ')).toBe(1);
      await waitUntil('a renewal', () => count('token renewal succeeded') >= 1);
      await waitUntil('the last renewal', () => count('a new login follows') >= 1);
      for (const end = Date.now() + 20_000; count('"logged in') < 2 && Date.now() < end;) {
        expect(await read('secret/data/app/key')).toBe(canary);
        await sleepSeconds(0.5);
      }
      expect(count('"logged in')).toBe(2);
    });

    test('gives each service a user of its own, and gives it back at release', async () => {
      const { open, createAppRole, createDatabaseRole, postgres } = environment;
      await createDatabaseRole('host', { ttl: '9s' });
      const role = await createAppRole('database');
      const { fetch, grantOf, store } = open(role.authWith(await role.secretId()));
      const users = await Promise.all(
        ['app', 'worker'].map(async (service) => {
          const result = await fetch('database/creds/host', service);
          if (result.kind !== 'value' || result.value.lease === undefined)
            throw new Error(`it is ${result.kind}`);
          const { username, password } = JSON.parse(
            Buffer.from(result.value.bytes).toString(),
          ) as Record<'username' | 'password', string>;
          return { username, password, lease: result.value.lease, service };
        }),
      );
      const [app, worker] = users as [(typeof users)[number], (typeof users)[number]];
      expect(app.username).not.toBe(worker.username);
      for (const { username, password } of users)
        expect(await postgres.canLogIn(username, password)).toBe(true);
      const grant = await grantOf('database/creds/host', app.service);
      await sleepSeconds(5);
      for (const { service, lease } of users)
        expect(
          await store.renew?.(await grantOf('database/creds/host', service), lease, neverAborted),
        ).toMatchObject({ kind: 'renewed' });
      await store.release?.(grant, app.lease, neverAborted);
      expect(await postgres.users()).not.toContain(app.username);
      expect(await postgres.canLogIn(worker.username, worker.password)).toBe(true);
    });

    test('lists the secrets that its policies let it list', async () => {
      const { vault, open, createAppRole } = environment;
      const role = await createAppRole('lister', { token_policies: ['lister'] });
      const policy = `path "secret/metadata/*" { capabilities = ["list"] }
path "kv/*" { capabilities = ["list"] }`;
      await vault.root('PUT', 'sys/policies/acl/lister', { policy });
      expect(await open(role.authWith(await role.secretId())).list()).toBe(
        'kv/old secret/data/app/database secret/data/app/key',
      );
      const reader = await createAppRole('reader');
      expect(await open(reader.authWith(await reader.secretId())).list()).toMatch(
        /^ACCESS_DENIED: .*must allow "list" on (kv|secret\/metadata)$/,
      );
    });

    test('uses the address that serves, and names what is wrong with the others', async () => {
      const { vault, open, createAppRole } = environment;
      const role = await createAppRole('failover');
      const auth = role.authWith(await role.secretId());
      const [port = 0] = await freePorts(1);
      const addresses = [`https://127.0.0.1:${port}`, vault.url.origin];
      const { read, steps } = open(auth, { addresses });
      expect(await read('secret/data/app/key')).toBe(canary);
      expect((await steps())[0]).toMatch(
        new RegExp(`^reach Vault: ${addresses[0]} does not serve: .*; ${vault.url.origin} serves$`),
      );
      await vault.seal();
      try {
        expect(await open(auth).check()).toMatch(/^STORE_UNAVAILABLE: .* is sealed .*unseal it/);
        expect(await open(auth, { addresses }).check()).toMatch(
          /^STORE_UNAVAILABLE: none of 2 addresses serves: .*is sealed/,
        );
      } finally {
        await vault.unseal();
      }
      expect(await open(auth).check()).toBe('ok');
    });
  },
);
