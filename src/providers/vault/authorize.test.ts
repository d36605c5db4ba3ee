import { afterEach, describe, expect, test } from '@jest/globals';
import { missingPath } from '../../../test/missing-path.ts';
import {
  grantsForApp,
  startVaultFixture,
  type VaultFixture,
  type VaultFixtureOptions,
} from '../../../test/fakes/vault-fixture.ts';

let fixture: VaultFixture;
afterEach(() => fixture.close());

async function start(options: VaultFixtureOptions = {}): Promise<void> {
  fixture = await startVaultFixture(options);
  fixture.policy('app', { 'secret/data/*': ['read'], 'pki/issue/*': ['update'] });
  fixture.auth
    .kubernetes()
    .role('app', { names: ['app'], namespaces: ['team-a'], audience: fixture.provider.name });
  fixture.kv2().put('db', { password: 'first' });
}

const objects = '- {objectName: password, secretPath: secret/data/db, secretKey: password}';
const expectedFiles = { password: 'first' };
const withMethod = (authMethod: string, extraParameters: object = {}): Record<string, string> => ({
  ...{ objects, authMethod, ...extraParameters },
});
const tooLongMessage = 'characters; Vault makes none that long';
/** A token with any claims and without a valid signature. */
const forgedToken = (claims: object): string =>
  ['{}', JSON.stringify(claims), 'x']
    .map((part) => Buffer.from(part).toString('base64url'))
    .join('.');

describe("the pod's own token", () => {
  test('logs in to the role of the class as the driver brought it, and is in no log or file', async () => {
    await start({ sharedIdentities: 'none' });
    const tokens = fixture.podToken();
    expect(await fixture.mount(objects, { tokens })).toEqual(expectedFiles);
    expect(fixture.node.requests.map(({ path, query }) => path + query).join()).not.toContain(
      tokens.vault,
    );
    expect(fixture.lines.join()).not.toContain(tokens.vault);
  });

  test('has one login for all pods of the account, and another one for another account', async () => {
    await start();
    for (const name of ['a', 'b', 'c'])
      expect(await fixture.mount(objects, { name })).toEqual(expectedFiles);
    expect(fixture.logins()).toBe(1);
    expect(await fixture.mount(objects, { account: 'other' })).toMatch(
      /^CREDENTIALS_REFUSED: .*service account name not authorized/,
    );
    expect(await fixture.mount(objects, { namespace: 'team-b' })).toMatch(/^CREDENTIALS_REFUSED/);
  });

  test('has the audience of the class, by default the name of the provider', async () => {
    await start({ dialect: 'openbao' });
    expect(await fixture.mount(objects)).toEqual(expectedFiles);
    expect(
      await fixture.mount(
        { objects, audience: 'bank' },
        { tokens: fixture.podToken({ audience: 'bank' }) },
      ),
    ).toMatch(/^CREDENTIALS_REFUSED: .*invalid audience/);
  });

  test('fails with the audience and both remedies where it is missing', async () => {
    await start();
    expect(await fixture.mount(objects, { tokens: fixture.podToken({ audience: 'bank' }) })).toBe(
      'TOKEN_MISSING: the driver sent no token for the audience vault, only for bank; ' +
        'add "- audience: vault" to tokenRequests in the values of the driver\'s chart, ' +
        'or let Keyferry request tokens itself: KEYFERRY_VAULT_TOKEN_REQUESTS=true',
    );
  });

  test.each<[string, Parameters<VaultFixture['podToken']>[0], RegExp]>([
    ['of another account', { serviceAccount: 'other' }, /^TOKEN_INVALID: .* belongs to/],
    ['of another namespace', { namespace: 'team-b' }, /^TOKEN_INVALID: .* belongs to/],
    ['that has ended', { lifeMs: -60_000 }, /^TOKEN_INVALID: .* expired/],
  ])('%s is not sent to Vault', async (_, claims, expectedError) => {
    await start();
    expect(await fixture.mount(objects, { tokens: fixture.podToken(claims) })).toMatch(
      expectedError,
    );
    expect(await fixture.mount(objects, { tokens: { vault: 'no token' } })).toMatch(
      /^TOKEN_INVALID/,
    );
    expect(fixture.logins()).toBe(0);
  });
});

describe('a role that can bind the pod', () => {
  async function startJwt(options: VaultFixtureOptions = {}): Promise<void> {
    await start(options);
    for (const mount of ['jwt', 'k8s-eu'])
      fixture.auth.jwt(mount).role('app', { audiences: ['vault'] });
  }

  test('separates the pods of one account, unless the operator excludes such roles', async () => {
    await startJwt();
    for (const name of ['a', 'b', 'a']) await fixture.volume(withMethod('jwt'), { name });
    expect(fixture.logins()).toBe(2);
    await fixture.close();
    await startJwt({ env: () => ({ KEYFERRY_VAULT_JWT_PRINCIPAL: 'serviceAccount' }) });
    for (const name of ['a', 'b']) await fixture.volume(withMethod('jwt'), { name });
    expect(fixture.logins()).toBe(1);
  });

  test('is possible at every mount that is not declared to be of Kubernetes', async () => {
    await startJwt();
    for (const name of ['a', 'b'])
      await fixture.volume({ objects, vaultAuthMountPath: 'k8s-eu' }, { name });
    expect(fixture.logins()).toBe(2);
    for (const name of ['a', 'b'])
      await fixture.volume(withMethod('kubernetes', { vaultAuthMountPath: 'k8s-eu' }), { name });
    expect(fixture.logins()).toBe(3);
  });

  test('does not serve a pod with the forged uid of another one what that one read', async () => {
    await startJwt();
    await fixture.volume(withMethod('jwt'), { name: 'victim' });
    const claims = (podUid: string) => ({
      iss: 'https://kubernetes.default.svc',
      sub: 'system:serviceaccount:team-a:app',
      aud: ['vault'],
      exp: Math.floor(fixture.now() / 1_000) + 600,
      'kubernetes.io': { pod: { uid: podUid }, serviceaccount: { uid: 'sa-uid' } },
    });
    const mountWith = (podUid: string) =>
      fixture.mount(withMethod('jwt'), {
        name: 'thief',
        tokens: { vault: forgedToken(claims(podUid)) },
      });
    expect(await mountWith('uid-victim')).toBe(
      "TOKEN_INVALID: the pod's token for the audience vault is bound to another pod",
    );
    expect(await mountWith('uid-thief')).toMatch(/^CREDENTIALS_REFUSED: .*signature/);
  });

  test.each(['jwt', 'kubernetes'])(
    'refuses a token of another pod of the same account, with the method %s',
    async (method) => {
      await startJwt();
      const tokens = fixture.podToken({ podUid: 'uid-other' });
      expect(await fixture.mount(withMethod(method), { name: 'pod', tokens })).toBe(
        "TOKEN_INVALID: the pod's token for the audience vault is bound to another pod",
      );
      expect(fixture.logins()).toBe(0);
    },
  );
});

describe('a token from the API server', () => {
  const tokenRequestsEnv = () => ({ KEYFERRY_VAULT_TOKEN_REQUESTS: 'true' });
  const tokenRequestCount = (): number =>
    fixture.kubernetes.requests.filter(({ path }) => path.endsWith('/token')).length;

  test('replaces a missing token of the driver: bound to the pod, requested once', async () => {
    await start({ env: tokenRequestsEnv, refreshInterval: 0 });
    const mounts = Array.from({ length: 5 }, () => fixture.mount(objects, { tokens: {} }));
    for (const files of await Promise.all(mounts)) expect(files).toEqual(expectedFiles);
    expect(await fixture.mount(objects, { tokens: {} })).toEqual(expectedFiles);
    expect(tokenRequestCount()).toBe(1);
    expect(fixture.logins()).toBe(1);
    const { spec } = JSON.parse(fixture.kubernetes.requests.at(-1)!.body.toString()) as {
      spec: object;
    };
    expect(spec).toMatchObject({
      audiences: ['vault'],
      boundObjectRef: { kind: 'Pod', name: 'pod-1', uid: 'uid-pod-1' },
    });
  });

  test('gives the same principal as a token of the driver', async () => {
    await start({ env: tokenRequestsEnv });
    await fixture.volume(objects, { name: 'a' });
    await fixture.volume(objects, { name: 'b', tokens: {} });
    expect(fixture.logins()).toBe(1);
  });

  test('is not requested where the driver brings a token, valid or not', async () => {
    await start({ env: tokenRequestsEnv });
    expect(await fixture.mount(objects)).toEqual(expectedFiles);
    expect(
      await fixture.mount(objects, { tokens: fixture.podToken({ serviceAccount: 'other' }) }),
    ).toMatch(/^TOKEN_INVALID/);
    expect(tokenRequestCount()).toBe(0);
  });

  test('is requested again for a new login after 80 % of its life', async () => {
    await start({ env: tokenRequestsEnv, refreshInterval: 0 });
    fixture.auth.kubernetes().role('app', { ttlMs: 1_800_000, maxTtlMs: 1_800_000 });
    await fixture.volume(objects, { tokens: {} });
    await fixture.tick(3_000_000);
    expect(await fixture.mount(objects, { tokens: {} })).toEqual(expectedFiles);
    expect(tokenRequestCount()).toBe(2);
    expect(fixture.logins()).toBe(2);
  });

  test('fails closed', async () => {
    await start({ env: tokenRequestsEnv });
    expect(await fixture.mount(objects, { name: 'gone', tokens: {} })).toMatch(
      /^NOT_GRANTED: .*pods "gone" not found/,
    );
    fixture.kubernetes.deny(true);
    expect(await fixture.mount(objects, { tokens: {} })).toMatch(
      /^ADMISSION_UNAVAILABLE: Keyferry may not create a token of ServiceAccount team-a\/app: .*serviceaccounts\/token/,
    );
    expect(fixture.logins()).toBe(0);
  });
});

describe('the keys of a pod', () => {
  test('can be the ids of an AppRole', async () => {
    await start({ sharedIdentities: 'none' });
    const role = fixture.auth.approle().role('app');
    const [one, two] = [role.secretId(), role.secretId()];
    const mount = (secret: Record<string, string>) =>
      fixture.mount(withMethod('approle'), { secret, tokens: {} });
    expect(await mount({ role_id: role.roleId, secret_id: `${one}\n` })).toEqual(expectedFiles);
    expect(await mount({ role_id: role.roleId, secret_id: one })).toEqual(expectedFiles);
    expect(fixture.logins()).toBe(1);
    // The id of the role alone is not a credential.
    expect(await mount({ role_id: role.roleId, secret_id: 'CANARY-guess' })).toMatch(
      /^CREDENTIALS_REFUSED: .*invalid secret id/,
    );
    expect(await mount({ role_id: role.roleId })).toMatch(/^CREDENTIALS_REFUSED/);
    expect(await mount({ role_id: role.roleId, secret_id: two })).toEqual(expectedFiles);
    for (const secret of [one, two, 'CANARY-guess', role.roleId])
      expect(fixture.lines.join()).not.toContain(secret);
  });

  test('can be a token, which is used without a login', async () => {
    await start({ sharedIdentities: 'none' });
    const token = fixture.tokens.issue({ policies: ['app'] }).id;
    expect(await fixture.mount(withMethod('token'), { secret: { token }, tokens: {} })).toEqual(
      expectedFiles,
    );
    expect(fixture.logins()).toBe(0);
    expect(await fixture.mount(withMethod('token'), { secret: { token: 'hvs.CANARY' } })).toMatch(
      /^CREDENTIALS_REFUSED/,
    );
    expect(fixture.lines.join()).not.toMatch(new RegExp(`${token}|CANARY`));
  });

  test.each([
    ['approle', { roleid: 'x' }, 'has no role_id; give it the keys role_id and secret_id'],
    ['approle', { role_id: ' ' }, 'has no role_id; give it the keys role_id and secret_id'],
    ['token', { Token: 'x' }, 'has no token; give it the key token'],
    ['token', { token: 'x'.repeat(32_769) }, `has a token of more than 32768 ${tooLongMessage}`],
    [
      'approle',
      { role_id: 'x'.repeat(32_769) },
      `has a role_id of more than 32768 ${tooLongMessage}`,
    ],
    ['cert', { token: 'x' }, 'is of no use to it; use approle or token with the keys of the pod'],
  ])(
    '%s: a Secret of other keys is not passed over for a shared identity',
    async (method, secret, expectedText) => {
      await start({
        sharedIdentities: 'all',
        env: (vault, file) => ({
          KEYFERRY_VAULT_ROLE_ID_FILE: file('role-id', vault.auth.approle().role('app').roleId),
          KEYFERRY_VAULT_TOKEN_FILE: file('token', vault.rootToken()),
        }),
      });
      expect(await fixture.mount(withMethod(method), { secret })).toBe(
        `INVALID_REQUEST: vault: authMethod is ${method}, but the Secret of nodePublishSecretRef ${expectedText}`,
      );
    },
  );

  test.each([
    ['approle', 'role_id and secret_id, or set KEYFERRY_VAULT_ROLE_ID_FILE'],
    ['token', 'token, or set KEYFERRY_VAULT_TOKEN_FILE'],
  ])('%s fails without keys of the pod and of the operator', async (method, expectedText) => {
    await start();
    expect(await fixture.mount(withMethod(method))).toMatch(
      /^NOT_CONFIGURED: vault: authMethod is .* the pod has no/,
    );
    expect(await fixture.mount(withMethod(method))).toContain(
      `give the volume a nodePublishSecretRef with ${expectedText}`,
    );
  });
});

describe('the identity of the operator', () => {
  const startWithToken = ({ env, ...options }: VaultFixtureOptions = {}): Promise<void> =>
    start({
      ...options,
      env: (vault, file) => ({
        KEYFERRY_VAULT_TOKEN_FILE: file(
          'token',
          `${vault.tokens.issue({ policies: ['app'] }).id}\n`,
        ),
        ...env?.(vault, file),
      }),
    });
  const token = withMethod('token');

  test('serves what is granted, and no other path, account or method', async () => {
    await startWithToken();
    fixture.pki().role('web');
    expect(await fixture.mount(token, { tokens: {} })).toEqual(expectedFiles);
    expect(await fixture.mount(token, { account: 'other' })).toBe(
      'NOT_GRANTED: vault: service account team-a/other may not read vault/secret/data/db by a shared identity: no grant matches; ' +
        `grant it in ${fixture.grantsFile}, or give the workload an identity of its own`,
    );
    const issue = withMethod('token', {
      objects:
        '- {objectName: c, secretPath: pki/issue/web, method: POST, secretArgs: {common_name: a.example}}',
    });
    expect(await fixture.mount(issue)).toMatch(/^NOT_GRANTED: .*vault\/pki\/issue\/web/);
  });

  test('serves methods other than GET only where the grant lists them, in every mode', async () => {
    const grants = [{ ...grantsForApp[0], names: ['vault/pki/issue/*'] }];
    const issue = withMethod('token', {
      objects:
        '- {objectName: c, secretPath: "pki/issue/web?x=1", method: POST, secretKey: serial_number, secretArgs: {common_name: a.example}}',
    });
    for (const sharedIdentities of ['granted', 'all'] as const) {
      await startWithToken({ grants, sharedIdentities });
      fixture.pki().role('web');
      expect(await fixture.mount(issue)).toMatch(
        /^NOT_GRANTED: .* no grant that matches lists the method POST/,
      );
      await fixture.close();
    }
    await startWithToken({ grants: [{ ...grants[0], methods: ['POST'] }] });
    fixture.pki().role('web');
    expect(await fixture.mount(issue)).toEqual({ c: '00:01' });
  });

  test('matches a grant against the path without its query', async () => {
    const read = (query: string) =>
      fixture.mount(
        withMethod('token', {
          objects: `- {objectName: p, secretPath: "secret/data/db?${query}"}`,
        }),
      );
    await startWithToken({
      grants: [{ ...grantsForApp[0], names: ['vault/secret/data/*-public'] }],
    });
    expect(await read('x=-public')).toMatch(/^NOT_GRANTED/);
    await fixture.close();
    await startWithToken({ grants: [{ ...grantsForApp[0], names: ['vault/secret/data/db'] }] });
    expect(await read('version=1')).toEqual({ p: expect.stringContaining('first') });
  });

  test.each([
    ['granted', 'GET', 'auth/token/lookup-self'],
    ['all', 'GET', 'auth/token/lookup-self'],
    ['all', 'GET', 'v1//auth/token/lookup?x=1'],
    ['all', 'GET', 'team-a/auth/token/lookup-self'],
    ['granted', 'POST', 'auth/token/renew-self'],
    ['all', 'PUT', 'auth/token/revoke'],
  ] as const)(
    'its token itself cannot be granted: %s, %s %s',
    async (sharedIdentities, method, path) => {
      const grants = [{ ...grantsForApp[0], names: ['vault/**'], methods: ['POST', 'PUT'] }];
      await startWithToken({ grants, sharedIdentities });
      const objects = `- {objectName: t, secretPath: "${path}", secretKey: id, method: ${method}}`;
      expect(await fixture.mount(withMethod('token', { objects }))).toMatch(
        /^NOT_GRANTED: vault: .*auth\/token\/.* is about the token it is configured with itself, so no grant allows it/,
      );
      expect(fixture.count()).toBe(0);
    },
  );

  test.each([
    ['address', { vaultAddress: 'https://other.vault.example:8200' }],
    ['namespace', { vaultNamespace: 'team-b' }],
    ['TLS settings', { vaultTLSServerName: 'other.example' }],
    ['auth mount', { vaultAuthMountPath: 'elsewhere' }],
  ])('is not sent to another %s than the configured one', async (setting, extraParameters) => {
    await startWithToken({
      sharedIdentities: 'all',
      env: () => ({ KEYFERRY_VAULT_ALLOWED_ADDRESSES: 'other.vault.example:8200' }),
    });
    const before = fixture.count();
    expect(await fixture.mount({ ...token, ...extraParameters })).toMatch(
      new RegExp(`^NOT_ALLOWED_FROM_CLASS: vault: the class names ${setting} other than`),
    );
    expect(fixture.count()).toBe(before);
  });

  test('is sent to the configured address where the class names it, too', async () => {
    await startWithToken();
    const connection = {
      vaultAddress: `${fixture.node.address}/`,
      vaultCACertPath: fixture.caFile,
    };
    expect(await fixture.mount({ ...token, ...connection })).toEqual(expectedFiles);
  });

  test('serves no workload where shared identities are off', async () => {
    await startWithToken({ sharedIdentities: 'none' });
    expect(await fixture.mount(token)).toMatch(/^NOT_GRANTED: .*--shared-identities none/);
  });

  test('can be an AppRole in files', async () => {
    await start({
      env: (vault, file) => {
        const role = vault.auth.approle('roles').role('app');
        return {
          KEYFERRY_VAULT_ROLE_ID_FILE: file('role-id', `${role.roleId}\n`),
          KEYFERRY_VAULT_SECRET_ID_FILE: file('secret-id', role.secretId()),
          KEYFERRY_VAULT_APPROLE_MOUNT: 'roles',
        };
      },
    });
    expect(await fixture.mount(withMethod('approle'), { tokens: {} })).toEqual(expectedFiles);
    expect(await fixture.mount(withMethod('approle'), { account: 'other' })).toMatch(
      /^NOT_GRANTED/,
    );
    expect(fixture.logins()).toBe(1);
  });

  const withCertificate = (grants: readonly object[]): Promise<void> =>
    start({
      grants,
      env: (vault, file) => {
        const { cert, key } = vault.authority.issue();
        const method = vault.auth.cert();
        for (const role of ['nodes', 'admin']) method.role(role, { ca: vault.ca });
        return { VAULT_CLIENT_CERT: file('c.crt', cert), VAULT_CLIENT_KEY: file('c.key', key) };
      },
    });

  test('can be a client certificate; a grant names the role that the class names', async () => {
    await withCertificate([{ ...grantsForApp[0], roles: ['nodes'] }]);
    const byRole = (roleName: string) => fixture.mount(withMethod('cert', { roleName }));
    expect(await byRole('nodes')).toEqual(expectedFiles);
    expect(await byRole('admin')).toMatch(/^NOT_GRANTED: .*lists the role admin/);
    expect(await byRole('')).toEqual(expectedFiles);
  });

  test('does not give the certificate to a class that names its mount as another method', async () => {
    await withCertificate([]);
    for (const [method, secret] of [
      ['kubernetes', undefined],
      ['jwt', undefined],
      ['approle', { role_id: 'nodes' }],
    ] as const) {
      const extraParameters = { roleName: 'nodes', vaultAuthMountPath: 'cert' };
      expect(
        await fixture.mount(withMethod(method, extraParameters), {
          account: 'other',
          ...(secret && { secret }),
        }),
      ).toMatch(
        /^CREDENTIALS_REFUSED: Vault logged in .* as another identity: the mount is not of the method/,
      );
    }
    expect(fixture.count(/^GET .v1.secret/)).toBe(0);
  });

  test('does not give the certificate to a login whose response is a file', async () => {
    await withCertificate([]);
    const objects = '- {objectName: token, secretPath: auth/cert/login, method: POST}';
    expect(await fixture.mount(objects)).toMatch(
      /^NOT_ALLOWED_FROM_CLASS: secretPath of item 1 is a login, and Vault could take the client certificate/,
    );
    expect(fixture.count()).toBe(0);
  });

  test('fails for the method cert without a client certificate', async () => {
    await start();
    expect(await fixture.mount(withMethod('cert'))).toMatch(
      /^NOT_CONFIGURED: vault: authMethod is cert, but Keyferry has no client certificate/,
    );
  });

  test('can be an Agent that logs in by itself at the configured socket: no token is sent', async () => {
    await start({ socket: true });
    await fixture.mount(token);
    expect(fixture.node.requests.map(({ headers }) => headers['x-vault-token'])).toEqual([
      undefined,
    ]);
    expect(await fixture.mount(token, { account: 'other' })).toMatch(/^NOT_GRANTED/);
    expect(fixture.node.requests).toHaveLength(1);
  });

  test('fails with the name of a file that is missing or empty', async () => {
    const file = missingPath();
    await start({ env: () => ({ KEYFERRY_VAULT_TOKEN_FILE: file }) });
    expect(await fixture.mount(token)).toBe(
      `NOT_CONFIGURED: there is no token in ${file}; mount the file into the pod of Keyferry`,
    );
  });
});
