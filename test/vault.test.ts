import { afterEach, describe, expect, test } from '@jest/globals';
import { parse } from 'yaml';
import type { SecretProviderClass } from './driver/cluster.ts';
import { withDriver } from './fakes/with-driver.ts';
import {
  startVaultFixture,
  type VaultFixture,
  type VaultFixtureOptions,
} from './fakes/vault-fixture.ts';
import { eventually } from './fakes/timers.ts';

const minute = 60_000;

let fixture: VaultFixture;
let kv: ReturnType<VaultFixture['kv2']>;
afterEach(() => fixture.close());

async function start(options: VaultFixtureOptions = {}): Promise<void> {
  fixture = await startVaultFixture(options);
  fixture.policy('app', {
    'secret/data/*': ['read'],
    'kv/*': ['read'],
    'database/creds/*': ['read'],
    'pki/issue/*': ['update'],
    'sys/leases/revoke': ['update'],
  });
  fixture.auth
    .kubernetes()
    .role('app', { audience: fixture.provider.name, maxTtlMs: 30 * 24 * 60 * minute });
  kv = fixture.kv2();
}

/** An object for each file. */
const objects = (files: Record<string, string>): string =>
  Object.entries(files)
    .map(([name, fields]) => `- {objectName: ${name}, ${fields}}`)
    .join('\n');
const countReads = (path = 'secret/data'): number =>
  fixture.count(new RegExp(`^(GET|POST|PUT) /v1/${path}`));

describe.each([
  ['1.5', 'vault'],
  ['1.6', 'vault'],
  ['1.6', 'openbao'],
] as const)('a class of the vendor, under a driver of %s, as %s', (generation, dialect) => {
  test('starts a pod, serves a new value, denies another account; with whole responses, keys, and a Secret of them', async () => {
    await start({ dialect, refreshInterval: 0 });
    fixture.auth.kubernetes().role('app', { names: ['app'], audience: dialect });
    kv.put('db-pass', '{"pwd":"first","port":5432}');
    const address = { vault: 'vaultAddress', openbao: 'baoAddress' }[dialect];
    const spc = parse(`
      apiVersion: secrets-store.csi.x-k8s.io/v1
      kind: SecretProviderClass
      metadata: {name: database}
      spec:
        provider: ${dialect}
        secretObjects:
          - secretName: dbpass
            type: Opaque
            data: [{objectName: dbPassword, key: password}]
        parameters:
          roleName: app
          ${address}: ${fixture.node.address}
          objects: |
            - objectName: "dbPassword"
              secretPath: "secret/data/db-pass"
              secretKey: "pwd"
              filePermission: 0400
            - objectName: "nested/whole.json"
              secretPath: "v1/secret/data/db-pass"
              method: "GET"
    `) as SecretProviderClass;
    await withDriver(fixture.mountCall, { provider: dialect, generation }, async (driver) => {
      const pod = { namespace: 'team-a', serviceAccount: 'app' };
      let view = await driver.publish({ class: spc, pod, tokens: fixture.podToken() });
      expect(view).toMatchObject({ phase: 'Running', last: 'mounted', events: [] });
      expect(view.files.dbPassword).toMatchObject({ text: 'first', mode: 0o400 });
      expect(JSON.parse(view.files['nested/whole.json']!.text)).toMatchObject({
        ...{ request_id: '', lease_id: '', renewable: false, warnings: null },
        data: { data: { pwd: 'first', port: 5432 }, metadata: { version: 1 } },
      });
      expect(view.secrets.dbpass).toEqual({ password: 'first' });
      const [version] = view.status!.objects;
      expect(version).toEqual({
        id: 'dbPassword',
        version: expect.stringMatching(/^1\+[0-9a-f]{8}$/),
      });

      kv.put('db-pass', '{"pwd":"second","port":5432}');
      view = await driver.republish(view);
      expect(view.files.dbPassword?.text).toBe('second');
      expect(view.secrets.dbpass).toEqual({ password: 'second' });
      expect(view.status!.objects[0]!.version).toMatch(/^2\+/);

      const unauthorizedPod = await driver.publish({
        class: spc,
        pod: { ...pod, serviceAccount: 'other' },
        tokens: fixture.podToken({ serviceAccount: 'other' }),
      });
      expect(unauthorizedPod.phase).toBe('Pending');
      expect(unauthorizedPod.trapped).toBe(false);
      expect(unauthorizedPod.events[0]?.message).toMatch(
        /code = Unauthenticated desc = .* refused the login of role app \(auth\/kubernetes\).*service account name not authorized/,
      );
    });
  });
});

describe('cases from the issues of the vendors’ providers', () => {
  test('different secretArgs of one path give two certificates; certificate and key of one come from one read', async () => {
    await start();
    fixture.pki().role('web');
    const issue = (host: string, key: string): string =>
      `secretPath: pki/issue/web, method: POST, secretKey: ${key}, secretArgs: {common_name: ${host}}`;
    const files = await fixture.mount(
      objects({
        a: issue('a.example', 'serial_number'),
        'a-again': issue('a.example', 'serial_number'),
        b: issue('b.example', 'serial_number'),
      }),
    );
    expect(files).toEqual({ a: '00:01', 'a-again': '00:01', b: '00:02' });
    // It stays for two thirds of its life, also past rotations.
    fixture.advanceClock(30 * minute);
    expect(await fixture.mount(objects({ a: issue('a.example', 'serial_number') }))).toEqual({
      a: '00:01',
    });
    fixture.advanceClock(15 * minute);
    expect(await fixture.mount(objects({ a: issue('a.example', 'serial_number') }))).toEqual({
      a: '00:03',
    });
  });

  test('a response that is not JSON is the file, and a key of it names the path that has keys', async () => {
    await start();
    const pem = '-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----';
    const headers = {
      'content-type': 'application/pem-certificate-chain',
      'cache-control': 'no-store',
    };
    fixture.policy('app', { 'pki/*': ['read'] });
    fixture.backend('pki', ({ path }) =>
      path === 'ca_chain' ? { headers, body: pem } : { status: 204, headers },
    );
    const chain = 'secretPath: pki/ca_chain';
    expect(await fixture.mount(objects({ 'ca.pem': chain }))).toEqual({ 'ca.pem': pem });
    expect(await fixture.mount(objects({ 'ca.pem': `${chain}, secretKey: ca_chain` }))).toMatch(
      /^NOT_JSON: .*"pki\/ca_chain" is not JSON.*; remove secretKey, or read pki\/cert\/ca_chain$/,
    );
    expect(await fixture.mount(objects({ 'ca.pem': 'secretPath: pki/ca/pem' }))).toMatch(
      /^OBJECT_NOT_FOUND: .*Vault sent an empty response to GET pki\/ca\/pem; configure the engine/,
    );
  });

  test('the whole response and its version change only with the secret', async () => {
    await start({ refreshInterval: 0 });
    kv.put('db', { password: 'x' });
    const first = await fixture.volume(objects({ whole: 'secretPath: secret/data/db' }));
    fixture.advanceClock(10 * minute);
    const second = await fixture.volume(objects({ whole: 'secretPath: secret/data/db' }));
    expect(countReads()).toBe(2);
    expect(second).toEqual(first);
    expect(first.versions[0]!.version).toMatch(/^[0-9a-f]{32}(\+|$)/);
  });

  test('encodings, and values that are not strings', async () => {
    await start();
    kv.put('s', '{"b":"AAH/","h":"00ff","n":1.50,"o":{"a":[1, 2]},"t":true,"data":"own"}');
    const { files } = await fixture.volume(
      objects({
        b: 'secretPath: secret/data/s, secretKey: b, encoding: BASE64',
        h: 'secretPath: secret/data/s, secretKey: h, encoding: hex',
        n: 'secretPath: secret/data/s, secretKey: n',
        o: 'secretPath: secret/data/s, secretKey: o',
        t: 'secretPath: secret/data/s, secretKey: t',
        d: 'secretPath: secret/data/s, secretKey: data',
      }),
    );
    expect(files.map(({ contents }) => Buffer.from(contents).toString('latin1'))).toEqual([
      ...['\u0000\u0001\u00ff', '\u0000\u00ff', '1.50', '{"a":[1,2]}', 'true', 'own'],
    ]);
    expect(countReads()).toBe(1);
    expect(
      await fixture.mount(objects({ x: 'secretPath: secret/data/s, secretKey: n, encoding: hex' })),
    ).toMatch(/^INVALID_ENCODING/);
    expect(
      await fixture.mount(objects({ x: 'secretPath: secret/data/s, encoding: base64' })),
    ).toMatch(/^INVALID_CLASS: encoding of item 1 is base64, but without secretKey/);
  });

  test('an absent secret, and an absent key, end the mount and crash nothing', async () => {
    await start();
    kv.put('s', { a: 'b' });
    expect(await fixture.mount(objects({ x: 'secretPath: secret/data/nothing' }))).toMatch(
      /^OBJECT_NOT_FOUND/,
    );
    expect(await fixture.mount(objects({ x: 'secretPath: secret/data/s, secretKey: z' }))).toMatch(
      /^KEY_NOT_FOUND/,
    );
    expect(
      await fixture.mount(
        objects({
          x: 'secretPath: secret/data/s, secretKey: a',
          y: 'secretPath: secret/data/nothing, optional: true',
        }),
      ),
    ).toEqual({ x: 'b' });
  });

  test('a misspelt key and parameter cause one warning for a class', async () => {
    await start();
    kv.put('s', { a: 'b' });
    const parameters = {
      objects: objects({ x: 'secretPath: secret/data/s, secretkey: a' }),
      vaultSkipTLSVerfy: 'false',
    };
    await fixture.volume(parameters);
    await fixture.volume(parameters);
    const warned = fixture.lines.filter((line) => line.includes('the class has a problem'));
    expect(warned.map((line) => (JSON.parse(line) as { problem: string }).problem)).toEqual([
      'the parameter vaultSkipTLSVerfy is unknown to vault',
      'item 1 has an unknown key: secretkey',
    ]);
  });

  test('objects of one mount are read at once, without a read of a Kubernetes object', async () => {
    await start();
    for (let index = 0; index < 10; index += 1) kv.put(`s${index}`, { a: 'b' });
    await fixture.volume(objects({ x: 'secretPath: secret/data/s0' }));
    // No response leaves before all requests have arrived.
    let release = (): void => undefined;
    const until = new Promise<void>((resolve) => (release = resolve));
    fixture.node.injectFault({ route: 'GET', until });
    const before = countReads();
    const files: Record<string, string> = {};
    for (let index = 0; index < 10; index += 1)
      files[`f${index}`] = `secretPath: secret/data/s${index}`;
    const volume = fixture.volume(objects(files), { name: 'b' });
    // The first one is cached.
    await eventually(() => countReads() - before === 9);
    release();
    await volume;
    expect(fixture.kubernetes.requests).toHaveLength(0);
  });

  test('a KV 2 path in KV 1 form fails with an explanation', async () => {
    await start();
    fixture.policy('app', { 'secret/*': ['read'] });
    kv.put('db', { a: 'b' });
    expect(await fixture.mount(objects({ x: 'secretPath: secret/db' }))).toMatch(
      /^STORE_REFUSED_REQUEST: .*secret\/data\/db/,
    );
  });

  test('a denied path fails with what the policy lacks', async () => {
    await start();
    expect(await fixture.mount(objects({ x: 'secretPath: other/data/x' }))).toMatch(
      /^ACCESS_DENIED: .*other\/data\/x.*read/,
    );
  });
});

describe('leases', () => {
  const creds = objects({
    user: 'secretPath: database/creds/app, secretKey: username',
    pass: 'secretPath: database/creds/app, secretKey: password',
    whole: 'secretPath: database/creds/app',
  });
  async function startDatabase(
    options: VaultFixtureOptions = {},
  ): Promise<ReturnType<VaultFixture['database']>> {
    await start(options);
    const database = fixture.database();
    database.role('app', { ttlMs: 60 * minute, maxTtlMs: 120 * minute });
    return database;
  }
  const userOf = (files: Record<string, string> | string): string =>
    typeof files === 'string' ? files : files.user!;

  test('one read serves all objects of the path and all refreshes of the pod', async () => {
    const database = await startDatabase({ refreshInterval: 0 });
    const first = await fixture.mount(creds);
    expect(JSON.parse((first as Record<string, string>).whole!)).toMatchObject({
      lease_id: expect.stringMatching(/^database\/creds\/app\//),
      data: { username: userOf(first), password: (first as Record<string, string>).pass },
    });
    for (let count = 0; count < 3; count += 1) {
      fixture.advanceClock(5 * minute);
      expect(await fixture.mount(creds)).toEqual(first);
    }
    expect(database.createdCount()).toBe(1);
  });

  test('50 pods of one account at once get 50 users', async () => {
    const database = await startDatabase();
    const pods = Array.from({ length: 50 }, (_, index) =>
      fixture.mount(creds, { name: `pod-${index}` }),
    );
    const users = (await Promise.all(pods)).map(userOf);
    expect(new Set(users).size).toBe(50);
    expect(database.createdCount()).toBe(50);
    expect(fixture.logins()).toBe(1);
  });

  test('leaseScope serviceAccount: one user for all pods of the account, and another for another account', async () => {
    const database = await startDatabase();
    const shared = { objects: creds, leaseScope: 'serviceAccount' };
    const mounts = ['a', 'b', 'c'].map((name) => fixture.mount(shared, { name }));
    expect(new Set((await Promise.all(mounts)).map(userOf)).size).toBe(1);
    await fixture.volume(shared, { name: 'd', account: 'other' });
    expect(database.createdCount()).toBe(2);
  });

  test('KV is read for each pod that comes at once, since it could lease, and once for all later pods', async () => {
    await start();
    kv.put('db', { password: 'x' });
    const kvObjects = objects({ x: 'secretPath: secret/data/db, secretKey: password' });
    await Promise.all(['a', 'b', 'c'].map((name) => fixture.volume(kvObjects, { name })));
    expect(countReads()).toBe(3);
    for (const name of ['d', 'e']) await fixture.volume(kvObjects, { name });
    expect(countReads()).toBe(3);
  });

  test('in an outage a lease is used to its end and not longer', async () => {
    await startDatabase({ refreshInterval: 0 });
    const first = await fixture.mount(creds);
    fixture.node.injectFault({ response: { status: 503 } });
    fixture.advanceClock(30 * minute);
    expect(await fixture.mount(creds)).toEqual(first);
    fixture.advanceClock(31 * minute);
    expect(await fixture.mount(creds)).not.toEqual(first);
  });

  test('a database that is down is named in the error', async () => {
    const database = await startDatabase();
    database.database.down = true;
    expect(await fixture.mount(creds)).toMatch(/^STORE_UNAVAILABLE: .*database\/creds\/app/);
  });
});

describe('several addresses, namespaces', () => {
  test('the next address serves where the first is sealed, also for a class that names both', async () => {
    await start({ nodes: 2 });
    kv.put('db', { password: 'x' });
    fixture.nodes[0]!.state = 'sealed';
    fixture.nodes[1]!.state = 'active';
    const parameters = {
      objects: objects({ x: 'secretPath: secret/data/db, secretKey: password' }),
      vaultAddress: fixture.addresses.join(', '),
    };
    expect(await fixture.mount(parameters)).toEqual({ x: 'x' });
  });

  test('calls to a Vault keep its rate, and calls to another one do not wait for it', async () => {
    const alternateAddress = (address: string): string => address.replace('127.0.0.1', 'localhost');
    await start({
      env: ({ node }) => ({
        KEYFERRY_VAULT_RATE: '0.01',
        KEYFERRY_VAULT_BURST: '1',
        KEYFERRY_VAULT_ALLOWED_ADDRESSES: alternateAddress(node.address),
      }),
    });
    for (const name of ['a', 'b', 'c']) kv.put(name, { password: name });
    const whole = (name: string): string =>
      objects({ [name]: `secretPath: secret/data/${name}, secretKey: password` });
    expect(await fixture.mount(whole('a'))).toEqual({ a: 'a' });
    const abortController = new AbortController();
    const waiting = fixture
      .volume(whole('b'), { signal: abortController.signal })
      .catch(() => 'left');
    expect(
      await fixture.mount({
        objects: whole('c'),
        vaultAddress: alternateAddress(fixture.node.address),
      }),
    ).toEqual({
      c: 'c',
    });
    expect([countReads('secret/data/b'), countReads()]).toEqual([0, 2]);
    abortController.abort();
    expect(await waiting).toBe('left');
  });

  test('a namespace of the class is another namespace of Vault', async () => {
    await start({ namespaces: ['team-a'] });
    const space = fixture.inNamespace('team-a');
    space.policy('app', { 'secret/data/*': ['read'] });
    space.auth.kubernetes().role('app');
    space.kv2().put('db', { password: 'of the team' });
    kv.put('db', { password: 'of all' });
    const files = objects({ x: 'secretPath: secret/data/db, secretKey: password' });
    expect(await fixture.mount({ objects: files, vaultNamespace: '/team-a/' })).toEqual({
      x: 'of the team',
    });
    expect(await fixture.mount(files)).toEqual({ x: 'of all' });
  });
});

test('no secret, token or lease of a request is in the log', async () => {
  await start();
  fixture.database().role('app');
  kv.put('db', { password: 'CANARY-value' });
  const tokens = fixture.podToken();
  const files = await fixture.mount(
    objects({
      x: 'secretPath: secret/data/db',
      y: 'secretPath: database/creds/app, secretKey: password',
    }),
    { tokens },
  );
  await fixture.mount(objects({ x: 'secretPath: secret/data/gone' }), { tokens });
  const secrets = [
    ...fixture.tokens.all().map(({ id }) => id),
    ...Object.values(tokens),
    (files as { y: string }).y,
  ];
  for (const secret of ['CANARY-value', ...secrets])
    expect(fixture.lines.join()).not.toContain(secret);
});
