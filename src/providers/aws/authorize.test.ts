import { afterEach, describe, expect, test } from '@jest/globals';
import { awsFailoverRegion, awsRegion } from '../../../test/fakes/aws-cloud.ts';
import {
  appRole,
  grantsForPlain,
  nodeName,
  otherRole,
  ownRole,
  startAwsFixture,
  type AwsFixture,
  type AwsFixtureOptions,
} from '../../../test/fakes/aws-fixture.ts';

let fixture: AwsFixture;

async function start(options: AwsFixtureOptions = {}): Promise<void> {
  fixture = await startAwsFixture(options);
  fixture.secretsManager.put('db', 'first');
}
afterEach(() => fixture.close());

const objects = '- {objectName: db, objectType: secretsmanager}';
const region = awsRegion;
const byPodIdentity = { region, objects, usePodIdentity: 'true' };
/** A pod whose ServiceAccount has no role. */
const plain = { name: 'plain-1', account: 'plain' };
const irsa = 'sts.amazonaws.com';
const agents = () => [fixture.agent.ipv4, fixture.agent.ipv6];

describe('IRSA: the role of the ServiceAccount', () => {
  test('reads with a session whose name has the namespace and the ServiceAccount', async () => {
    await start({ sharedIdentities: 'none' });
    expect(await fixture.mount(objects)).toEqual({ db: 'first' });
    expect(fixture.readers()).toEqual([appRole]);
    expect(fixture.sts.sessions).toEqual([
      expect.stringMatching(`^${appRole} as team-a\\.app for `),
    ]);
    expect(agents().map((agent) => agent.count())).toEqual([0, 0]);
  });

  test('makes one login and one read for all pods, and reads the ServiceAccount once per pod', async () => {
    await start();
    for (const [index, name] of ['a', 'b', 'c'].entries()) {
      await fixture.volume(objects, { name });
      expect(fixture.kubernetes.reads('team-a/app')).toBe(index + 1);
    }
    for (const name of ['a', 'b', 'c']) await fixture.volume(objects, { name });
    fixture.advanceClock(40_000);
    for (const name of ['a', 'b', 'c']) await fixture.volume(objects, { name });
    expect(fixture.kubernetes.reads()).toBe(3);
    expect(fixture.sts.sessions).toHaveLength(1);
    expect(fixture.secretsManager.callCount('GetSecretValue')).toBe(1);
  });

  test('does not serve the cached value of one ServiceAccount to another', async () => {
    await start();
    await fixture.volume(objects);
    fixture.secretsManager.denied.add(`db by ${otherRole}`);
    expect(await fixture.mount(objects, { name: 'b', namespace: 'team-b' })).toMatch(
      /^ACCESS_DENIED/,
    );
    expect(fixture.sts.sessions).toHaveLength(2);
  });

  test('refuses a ServiceAccount that the role does not trust, although the role serves another', async () => {
    await start();
    await fixture.volume(objects);
    fixture.annotate(appRole, 'team-b/app');
    expect(await fixture.mount(objects, { name: 'b', namespace: 'team-b' })).toMatch(
      /^CREDENTIALS_REFUSED/,
    );
    fixture.annotate(appRole, 'team-a/plain');
    expect(await fixture.mount(objects, { ...plain })).toMatch(/^CREDENTIALS_REFUSED/);
  });

  test('uses a new role of the annotation for new pods at once', async () => {
    await start();
    await fixture.volume(objects, { name: 'a' });
    fixture.annotate(otherRole);
    expect(await fixture.mount(objects, { name: 'b' })).toMatch(
      /sts:AssumeRoleWithWebIdentity|AccessDenied/,
    );
  });

  test('treats a ServiceAccount that was deleted and created again as another principal', async () => {
    await start();
    await fixture.volume(objects, { name: 'a' });
    const { annotations } = fixture.kubernetes.serviceAccounts.get('team-a/app')!;
    fixture.kubernetes.serviceAccounts.set('team-a/app', { annotations: annotations!, uid: 'new' });
    await fixture.volume(objects, { name: 'b' });
    expect(fixture.sts.sessions).toHaveLength(2);
  });

  test('does not give a cached session to a forged token of another issuer', async () => {
    await start();
    await fixture.volume(objects, { name: 'a' });
    const forged = `${fixture.mint('team-a', 'app', { issuer: 'https://elsewhere.example' })}x`;
    expect(await fixture.mount(objects, { name: 'b', tokens: { [irsa]: forged } })).toMatch(
      /^CREDENTIALS_REFUSED: .*STS in eu-west-1 refused/,
    );
  });

  describe('fails closed, although the operator granted Keyferry’s own identity', () => {
    const options = { ownIdentity: true, sharedIdentities: 'all' } as const;
    afterEach(() => expect(fixture.secretsManager.count()).toBe(0));

    const form = 'write eks.amazonaws.com/role-arn: arn:aws:iam::<account>:role/<name>';
    test.each([
      ['app', form],
      ['', form],
      ['arn:aws:sts::111122223333:assumed-role/app/x', form],
      [
        'arn:aws:iam::11122223333:role/app',
        'the account of an ARN has 12 digits, zeros at the beginning too',
      ],
    ])('with the annotation %j, which is not a role', async (annotation, remedy) => {
      await start(options);
      fixture.annotate(annotation);
      expect(await fixture.mount(objects)).toBe(
        `NOT_GRANTED: aws: ServiceAccount team-a/app has no role: its annotation eks.amazonaws.com/role-arn is not an ARN of an IAM role: ` +
          `${annotation}; ${remedy}`,
      );
    });

    test('without a token, and names the setting to change', async () => {
      await start(options);
      expect(await fixture.mount(objects, { tokens: {} })).toBe(
        'TOKEN_MISSING: the driver sent no token for the audience sts.amazonaws.com, nor any other; ' +
          'add "- audience: sts.amazonaws.com" to tokenRequests in the values of the driver\'s chart',
      );
    });

    test('with a token for Pod Identity only', async () => {
      await start(options);
      const { 'pods.eks.amazonaws.com': token } = fixture.podTokens();
      const tokens = { 'pods.eks.amazonaws.com': token };
      expect(await fixture.mount(objects, { tokens })).toMatch(
        /^TOKEN_MISSING: .*only for pods\.eks\.amazonaws\.com/,
      );
    });

    test.each([
      [
        'of another ServiceAccount',
        () => fixture.mint('team-a', 'plain'),
        'belongs to system:serviceaccount:team-a:plain',
      ],
      [
        'that has expired',
        () => fixture.mint('team-a', 'app', { expiresAt: fixture.now() - 60_000 }),
        'expired at',
      ],
      ['that is not a JWT', () => 'x.y.z', 'is not a ServiceAccount token'],
    ])('with a token %s', async (_, token, problem) => {
      await start(options);
      const line = await fixture.mount(objects, { tokens: { [irsa]: token() } });
      expect(line).toMatch(/^TOKEN_INVALID/);
      expect(line).toContain(problem);
    });

    test('when the API server denies the read of the ServiceAccount', async () => {
      await start(options);
      fixture.kubernetes.deny(true);
      expect(await fixture.mount(objects)).toMatch(/^ADMISSION_UNAVAILABLE: .*serviceaccounts/);
    });

    test('with a role that does not trust the ServiceAccount', async () => {
      await start(options);
      fixture.annotate(otherRole);
      expect(await fixture.mount(objects)).toMatch(/AccessDenied/);
    });
  });
});

describe('EKS Pod Identity, where the class sets usePodIdentity', () => {
  test('uses the agent of the node, and neither STS nor Kubernetes', async () => {
    await start({ sharedIdentities: 'none' });
    expect(await fixture.mount(byPodIdentity)).toEqual({ db: 'first' });
    expect(fixture.readers()).toEqual([appRole]);
    expect(fixture.agent.ipv4.sessions).toEqual([`${appRole} for team-a/app/uid-pod-1`]);
    expect([fixture.sts.count(), fixture.kubernetes.reads()]).toEqual([0, 0]);
  });

  test('makes a session for each pod, and does not share values between pods', async () => {
    await start();
    for (const name of ['a', 'b', 'a', 'b']) await fixture.volume(byPodIdentity, { name });
    const sessions = agents().flatMap((agent) => agent.sessions);
    expect(sessions).toEqual([
      `${appRole} for team-a/app/uid-a`,
      `${appRole} for team-a/app/uid-b`,
    ]);
    expect(fixture.secretsManager.callCount('GetSecretValue')).toBe(2);
  });

  test('shares a session per ServiceAccount where the operator sets that', async () => {
    await start({ env: { KEYFERRY_AWS_POD_IDENTITY_PRINCIPAL: 'serviceAccount' } });
    for (const name of ['a', 'b', 'c']) await fixture.volume(byPodIdentity, { name });
    expect(agents().flatMap((agent) => agent.sessions)).toHaveLength(1);
    expect(fixture.secretsManager.callCount('GetSecretValue')).toBe(1);
    fixture.agent.associations.set('team-b/app', otherRole);
    await fixture.volume(byPodIdentity, { name: 'd', namespace: 'team-b' });
    expect(agents().flatMap((agent) => agent.sessions)).toHaveLength(2);
  });

  test('uses one session for both regions of a class', async () => {
    await start();
    fixture.secretsManager.put('db', 'over there', awsFailoverRegion);
    fixture.account.regionFaults.set(region, 'down');
    expect(await fixture.mount({ ...byPodIdentity, failoverRegion: awsFailoverRegion })).toEqual({
      db: 'over there',
    });
    expect(agents().flatMap((agent) => agent.sessions)).toHaveLength(1);
  });

  test('uses the address of the agent that the class prefers', async () => {
    await start();
    await fixture.volume({ ...byPodIdentity, preferredAddressType: 'IPv6' });
    expect(agents().map((agent) => agent.count())).toEqual([0, 1]);
  });

  describe('fails closed, although the role and Keyferry’s own identity could serve', () => {
    const options = { ownIdentity: true, sharedIdentities: 'all' } as const;
    afterEach(() => expect([fixture.secretsManager.count(), fixture.sts.count()]).toEqual([0, 0]));

    test('without a token for the agent', async () => {
      await start(options);
      const { [irsa]: token } = fixture.podTokens();
      expect(await fixture.mount(byPodIdentity, { tokens: { [irsa]: token } })).toBe(
        'TOKEN_MISSING: the driver sent no token for the audience pods.eks.amazonaws.com, only for sts.amazonaws.com; ' +
          'add "- audience: pods.eks.amazonaws.com" to tokenRequests in the values of the driver\'s chart',
      );
    });

    test('with the token of another pod', async () => {
      await start(options);
      expect(
        await fixture.mount(byPodIdentity, { tokens: fixture.podTokens({ name: 'other' }) }),
      ).toBe(
        "TOKEN_INVALID: the pod's token for the audience pods.eks.amazonaws.com is bound to another pod",
      );
      expect(agents().map((agent) => agent.count())).toEqual([0, 0]);
    });

    test('without an association', async () => {
      await start(options);
      fixture.agent.associations.clear();
      expect(await fixture.mount(byPodIdentity)).toMatch(/association/);
    });

    test.each(['yes', 'tRUE'])('with usePodIdentity %j', async (usePodIdentity) => {
      await start(options);
      expect(await fixture.mount({ ...byPodIdentity, usePodIdentity })).toMatch(
        /^INVALID_CLASS: usePodIdentity is/,
      );
    });
  });
});

describe('Keyferry’s own identity', () => {
  const ownNames = (...names: string[]) => [{ ...grantsForPlain[0], names }];

  test('serves no pod until the operator switches it on, and the message lists all remedies', async () => {
    await start({ sharedIdentities: 'all' });
    expect(await fixture.mount(objects, plain)).toBe(
      'NOT_GRANTED: aws: ServiceAccount team-a/plain has no role: its annotation eks.amazonaws.com/role-arn is missing; ' +
        'annotate it with eks.amazonaws.com/role-arn: arn:aws:iam::<account>:role/<name>, or set usePodIdentity: "true" in the class; ' +
        "or let Keyferry's own identity serve it, by KEYFERRY_AWS_OWN_IDENTITY=true and a grant",
    );
    expect([fixture.sts.count(), fixture.secretsManager.count()]).toEqual([0, 0]);
  });

  test('serves a pod without a role only what is granted', async () => {
    await start({ ownIdentity: true, grants: ownNames('secretsmanager/db', 'ssm//app/*') });
    fixture.ssm.put('/app/banner', 'hello');
    const both = `${objects}\n- {objectName: /app/banner, objectType: ssmparameter}`;
    expect(await fixture.mount(both, plain)).toEqual({ db: 'first', _app_banner: 'hello' });
    expect(fixture.readers()).toEqual([ownRole]);
    for (const name of ['dbx', 'ssm/db', '/app/banner'])
      expect(
        await fixture.mount(`- {objectName: ${name}, objectType: secretsmanager}`, plain),
      ).toMatch(
        new RegExp(
          `^NOT_GRANTED: aws: service account team-a/plain may not read secretsmanager/${name} by a shared identity: no grant matches; grant it in`,
        ),
      );
  });

  test('needs a grant of the whole ARN for an ARN', async () => {
    const arn = `arn:aws:secretsmanager:${region}:111122223333:secret:db-AbCdEf`;
    await start({ ownIdentity: true, grants: ownNames(`secretsmanager/${arn}`) });
    expect(await fixture.mount(`- {objectName: "${arn}", objectAlias: f}`, plain)).toEqual({
      f: 'first',
    });
    expect(await fixture.mount(objects, { ...plain, name: 'plain-2' })).toMatch(/^NOT_GRANTED/);
  });

  test.each([
    [{ region: 'us-east-1', objects }, 'us-east-1'],
    [{ region, failoverRegion: 'us-east-1', objects }, 'us-east-1'],
    [
      {
        objects:
          '- {objectName: "arn:aws:secretsmanager:us-east-1:111122223333:secret:db-AbCdEf", objectAlias: f}',
      },
      'us-east-1',
    ],
  ])('needs a grant for another region: %j', async (parameters, other) => {
    await start({ ownIdentity: true, grants: ownNames('secretsmanager/**') });
    expect(await fixture.mount(parameters, plain)).toContain(
      `no grant that matches lists the region ${other}; grant it in`,
    );
    await start({
      ownIdentity: true,
      grants: ownNames('secretsmanager/**').map((each) => ({ ...each, regions: [other] })),
    });
    expect(JSON.stringify(await fixture.mount(parameters, plain))).not.toContain('NOT_GRANTED');
  });

  test('needs a grant for the secret of a failoverObject, too', async () => {
    await start({ ownIdentity: true, grants: ownNames('secretsmanager/db') });
    const parameters = {
      region,
      failoverRegion: awsFailoverRegion,
      objects:
        '- {objectName: db, objectType: secretsmanager, objectAlias: f, failoverObject: {objectName: other}}',
    };
    expect(await fixture.mount(parameters, plain)).toMatch(/^NOT_GRANTED: .*secretsmanager\/other/);
  });

  test('serves every secret with --shared-identities all, and no secret with none', async () => {
    await start({ ownIdentity: true, sharedIdentities: 'all', grants: [] });
    expect(await fixture.mount(objects, plain)).toEqual({ db: 'first' });
    await fixture.close();
    await start({ ownIdentity: true, sharedIdentities: 'none' });
    expect(await fixture.mount(objects, plain)).toMatch(/^NOT_GRANTED: .*--shared-identities none/);
  });

  test('does not replace a role that was removed: the volume keeps its files', async () => {
    await start({ ownIdentity: true, sharedIdentities: 'all' });
    await fixture.volume(objects);
    fixture.annotate(undefined);
    fixture.advanceClock(61_000);
    expect(await fixture.mount(objects)).toMatch(/^IDENTITY_DOWNGRADE/);
  });

  test('does not replace Pod Identity when an old driver drops the attributes at rotation', async () => {
    await start({ ownIdentity: true, sharedIdentities: 'all' });
    const pod = { ...plain, attributes: { usePodIdentity: 'true' } };
    await fixture.volume(objects, pod);
    expect(await fixture.mount(objects, { ...pod, occasion: 'rotation' })).toMatch(
      /^IDENTITY_DOWNGRADE/,
    );
  });
});

describe('a class with a failoverRegion', () => {
  test('logs in at the STS of each region, at the second one only when it is needed', async () => {
    await start();
    const parameters = { region, failoverRegion: awsFailoverRegion, objects };
    fixture.secretsManager.put('db', 'over there', awsFailoverRegion);
    expect(await fixture.mount(parameters)).toEqual({ db: 'first' });
    expect(fixture.sts.sessions).toHaveLength(1);
    fixture.account.regionFaults.set(region, 'down');
    expect(await fixture.mount(parameters, { name: 'b' })).toEqual({ db: 'first' });
    fixture.advanceClock(16 * 60_000);
    expect(await fixture.mount(parameters, { name: 'c' })).toEqual({ db: 'over there' });
    expect(fixture.sts.sessions).toHaveLength(2);
  });
});

describe('the region', () => {
  test('is that of the node, read once, where the class names none', async () => {
    await start();
    for (const name of ['a', 'b'])
      await fixture.volume(
        { objects: `- {objectName: db, objectType: secretsmanager, objectAlias: ${name}}` },
        { name },
      );
    expect(fixture.kubernetes.nodeReads()).toBe(1);
    expect(fixture.secretsManager.calls.map((call) => call.region)).toEqual([awsRegion]);
  });

  const byArn = {
    objects: `- {objectName: "arn:aws:secretsmanager:${awsRegion}:111122223333:secret:db", objectAlias: db}`,
  };
  test.each([
    [{ objects, region: awsRegion }, {}],
    [{ objects }, { AWS_REGION: awsRegion }],
    [{ objects }, { AWS_DEFAULT_REGION: awsRegion }],
    [byArn, {}],
    // The region of the ARN counts, not that of the node.
    [byArn, { AWS_REGION: awsFailoverRegion }],
  ])(
    'is known without the node for %j with %j',
    async (parameters: Record<string, string>, env) => {
      await start({ env });
      expect(await fixture.mount(parameters)).toEqual({ db: 'first' });
      expect(fixture.kubernetes.nodeReads()).toBe(0);
    },
  );

  test.each([
    [
      {},
      { KEYFERRY_NODE_NAME: '' },
      'Keyferry does not know its node; set region in the class, or AWS_REGION',
    ],
    [undefined, {}, `the node ${nodeName} does not exist; set region in the class`],
    [
      {},
      {},
      `the node ${nodeName} has no label topology.kubernetes.io/region; set region in the class`,
    ],
    [
      { 'topology.kubernetes.io/region': 'Ireland' },
      {},
      `the label topology.kubernetes.io/region of the node ${nodeName} is not a region: Ireland`,
    ],
  ])(
    'is an error that names the setting if it is not known (%j, %j)',
    async (labels, env, message) => {
      await start({ env });
      if (labels === undefined) fixture.kubernetes.nodes.clear();
      else fixture.kubernetes.nodes.set(nodeName, labels);
      const line = await fixture.mount({ objects });
      expect(line).toMatch(/^NOT_CONFIGURED: aws: /);
      expect(line).toContain(message);
      expect(fixture.secretsManager.count()).toBe(0);
    },
  );
});

test('neither logs nor metrics contain a token or a key', async () => {
  await start();
  const tokens = fixture.podTokens();
  await fixture.mount(objects, { tokens });
  await fixture.mount(byPodIdentity, { name: 'b' });
  fixture.sts.injectFault({ response: { status: 400, body: tokens[irsa] } });
  await fixture.mount(objects, { name: 'c', namespace: 'team-b' });
  const output = fixture.lines.join() + (await fixture.metrics());
  for (const secret of [...Object.values(tokens), tokens[irsa].split('.')[2]!, 'secret-', 'token-'])
    expect(output).not.toContain(secret);
});
