import { afterEach, describe, expect, test } from '@jest/globals';
import {
  type CceRig,
  type CceRigOptions,
  agency,
  object,
  podClass,
  project,
  region,
  startCceRig,
} from '../../../../test/fakes/cce-rig.ts';

const minute = 60_000;
const hour = 60 * minute;

let rig: CceRig;
afterEach(() => rig.close());

async function start(options: CceRigOptions): Promise<void> {
  rig = await startCceRig(options);
  rig.annotate(['db_login', 'tls_key']);
  rig.csms.put('db_login', 'value');
  rig.csms.put('tls_key', 'value');
}
const read = async (): Promise<string> => (await rig.read(object('db_login')))[0]!;
const tick = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 50));
const good = 'db_login@v1: value';

describe('the agency of the node, by the metadata service', () => {
  test('a token, then the keys: once for all who ask', async () => {
    await start({ identity: 'agency' });
    const lines = await Promise.all(Array.from({ length: 50 }, read));
    expect(new Set(lines)).toEqual(new Set([good]));
    expect(rig.metadata.requests.map(({ method, path }) => `${method} ${path}`)).toEqual([
      'PUT /meta-data/latest/api/token',
      'GET /openstack/latest/securitykey',
    ]);
  });

  test.each([404, 405, 503] as const)(
    'without tokens (%d): the keys without one, tried again after a day',
    async (status) => {
      await start({ identity: 'agency', metadataTokens: status, keysLiveMs: 2 * hour });
      expect(await read()).toBe(good);
      rig.clock.node = rig.clock.cloud = 2 * hour;
      rig.metadata.rotate();
      expect(await read()).toBe(good);
      expect(rig.metadata.count('PUT')).toBe(1);
      expect(rig.metadata.count('GET')).toBe(2);
      rig.clock.node = rig.clock.cloud = 25 * hour;
      rig.metadata.rotate();
      expect(await read()).toBe(good);
      expect(rig.metadata.count('PUT')).toBe(2);
    },
  );

  test('a token it has forgotten: a new one', async () => {
    await start({ identity: 'agency', keysLiveMs: 2 * hour });
    expect(await read()).toBe(good);
    rig.metadata.forgetTokens();
    rig.clock.node = rig.clock.cloud = 2 * hour;
    rig.metadata.rotate();
    expect(await read()).toBe(good);
    expect(rig.metadata.count('PUT')).toBe(2);
  });

  test('no agency is attached: it says so, and asks for no second token', async () => {
    await start({ identity: 'agency' });
    rig.metadata.hasAgency = false;
    expect(await read()).toMatch(
      /^failed NOT_CONFIGURED: cce: secret db_login .*: this node has no agency to read secrets with; attach an agency to the ECS/,
    );
    expect(rig.metadata.count()).toBe(2);
    rig.metadata.hasAgency = true;
    expect(await read()).toBe(good);
  });

  test('40 minutes before they end, the keys are renewed behind the mounts', async () => {
    await start({ identity: 'agency', keysLiveMs: 24 * hour });
    await read();
    rig.clock.node = 24 * hour - 41 * minute;
    rig.clock.cloud = rig.clock.node;
    await read();
    expect(rig.metadata.count(/securitykey/)).toBe(1);
    rig.clock.node = 24 * hour - 39 * minute;
    rig.clock.cloud = rig.clock.node;
    rig.metadata.rotate();
    expect(await read()).toBe(good);
    await tick();
    expect(rig.metadata.count(/securitykey/)).toBe(2);
    expect(await read()).toBe(good);
    expect(rig.csms.requests.at(-1)?.headers['x-security-token']).toBe(rig.metadata.keys.securitytoken);
  });

  test('a renewal that fails is logged, and the old keys serve', async () => {
    await start({ identity: 'agency', keysLiveMs: 2 * hour });
    await read();
    rig.clock.node = rig.clock.cloud = 90 * minute;
    rig.metadata.behave({ answer: { status: 500 } });
    expect(await read()).toBe(good);
    await tick();
    expect(rig.logged.join('')).toMatch(/keys not renewed/);
    expect(rig.logged.join('')).not.toContain(rig.metadata.keys.secret);
  });

  test('keys that CSMS refuses before their end are replaced, and the mount goes on', async () => {
    await start({ identity: 'agency' });
    await read();
    rig.account.revoke(rig.metadata.keys.access);
    rig.metadata.rotate();
    rig.clock.node = rig.clock.cloud = 5 * minute;
    expect(await read()).toBe(good);
  });

  test.each([
    ['no keys', { body: {} }],
    [
      'an end that is no time',
      { body: { credential: { access: 'a', secret: 's', securitytoken: 't', expires_at: 'soon' } } },
    ],
    ['a page', { body: '<html>' }],
    ['500', { status: 500 }],
  ])('%s: unavailable, told with the host', async (_, answer) => {
    await start({ identity: 'agency' });
    rig.metadata.behave({ on: 'GET', answer });
    expect(await read()).toMatch(
      /^failed CREDENTIALS_UNAVAILABLE: .*the metadata service of this node cannot be used: /,
    );
  });
});

describe('the identity provider of the cluster, by its ID token', () => {
  test('the token for an IAM token, that for keys', async () => {
    await start({ identity: 'id-token' });
    expect(await Promise.all([read(), read()])).toEqual([good, good]);
    expect(rig.iam.requests.map(({ method, path }) => `${method} ${path}`)).toEqual([
      'POST /v3.0/OS-AUTH/id-token/tokens',
      'POST /v3.0/OS-CREDENTIAL/securitytokens',
    ]);
  });

  test('the token is read anew at each login', async () => {
    await start({ identity: 'id-token', keysLiveMs: hour });
    await read();
    rig.writeToken('the-second-id-token');
    rig.clock.node = rig.clock.cloud = hour;
    expect(await read()).toBe(good);
  });

  test('refused: once a minute, until the token changes; the token is not shown', async () => {
    await start({ identity: 'id-token' });
    const right = 'a-good-id-token';
    rig.iam.behave({
      on: /id-token/,
      answer: {
        status: 401,
        body: { error: { code: 401, message: 'The token the-first-id-token-of-the-cluster is bad' } },
      },
    });
    const line = await read();
    expect(line).toMatch(/^failed CREDENTIALS_REFUSED: .*refused the token in .*\/token \(HTTP 401\);/);
    expect(line).not.toContain('the-first-id-token');
    await read();
    expect(rig.iam.count()).toBe(1);
    rig.iam.behave();
    rig.writeToken(right);
    expect(await read()).toBe(good);
  });

  test('IAM away: unavailable, with the host', async () => {
    await start({ identity: 'id-token' });
    rig.iam.behave({ reset: true });
    expect(await read()).toMatch(
      /^failed CREDENTIALS_UNAVAILABLE: .*no keys for the identity provider in HUAWEICLOUD_SDK_IDP_ID: 127\.0\.0\.1:\d+ broke the connection/,
    );
  });

  test('no file', async () => {
    await start({ identity: 'id-token', env: { HUAWEICLOUD_SDK_ID_TOKEN_FILE: '/nowhere/token' } });
    expect(await read()).toMatch(/^failed NOT_CONFIGURED: .*the token file \/nowhere\/token cannot be read/);
  });
});

describe('the identity of the pod', () => {
  test('its token for a session of the agency: once for all pods of the account', async () => {
    await start({ agencies: [agency] });
    const pods = Array.from({ length: 20 }, (_, index) =>
      rig.read(podClass, {
        pod: `pod-${index}`,
        tokens: rig.podToken(undefined, { podUid: `pod-${index}` }),
      }),
    );
    expect(new Set((await Promise.all(pods)).flat())).toEqual(new Set([good]));
    expect(rig.sts.count()).toBe(1);
    const body = JSON.parse(rig.sts.requests[0]!.body.toString()) as object;
    expect(body).toMatchObject({ agency_session_name: 'team-a.app', duration_seconds: 3_600 });
    expect(rig.csms.requests[0]?.headers['x-security-token']).toMatch(/^st-/);
  });

  test('another account cannot have the session', async () => {
    await start({ agencies: [agency] });
    rig.annotate(['db_login'], { account: 'other' });
    await rig.read(podClass, { tokens: rig.podToken() });
    const tokens = rig.podToken(undefined, { serviceAccount: 'other' });
    const [line] = await rig.read(podClass, { account: 'other', tokens });
    expect(line).toMatch(
      /^failed CREDENTIALS_REFUSED: .*refused the pod's token for agency iam::123:agency:app \(HTTP 403, STS\.0403, request id sts-1: "\[text withheld: it held a secret\]"\); check the identity provider/,
    );
    expect(line).not.toContain(tokens['sts.huaweicloud.com']);
  });

  test('a refused token is not shown again for a minute; another one is', async () => {
    await start({ agencies: [agency] });
    const stranger = { ...podClass, providerUrn: 'iam::123:oidcProvider:stranger' };
    const tokens = rig.podToken();
    for (let mount = 0; mount < 5; mount += 1) await rig.read(stranger, { tokens });
    expect(rig.sts.count()).toBe(1);
    await rig.read(stranger, { tokens: rig.podToken(undefined, { podUid: 'next' }) });
    expect(rig.sts.count()).toBe(2);
    rig.clock.node = minute;
    await rig.read(stranger, { tokens });
    expect(rig.sts.count()).toBe(3);
  });

  test('the keys of the cluster never stand in', async () => {
    await start({ agencies: [] });
    const [line] = await rig.read(podClass, { tokens: rig.podToken() });
    expect(line).toMatch(/^failed CREDENTIALS_REFUSED/);
    expect(rig.csms.count()).toBe(0);
  });

  test('STS away: unavailable, and where another one may be', async () => {
    await start({ agencies: [agency] });
    rig.sts.behave({ answer: { status: 503 } });
    const [line] = await rig.read(podClass, { tokens: rig.podToken() });
    expect(line).toMatch(/^failed CREDENTIALS_UNAVAILABLE: .*HTTP 503\); .*HUAWEICLOUD_SDK_STS_ENDPOINT/);
  });
});

describe("the project's id", () => {
  test('is looked up once where it is not configured', async () => {
    await start({ lookUpProject: true });
    expect(await Promise.all([read(), read(), read()])).toEqual([good, good, good]);
    expect(rig.iam.count()).toBe(1);
    expect(rig.iam.requests[0]?.query).toBe(`name=${region}`);
    expect(rig.csms.requests[0]?.path).toContain(`/v1/${project}/`);
  });

  test.each([
    ['none', [] as { id: string; name: string }[], 'sees 0 projects for eu-west-101, not one'],
    [
      'two',
      [
        { id: 'p1', name: region },
        { id: 'p2', name: region },
      ],
      'sees 2 projects',
    ],
  ])('%s: it says so and creates none', async (_, projects, message) => {
    await start({ lookUpProject: true });
    rig.account.projects.splice(0, 9, ...projects);
    const line = await read();
    expect(line).toMatch(/^failed NOT_CONFIGURED/);
    expect(line).toContain(message);
    expect(line).toContain('HUAWEICLOUD_SDK_PROJECT_ID');
    expect(rig.iam.created).toBe(0);
    expect(rig.iam.count('POST')).toBe(0);
  });

  test('a failed look-up is not kept', async () => {
    await start({ lookUpProject: true });
    const projects = rig.account.projects.splice(0);
    await read();
    rig.account.projects.push(...projects);
    expect(await read()).toBe(good);
  });

  test('not allowed: what to do', async () => {
    await start({ lookUpProject: true });
    rig.iam.behave({ answer: { status: 403, body: { error: { code: 403, message: 'no' } } } });
    expect(await read()).toMatch(
      /^failed NOT_CONFIGURED: .*may not look up the project's id .*HTTP 403.*listProjects/,
    );
  });

  test('a wrong key: one call to IAM, none to CSMS, however many mount', async () => {
    await start({ lookUpProject: true });
    rig.account.revoke(rig.keys.access);
    const lines = await Promise.all(Array.from({ length: 100 }, read));
    expect(new Set(lines.map((line) => line.slice(0, 26)))).toEqual(new Set(['failed CREDENTIALS_REFUSED']));
    expect(rig.iam.count() + rig.csms.count()).toBe(1);
  });
});

test('static keys with a security token', async () => {
  await start({ temporaryKeys: true });
  expect(await read()).toBe(good);
});

test('without a region classes can be checked, and the first mount says what is missing', async () => {
  await start({ env: { HUAWEICLOUD_SDK_REGION: '' } });
  expect(rig.provider.plan({ objects: object('db_login') }).plan).toBeDefined();
  expect(await read()).toBe(
    'refused NOT_CONFIGURED: cce: Keyferry does not know the region of this cluster; set HUAWEICLOUD_SDK_REGION, such as eu-west-101',
  );
});
