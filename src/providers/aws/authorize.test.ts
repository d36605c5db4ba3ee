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

let rig: AwsFixture;

async function start(options: AwsFixtureOptions = {}): Promise<void> {
  rig = await startAwsFixture(options);
  rig.secretsManager.put('db', 'first');
}
afterEach(() => rig.close());

const objects = '- {objectName: db, objectType: secretsmanager}';
const region = awsRegion;
const byPodIdentity = { region, objects, usePodIdentity: 'true' };
/** A pod whose ServiceAccount names no role. */
const plain = { name: 'plain-1', account: 'plain' };
const irsa = 'sts.amazonaws.com';
const agents = () => [rig.agent.ipv4, rig.agent.ipv6];

describe('IRSA: the role that the ServiceAccount names', () => {
  test('serves, by a session that names the pod’s account', async () => {
    await start({ sharedIdentities: 'none' });
    expect(await rig.mount(objects)).toEqual({ db: 'first' });
    expect(rig.readers()).toEqual([appRole]);
    expect(rig.sts.sessions).toEqual([expect.stringMatching(`^${appRole} as team-a\\.app for `)]);
    expect(agents().map((agent) => agent.count())).toEqual([0, 0]);
  });

  test('one login and one read serve all pods of the account, and Kubernetes is asked once a pod', async () => {
    await start();
    for (const [index, name] of ['a', 'b', 'c'].entries()) {
      await rig.volume(objects, { name });
      expect(rig.kubernetes.reads('team-a/app')).toBe(index + 1);
    }
    for (const name of ['a', 'b', 'c']) await rig.volume(objects, { name });
    rig.advanceClock(40_000);
    for (const name of ['a', 'b', 'c']) await rig.volume(objects, { name });
    expect(rig.kubernetes.reads()).toBe(3);
    expect(rig.sts.sessions).toHaveLength(1);
    expect(rig.secretsManager.callCount('GetSecretValue')).toBe(1);
  });

  test('what one account has read serves no other', async () => {
    await start();
    await rig.volume(objects);
    rig.secretsManager.denied.add(`db by ${otherRole}`);
    expect(await rig.mount(objects, { name: 'b', namespace: 'team-b' })).toMatch(/^ACCESS_DENIED/);
    expect(rig.sts.sessions).toHaveLength(2);
  });

  test('who names a role that does not trust it gets nothing, though another is served by that role', async () => {
    await start();
    await rig.volume(objects);
    rig.annotate(appRole, 'team-b/app');
    expect(await rig.mount(objects, { name: 'b', namespace: 'team-b' })).toMatch(
      /^CREDENTIALS_REFUSED/,
    );
    rig.annotate(appRole, 'team-a/plain');
    expect(await rig.mount(objects, { ...plain })).toMatch(/^CREDENTIALS_REFUSED/);
  });

  test('another role in the annotation counts at once for new pods', async () => {
    await start();
    await rig.volume(objects, { name: 'a' });
    rig.annotate(otherRole);
    expect(await rig.mount(objects, { name: 'b' })).toMatch(
      /sts:AssumeRoleWithWebIdentity|AccessDenied/,
    );
  });

  test('a ServiceAccount made anew under an old name is another principal', async () => {
    await start();
    await rig.volume(objects, { name: 'a' });
    const { annotations } = rig.kubernetes.serviceAccounts.get('team-a/app')!;
    rig.kubernetes.serviceAccounts.set('team-a/app', { annotations: annotations!, uid: 'new' });
    await rig.volume(objects, { name: 'b' });
    expect(rig.sts.sessions).toHaveLength(2);
  });

  test('a token of another issuer, such as one forged with claims that fit, gets no session of the cluster’s own', async () => {
    await start();
    await rig.volume(objects, { name: 'a' });
    const forged = `${rig.mint('team-a', 'app', { issuer: 'https://elsewhere.example' })}x`;
    expect(await rig.mount(objects, { name: 'b', tokens: { [irsa]: forged } })).toMatch(
      /^CREDENTIALS_REFUSED: .*STS in eu-west-1 refused/,
    );
  });

  describe('fails closed, though Keyferry’s own identity would be granted', () => {
    const options = { ownIdentity: true, sharedIdentities: 'all' } as const;
    afterEach(() => expect(rig.secretsManager.count()).toBe(0));

    test.each([
      'app',
      '',
      'arn:aws:iam::1:role/app',
      'arn:aws:sts::111122223333:assumed-role/app/x',
    ])('with the annotation %j, which is no role', async (annotation) => {
      await start(options);
      rig.annotate(annotation);
      expect(await rig.mount(objects)).toBe(
        `NOT_GRANTED: aws: ServiceAccount team-a/app has no role: its annotation eks.amazonaws.com/role-arn is no ARN of an IAM role: ` +
          `${annotation}; write eks.amazonaws.com/role-arn: arn:aws:iam::<account>:role/<name>`,
      );
    });

    test('without any token: what to configure, and where', async () => {
      await start(options);
      expect(await rig.mount(objects, { tokens: {} })).toBe(
        'TOKEN_MISSING: the driver brought no token for the audience sts.amazonaws.com, nor any other; ' +
          'add "- audience: sts.amazonaws.com" to tokenRequests in the values of the driver\'s chart',
      );
    });

    test('with a token for Pod Identity alone', async () => {
      await start(options);
      const { 'pods.eks.amazonaws.com': token } = rig.podTokens();
      const tokens = { 'pods.eks.amazonaws.com': token };
      expect(await rig.mount(objects, { tokens })).toMatch(
        /^TOKEN_MISSING: .*only for pods\.eks\.amazonaws\.com/,
      );
    });

    test.each([
      [
        'of another account',
        () => rig.mint('team-a', 'plain'),
        'belongs to system:serviceaccount:team-a:plain',
      ],
      [
        'that has ended',
        () => rig.mint('team-a', 'app', { expiresAt: rig.now() - 60_000 }),
        'expired at',
      ],
      ['that is none', () => 'x.y.z', 'is no ServiceAccount token'],
    ])('with a token %s', async (_, token, fault) => {
      await start(options);
      const line = await rig.mount(objects, { tokens: { [irsa]: token() } });
      expect(line).toMatch(/^TOKEN_INVALID/);
      expect(line).toContain(fault);
    });

    test('without an answer of the API server', async () => {
      await start(options);
      rig.kubernetes.deny(true);
      expect(await rig.mount(objects)).toMatch(/^ADMISSION_UNAVAILABLE: .*serviceaccounts/);
    });

    test('with a role that does not trust the account', async () => {
      await start(options);
      rig.annotate(otherRole);
      expect(await rig.mount(objects)).toMatch(/AccessDenied/);
    });
  });
});

describe('EKS Pod Identity, where the class asks for it', () => {
  test('serves by the agent of the node, without STS and without Kubernetes', async () => {
    await start({ sharedIdentities: 'none' });
    expect(await rig.mount(byPodIdentity)).toEqual({ db: 'first' });
    expect(rig.readers()).toEqual([appRole]);
    expect(rig.agent.ipv4.sessions).toEqual([`${appRole} for team-a/app/uid-pod-1`]);
    expect([rig.sts.count(), rig.kubernetes.reads()]).toEqual([0, 0]);
  });

  test('sessions are the pod’s own: one call of the agent for each pod, and what one has read serves no other', async () => {
    await start();
    for (const name of ['a', 'b', 'a', 'b']) await rig.volume(byPodIdentity, { name });
    const sessions = agents().flatMap((agent) => agent.sessions);
    expect(sessions).toEqual([
      `${appRole} for team-a/app/uid-a`,
      `${appRole} for team-a/app/uid-b`,
    ]);
    expect(rig.secretsManager.callCount('GetSecretValue')).toBe(2);
  });

  test('unless the operator says otherwise', async () => {
    await start({ env: { KEYFERRY_AWS_POD_IDENTITY_PRINCIPAL: 'serviceAccount' } });
    for (const name of ['a', 'b', 'c']) await rig.volume(byPodIdentity, { name });
    expect(agents().flatMap((agent) => agent.sessions)).toHaveLength(1);
    expect(rig.secretsManager.callCount('GetSecretValue')).toBe(1);
    rig.agent.associations.set('team-b/app', otherRole);
    await rig.volume(byPodIdentity, { name: 'd', namespace: 'team-b' });
    expect(agents().flatMap((agent) => agent.sessions)).toHaveLength(2);
  });

  test('both regions of a class see one session', async () => {
    await start();
    rig.secretsManager.put('db', 'over there', awsFailoverRegion);
    rig.account.regionFaults.set(region, 'down');
    expect(await rig.mount({ ...byPodIdentity, failoverRegion: awsFailoverRegion })).toEqual({
      db: 'over there',
    });
    expect(agents().flatMap((agent) => agent.sessions)).toHaveLength(1);
  });

  test('asks the address that the class prefers', async () => {
    await start();
    await rig.volume({ ...byPodIdentity, preferredAddressType: 'IPv6' });
    expect(agents().map((agent) => agent.count())).toEqual([0, 1]);
  });

  describe('fails closed, though the account has a role and Keyferry’s own identity would be granted', () => {
    const options = { ownIdentity: true, sharedIdentities: 'all' } as const;
    afterEach(() => expect([rig.secretsManager.count(), rig.sts.count()]).toEqual([0, 0]));

    test('without its token', async () => {
      await start(options);
      const { [irsa]: token } = rig.podTokens();
      expect(await rig.mount(byPodIdentity, { tokens: { [irsa]: token } })).toBe(
        'TOKEN_MISSING: the driver brought no token for the audience pods.eks.amazonaws.com, only for sts.amazonaws.com; ' +
          'add "- audience: pods.eks.amazonaws.com" to tokenRequests in the values of the driver\'s chart',
      );
    });

    test('with the token of another pod', async () => {
      await start(options);
      expect(await rig.mount(byPodIdentity, { tokens: rig.podTokens({ name: 'other' }) })).toBe(
        "TOKEN_INVALID: the pod's token for the audience pods.eks.amazonaws.com is bound to another pod",
      );
      expect(agents().map((agent) => agent.count())).toEqual([0, 0]);
    });

    test('without an association', async () => {
      await start(options);
      rig.agent.associations.clear();
      expect(await rig.mount(byPodIdentity)).toMatch(/association/);
    });

    test.each(['yes', 'tRUE'])('with usePodIdentity %j', async (usePodIdentity) => {
      await start(options);
      expect(await rig.mount({ ...byPodIdentity, usePodIdentity })).toMatch(
        /^INVALID_CLASS: usePodIdentity is/,
      );
    });
  });
});

describe('Keyferry’s own identity', () => {
  const ownNames = (...names: string[]) => [{ ...grantsForPlain[0], names }];

  test('serves nobody unless the operator switches it on: the message has all ways out', async () => {
    await start({ sharedIdentities: 'all' });
    expect(await rig.mount(objects, plain)).toBe(
      'NOT_GRANTED: aws: ServiceAccount team-a/plain has no role: its annotation eks.amazonaws.com/role-arn is missing; ' +
        'annotate it with eks.amazonaws.com/role-arn: arn:aws:iam::<account>:role/<name>, or set usePodIdentity: "true" in the class; ' +
        "or let Keyferry's own identity serve it, by KEYFERRY_AWS_OWN_IDENTITY=true and a grant",
    );
    expect([rig.sts.count(), rig.secretsManager.count()]).toEqual([0, 0]);
  });

  test('serves a pod without a role what is granted, and nothing else', async () => {
    await start({ ownIdentity: true, grants: ownNames('secretsmanager/db', 'ssm//app/*') });
    rig.ssm.put('/app/banner', 'hello');
    const both = `${objects}\n- {objectName: /app/banner, objectType: ssmparameter}`;
    expect(await rig.mount(both, plain)).toEqual({ db: 'first', _app_banner: 'hello' });
    expect(rig.readers()).toEqual([ownRole]);
    for (const name of ['dbx', 'ssm/db', '/app/banner'])
      expect(await rig.mount(`- {objectName: ${name}, objectType: secretsmanager}`, plain)).toMatch(
        new RegExp(
          `^NOT_GRANTED: aws: service account team-a/plain may not read secretsmanager/${name} by a shared identity: no grant matches; grant it in`,
        ),
      );
  });

  test('is granted ARNs whole', async () => {
    const arn = `arn:aws:secretsmanager:${region}:111122223333:secret:db-AbCdEf`;
    await start({ ownIdentity: true, grants: ownNames(`secretsmanager/${arn}`) });
    expect(await rig.mount(`- {objectName: "${arn}", objectAlias: f}`, plain)).toEqual({
      f: 'first',
    });
    expect(await rig.mount(objects, { ...plain, name: 'plain-2' })).toMatch(/^NOT_GRANTED/);
  });

  test('needs the grant for what stands in for a secret, too', async () => {
    await start({ ownIdentity: true, grants: ownNames('secretsmanager/db') });
    const parameters = {
      region,
      failoverRegion: awsFailoverRegion,
      objects:
        '- {objectName: db, objectType: secretsmanager, objectAlias: f, failoverObject: {objectName: other}}',
    };
    expect(await rig.mount(parameters, plain)).toMatch(/^NOT_GRANTED: .*secretsmanager\/other/);
  });

  test('--shared-identities all serves every secret, none serves nothing', async () => {
    await start({ ownIdentity: true, sharedIdentities: 'all', grants: [] });
    expect(await rig.mount(objects, plain)).toEqual({ db: 'first' });
    await rig.close();
    await start({ ownIdentity: true, sharedIdentities: 'none' });
    expect(await rig.mount(objects, plain)).toMatch(/^NOT_GRANTED: .*--shared-identities none/);
  });

  test('never stands in for a role that is gone: the volume keeps its files', async () => {
    await start({ ownIdentity: true, sharedIdentities: 'all' });
    await rig.volume(objects);
    rig.annotate(undefined);
    rig.advanceClock(61_000);
    expect(await rig.mount(objects)).toMatch(/^IDENTITY_DOWNGRADE/);
  });

  test('nor for Pod Identity that an old driver forgot at rotation', async () => {
    await start({ ownIdentity: true, sharedIdentities: 'all' });
    const pod = { ...plain, attributes: { usePodIdentity: 'true' } };
    await rig.volume(objects, pod);
    expect(await rig.mount(objects, { ...pod, occasion: 'rotation' })).toMatch(
      /^IDENTITY_DOWNGRADE/,
    );
  });
});

describe('a class with a failoverRegion', () => {
  test('logs in at the STS of each region, and there only when it is needed', async () => {
    await start();
    const parameters = { region, failoverRegion: awsFailoverRegion, objects };
    rig.secretsManager.put('db', 'over there', awsFailoverRegion);
    expect(await rig.mount(parameters)).toEqual({ db: 'first' });
    expect(rig.sts.sessions).toHaveLength(1);
    rig.account.regionFaults.set(region, 'down');
    expect(await rig.mount(parameters, { name: 'b' })).toEqual({ db: 'first' });
    rig.advanceClock(16 * 60_000);
    expect(await rig.mount(parameters, { name: 'c' })).toEqual({ db: 'over there' });
    expect(rig.sts.sessions).toHaveLength(2);
  });
});

describe('the region', () => {
  test('that nobody names is that of the node, asked once', async () => {
    await start();
    for (const name of ['a', 'b'])
      await rig.volume(
        { objects: `- {objectName: db, objectType: secretsmanager, objectAlias: ${name}}` },
        { name },
      );
    expect(rig.kubernetes.nodeReads()).toBe(1);
    expect(rig.secretsManager.calls.map((call) => call.region)).toEqual([awsRegion]);
  });

  const byArn = {
    objects: `- {objectName: "arn:aws:secretsmanager:${awsRegion}:111122223333:secret:db", objectAlias: db}`,
  };
  test.each([
    [{ objects, region: awsRegion }, {}],
    [{ objects }, { AWS_REGION: awsRegion }],
    [{ objects }, { AWS_DEFAULT_REGION: awsRegion }],
    [byArn, {}],
    // An ARN says it by itself, wherever the node is.
    [byArn, { AWS_REGION: awsFailoverRegion }],
  ])('of %j with %j needs no node', async (parameters: Record<string, string>, env) => {
    await start({ env });
    expect(await rig.mount(parameters)).toEqual({ db: 'first' });
    expect(rig.kubernetes.nodeReads()).toBe(0);
  });

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
      `the label topology.kubernetes.io/region of the node ${nodeName} is no region: Ireland`,
    ],
  ])(
    'that cannot be known (%j, %j) is an error that says what to set',
    async (labels, env, message) => {
      await start({ env });
      if (labels === undefined) rig.kubernetes.nodes.clear();
      else rig.kubernetes.nodes.set(nodeName, labels);
      const line = await rig.mount({ objects });
      expect(line).toMatch(/^NOT_CONFIGURED: aws: /);
      expect(line).toContain(message);
      expect(rig.secretsManager.count()).toBe(0);
    },
  );
});

test('no token and no key is ever logged, nor shown by a metric', async () => {
  await start();
  const tokens = rig.podTokens();
  await rig.mount(objects, { tokens });
  await rig.mount(byPodIdentity, { name: 'b' });
  rig.sts.injectFault({ response: { status: 400, body: tokens[irsa] } });
  await rig.mount(objects, { name: 'c', namespace: 'team-b' });
  const told = rig.lines.join() + (await rig.metrics());
  for (const secret of [...Object.values(tokens), tokens[irsa].split('.')[2]!, 'secret-', 'token-'])
    expect(told).not.toContain(secret);
});
