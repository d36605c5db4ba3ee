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

let rig: AlibabaFixture;

async function start(options: AlibabaFixtureOptions = {}): Promise<void> {
  rig = await startAlibabaFixture(options);
  rig.kms.put('db', 'first');
}
afterEach(() => rig.close());

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
    expect(await rig.mount(podClass, { tokens: rig.podToken() })).toEqual({ db: 'first' });
    expect(rig.readers()).toEqual([appRole]);
    expect(rig.sts.sessions).toEqual([`AssumeRoleWithOIDC ${appRole} as team-a.app for 3600`]);
  });

  test('the token is in the body, never in an address, and never in the log', async () => {
    await start();
    const tokens = rig.podToken();
    await rig.mount(podClass, { tokens });
    expect(rig.sts.requests.map(({ query }) => query).join()).not.toContain('OIDCToken');
    expect(rig.lines.join()).not.toContain(tokens['sts.aliyuncs.com']);
  });

  test('one login and one read serve all pods of the account; another account has its own', async () => {
    await start();
    for (const name of ['a', 'b', 'c'])
      await rig.volume(podClass, { name, tokens: rig.podToken() });
    expect(rig.sts.sessions).toHaveLength(1);
    expect(rig.kms.count()).toBe(1);
    rig.annotate(appRole, 'team-b/app');
    const other = { name: 'd', namespace: 'team-b', tokens: rig.podToken('team-b') };
    expect(await rig.mount(podClass, other)).toMatch(
      /^CREDENTIALS_REFUSED: .*AuthenticationFail.NoPermission/,
    );
  });

  describe('fails closed, though a shared identity would be granted', () => {
    afterEach(() => expect(rig.kms.count()).toBe(0));

    test('without the annotation: what to write, and where', async () => {
      await start();
      rig.annotate(undefined);
      expect(await rig.mount(podClass, { tokens: rig.podToken() })).toBe(
        'NOT_GRANTED: alibabacloud: ServiceAccount team-a/app has no role: its annotation ack.alibabacloud.com/role-arn is missing; ' +
          'annotate it with ack.alibabacloud.com/role-arn: acs:ram::<account id>:role/<name>',
      );
    });

    test('with an annotation that is no ARN', async () => {
      await start();
      rig.annotate('app');
      expect(await rig.mount(podClass, { tokens: rig.podToken() })).toContain(
        'is no ARN of a RAM role: app',
      );
    });

    test('without any token', async () => {
      await start();
      expect(await rig.mount(podClass)).toBe(
        'TOKEN_MISSING: the driver brought no token for the audience sts.aliyuncs.com, nor any other; ' +
          'add "- audience: sts.aliyuncs.com" to tokenRequests in the values of the driver\'s chart',
      );
    });

    test('with tokens for other audiences only', async () => {
      await start();
      expect(
        await rig.mount(podClass, { tokens: { 'sts.amazonaws.com': rig.mint('team-a', 'app') } }),
      ).toMatch(/^TOKEN_MISSING: .*only for sts\.amazonaws\.com/);
    });

    test.each([
      [
        'of another account',
        (): string => rig.mint('team-a', 'plain'),
        'belongs to system:serviceaccount:team-a:plain',
      ],
      ['that has ended', (): string => rig.mint('team-a', 'app', -60_000), 'expired at'],
      ['that is none', (): string => 'x.y.z', 'is no ServiceAccount token'],
    ])('with a token %s', async (_, token, fault) => {
      await start();
      const line = await rig.mount(podClass, { tokens: { 'sts.aliyuncs.com': token() } });
      expect(line).toMatch(/^TOKEN_INVALID/);
      expect(line).toContain(fault);
    });

    test('without an OIDC provider: the variables to set', async () => {
      await start({ env: { ALICLOUD_OIDC_PROVIDER_ARN: '' } });
      expect(await rig.mount(podClass, { tokens: rig.podToken() })).toMatch(
        /^NOT_CONFIGURED: .*set ALICLOUD_OIDC_PROVIDER_ARN, or ALICLOUD_ACCOUNT_ID and ALICLOUD_CLUSTER_ID/,
      );
    });

    test('without an answer of the API server', async () => {
      await start();
      rig.kubernetes.deny(true);
      expect(await rig.mount(podClass, { tokens: rig.podToken() })).toMatch(
        /^ADMISSION_UNAVAILABLE: .*serviceaccounts/,
      );
    });

    test('with a role that does not trust the account', async () => {
      await start();
      rig.annotate(providerRole);
      expect(await rig.mount(podClass, { tokens: rig.podToken() })).toMatch(
        /^CREDENTIALS_REFUSED: .*AuthenticationFail.NoPermission/,
      );
    });

    test.each(['yes', 'ture', ''])(
      'with usePodServiceAccountToken %j',
      async (usePodServiceAccountToken) => {
        await start();
        expect(
          await rig.mount({ objects, usePodServiceAccountToken }, { tokens: rig.podToken() }),
        ).toMatch(/^INVALID_CLASS: usePodServiceAccountToken is neither/);
      },
    );
  });

  test('another role in the annotation is another principal, at once for new pods', async () => {
    await start();
    await rig.volume(podClass, { name: 'a', tokens: rig.podToken() });
    rig.annotate(providerRole);
    expect(await rig.mount(podClass, { name: 'b', tokens: rig.podToken() })).toMatch(
      /^CREDENTIALS_REFUSED/,
    );
  });

  test('comes before keys that the pod brings', async () => {
    await start();
    const { accessKeyId, accessKeySecret } = rig.account.issueKeys();
    const secret = { access_key: accessKeyId, access_secret: accessKeySecret };
    await rig.volume(podClass, { tokens: rig.podToken(), secret });
    expect(rig.readers()).toEqual([appRole]);
  });
});

describe('keys of nodePublishSecretRef', () => {
  const bring = (holder = 'user-of-pod', lifeMs?: number): Record<string, string> => {
    const keys = rig.account.issueKeys({ holder, ...(lifeMs !== undefined && { lifeMs }) });
    return {
      access_key: keys.accessKeyId,
      Access_Secret: keys.accessKeySecret,
      ...(keys.securityToken !== undefined && { SECURITY_TOKEN: keys.securityToken }),
    };
  };

  test('serve their pod, in any letter case, without a grant', async () => {
    await start({ sharedIdentities: 'none' });
    expect(await rig.mount(objects, { secret: bring() })).toEqual({ db: 'first' });
    expect(rig.readers()).toEqual(['user-of-pod']);
  });

  test('of a session, with its token', async () => {
    await start({ sharedIdentities: 'none' });
    expect(await rig.mount(objects, { secret: bring('session', 3_600_000) })).toEqual({
      db: 'first',
    });
    expect(rig.readers()).toEqual(['session']);
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
    await rig.volume(objects, { secret: bring() });
    expect(rig.readers()).toEqual(['user-of-pod']);
  });

  test('of one pod never serve another', async () => {
    await start();
    const secret = bring();
    await rig.volume(objects, { name: 'a', secret });
    expect(
      await rig.mount(objects, { name: 'b', secret: { ...secret, Access_Secret: 'guessed' } }),
    ).toMatch(/^CREDENTIALS_REFUSED/);
    rig.kms.denied.add('db by stranger');
    expect(await rig.mount(objects, { name: 'c', secret: bring('stranger') })).toMatch(
      /^ACCESS_DENIED/,
    );
    expect(await rig.mount(objects, { name: 'd', account: 'plain' })).toMatch(/^NOT_GRANTED/);
  });

  test('a wrong key is not followed by another identity', async () => {
    await start({ sharedIdentities: 'all' });
    expect(
      await rig.mount(objects, { secret: { access_key: 'LTAIx', access_secret: 'x' } }),
    ).toMatch(/^CREDENTIALS_REFUSED: .*the access key of nodePublishSecretRef/);
    expect(rig.readers()).toEqual([]);
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
      expect(await rig.mount(objects, { secret })).toMatch(
        `INVALID_REQUEST: alibabacloud: the Secret of nodePublishSecretRef ${fault}`,
      );
      expect(rig.kms.count()).toBe(0);
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
    expect(await rig.mount(objects)).toEqual({ db: 'first' });
    expect(rig.readers()).toEqual([holder]);
    expect(rig.sts.sessions).toEqual(sessions);
    expect(await rig.mount(objects, { name: 'b', account: 'plain' })).toMatch(
      /^NOT_GRANTED: alibabacloud: service account team-a\/plain may not read kms\/db by a shared identity: no grant matches/,
    );
    expect(await rig.mount(objects, { name: 'c', namespace: 'team-b' })).toMatch(/^NOT_GRANTED/);
    expect(rig.kms.count()).toBe(1);
  });

  test('keys assume a role where there is one', async () => {
    const env = {
      ALICLOUD_OIDC_PROVIDER_ARN: '',
      ALICLOUD_ROLE_ARN: providerRole,
      ALICLOUD_ROLE_SESSION_EXPIRATION: '900',
      ALICLOUD_ROLE_SESSION_NAME: 'mine',
    };
    await start({ keys: true, env });
    expect(await rig.mount(objects)).toEqual({ db: 'first' });
    expect(rig.readers()).toEqual([providerRole]);
    expect(rig.sts.sessions).toEqual([`AssumeRole ${providerRole} as mine for 900`]);
    expect(await rig.mount(objects, { name: 'b', account: 'plain' })).toMatch(/^NOT_GRANTED/);
  });

  test('keys alone serve by themselves', async () => {
    await start({ keys: true });
    expect(await rig.mount(objects)).toEqual({ db: 'first' });
    expect(rig.readers()).toEqual(['user']);
    expect(await rig.mount(objects, { name: 'b', account: 'plain' })).toMatch(/^NOT_GRANTED/);
  });

  test('usePodServiceAccountToken "false" gains nothing', async () => {
    await start({ grants: [] });
    const line = await rig.mount(
      { objects, usePodServiceAccountToken: 'false' },
      { tokens: rig.podToken() },
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
    rig.kms.put(arn, 'by ARN');
    expect(await rig.mount(`- objectName: db\n- {objectName: "${arn}", objectAlias: arn}`)).toEqual(
      {
        db: 'first',
        arn: 'by ARN',
      },
    );
    expect(
      await rig.mount('- objectName: db\n- {objectName: db, objectType: oos, objectAlias: o}'),
    ).toMatch(/^NOT_GRANTED: .*oos\/db/);
  });

  test('--shared-identities all serves every secret, none serves nothing', async () => {
    await start({ sharedIdentities: 'all', grants: [] });
    expect(await rig.mount(objects, { account: 'plain' })).toEqual({ db: 'first' });
    await rig.close();
    await start({ sharedIdentities: 'none' });
    expect(await rig.mount(objects)).toMatch(/^NOT_GRANTED: .*--shared-identities none/);
  });

  test('a token of the provider that is missing turns no other identity on', async () => {
    await start({ env: { ALICLOUD_ROLE_ARN: providerRole } });
    writeFileSync(rig.tokenFile, '');
    expect(await rig.mount(objects)).toMatch(
      /^NOT_CONFIGURED: .*there is no token in .*ALICLOUD_OIDC_TOKEN_FILE/,
    );
    expect(rig.kms.count()).toBe(0);
    writeFileSync(rig.tokenFile, rig.mint('keyferry', 'keyferry'));
    expect(await rig.mount(objects)).toEqual({ db: 'first' });
  });
});

describe('crossAccountRoleArn', () => {
  test("on top of the pod's role: the store decides; two roles are two principals", async () => {
    await start({ sharedIdentities: 'none' });
    const parameters = {
      objects: crossAccount(staging, production),
      usePodServiceAccountToken: 'true',
    };
    expect(await rig.mount(parameters, { tokens: rig.podToken() })).toEqual({
      f0: 'first',
      f1: 'first',
    });
    expect(rig.readers().sort()).toEqual([staging, production]);
    expect(rig.sts.sessions).toEqual(
      expect.arrayContaining([
        `AssumeRole ${staging} as csi-secrets-store-cross-account for 3600`,
        `AssumeRole ${production} as csi-secrets-store-cross-account for 3600`,
      ]),
    );
  });

  test('on top of keys the pod brings, for KMS and OOS', async () => {
    await start({ sharedIdentities: 'none' });
    rig.oos.put('banner', 'hello');
    const keys = rig.account.issueKeys();
    const secret = { access_key: keys.accessKeyId, access_secret: keys.accessKeySecret };
    const both = `${crossAccount(staging)}\n- {objectName: banner, objectType: oos, crossAccountRoleArn: "${staging}"}`;
    expect(await rig.mount(both, { secret })).toEqual({ f0: 'first', banner: 'hello' });
    expect(rig.sts.sessions).toHaveLength(1);
  });

  test.each(['granted', 'all'] as const)(
    'on top of a shared identity only where the grant lists it (%s)',
    async (sharedIdentities) => {
      await start({ grants: grantsWithRole, sharedIdentities });
      expect(await rig.mount(crossAccount(staging))).toEqual({ f0: 'first' });
      expect(rig.readers()).toEqual([staging]);
      expect(await rig.mount(crossAccount(production), { name: 'b' })).toMatch(
        new RegExp(`^NOT_GRANTED: .*no grant that matches lists the role ${production}`),
      );
      expect(rig.sts.sessions).toHaveLength(1);
    },
  );

  test('what was read for a role serves nobody without it', async () => {
    await start({ grants: grantsWithRole });
    rig.kms.denied.add('db by worker');
    expect(await rig.mount(crossAccount(staging), { name: 'a' })).toEqual({ f0: 'first' });
    expect(await rig.mount(objects, { name: 'b' })).toMatch(/^ACCESS_DENIED/);
  });
});

test('a volume that was served under the own identity is never served under a shared one', async () => {
  await start();
  const pod = { tokens: rig.podToken(), attributes: { usePodServiceAccountToken: 'true' } };
  expect(await rig.mount(objects, pod)).toEqual({ db: 'first' });
  // Drivers up to 1.5 drop the pod's attributes at rotation.
  expect(await rig.mount(objects, { ...pod, occasion: 'rotation' })).toMatch(/^IDENTITY_DOWNGRADE/);
});

describe('the region', () => {
  test('that nobody names is asked of the node, once', async () => {
    await start();
    for (const name of ['a', 'b'])
      await rig.volume(`- {objectName: db, objectAlias: ${name}}`, { name });
    expect(rig.metadata.count('GET /latest/meta-data/region-id')).toBe(1);
  });

  test.each([
    [{ objects, region: 'cn-hangzhou' }, {}],
    [{ objects }, { ALICLOUD_REGION: 'cn-hangzhou' }],
    [{ objects: '- {objectName: "acs:kms:cn-hangzhou:1:secret/db", objectAlias: db}' }, {}],
  ])('of %j with %j needs no node', async (parameters, env) => {
    await start({ env });
    rig.kms.put('acs:kms:cn-hangzhou:1:secret/db', 'first');
    expect(await rig.mount(parameters)).toEqual({ db: 'first' });
    expect(rig.metadata.count(/region-id/)).toBe(0);
  });

  test('that nobody knows is an error, and never cn-hangzhou', async () => {
    await start();
    rig.metadata.injectFault({ route: /region-id/, response: { status: 404 } });
    expect(await rig.mount(objects)).toMatch(/^NOT_CONFIGURED: .*region.*set the parameter region/);
    expect(rig.kms.count()).toBe(0);
    rig.metadata.injectFault();
    expect(await rig.mount(objects)).toEqual({ db: 'first' });
  });
});

test('no key and no token is ever logged', async () => {
  await start({ env: { ALICLOUD_ROLE_ARN: providerRole } });
  const keys = rig.account.issueKeys();
  await rig.mount(objects, {
    secret: { access_key: keys.accessKeyId, access_secret: keys.accessKeySecret },
  });
  await rig.mount(objects, { name: 'b', tokens: rig.podToken() });
  expect(rig.lines.join()).not.toContain(keys.accessKeySecret);
  expect(rig.lines.join()).not.toContain(keys.accessKeyId);
});
