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
const arnObject = '- {objectName: "acs:kms:cn-hangzhou:1:secret/db", objectAlias: db}';
const podClass = { objects, usePodServiceAccountToken: 'true' };
const crossAccount = (...roles: readonly string[]): string =>
  roles
    .map(
      (role, index) => `- {objectName: db, objectAlias: f${index}, crossAccountRoleArn: "${role}"}`,
    )
    .join('\n');
const grantsWithRole = [{ ...grantsForApp[0], roles: [staging] }];

describe("the pod's own role", () => {
  test('serves a class with usePodServiceAccountToken: STS gives a session of the annotated role that names the pod', async () => {
    await start({ sharedIdentities: 'none' });
    expect(await fixture.mount(podClass, { tokens: fixture.podToken() })).toEqual({ db: 'first' });
    expect(fixture.readers()).toEqual([appRole]);
    expect(fixture.sts.sessions).toEqual([`AssumeRoleWithOIDC ${appRole} as team-a.app for 3600`]);
  });

  test('sends the token in the body, and writes it neither into an address nor into the log', async () => {
    await start();
    const tokens = fixture.podToken();
    await fixture.mount(podClass, { tokens });
    expect(fixture.sts.requests.map(({ query }) => query).join()).not.toContain('OIDCToken');
    expect(fixture.lines.join()).not.toContain(tokens['sts.aliyuncs.com']);
  });

  test('serves all pods of a ServiceAccount by one login and one read, but no other ServiceAccount', async () => {
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

  describe('fails closed, although a shared identity is granted', () => {
    afterEach(() => expect(fixture.kms.count()).toBe(0));

    test('without the annotation, with a hint that contains it', async () => {
      await start();
      fixture.annotate(undefined);
      expect(await fixture.mount(podClass, { tokens: fixture.podToken() })).toBe(
        'NOT_GRANTED: alibabacloud: ServiceAccount team-a/app has no role: its annotation ack.alibabacloud.com/role-arn is missing; ' +
          'annotate it with ack.alibabacloud.com/role-arn: acs:ram::<account id>:role/<name>',
      );
    });

    test('with an annotation that is not an ARN', async () => {
      await start();
      fixture.annotate('app');
      expect(await fixture.mount(podClass, { tokens: fixture.podToken() })).toContain(
        'is not an ARN of a RAM role: app',
      );
    });

    test('without any token', async () => {
      await start();
      expect(await fixture.mount(podClass)).toBe(
        'TOKEN_MISSING: the driver sent no token for the audience sts.aliyuncs.com, nor any other; ' +
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
        'of another ServiceAccount',
        (): string => fixture.mint('team-a', 'plain'),
        'belongs to system:serviceaccount:team-a:plain',
      ],
      ['that has ended', (): string => fixture.mint('team-a', 'app', -60_000), 'expired at'],
      ['that is not a token', (): string => 'x.y.z', 'is not a ServiceAccount token'],
    ])('with a token %s', async (_, token, problem) => {
      await start();
      const line = await fixture.mount(podClass, { tokens: { 'sts.aliyuncs.com': token() } });
      expect(line).toMatch(/^TOKEN_INVALID/);
      expect(line).toContain(problem);
    });

    test('without an OIDC provider, with a hint that names the variables', async () => {
      await start({ env: { ALICLOUD_OIDC_PROVIDER_ARN: '' } });
      expect(await fixture.mount(podClass, { tokens: fixture.podToken() })).toMatch(
        /^NOT_CONFIGURED: .*set ALICLOUD_OIDC_PROVIDER_ARN, or ALICLOUD_ACCOUNT_ID and ALICLOUD_CLUSTER_ID/,
      );
    });

    test('without a response of the API server', async () => {
      await start();
      fixture.kubernetes.deny(true);
      expect(await fixture.mount(podClass, { tokens: fixture.podToken() })).toMatch(
        /^ADMISSION_UNAVAILABLE: .*serviceaccounts/,
      );
    });

    test('with a role that does not trust the ServiceAccount', async () => {
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

  test('uses a changed annotation for the next new pod', async () => {
    await start();
    await fixture.volume(podClass, { name: 'a', tokens: fixture.podToken() });
    fixture.annotate(providerRole);
    expect(await fixture.mount(podClass, { name: 'b', tokens: fixture.podToken() })).toMatch(
      /^CREDENTIALS_REFUSED/,
    );
  });

  test('comes before the keys of the pod', async () => {
    await start();
    const { accessKeyId, accessKeySecret } = fixture.account.issueKeys();
    const secret = { access_key: accessKeyId, access_secret: accessKeySecret };
    await fixture.volume(podClass, { tokens: fixture.podToken(), secret });
    expect(fixture.readers()).toEqual([appRole]);
  });
});

describe('keys of nodePublishSecretRef', () => {
  const podKeys = (holder = 'user-of-pod', lifeMs?: number): Record<string, string> => {
    const keys = fixture.account.issueKeys({ holder, ...(lifeMs !== undefined && { lifeMs }) });
    return {
      access_key: keys.accessKeyId,
      Access_Secret: keys.accessKeySecret,
      ...(keys.securityToken !== undefined && { SECURITY_TOKEN: keys.securityToken }),
    };
  };

  test('serve their pod without a grant; the letter case of the names does not matter', async () => {
    await start({ sharedIdentities: 'none' });
    expect(await fixture.mount(objects, { secret: podKeys() })).toEqual({ db: 'first' });
    expect(fixture.readers()).toEqual(['user-of-pod']);
  });

  test('can be the keys of a session with its token', async () => {
    await start({ sharedIdentities: 'none' });
    expect(await fixture.mount(objects, { secret: podKeys('session', 3_600_000) })).toEqual({
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
  ])('are not replaced by %s, which can have more rights', async (_, env) => {
    await start({ env, sharedIdentities: 'all' });
    await fixture.volume(objects, { secret: podKeys() });
    expect(fixture.readers()).toEqual(['user-of-pod']);
  });

  test('do not serve another pod', async () => {
    await start();
    const secret = podKeys();
    await fixture.volume(objects, { name: 'a', secret });
    expect(
      await fixture.mount(objects, { name: 'b', secret: { ...secret, Access_Secret: 'guessed' } }),
    ).toMatch(/^CREDENTIALS_REFUSED/);
    fixture.kms.denied.add('db by stranger');
    expect(await fixture.mount(objects, { name: 'c', secret: podKeys('stranger') })).toMatch(
      /^ACCESS_DENIED/,
    );
    expect(await fixture.mount(objects, { name: 'd', account: 'plain' })).toMatch(/^NOT_GRANTED/);
  });

  test('that are wrong do not lead to another identity', async () => {
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
    '%j is an error, and does not lead to another identity',
    async (secret: Record<string, string>, problem) => {
      await start({ sharedIdentities: 'all' });
      expect(await fixture.mount(objects, { secret })).toMatch(
        `INVALID_REQUEST: alibabacloud: the Secret of nodePublishSecretRef ${problem}`,
      );
      expect(fixture.kms.count()).toBe(0);
    },
  );
});

describe('the shared identity of the operator', () => {
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
  ])('%s serves only what is granted', async (_, env, holder, sessions) => {
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

  test('keys assume the configured role', async () => {
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

  test('keys without a role read by themselves', async () => {
    await start({ keys: true });
    expect(await fixture.mount(objects)).toEqual({ db: 'first' });
    expect(fixture.readers()).toEqual(['user']);
    expect(await fixture.mount(objects, { name: 'b', account: 'plain' })).toMatch(/^NOT_GRANTED/);
  });

  test('needs a grant for a class with usePodServiceAccountToken "false", too', async () => {
    await start({ grants: [] });
    const line = await fixture.mount(
      { objects, usePodServiceAccountToken: 'false' },
      { tokens: fixture.podToken() },
    );
    expect(line).toMatch(
      /^NOT_GRANTED: .*grant it in .*grants\.yaml, or give the workload an identity of its own/,
    );
  });

  test('needs a grant for every object; ARNs are matched unchanged', async () => {
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

  test('serves every secret with --shared-identities all, and none with --shared-identities none', async () => {
    await start({ sharedIdentities: 'all', grants: [] });
    expect(await fixture.mount(objects, { account: 'plain' })).toEqual({ db: 'first' });
    await fixture.close();
    await start({ sharedIdentities: 'none' });
    expect(await fixture.mount(objects)).toMatch(/^NOT_GRANTED: .*--shared-identities none/);
  });

  test('a missing token of the provider does not lead to another identity', async () => {
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
  test("the pod's role assumes it; two roles are two principals, and the store decides", async () => {
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

  test('the keys of the pod assume it, for KMS and OOS', async () => {
    await start({ sharedIdentities: 'none' });
    fixture.oos.put('banner', 'hello');
    const keys = fixture.account.issueKeys();
    const secret = { access_key: keys.accessKeyId, access_secret: keys.accessKeySecret };
    const both = `${crossAccount(staging)}\n- {objectName: banner, objectType: oos, crossAccountRoleArn: "${staging}"}`;
    expect(await fixture.mount(both, { secret })).toEqual({ f0: 'first', banner: 'hello' });
    expect(fixture.sts.sessions).toHaveLength(1);
  });

  test.each(['granted', 'all'] as const)(
    'a shared identity assumes it only if the grant lists it (%s)',
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

  test('a value that was read with a role does not serve a class without it', async () => {
    await start({ grants: grantsWithRole });
    fixture.kms.denied.add('db by worker');
    expect(await fixture.mount(crossAccount(staging), { name: 'a' })).toEqual({ f0: 'first' });
    expect(await fixture.mount(objects, { name: 'b' })).toMatch(/^ACCESS_DENIED/);
  });
});

test('a volume that an own identity served is not served by a shared one later', async () => {
  await start();
  const pod = { tokens: fixture.podToken(), attributes: { usePodServiceAccountToken: 'true' } };
  expect(await fixture.mount(objects, pod)).toEqual({ db: 'first' });
  // Drivers up to 1.5 drop the pod's attributes at rotation.
  expect(await fixture.mount(objects, { ...pod, occasion: 'rotation' })).toMatch(
    /^IDENTITY_DOWNGRADE/,
  );
});

describe('the region', () => {
  test('comes from the node if neither the class nor the operator names it, by one call', async () => {
    await start();
    for (const name of ['a', 'b'])
      await fixture.volume(`- {objectName: db, objectAlias: ${name}}`, { name });
    expect(fixture.metadata.count('GET /latest/meta-data/region-id')).toBe(1);
  });

  test.each([
    [{ ...podClass, region: 'cn-hangzhou' }, {}],
    [podClass, { ALICLOUD_REGION: 'cn-hangzhou' }],
    [{ ...podClass, objects: arnObject }, {}],
    [{ objects }, { ALICLOUD_REGION: 'cn-hangzhou' }],
  ])('needs no call to the node with %j and %j', async (parameters, env) => {
    await start({ env });
    fixture.kms.put('acs:kms:cn-hangzhou:1:secret/db', 'first');
    expect(await fixture.mount(parameters, { tokens: fixture.podToken() })).toEqual({
      db: 'first',
    });
    expect(fixture.metadata.count(/region-id/)).toBe(0);
  });

  describe('of a shared identity', () => {
    const notGranted = (what: string): unknown =>
      expect.stringMatching(
        new RegExp(`^NOT_GRANTED: .*no grant that matches lists the ${what}; grant it in`),
      );
    const withEndpoint = '- {objectName: db, kmsEndpoint: kms.eu-central-1.aliyuncs.com}';

    test.each([
      [{ objects, region: 'eu-central-1' }, 'region eu-central-1'],
      [{ objects: arnObject.replace('cn-hangzhou', 'eu-central-1') }, 'region eu-central-1'],
      [{ objects: withEndpoint }, 'endpoint kms.eu-central-1.aliyuncs.com'],
    ])('is the one of the node, unless a grant lists another: %j', async (parameters, what) => {
      await start();
      expect(await fixture.mount(parameters)).toEqual(notGranted(what));
      expect(await fixture.mount({ objects, region: 'cn-hangzhou' })).toEqual({ db: 'first' });
    });

    test('needs a grant while the node does not tell it', async () => {
      await start();
      fixture.metadata.injectFault({ route: /region-id/, response: { status: 404 } });
      expect(await fixture.mount({ objects, region: 'cn-hangzhou' })).toEqual(
        notGranted('region cn-hangzhou'),
      );
    });

    test('may be another one that a grant lists', async () => {
      await start({
        grants: [{ ...grantsForApp[0], names: ['kms/**'], regions: ['eu-*'] }],
      });
      fixture.kms.put('acs:kms:eu-central-1:1:secret/db', 'elsewhere');
      expect(
        await fixture.mount({ objects: arnObject.replace('cn-hangzhou', 'eu-central-1') }),
      ).toEqual({ db: 'elsewhere' });
      // The grant decides, so the node is not asked.
      expect(fixture.metadata.count(/region-id/)).toBe(0);
    });

    test('is not asked of the node where every region is granted', async () => {
      await start({ sharedIdentities: 'all' });
      expect(await fixture.mount({ objects, region: 'cn-hangzhou' })).toEqual({ db: 'first' });
      expect(fixture.metadata.count(/region-id/)).toBe(0);
    });
  });

  test('that the node does not know is an error, and not cn-hangzhou', async () => {
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

test('the log contains no key and no token', async () => {
  await start({ env: { ALICLOUD_ROLE_ARN: providerRole } });
  const keys = fixture.account.issueKeys();
  await fixture.mount(objects, {
    secret: { access_key: keys.accessKeyId, access_secret: keys.accessKeySecret },
  });
  await fixture.mount(objects, { name: 'b', tokens: fixture.podToken() });
  expect(fixture.lines.join()).not.toContain(keys.accessKeySecret);
  expect(fixture.lines.join()).not.toContain(keys.accessKeyId);
});
