import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { PodView, Publication } from '../driver/cluster.ts';
import { createDriver, type Driver } from '../driver/driver.ts';
import { startKeyferry, type KeyferryProcess } from '../driver/keyferry-process.ts';
import { startFakePods } from '../fakes/kubernetes-pods.ts';
import { createTestCa } from '../fakes/tls.ts';
import { missingPostgresDependencies, startPostgres } from '../servers/postgres.ts';
import { configureVault } from '../servers/testvault/configure.ts';
import {
  buildTestVault,
  startTestVault,
  missingTestVaultDependencies,
} from '../servers/testvault/testvault.ts';
import { describeIfAvailable } from '../if-available.ts';

const missingDependencies = [
  ...(await missingTestVaultDependencies()),
  ...(await missingPostgresDependencies()),
];
const canary = 'CANARY-4711';

/**
 * A configured Vault with its database, Keyferry as users run it, and the pods of a node. `closing`
 * has the cleanup functions; the last one runs first.
 */
async function startEnvironment(cleanups: (() => Promise<unknown>)[]) {
  const dir = await mkdtemp(join(tmpdir(), 'kf-vault-'));
  cleanups.push(() => rm(dir, { recursive: true }));
  const postgres = await startPostgres();
  cleanups.push(postgres.stop);
  const vault = await startTestVault();
  cleanups.push(vault.stop);
  const configuredVault = await configureVault(vault, postgres);
  cleanups.push(configuredVault.stop);
  const pods = await startFakePods();
  cleanups.push(pods.close);
  const clients = createTestCa('Nodes');
  const client = clients.issue({ hosts: ['node-1'] });
  const file = (name: string): string => join(dir, name);
  await Promise.all([
    writeFile(file('client.crt'), client.cert),
    writeFile(file('client.key'), client.key),
    writeFile(file('grants.yaml'), grants),
  ]);
  await configuredVault.createCertificateRole('nodes', clients.cert);
  const env = {
    VAULT_ADDR: vault.url.origin,
    VAULT_CACERT: vault.caFile,
    VAULT_CLIENT_CERT: file('client.crt'),
    VAULT_CLIENT_KEY: file('client.key'),
    KEYFERRY_NODE_NAME: 'node-1',
  };
  const kube = [
    '--kube-server',
    pods.server.href,
    '--kube-token-file',
    pods.tokenFile,
    '--kube-ca-file',
    pods.caFile,
  ];
  const start = (): Promise<KeyferryProcess> =>
    startKeyferry({
      providers: ['vault'],
      args: [
        ...kube,
        '--refresh-interval',
        '0',
        '--pod-watch',
        'on',
        '--shared-identity-grants',
        file('grants.yaml'),
        // A first mount that fails must not outlive the leases of other pods.
        '--first-mount-patience',
        '1s',
      ],
      env,
    });
  return { ...{ dir, postgres, vault, pods, start }, ...configuredVault };
}

const grants = `
grants:
  - provider: vault
    namespaces: [team-a]
    serviceAccounts: [app]
    names: ['vault/secret/data/**']
    roles: [nodes]
`;

type Environment = Awaited<ReturnType<typeof startEnvironment>>;

describeIfAvailable(import.meta.filename, missingDependencies)(
  'a real Vault with a real database',
  () => {
    let environment: Environment;
    let keyferry: KeyferryProcess;
    let driver: Driver;
    const cleanups: (() => Promise<unknown>)[] = [];

    beforeAll(async () => {
      await buildTestVault();
      environment = await startEnvironment(cleanups);
      await environment.vault.root('POST', 'secret/data/shop/db', {
        data: { password: canary, port: 5432, big: '1' },
      });
      await environment.vault.root('POST', 'kv/old', { password: canary, ttl: '30s' });
      await restartKeyferry();
    }, 600_000);

    afterAll(async () => {
      for (const cleanup of cleanups.reverse()) await cleanup();
    }, 60_000);

    afterEach(() => {
      expect(keyferry.output()).not.toContain(canary);
    });

    async function restartKeyferry(): Promise<void> {
      keyferry = await environment.start();
      cleanups.push(keyferry.stop);
      driver = createDriver({
        providersDir: keyferry.providersDir,
        generation: '1.6',
        dir: environment.dir,
      });
    }

    type Objects = readonly Readonly<Record<string, unknown>>[];

    function createPublication(
      objects: Objects,
      parameters: Readonly<Record<string, string>> = {},
      more: Partial<Publication> = {},
    ): Publication {
      return {
        class: {
          metadata: { name: 'suite' },
          spec: {
            provider: 'vault',
            parameters: { roleName: 'app', ...parameters, objects: JSON.stringify(objects) },
          },
        },
        pod: { namespace: 'team-a', serviceAccount: 'app' },
        tokens: { vault: environment.issuer.podToken() },
        ...more,
      };
    }

    /** Starts a pod that exists in the API server. */
    async function publish(...args: Parameters<typeof createPublication>): Promise<PodView> {
      const view = await driver.publish(createPublication(...args));
      environment.pods.add(view.pod.uid);
      return view;
    }

    const failure = ({ last, events }: PodView): string =>
      typeof last === 'string' ? last : `${last.code} ${last.message} ${events.length}`;
    const text = ({ files }: PodView, path: string): string => files[path]?.text ?? '';
    const sleepSeconds = (count: number): Promise<void> =>
      new Promise((resolve) => setTimeout(resolve, count * 1_000));

    async function waitUntil(
      description: string,
      condition: () => Promise<boolean>,
      timeoutSeconds = 15,
    ): Promise<void> {
      for (
        const deadline = Date.now() + timeoutSeconds * 1_000;
        !(await condition());
        await sleepSeconds(0.1)
      )
        if (Date.now() > deadline)
          throw new Error(`never came true: ${description}\n${keyferry.output().slice(-4_000)}`);
    }

    const database = (role: string): Objects => [
      { objectName: 'all.json', secretPath: `database/creds/${role}` },
      { objectName: 'username', secretPath: `database/creds/${role}`, secretKey: 'username' },
      { objectName: 'password', secretPath: `database/creds/${role}`, secretKey: 'password' },
    ];
    const canLogIn = (view: PodView): Promise<boolean> =>
      environment.postgres.canLogIn(text(view, 'username'), text(view, 'password'));

    test('serves KV 1 and 2, whole and by key, and writes nothing without changes', async () => {
      const objects = [
        { objectName: 'db.json', secretPath: 'secret/data/shop/db' },
        {
          objectName: 'db/password',
          secretPath: '/v1/secret/data/shop/db',
          secretKey: 'password',
          filePermission: 256,
        },
        { objectName: 'db/port', secretPath: 'secret/data/shop/db?version=1', secretKey: 'port' },
        { objectName: 'old', secretPath: 'kv/old', secretKey: 'password' },
        { objectName: 'old.json', secretPath: 'kv/old' },
        { objectName: 'none', secretPath: 'secret/data/none', secretKey: 'x', optional: true },
      ];
      const view = await publish(objects);
      expect(failure(view)).toBe('mounted');
      expect(Object.keys(view.files).sort()).toEqual([
        'db.json',
        'db/password',
        'db/port',
        'old',
        'old.json',
      ]);
      expect(JSON.parse(text(view, 'db.json'))).toMatchObject({
        ...{ request_id: '', lease_id: '', lease_duration: 0, renewable: false, warnings: null },
        data: { data: { password: canary, port: 5432, big: '1' }, metadata: { version: 1 } },
      });
      expect(JSON.parse(text(view, 'old.json'))).toMatchObject({
        lease_id: '',
        lease_duration: 30,
      });
      expect([text(view, 'db/password'), text(view, 'db/port'), text(view, 'old')]).toEqual([
        canary,
        '5432',
        canary,
      ]);
      expect(view.files['db/password']?.mode).toBe(0o400);
      const later = await driver.republish(view);
      expect(later.files).toEqual(view.files);
      expect(later.status).toEqual(view.status);

      await environment.vault.root('POST', 'secret/data/shop/db', {
        data: { password: 'second', port: 5432 },
      });
      const changed = await driver.republish(later);
      expect([text(changed, 'db/password'), text(changed, 'db/port')]).toEqual(['second', '5432']);
      const versionOf = ({ status }: PodView, id: string) =>
        status?.objects.find((one) => one.id === id)?.version;
      expect(versionOf(changed, 'db/password')).not.toBe(versionOf(view, 'db/password'));
      expect(versionOf(changed, 'db/port')).toBe(versionOf(view, 'db/port'));
    });

    test('logs in by kubernetes, jwt, AppRole, and a certificate of the operator', async () => {
      const objects = [{ objectName: 'db.json', secretPath: 'secret/data/shop/db' }];
      const { role_id, secret_id } = await environment.createAppRole('suite');
      const views = [
        await publish(objects),
        await publish(objects, { authMethod: 'jwt' }),
        await publish(
          objects,
          { authMethod: 'approle' },
          { nodePublishSecret: { role_id, secret_id }, tokens: {} },
        ),
        await publish(objects, { authMethod: 'cert', roleName: 'nodes' }, { tokens: {} }),
        await publish(
          objects,
          { authMethod: 'token' },
          { nodePublishSecret: { token: environment.vault.rootToken }, tokens: {} },
        ),
      ];
      expect(views.map(failure)).toEqual(views.map(() => 'mounted'));
      expect(new Set(views.map((view) => text(view, 'db.json'))).size).toBe(1);
    });

    test('reports the error text of Vault, and shows no token', async () => {
      const token = environment.issuer.podToken();
      const { role_id } = await environment.createAppRole('suite');
      await environment.vault.root('POST', 'secret/data/gone', { data: { a: '1' } });
      await environment.vault.root('DELETE', 'secret/data/gone');
      await environment.vault.root('POST', 'secret/data/destroyed', { data: { a: '1' } });
      await environment.vault.root('PUT', 'secret/destroy/destroyed', { versions: [1] });
      const one = (secretPath: string): Objects => [{ objectName: 'x', secretPath }];
      const other = environment.issuer.podToken({ serviceAccount: 'other' });
      const cases: readonly [Promise<PodView>, RegExp][] = [
        [publish(one('secret/data/none')), /^NOT_FOUND .*has no secret\/data\/none/],
        [
          publish(one('secret/data/gone')),
          /^FAILED_PRECONDITION OBJECT_DISABLED: version 1 of secret\/data\/gone was deleted at 20/,
        ],
        [publish(one('secret/data/destroyed')), /^NOT_FOUND .*was destroyed/],
        [publish(one('secret/shop/db')), /^INVALID_ARGUMENT .*secret\/data\/shop\/db/],
        [
          publish(one('nowhere/shop/db')),
          /^(PERMISSION_DENIED|INVALID_ARGUMENT) .*nowhere\/shop\/db/,
        ],
        [publish(one('secret/data/denied')), /^PERMISSION_DENIED .*secret\/data\/denied.*"read"/],
        [
          publish(one('secret/data/shop/db'), { roleName: 'none' }),
          /^UNAUTHENTICATED .*invalid role name/,
        ],
        [
          publish(
            one('secret/data/shop/db'),
            {},
            { pod: { namespace: 'team-a', serviceAccount: 'other' }, tokens: { vault: other } },
          ),
          /^UNAUTHENTICATED .*service account name not authorized/,
        ],
        [
          publish(
            one('secret/data/shop/db'),
            { authMethod: 'approle' },
            { nodePublishSecret: { role_id, secret_id: 'wrong' } },
          ),
          /^UNAUTHENTICATED .*invalid secret id/,
        ],
        [
          publish(
            one('secret/data/shop/db'),
            { authMethod: 'jwt', audience: 'other' },
            { tokens: { other: environment.issuer.podToken({ audience: 'other' }) } },
          ),
          /^UNAUTHENTICATED .*audience/,
        ],
      ];
      for (const [attempt, pattern] of cases) {
        const view = await attempt;
        expect(failure(view)).toMatch(pattern);
        expect(failure(view)).not.toContain(token);
      }
      expect(keyferry.output()).not.toMatch(/hvs\.[A-Za-z0-9]{20}/);
    });

    test('gives each pod its own user, the same for all its objects and at every republish, and renews its lease', async () => {
      await environment.createDatabaseRole('short', { ttl: '6s', maxTtl: '10m' });
      const [one, other] = await Promise.all([
        publish(database('short')),
        publish(database('short')),
      ]);
      for (const view of [one, other]) {
        const { data, lease_duration } = JSON.parse(text(view, 'all.json')) as Record<
          string,
          unknown
        >;
        expect(data).toEqual({
          username: text(view, 'username'),
          password: text(view, 'password'),
        });
        expect(lease_duration).toBe(6);
        expect(await canLogIn(view)).toBe(true);
      }
      expect(text(other, 'username')).not.toBe(text(one, 'username'));
      // Two lives of the lease, and more.
      await sleepSeconds(14);
      const later = await driver.republish(one);
      expect([later.files, later.status]).toEqual([one.files, one.status]);
      expect(await canLogIn(one)).toBe(true);
    });

    test('replaces a user before its max TTL', async () => {
      await environment.createDatabaseRole('capped', { ttl: '6s', maxTtl: '12s' });
      const first = await publish(database('capped'));
      let view = first;
      await waitUntil('another user', async () => {
        view = await driver.republish(view);
        expect(failure(view)).toBe('mounted');
        expect(await canLogIn(view)).toBe(true);
        return text(view, 'username') !== text(first, 'username');
      });
      // A program that has not yet read the new file uses the old one for a while.
      expect(await canLogIn(first)).toBe(true);
      await waitUntil(
        'the first is gone',
        async () => !(await environment.postgres.users()).includes(text(first, 'username')),
      );
      expect(await canLogIn(view)).toBe(true);
    });

    test('reads again before the parent token of a lease expires', async () => {
      await environment.createLoginRole('brief', { ttl: '6s', maxTtl: '12s' });
      await environment.createDatabaseRole('long', { ttl: '1h' });
      const first = await publish(database('long'), { roleName: 'brief' });
      let view = first;
      await waitUntil(
        'another user',
        async () => {
          view = await driver.republish(view, { tokens: { vault: environment.issuer.podToken() } });
          expect(failure(view)).toBe('mounted');
          expect(await canLogIn(view)).toBe(true);
          return text(view, 'username') !== text(first, 'username');
        },
        20,
      );
      // The second token is as short-lived. A program that reads the file meanwhile can always log
      // in.
      await waitUntil('the first went with its token', async () => {
        view = await driver.republish(view, { tokens: { vault: environment.issuer.podToken() } });
        expect(await canLogIn(view)).toBe(true);
        return !(await canLogIn(first));
      });
    });

    test('reads again after a lease, or its token, was revoked by hand', async () => {
      await environment.createDatabaseRole('revoked', { ttl: '6s' });
      const first = await publish(database('revoked'));
      await environment.vault.root('PUT', 'sys/leases/revoke-prefix/database/creds/revoked');
      expect(await canLogIn(first)).toBe(false);
      let view = first;
      await waitUntil('another user', async () => {
        view = await driver.republish(view);
        return text(view, 'username') !== text(first, 'username');
      });
      expect(await canLogIn(view)).toBe(true);
    });

    test('revokes a user when its pod is deleted, and no other', async () => {
      await environment.createDatabaseRole('with-pod');
      const [deletedPod, remainingPod] = await Promise.all([
        publish(database('with-pod')),
        publish(database('with-pod')),
      ]);
      await driver.unpublish(deletedPod);
      environment.pods.remove(deletedPod.pod.uid);
      await waitUntil(
        'its user is gone',
        async () => !(await environment.postgres.users()).includes(text(deletedPod, 'username')),
      );
      expect(await canLogIn(remainingPod)).toBe(true);
      expect(text(await driver.republish(remainingPod), 'username')).toBe(
        text(remainingPod, 'username'),
      );
    });

    test('issues certificates once, with their keys, from arguments, with and without a lease', async () => {
      const issue = (role: string, name: string, key: string) => ({
        ...{
          objectName: `${role}-${name}.${key}`,
          secretPath: `pki/issue/${role}`,
          secretKey: key,
        },
        ...{ method: 'POST', secretArgs: { common_name: name } },
      });
      const names = [
        ['web', 'a.example'],
        ['web', 'b.example'],
        ['leased', 'a.example'],
      ] as const;
      const objects = names.flatMap(([role, name]) => [
        issue(role, name, 'certificate'),
        issue(role, name, 'private_key'),
      ]);
      const view = await publish([
        ...objects,
        {
          objectName: 'all.json',
          secretPath: 'pki/issue/leased',
          method: 'POST',
          secretArgs: { common_name: 'a.example' },
        },
      ]);
      expect(failure(view)).toBe('mounted');
      const certificates = names.map(([role, name]) => {
        const certificate = new X509Certificate(text(view, `${role}-${name}.certificate`));
        expect(
          certificate.checkPrivateKey(createPrivateKey(text(view, `${role}-${name}.private_key`))),
        ).toBe(true);
        expect(certificate.subject).toBe(`CN=${name}`);
        return certificate.serialNumber;
      });
      expect(new Set(certificates).size).toBe(3);
      expect(JSON.parse(text(view, 'all.json'))).toMatchObject({
        lease_id: expect.stringMatching(/^pki\/issue\/leased\//),
        renewable: false,
      });
      const later = await driver.republish(view);
      expect(later.files).toEqual(view.files);
    });

    test('reports a database that is down, and returns users again when it is up', async () => {
      await environment.createDatabaseRole('down');
      await environment.postgres.kill();
      const view = await publish(database('down'));
      expect(failure(view)).toMatch(/^INTERNAL .*database\/creds\/down.*may be down/);
      await environment.postgres.restart();
      const again = await driver.republish(view);
      expect(failure(again)).toBe('mounted');
      expect(await canLogIn(again)).toBe(true);
    });

    test('keeps serving running pods and cached secrets while Vault is sealed, and continues when it is unsealed', async () => {
      await environment.createDatabaseRole('sealed', { ttl: '10s' });
      const kv = await publish([{ objectName: 'db.json', secretPath: 'secret/data/shop/db' }]);
      const leased = await publish(database('sealed'));
      await environment.vault.seal();
      const [kvMeanwhile, leasedMeanwhile] = [
        await driver.republish(kv),
        await driver.republish(leased),
      ];
      expect([kvMeanwhile, leasedMeanwhile].map(failure)).toEqual(['mounted', 'mounted']);
      expect(kvMeanwhile.files).toEqual(kv.files);
      expect(leasedMeanwhile.files).toEqual(leased.files);
      const fresh = await publish(database('sealed'));
      expect(failure(fresh)).toMatch(/^INTERNAL .*sealed/);
      await environment.vault.unseal();
      await waitUntil(
        'new pods start',
        async () => failure(await driver.republish(fresh)) === 'mounted',
      );
      await sleepSeconds(11);
      expect(await canLogIn(leased)).toBe(true);
      expect(text(await driver.republish(leased), 'username')).toBe(text(leased, 'username'));
    });

    test('keeps its tokens and leases after a restart of Vault', async () => {
      await environment.createDatabaseRole('restart', { ttl: '6s' });
      const view = await publish(database('restart'));
      await environment.vault.restart();
      await sleepSeconds(8);
      expect(await canLogIn(view)).toBe(true);
      expect(text(await driver.republish(view), 'username')).toBe(text(view, 'username'));
    });

    test('gives each pod another user after a restart of Keyferry, while the old one is still valid; revokes tokens without leases', async () => {
      await environment.createLoginRole('leasing', { ttl: '20s' });
      await environment.createLoginRole('plain');
      await environment.createDatabaseRole('survives', { ttl: '1h' });
      const view = await publish(database('survives'), { roleName: 'leasing' });
      await publish([{ objectName: 'db.json', secretPath: 'secret/data/shop/db' }], {
        roleName: 'plain',
      });
      const before = await environment.countTokens();
      driver.close();
      await keyferry.stop();
      expect(await environment.countTokens()).toBeLessThan(before);
      expect(await canLogIn(view)).toBe(true);

      await restartKeyferry();
      const next = await driver.publish(
        createPublication(database('survives'), { roleName: 'leasing' }, { pod: view.pod }),
      );
      expect(failure(next)).toBe('mounted');
      expect(text(next, 'username')).not.toBe(text(view, 'username'));
      expect([await canLogIn(view), await canLogIn(next)]).toEqual([true, true]);
      // Nothing renews the token of the old process any more.
      await waitUntil('the old one ends', async () => !(await canLogIn(view)), 30);
      expect(await canLogIn(next)).toBe(true);
    });
  },
);
