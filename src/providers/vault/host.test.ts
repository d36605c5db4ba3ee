import { afterEach, describe, expect, test } from '@jest/globals';
import { rmSync } from 'node:fs';
import { thrownError } from '../../../test/fakes/failure.ts';
import {
  type HostAuth,
  startVaultHost,
  type VaultHost,
  type VaultHostOptions,
} from '../../../test/fakes/vault-host.ts';
import { createTestCa } from '../../../test/fakes/tls.ts';
import type { StoreConfig } from '../../core/host-store.ts';

const neverAborted = new AbortController().signal;
const minutes = (count: number): number => count * 60_000;
const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** A host whose users never see these words: a remedy in them is of no use to it. */
const kubernetesWords = /\b(class(es)?|pods?|ServiceAccounts?|DaemonSet|vault[A-Z]\w+|secretKey)\b/;

async function setUp(options?: VaultHostOptions): Promise<VaultHost> {
  const host = await startVaultHost(options);
  cleanups.push(host.close);
  host.vault.kv2().put('app', { password: 'canary' });
  return host;
}

/** A host with an AppRole. */
async function setUpAppRole(
  lifetime: { readonly ttlMs?: number; readonly maxTtlMs?: number } = {},
  options?: VaultHostOptions,
) {
  const host = await setUp(options);
  const role = host.vault.auth.approle().role('app', lifetime);
  const secretId = role.secretId();
  const auth: HostAuth = {
    method: 'approle',
    params: { role_id: role.roleId },
    credentials: { secret_id: secretId },
  };
  return { ...host, ...role, auth, secretId, makeSecretId: role.secretId };
}

async function until(description: string, condition: () => boolean): Promise<void> {
  for (const end = Date.now() + 5_000; !condition();) {
    if (Date.now() > end) throw new Error(`never came true: ${description}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

describe('the method token', () => {
  const setUpToken = async (lifetime = {}) => {
    const host = await setUp();
    const token = host.vault.tokens.issue(lifetime);
    return { ...host, token, auth: { method: 'token', credentials: { token: token.id } } };
  };

  test('reads with the token of the configuration', async () => {
    const { auth, open, logins } = await setUpToken();
    expect(await open(auth).read('secret/data/app')).toBe('canary');
    expect(logins()).toBe(0);
  });

  test('reads the token of a file, and a changed one at once', async () => {
    const { vault, token, file, open } = await setUpToken();
    const path = file('token', `${token.id}\n`);
    const { read } = open({ method: 'token', params: { token_file: path } });
    expect(await read('secret/data/app')).toBe('canary');
    vault.tokens.revoke(token);
    expect(await read('secret/data/app')).toMatch(
      /^CREDENTIALS_REFUSED: Vault did not take the token at GET secret\/data\/app for the given token.*put another one in its place$/,
    );
    file('token', vault.tokens.issue().id);
    expect(await read('secret/data/app')).toBe('canary');
  });

  test('names a missing file', async () => {
    const { file, open } = await setUp();
    const path = file('token', '');
    const auth = { method: 'token', params: { token_file: path } };
    expect(await open(auth).check()).toBe(
      `NOT_CONFIGURED: there is no token in ${path}; put it into ${path}`,
    );
    rmSync(path);
    expect(await open(auth).read('secret/data/app')).toContain(`there is no token in ${path}`);
  });

  test('renews the given token before it ends, and never revokes it', async () => {
    const { vault, token, auth, open, lines } = await setUpToken({ ttlMs: minutes(60) });
    const { read, store } = open(auth);
    await read('secret/data/app');
    expect(lines.join('')).toContain('the given token is valid; the next token renewal is at ');
    vault.advanceClock(minutes(45));
    await read('secret/data/app');
    await until('the renewal', () => lines.join('').includes('token renewal succeeded'));
    vault.advanceClock(minutes(50));
    expect(await read('secret/data/app')).toBe('canary');
    await store.close?.(AbortSignal.timeout(1_000));
    expect(token.state).toBe('good');
    expect(lines.join('')).not.toContain(token.id);
  });

  test('says when the end of a given token comes', async () => {
    const { vault, auth, open, lines } = await setUpToken({
      ttlMs: minutes(60),
      maxTtlMs: minutes(70),
    });
    const { read } = open(auth);
    await read('secret/data/app');
    vault.advanceClock(minutes(45));
    await read('secret/data/app');
    await until('the last renewal', () =>
      lines.some((line) => line.includes('no token renewal extends it further')),
    );
    vault.advanceClock(minutes(26));
    expect(await read('secret/data/app')).toMatch(/^CREDENTIALS_REFUSED: .*reached its max TTL/);
  });

  test('does not ask Vault again for a minute about a token that it refused', async () => {
    const { vault, open } = await setUp();
    const { check } = open({ method: 'token', credentials: { token: 'hvs.wrong' } });
    for (let attempt = 0; attempt < 3; attempt += 1)
      expect(await check()).toMatch(/^CREDENTIALS_REFUSED: .*the given token/);
    expect(vault.count('GET /v1/auth/token/lookup-self')).toBe(1);
    expect(await check()).not.toContain('hvs.wrong');
  });

  test('takes a token without an end', async () => {
    const { vault, open } = await setUp();
    const { read } = open({ method: 'token', credentials: { token: vault.rootToken() } });
    expect(await read('secret/data/app')).toBe('canary');
    vault.advanceClock(minutes(100_000));
    expect(await read('secret/data/app')).toBe('canary');
  });
});

describe('the method approle', () => {
  test('logs in once, with the secret id of the configuration', async () => {
    const { auth, open, logins, vault } = await setUpAppRole();
    const { read, check } = open(auth);
    expect(await read('secret/data/app')).toBe('canary');
    expect(await check()).toBe('ok');
    expect(logins()).toBe(1);
    expect(vault.tokens.all()).toHaveLength(1);
  });

  test('logs in at another mount', async () => {
    const { vault, open } = await setUp();
    const role = vault.auth.approle('teams/shop').role('app');
    const params = { role_id: role.roleId, mount: '/teams/shop/' };
    const credentials = { secret_id: role.secretId() };
    const { read } = open({ method: 'approle', params, credentials });
    expect(await read('secret/data/app')).toBe('canary');
  });

  test('says that the secret id is wrong, and shows it nowhere', async () => {
    const { auth, open, logins, lines } = await setUpAppRole();
    const { check } = open({ ...auth, credentials: { secret_id: 'wrong-4711' } });
    for (let attempt = 0; attempt < 3; attempt += 1)
      expect(await check()).toBe(
        'CREDENTIALS_REFUSED: Vault refused the login of the approle login (auth/approle) (HTTP 400: "invalid secret id"); the secret id is wrong, has expired, or has been used as often as it may be: make a new one and give it to docker dso init',
      );
    expect(logins()).toBe(1);
    expect(lines.join('')).not.toContain('wrong-4711');
  });

  test('tries a new secret id of the file at once', async () => {
    const { roleId, secretId, file, open } = await setUpAppRole();
    const path = file('secret-id', 'wrong');
    const params = { role_id: roleId, secret_id_file: path };
    const { check } = open({ method: 'approle', params });
    expect(await check()).toMatch(/^CREDENTIALS_REFUSED/);
    file('secret-id', `${secretId}\n`);
    expect(await check()).toBe('ok');
  });

  test('keeps its token without use after the secret id has ended, up to the max TTL', async () => {
    const { vault, auth, open, secretId, destroySecretId, lines } = await setUpAppRole({
      ttlMs: minutes(60),
      maxTtlMs: minutes(240),
    });
    const { read } = open(auth);
    expect(await read('secret/data/app')).toBe('canary');
    destroySecretId(secretId);
    for (let hour = 1; hour <= 4; hour += 1) {
      vault.advanceClock(minutes(50));
      // The manager's own timer does it: no read asks for the token.
      const renewals = (): number => vault.tokens.all()[0]?.renewals ?? 0;
      await until(`renewal ${hour}`, () => renewals() === hour);
      await until(
        'its log line',
        () => lines.filter((line) => line.includes('"token renewal succeeded')).length === hour,
      );
    }
    expect(await read('secret/data/app')).toBe('canary');
    vault.advanceClock(minutes(41));
    expect(await read('secret/data/app')).toMatch(
      /^CREDENTIALS_REFUSED: .*invalid secret id.*give it to docker dso init$/,
    );
  }, 30_000);

  test('logs in again at the max TTL, before the token ends', async () => {
    const { vault, auth, open, logins } = await setUpAppRole({
      ttlMs: minutes(60),
      maxTtlMs: minutes(60),
    });
    const { read } = open(auth);
    await read('secret/data/app');
    for (let round = 0; round < 3; round += 1) {
      vault.advanceClock(minutes(25));
      expect(await read('secret/data/app')).toBe('canary');
    }
    await until('the login', () => logins() === 2);
    expect(await read('secret/data/app')).toBe('canary');
  });

  test('logs in again after its token was revoked by hand', async () => {
    const { vault, auth, open, logins } = await setUpAppRole();
    const { read, check } = open(auth);
    await read('secret/data/app');
    vault.advanceClock(minutes(2));
    vault.tokens.revoke(vault.tokens.all()[0]!);
    expect(await check()).toBe('ok');
    expect(await read('secret/data/app')).toBe('canary');
    expect(logins()).toBe(2);
  });

  test('revokes its token at the end', async () => {
    const { vault, auth, open } = await setUpAppRole();
    const { read, store } = open(auth);
    await read('secret/data/app');
    await store.close?.(AbortSignal.timeout(1_000));
    expect(vault.tokens.all().map(({ state }) => state)).toEqual(['revoked']);
  });
});

describe('the method jwt', () => {
  test('logs in with the token of a file, read at each login', async () => {
    const { vault, file, open } = await setUp();
    vault.auth.jwt().role('app', { audiences: ['vault'] });
    const path = file('jwt', 'not a token');
    const { check } = open({ method: 'jwt', params: { role: 'app', token_file: path } });
    expect(await check()).toMatch(/must know the keys of the token's issuer \(its JWKS\)$/);
    file('jwt', vault.issuer.podToken({ lifeMs: -minutes(1) }));
    expect(await check()).toMatch(/put a new token into token_file, or compare the clock/);
    file('jwt', vault.issuer.podToken({ audience: 'other' }));
    expect(await check()).toMatch(/bound_audiences of role "app" must have an audience/);
    file('jwt', vault.issuer.podToken());
    expect(await check()).toBe('ok');
  });

  test('names its own keys where the role or the subject is wrong', async () => {
    const { vault, file, open } = await setUp();
    vault.auth.jwt('oidc').role('app', { subject: 'another' });
    const params = { token_file: file('jwt', vault.issuer.podToken()), mount: 'oidc' };
    expect(await open({ method: 'jwt', params: { ...params, role: 'app' } }).check()).toMatch(
      /bound_subject of role "app" must be the subject of the token$/,
    );
    expect(await open({ method: 'jwt', params: { ...params, role: 'none' } }).check()).toMatch(
      /make role "none" at auth\/oidc, or correct role$/,
    );
  });
});

describe('the method cert', () => {
  test('logs in with the certificate of the connection', async () => {
    const { vault, file, open } = await setUp();
    const ca = createTestCa();
    const { cert, key } = ca.issue();
    vault.auth.cert().role('web', { ca: ca.cert });
    const params = { cert_file: file('tls.crt', cert), key_file: file('tls.key', key) };
    expect(await open({ method: 'cert', params }).read('secret/data/app')).toBe('canary');
    const named = { method: 'cert', params: { ...params, name: 'web' } };
    expect(await open(named).read('secret/data/app')).toBe('canary');
    const other = { method: 'cert', params: { ...params, name: 'db' } };
    expect(await open(other).check()).toMatch(/the role "db" must trust the authority/);
  });

  test('names a file that is not there', async () => {
    const { vault, file, open } = await setUp();
    const { key } = createTestCa().issue();
    const params = { cert_file: `${vault.directory}/none.crt`, key_file: file('tls.key', key) };
    expect(await open({ method: 'cert', params }).check()).toBe(
      `NOT_CONFIGURED: ${vault.directory}/none.crt cannot be read: no such file; it must be a file that Keyferry can see: if Keyferry runs in a container, mount it there`,
    );
  });
});

describe('a configuration', () => {
  const approle = { method: 'approle', params: { role_id: 'r' } };
  test.each<[string, HostAuth | undefined, Partial<StoreConfig>, string]>([
    [
      'no auth',
      undefined,
      {},
      'it has no auth; write auth into its configuration, or run docker dso init',
    ],
    ['no address', approle, { addresses: [] }, 'it has no address; write address'],
    [
      'an address with a path',
      approle,
      { addresses: ['https://vault/ui'] },
      'the address "https://vault/ui" is not an endpoint',
    ],
    [
      'an unknown method',
      { method: 'kubernetes' },
      {},
      'auth.method is not known: kubernetes; use one of token, approle, jwt, cert',
    ],
    ['a method of objects', { method: 'toString' }, {}, 'auth.method is not known: toString'],
    ['no token', { method: 'token' }, {}, 'auth.params.token_file is missing'],
    [
      'two tokens',
      { method: 'token', params: { token_file: '/t' }, credentials: { token: 't' } },
      {},
      'auth.params has token and token_file; remove one of them',
    ],
    ['no role id', { method: 'approle' }, {}, 'auth.params.role_id is missing; write it there'],
    [
      'two secret ids',
      {
        ...approle,
        params: { role_id: 'r', secret_id_file: '/s' },
        credentials: { secret_id: 's' },
      },
      {},
      'auth.params has secret_id and secret_id_file',
    ],
    [
      'a relative path',
      { ...approle, params: { role_id: 'r', secret_id_file: 'secret-id' } },
      {},
      'auth.params.secret_id_file is not an absolute, clean path: secret-id; write the path from /',
    ],
    ['a relative authority', approle, { caFile: './ca.crt' }, 'ca_file is not an absolute, clean'],
    ['no role', { method: 'jwt', params: { token_file: '/t' } }, {}, 'auth.params.role is missing'],
    ['no JWT', { method: 'jwt', params: { role: 'r' } }, {}, 'auth.params.token_file is missing'],
    [
      'no key',
      { method: 'cert', params: { cert_file: '/c' } },
      {},
      'auth.params.key_file is missing',
    ],
    [
      'a certificate without TLS',
      { method: 'cert', params: { cert_file: '/c', key_file: '/k' } },
      { addresses: ['http://vault:8200'] },
      'auth.method is cert, which needs TLS; use addresses that begin with https://',
    ],
    [
      'a mount',
      { ...approle, params: { role_id: 'r', mount: 'a/../b' } },
      {},
      'auth.params.mount is not',
    ],
    ['a namespace', approle, { namespace: 'a b' }, 'namespace is not a namespace: a b'],
    ['a server name', approle, { tlsServerName: 'a/b' }, 'tls_server_name is not a host name: a/b'],
  ])('with %s names the key of dso.yaml', async (_, auth, config, message) => {
    const { open } = await setUp();
    const { code, summary } = thrownError(() => open(auth, config));
    expect(code).toBe('NOT_CONFIGURED');
    expect(summary).toContain(`the store main: ${message}`);
    expect(summary).not.toMatch(kubernetesWords);
  });

  test('with a namespace reads there', async () => {
    const { vault, open } = await setUp({ namespaces: ['team/shop'] });
    const shop = vault.inNamespace('team/shop');
    shop.kv2().put('app', { password: 'of the shop' });
    shop.policy('app', { 'secret/*': ['read'] });
    const role = shop.auth.approle().role('app');
    const auth = {
      method: 'approle',
      params: { role_id: role.roleId },
      credentials: { secret_id: role.secretId() },
    };
    expect(await open(auth, { namespace: 'team/shop' }).read('secret/data/app')).toBe(
      'of the shop',
    );
    expect(await open(auth, { namespace: 'none' }).check()).toMatch(/; check namespace$/);
  });
});

describe('a path', () => {
  test.each([
    ['secret/data/app', 'secret/data/app'],
    ['secret/data/app?version=2', 'secret/data/app?version=2'],
    ['database/creds/app', 'database/creds/app'],
    ['secret/data/a(b)', 'secret/data/a%28b%29'],
  ])('%s is sent as %s', async (path, name) => {
    const { open, auth } = await setUpAppRole();
    expect(open(auth).store.refFor(path)).toEqual({ service: 'vault', name });
  });

  test.each(['', '/', 'secret/../sys', 'a/./b', '?x=1', 'a\nb'])('%j is refused', async (path) => {
    const { open, auth } = await setUpAppRole();
    expect(thrownError(() => open(auth).store.refFor(path)).code).toBe('INVALID_CLASS');
  });

  test.each([
    'auth/token/lookup-self',
    '/v1/auth/token/lookup-self',
    'auth//token/lookup-self',
    'auth/token/lookup?token=x',
    'team/auth/token/renew-self',
    'auth/token/revoke-self',
  ])('of the token of the host is refused: %s', async (path) => {
    const { open, auth } = await setUpAppRole();
    expect(thrownError(() => open(auth).store.refFor(path)).code).toBe('NOT_GRANTED');
  });
});

describe('a secret', () => {
  test('of KV 2 is its data, without the envelope', async () => {
    const { vault, auth, open } = await setUpAppRole();
    vault.kv2().put('db', '{ "user": "app", "port": 5432.0 }');
    const { read, fetch } = open(auth);
    expect(await read('secret/data/db')).toBe('{ "user": "app", "port": 5432.0 }');
    expect(await read('secret/data/db', { kind: 'whole' })).toContain('"port": 5432.0');
    expect(await read('secret/data/db', { kind: 'key-or-jmespath', text: 'port' })).toBe('5432.0');
    expect(await read('secret/data/db', { kind: 'key-or-whole', key: 'user' })).toBe('app');
    const result = await fetch('secret/data/db');
    expect(result).toMatchObject({ value: { version: '1', shareable: true } });
    expect(result).not.toHaveProperty('value.envelope');
  });

  test('of KV 1 is its data', async () => {
    const { vault, auth, open } = await setUpAppRole();
    vault.kv1().put('db', { user: 'app', data: { inner: '1' } });
    const { read } = open(auth);
    expect(await read('kv/db')).toBe('{"user":"app","data":{"inner":"1"}}');
    expect(await read('kv/db', { kind: 'key', key: 'user' })).toBe('app');
  });

  test('that cannot be read says why, in words of a Docker user', async () => {
    const { vault, auth, open } = await setUpAppRole();
    const kv2 = vault.kv2();
    kv2.put('gone', { a: '1' });
    kv2.delete('gone');
    vault.kv2('private').put('app', { a: '1' });
    const { read } = open(auth);
    const texts = await Promise.all([
      read('secret/data/none'),
      read('secret/data/gone'),
      read('secret/app'),
      read('private/data/app'),
    ]);
    expect(texts).toEqual([
      expect.stringMatching(/^OBJECT_NOT_FOUND: Vault has no secret\/data\/none; check the path/),
      expect.stringMatching(/^OBJECT_DISABLED: version 1 of secret\/data\/gone was deleted/),
      expect.stringMatching(/^STORE_REFUSED_REQUEST: .*secret\/data\/app$/),
      expect.stringMatching(/^ACCESS_DENIED: .*must allow "read" on private\/data\/app$/),
    ]);
    for (const text of texts) expect(text).not.toMatch(kubernetesWords);
  });

  test('of a database is a user for each service, renewed, and given back at release', async () => {
    const { vault, auth, open } = await setUpAppRole();
    const database = vault.database();
    database.role('app', { ttlMs: minutes(60), maxTtlMs: minutes(600) });
    const { store, fetch, grantOf } = open(auth);
    const [one, other] = await Promise.all([
      fetch('database/creds/app', 'app'),
      fetch('database/creds/app', 'worker'),
    ]);
    expect(database.users()).toHaveLength(2);
    if (one.kind !== 'value' || one.value.lease === undefined) throw new Error('no lease');
    const { username } = JSON.parse(Buffer.from(one.value.bytes).toString()) as {
      username: string;
    };
    expect(database.users()).toContain(username);
    expect(other).toMatchObject({ kind: 'value', value: { lease: { renewable: true } } });
    const grant = await grantOf('database/creds/app', 'app');
    vault.advanceClock(minutes(30));
    expect(await store.renew?.(grant, one.value.lease, neverAborted)).toEqual({
      kind: 'renewed',
      expiresAt: expect.any(Number),
    });
    await store.release?.(grant, one.value.lease, neverAborted);
    expect(database.users()).toHaveLength(1);
    expect(database.users()).not.toContain(username);
  });

  test('of a database that is down names the database', async () => {
    const { vault, auth, open } = await setUpAppRole();
    const database = vault.database();
    database.role('app');
    database.database.down = true;
    expect(await open(auth).read('database/creds/app')).toMatch(
      /^STORE_UNAVAILABLE: .*database\/creds\/app.*may be down or out of reach of Vault/,
    );
  });
});

describe('a Vault in trouble', () => {
  test('that is sealed is named with its address', async () => {
    const { vault, auth, open } = await setUpAppRole();
    vault.node.state = 'sealed';
    const { check, read, steps } = open(auth);
    expect(await check()).toBe(
      `STORE_UNAVAILABLE: ${vault.node.address} is sealed (HTTP 503); unseal it; if it seals itself again, its log says why`,
    );
    expect(await steps()).toEqual([expect.stringMatching(/^reach Vault: STORE_UNAVAILABLE: /)]);
    expect(await read('secret/data/app')).toMatch(/^CREDENTIALS_UNAVAILABLE: .*is sealed/);
    vault.node.state = 'active';
    await until('it serves again', () => vault.count() > 0);
    vault.advanceClock(minutes(1));
    expect(await read('secret/data/app')).toBe('canary');
  });

  test('with one of two addresses down serves from the other', async () => {
    const { vault, auth, open, lines } = await setUpAppRole({}, { nodes: 2 });
    const [first, second] = vault.nodes;
    second!.state = 'active';
    await first!.close();
    const { read, check, steps } = open(auth);
    expect(await read('secret/data/app')).toBe('canary');
    expect(await check()).toBe('ok');
    expect((await steps())[0]).toMatch(
      new RegExp(`^reach Vault: ${first!.address} does not serve: .*; ${second!.address} serves$`),
    );
    expect(lines.join('')).toContain('another address of Vault responds');
  });

  test('whose standby redirects is followed to a configured address', async () => {
    const { vault, auth, open } = await setUpAppRole({}, { nodes: 2 });
    const [active, standby] = vault.nodes;
    standby!.state = 'redirecting';
    const addresses = [standby!.address, active!.address];
    expect(await open(auth, { addresses }).read('secret/data/app')).toBe('canary');
    expect(await open(auth, { addresses: [standby!.address] }).check()).toMatch(
      /redirects to .*, which is not among the addresses/,
    );
  });

  test('with another certificate is refused', async () => {
    const { file, auth, open } = await setUpAppRole();
    const caFile = file('other.crt', createTestCa().cert);
    expect(await open(auth, { caFile }).check()).toMatch(/^STORE_UNAVAILABLE: .*certificate/);
    expect(await open(auth, { tlsServerName: 'vault.example' }).check()).toMatch(
      /^STORE_UNAVAILABLE: .*(certificate|name)/,
    );
  });
});

describe('the steps of a check', () => {
  test('say what each found', async () => {
    const { vault, auth, open } = await setUpAppRole();
    expect(await open(auth).steps()).toEqual([
      `reach Vault: ${vault.node.address} serves`,
      expect.stringMatching(
        /^log in with approle: the approle login \(auth\/approle\) has a token that ends at 20/,
      ),
      'look up the token: it has the policies app, and can be renewed',
    ]);
  });

  test('end with the step that fails', async () => {
    const { auth, open } = await setUpAppRole();
    const steps = await open({ ...auth, credentials: { secret_id: 'wrong' } }).steps();
    expect(steps).toHaveLength(2);
    expect(steps[1]).toMatch(/^log in with approle: CREDENTIALS_REFUSED: /);
  });

  test('pass for a token that may not look itself up', async () => {
    const { vault, auth, open } = await setUpAppRole();
    vault.policy('default', {});
    const { check, steps } = open(auth);
    expect((await steps())[2]).toBe('look up the token: no policy of it allows to look it up');
    expect(await check()).toBe('ok');
  });
});

describe('the list', () => {
  test('has the secrets of all KV engines as references name them', async () => {
    const { vault, auth, open } = await setUpAppRole();
    const kv2 = vault.kv2();
    for (const name of ['app', 'team/a b', 'team/deep/er']) kv2.put(name, { a: '1' });
    vault.kv1().put('old/app', { a: '1' });
    vault.database().role('app');
    expect(await open(auth).list()).toBe(
      'kv/old/app secret/data/app secret/data/team/a b secret/data/team/deep/er',
    );
  });

  test('leaves out what no policy lets it list, and fails where that is all', async () => {
    const { vault, auth, open } = await setUpAppRole();
    vault.kv2('private').put('x', { a: '1' });
    expect(await open(auth).list()).toBe('secret/data/app');
    vault.policy('app', { 'secret/data/*': ['read'] });
    expect(await open(auth).list()).toMatch(/^ACCESS_DENIED: .*must allow "list" on/);
  });

  test('is cut where a Vault has folders without an end', async () => {
    const { vault, auth, open, lines } = await setUpAppRole();
    vault.backend('kv', ({ method }) =>
      method === 'LIST' ? { body: { data: { keys: ['deeper/'] } } } : undefined,
    );
    vault.kv1('kv');
    vault.backend('kv', ({ method }) =>
      method === 'LIST' ? { body: { data: { keys: ['deeper/'] } } } : undefined,
    );
    expect(await open(auth).list()).toBe('secret/data/app');
    expect(lines.join('')).toContain('the list of secrets is cut');
  }, 30_000);
});

test('an OpenBao is called by its name', async () => {
  const { auth, open } = await setUpAppRole({}, { dialect: 'openbao' });
  expect(await open(auth).read('secret/data/app')).toBe('canary');
  expect(await open(auth).read('secret/data/none')).toMatch(/^OBJECT_NOT_FOUND: OpenBao has no /);
});

test('nothing is called before the first use', async () => {
  const { vault, auth, open } = await setUpAppRole();
  const { store } = open(auth);
  store.refFor('secret/data/app');
  await store.principal(neverAborted);
  expect(vault.count()).toBe(0);
});
