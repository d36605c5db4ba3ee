import { writeFileSync } from 'node:fs';
import { afterEach, describe, expect, test } from '@jest/globals';
import {
  appRole,
  grantsForApp,
  production,
  providerRole,
  staging,
  startAlibabaFixture,
  type AlibabaFixture,
  type AlibabaFixtureOptions,
} from '../../../test/fakes/alibabacloud-fixture.ts';

let fixture: AlibabaFixture;

async function start(options: AlibabaFixtureOptions = {}): Promise<void> {
  fixture = await startAlibabaFixture(options);
  fixture.kms.put('db', 'first');
}
afterEach(() => fixture.close());

const objects = '- objectName: db';
const podClass = { objects, usePodServiceAccountToken: 'true' };
const crossAccount = (...roles: readonly string[]): string =>
  roles
    .map(
      (role, index) => `- {objectName: db, objectAlias: f${index}, crossAccountRoleArn: "${role}"}`,
    )
    .join('\n');
const grantsWithRole = [{ ...grantsForApp[0], roles: [staging] }];

describe("the pod's own role", () => {
  test('serves where the class asks for it: the role of the annotation, by a session that names the pod', async () => {
    await start({ sharedIdentities: 'none' });
    expect(await fixture.mount(podClass, { tokens: fixture.podToken() })).toEqual({ db: 'first' });
    expect(fixture.readers()).toEqual([appRole]);
    expect(fixture.sts.sessions).toEqual([`AssumeRoleWithOIDC ${appRole} as team-a.app for 3600`]);
  });

  test('the token is in the body, never in an address, and never in the log', async () => {
    await start();
    const tokens = fixture.podToken();
    await fixture.mount(podClass, { tokens });
    expect(fixture.sts.requests.map(({ query }) => query).join()).not.toContain('OIDCToken');
    expect(fixture.lines.join()).not.toContain(tokens['sts.aliyuncs.com']);
  });

  test('one login and one read serve all pods of the account; another account has its own', async () => {
    await start();
    for (const name of ['a', 'b', 'c'])
      await fixture.volume(podClass, { name, tokens: fixture.podToken() });
    expect(fixture.sts.sessions).toHaveLength(1);
    expect(fixture.kms.count()).toBe(1);
    fixture.annotate(appRole, 'team-b/app');
    const other = { name: 'd', namespace: 'team-b', tokens: fixture.podToken('team-b') };
    expect(await fixture.mount(podClass, other)).toMatch(
      /^CREDENTIALS_REFUSED: .*AuthenticationFail.NoPermission/,
    );
  });

  describe('fails closed, though a shared identity would be granted', () => {
    afterEach(() => expect(fixture.kms.count()).toBe(0));

    test('without the annotation: what to write, and where', async () => {
      await start();
      fixture.annotate(undefined);
      expect(await fixture.mount(podClass, { tokens: fixture.podToken() })).toBe(
        'NOT_GRANTED: alibabacloud: ServiceAccount team-a/app has no role: its annotation ack.alibabacloud.com/role-arn is missing; ' +
          'annotate it with ack.alibabacloud.com/role-arn: acs:ram::<account id>:role/<name>',
      );
    });

    test('with an annotation that is no ARN', async () => {
      await start();
      fixture.annotate('app');
      expect(await fixture.mount(podClass, { tokens: fixture.podToken() })).toContain(
        'is no ARN of a RAM role: app',
      );
    });

    test('without any token', async () => {
      await start();
      expect(await fixture.mount(podClass)).toBe(
        'TOKEN_MISSING: the driver brought no token for the audience sts.aliyuncs.com, nor any other; ' +
          'add "- audience: sts.aliyuncs.com" to tokenRequests in the values of the driver\'s chart',
      );
    });

    test('with tokens for other audiences only', async () => {
      await start();
      expect(
        await fixture.mount(podClass, {
          tokens: { 'sts.amazonaws.com': fixture.mint('team-a', 'app') },
        }),
      ).toMatch(/^TOKEN_MISSING: .*only for sts\.amazonaws\.com/);
    });

    test.each([
      [
        'of another account',
        (): string => fixture.mint('team-a', 'plain'),
        'belongs to system:serviceaccount:team-a:plain',
      ],
      ['that has ended', (): string => fixture.mint('team-a', 'app', -60_000), 'expired at'],
      ['that is none', (): string => 'x.y.z', 'is no ServiceAccount token'],
    ])('with a token %s', async (_, token, fault) => {
      await start();
      const line = await fixture.mount(podClass, { tokens: { 'sts.aliyuncs.com': token() } });
      expect(line).toMatch(/^TOKEN_INVALID/);
      expect(line).toContain(fault);
    });

    test('without an OIDC provider: the variables to set', async () => {
      await start({ env: { ALICLOUD_OIDC_PROVIDER_ARN: '' } });
      expect(await fixture.mount(podClass, { tokens: fixture.podToken() })).toMatch(
        /^NOT_CONFIGURED: .*set ALICLOUD_OIDC_PROVIDER_ARN, or ALICLOUD_ACCOUNT_ID and ALICLOUD_CLUSTER_ID/,
      );
    });

    test('without an answer of the API server', async () => {
      await start();
      fixture.kubernetes.deny(true);
      expect(await fixture.mount(podClass, { tokens: fixture.podToken() })).toMatch(
        /^ADMISSION_UNAVAILABLE: .*serviceaccounts/,
      );
    });

    test('with a role that does not trust the account', async () => {
      await start();
      fixture.annotate(providerRole);
      expect(await fixture.mount(podClass, { tokens: fixture.podToken() })).toMatch(
        /^CREDENTIALS_REFUSED: .*AuthenticationFail.NoPermission/,
      );
    });

    test.each(['yes', 'ture', ''])(
      'with usePodServiceAccountToken %j',
      async (usePodServiceAccountToken) => {
        await start();
        expect(
          await fixture.mount(
            { objects, usePodServiceAccountToken },
            { tokens: fixture.podToken() },
          ),
        ).toMatch(/^INVALID_CLASS: usePodServiceAccountToken is neither/);
      },
    );
  });

  test('another role in the annotation is another principal, at once for new pods', async () => {
    await start();
    await fixture.volume(podClass, { name: 'a', tokens: fixture.podToken() });
    fixture.annotate(providerRole);
    expect(await fixture.mount(podClass, { name: 'b', tokens: fixture.podToken() })).toMatch(
      /^CREDENTIALS_REFUSED/,
    );
  });

  test('comes before keys that the pod brings', async () => {
    await start();
    const { accessKeyId, accessKeySecret } = fixture.account.issueKeys();
    const secret = { access_key: accessKeyId, access_secret: accessKeySecret };
    await fixture.volume(podClass, { tokens: fixture.podToken(), secret });
    expect(fixture.readers()).toEqual([appRole]);
  });
});

describe('keys of nodePublishSecretRef', () => {
  const bring = (holder = 'user-of-pod', lifeMs?: number): Record<string, string> => {
    const keys = fixture.account.issueKeys({ holder, ...(lifeMs !== undefined && { lifeMs }) });
    return {
      access_key: keys.accessKeyId,
      Access_Secret: keys.accessKeySecret,
      ...(keys.securityToken !== undefined && { SECURITY_TOKEN: keys.securityToken }),
    };
  };

  test('serve their pod, in any letter case, without a grant', async () => {
    await start({ sharedIdentities: 'none' });
    expect(await fixture.mount(objects, { secret: bring() })).toEqual({ db: 'first' });
    expect(fixture.readers()).toEqual(['user-of-pod']);
  });

  test('of a session, with its token', async () => {
    await start({ sharedIdentities: 'none' });
    expect(await fixture.mount(objects, { secret: bring('session', 3_600_000) })).toEqual({
      db: 'first',
    });
    expect(fixture.readers()).toEqual(['session']);
  });

  test.each([
    ['the role of the provider', { ALICLOUD_ROLE_ARN: providerRole }],
    [
      'a role by keys',
      {
        ALICLOUD_ROLE_ARN: providerRole,
        ALICLOUD_OIDC_PROVIDER_ARN: '',
        ACCESS_KEY_ID: 'i',
        SECRET_ACCESS_KEY: 's',
      },
    ],
    ['static keys', { ACCESS_KEY_ID: 'i', SECRET_ACCESS_KEY: 's' }],
    ['the role of the node', {}],
  ])('are never replaced by %s, which may be stronger', async (_, env) => {
    await start({ env, sharedIdentities: 'all' });
    await fixture.volume(objects, { secret: bring() });
    expect(fixture.readers()).toEqual(['user-of-pod']);
  });

  test('of one pod never serve another', async () => {
    await start();
    const secret = bring();
    await fixture.volume(objects, { name: 'a', secret });
    expect(
      await fixture.mount(objects, { name: 'b', secret: { ...secret, Access_Secret: 'guessed' } }),
    ).toMatch(/^CREDENTIALS_REFUSED/);
    fixture.kms.denied.add('db by stranger');
    expect(await fixture.mount(objects, { name: 'c', secret: bring('stranger') })).toMatch(
      /^ACCESS_DENIED/,
    );
    expect(await fixture.mount(objects, { name: 'd', account: 'plain' })).toMatch(/^NOT_GRANTED/);
  });

  test('a wrong key is not followed by another identity', async () => {
    await start({ sharedIdentities: 'all' });
    expect(
      await fixture.mount(objects, { secret: { access_key: 'LTAIx', access_secret: 'x' } }),
    ).toMatch(/^CREDENTIALS_REFUSED: .*the access key of nodePublishSecretRef/);
    expect(fixture.readers()).toEqual([]);
  });

  test.each([
    [{ access_key: 'a' }, 'has no access_secret'],
    [{ access_secret: 'a' }, 'has no access_key'],
    [{ accessKey: 'a', accessSecret: 'b' }, 'has no access_key'],
    [{ access_key: '', access_secret: 'b' }, 'has no access_key'],
    [
      { access_key: 'a', ACCESS_KEY: 'b', access_secret: 'c' },
      'has both access_key and ACCESS_KEY, which differ',
    ],
  ])(
    '%j is an error, and turns no other identity on',
    async (secret: Record<string, string>, fault) => {
      await start({ sharedIdentities: 'all' });
      expect(await fixture.mount(objects, { secret })).toMatch(
        `INVALID_REQUEST: alibabacloud: the Secret of nodePublishSecretRef ${fault}`,
      );
      expect(fixture.kms.count()).toBe(0);
    },
  );
});

describe('what the operator configured', () => {
  test.each([
    [
      'the role of the provider, by its own token',
      (): Record<string, string> => ({
        ALICLOUD_ROLE_ARN: providerRole,
        ACCESS_KEY_ID: 'i',
        SECRET_ACCESS_KEY: 's',
      }),
      providerRole,
      [`AssumeRoleWithOIDC ${providerRole} as csi-secrets-store-provider-alibaba for 3600`],
    ],
    ['the role of the node', (): Record<string, string> => ({}), 'worker', []],
  ])('%s serves what is granted, and nothing else', async (_, env, holder, sessions) => {
    await start({ env: env() });
    expect(await fixture.mount(objects)).toEqual({ db: 'first' });
    expect(fixture.readers()).toEqual([holder]);
    expect(fixture.sts.sessions).toEqual(sessions);
    expect(await fixture.mount(objects, { name: 'b', account: 'plain' })).toMatch(
      /^NOT_GRANTED: alibabacloud: service account team-a\/plain may not read kms\/db by a shared identity: no grant matches/,
    );
    expect(await fixture.mount(objects, { name: 'c', namespace: 'team-b' })).toMatch(
      /^NOT_GRANTED/,
    );
    expect(fixture.kms.count()).toBe(1);
  });

  test('keys assume a role where there is one', async () => {
    const env = {
      ALICLOUD_OIDC_PROVIDER_ARN: '',
      ALICLOUD_ROLE_ARN: providerRole,
      ALICLOUD_ROLE_SESSION_EXPIRATION: '900',
      ALICLOUD_ROLE_SESSION_NAME: 'mine',
    };
    await start({ keys: true, env });
    expect(await fixture.mount(objects)).toEqual({ db: 'first' });
    expect(fixture.readers()).toEqual([providerRole]);
    expect(fixture.sts.sessions).toEqual([`AssumeRole ${providerRole} as mine for 900`]);
    expect(await fixture.mount(objects, { name: 'b', account: 'plain' })).toMatch(/^NOT_GRANTED/);
  });

  test('keys alone serve by themselves', async () => {
    await start({ keys: true });
    expect(await fixture.mount(objects)).toEqual({ db: 'first' });
    expect(fixture.readers()).toEqual(['user']);
    expect(await fixture.mount(objects, { name: 'b', account: 'plain' })).toMatch(/^NOT_GRANTED/);
  });

  test('usePodServiceAccountToken "false" gains nothing', async () => {
    await start({ grants: [] });
    const line = await fixture.mount(
      { objects, usePodServiceAccountToken: 'false' },
      { tokens: fixture.podToken() },
    );
    expect(line).toMatch(
      /^NOT_GRANTED: .*grant it in .*grants\.yaml, or give the workload an identity of its own/,
    );
  });

  test('all objects must be granted, ARNs as they stand', async () => {
    const arn = 'acs:kms:cn-hangzhou:1234567890:secret/db';
    await start({
      grants: [
        { ...grantsForApp[0], names: ['kms/db', 'kms/acs:kms:cn-hangzhou:1234567890:secret/*'] },
      ],
    });
    fixture.kms.put(arn, 'by ARN');
    expect(
      await fixture.mount(`- objectName: db\n- {objectName: "${arn}", objectAlias: arn}`),
    ).toEqual({
      db: 'first',
      arn: 'by ARN',
    });
    expect(
      await fixture.mount('- objectName: db\n- {objectName: db, objectType: oos, objectAlias: o}'),
    ).toMatch(/^NOT_GRANTED: .*oos\/db/);
  });

  test('--shared-identities all serves every secret, none serves nothing', async () => {
    await start({ sharedIdentities: 'all', grants: [] });
    expect(await fixture.mount(objects, { account: 'plain' })).toEqual({ db: 'first' });
    await fixture.close();
    await start({ sharedIdentities: 'none' });
    expect(await fixture.mount(objects)).toMatch(/^NOT_GRANTED: .*--shared-identities none/);
  });

  test('a token of the provider that is missing turns no other identity on', async () => {
    await start({ env: { ALICLOUD_ROLE_ARN: providerRole } });
    writeFileSync(fixture.tokenFile, '');
    expect(await fixture.mount(objects)).toMatch(
      /^NOT_CONFIGURED: .*there is no token in .*ALICLOUD_OIDC_TOKEN_FILE/,
    );
    expect(fixture.kms.count()).toBe(0);
    writeFileSync(fixture.tokenFile, fixture.mint('keyferry', 'keyferry'));
    expect(await fixture.mount(objects)).toEqual({ db: 'first' });
  });
});

describe('crossAccountRoleArn', () => {
  test("on top of the pod's role: the store decides; two roles are two principals", async () => {
    await start({ sharedIdentities: 'none' });
    const parameters = {
      objects: crossAccount(staging, production),
      usePodServiceAccountToken: 'true',
    };
    expect(await fixture.mount(parameters, { tokens: fixture.podToken() })).toEqual({
      f0: 'first',
      f1: 'first',
    });
    expect(fixture.readers().sort()).toEqual([staging, production]);
    expect(fixture.sts.sessions).toEqual(
      expect.arrayContaining([
        `AssumeRole ${staging} as csi-secrets-store-cross-account for 3600`,
        `AssumeRole ${production} as csi-secrets-store-cross-account for 3600`,
      ]),
    );
  });

  test('on top of keys the pod brings, for KMS and OOS', async () => {
    await start({ sharedIdentities: 'none' });
    fixture.oos.put('banner', 'hello');
    const keys = fixture.account.issueKeys();
    const secret = { access_key: keys.accessKeyId, access_secret: keys.accessKeySecret };
    const both = `${crossAccount(staging)}\n- {objectName: banner, objectType: oos, crossAccountRoleArn: "${staging}"}`;
    expect(await fixture.mount(both, { secret })).toEqual({ f0: 'first', banner: 'hello' });
    expect(fixture.sts.sessions).toHaveLength(1);
  });

  test.each(['granted', 'all'] as const)(
    'on top of a shared identity only where the grant lists it (%s)',
    async (sharedIdentities) => {
      await start({ grants: grantsWithRole, sharedIdentities });
      expect(await fixture.mount(crossAccount(staging))).toEqual({ f0: 'first' });
      expect(fixture.readers()).toEqual([staging]);
      expect(await fixture.mount(crossAccount(production), { name: 'b' })).toMatch(
        new RegExp(`^NOT_GRANTED: .*no grant that matches lists the role ${production}`),
      );
      expect(fixture.sts.sessions).toHaveLength(1);
    },
  );

  test('what was read for a role serves nobody without it', async () => {
    await start({ grants: grantsWithRole });
    fixture.kms.denied.add('db by worker');
    expect(await fixture.mount(crossAccount(staging), { name: 'a' })).toEqual({ f0: 'first' });
    expect(await fixture.mount(objects, { name: 'b' })).toMatch(/^ACCESS_DENIED/);
  });
});

test('a volume that was served under the own identity is never served under a shared one', async () => {
  await start();
  const pod = { tokens: fixture.podToken(), attributes: { usePodServiceAccountToken: 'true' } };
  expect(await fixture.mount(objects, pod)).toEqual({ db: 'first' });
  // Drivers up to 1.5 drop the pod's attributes at rotation.
  expect(await fixture.mount(objects, { ...pod, occasion: 'rotation' })).toMatch(
    /^IDENTITY_DOWNGRADE/,
  );
});

describe('the region', () => {
  test('that nobody names is asked of the node, once', async () => {
    await start();
    for (const name of ['a', 'b'])
      await fixture.volume(`- {objectName: db, objectAlias: ${name}}`, { name });
    expect(fixture.metadata.count('GET /latest/meta-data/region-id')).toBe(1);
  });

  test.each([
    [{ objects, region: 'cn-hangzhou' }, {}],
    [{ objects }, { ALICLOUD_REGION: 'cn-hangzhou' }],
    [{ objects: '- {objectName: "acs:kms:cn-hangzhou:1:secret/db", objectAlias: db}' }, {}],
  ])('of %j with %j needs no node', async (parameters, env) => {
    await start({ env });
    fixture.kms.put('acs:kms:cn-hangzhou:1:secret/db', 'first');
    expect(await fixture.mount(parameters)).toEqual({ db: 'first' });
    expect(fixture.metadata.count(/region-id/)).toBe(0);
  });

  test('that nobody knows is an error, and never cn-hangzhou', async () => {
    await start();
    fixture.metadata.injectFault({ route: /region-id/, response: { status: 404 } });
    expect(await fixture.mount(objects)).toMatch(
      /^NOT_CONFIGURED: .*region.*set the parameter region/,
    );
    expect(fixture.kms.count()).toBe(0);
    fixture.metadata.injectFault();
    expect(await fixture.mount(objects)).toEqual({ db: 'first' });
  });
});

test('no key and no token is ever logged', async () => {
  await start({ env: { ALICLOUD_ROLE_ARN: providerRole } });
  const keys = fixture.account.issueKeys();
  await fixture.mount(objects, {
    secret: { access_key: keys.accessKeyId, access_secret: keys.accessKeySecret },
  });
  await fixture.mount(objects, { name: 'b', tokens: fixture.podToken() });
  expect(fixture.lines.join()).not.toContain(keys.accessKeySecret);
  expect(fixture.lines.join()).not.toContain(keys.accessKeyId);
});
