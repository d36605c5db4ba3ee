import { afterEach, describe, expect, test } from '@jest/globals';
import {
  type CceFixture,
  type CceFixtureOptions,
  agency,
  objectYaml,
  podClass,
  project,
  region,
  startCceFixture,
} from '../../../../test/fakes/cce-fixture.ts';

const minute = 60_000;
const hour = 60 * minute;

let fixture: CceFixture;
afterEach(() => fixture.close());

async function startFixture(options: CceFixtureOptions): Promise<void> {
  fixture = await startCceFixture(options);
  fixture.annotate(['db_login', 'tls_key']);
  fixture.csms.put('db_login', 'value');
  fixture.csms.put('tls_key', 'value');
}
const read = async (): Promise<string> => (await fixture.read(objectYaml('db_login')))[0]!;
const tick = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 50));
const expectedRead = 'db_login@v1: value';

describe('the agency of the node, by the metadata service', () => {
  test('a token, then the keys: once for all who ask', async () => {
    await startFixture({ identity: 'agency' });
    const lines = await Promise.all(Array.from({ length: 50 }, read));
    expect(new Set(lines)).toEqual(new Set([expectedRead]));
    expect(fixture.metadata.requests.map(({ method, path }) => `${method} ${path}`)).toEqual([
      'PUT /meta-data/latest/api/token',
      'GET /openstack/latest/securitykey',
    ]);
  });

  test.each([404, 405, 503] as const)(
    'without tokens (%d): the keys without one, tried again after a day',
    async (status) => {
      await startFixture({ identity: 'agency', metadataTokens: status, keyLifetimeMs: 2 * hour });
      expect(await read()).toBe(expectedRead);
      fixture.clock.node = fixture.clock.cloud = 2 * hour;
      fixture.metadata.rotateKeys();
      expect(await read()).toBe(expectedRead);
      expect(fixture.metadata.count('PUT')).toBe(1);
      expect(fixture.metadata.count('GET')).toBe(2);
      fixture.clock.node = fixture.clock.cloud = 25 * hour;
      fixture.metadata.rotateKeys();
      expect(await read()).toBe(expectedRead);
      expect(fixture.metadata.count('PUT')).toBe(2);
    },
  );

  test('a token it has forgotten: a new one', async () => {
    await startFixture({ identity: 'agency', keyLifetimeMs: 2 * hour });
    expect(await read()).toBe(expectedRead);
    fixture.metadata.clearTokens();
    fixture.clock.node = fixture.clock.cloud = 2 * hour;
    fixture.metadata.rotateKeys();
    expect(await read()).toBe(expectedRead);
    expect(fixture.metadata.count('PUT')).toBe(2);
  });

  test('no agency is attached: it says so, and asks for no second token', async () => {
    await startFixture({ identity: 'agency' });
    fixture.metadata.hasAgency = false;
    expect(await read()).toMatch(
      /^failed NOT_CONFIGURED: cce: secret db_login .*: this node has no agency to read secrets with \(HTTP 401\); attach an agency to the ECS/,
    );
    expect(fixture.metadata.count()).toBe(2);
    fixture.metadata.hasAgency = true;
    expect(await read()).toBe(expectedRead);
  });

  test('40 minutes before they end, the keys are renewed behind the mounts', async () => {
    await startFixture({ identity: 'agency', keyLifetimeMs: 24 * hour });
    await read();
    fixture.clock.node = 24 * hour - 41 * minute;
    fixture.clock.cloud = fixture.clock.node;
    await read();
    expect(fixture.metadata.count(/securitykey/)).toBe(1);
    fixture.clock.node = 24 * hour - 39 * minute;
    fixture.clock.cloud = fixture.clock.node;
    fixture.metadata.rotateKeys();
    expect(await read()).toBe(expectedRead);
    await tick();
    expect(fixture.metadata.count(/securitykey/)).toBe(2);
    expect(await read()).toBe(expectedRead);
    expect(fixture.csms.requests.at(-1)?.headers['x-security-token']).toBe(
      fixture.metadata.keys.securitytoken,
    );
  });

  test('a renewal that fails is logged, and the old keys serve', async () => {
    await startFixture({ identity: 'agency', keyLifetimeMs: 2 * hour });
    await read();
    fixture.clock.node = fixture.clock.cloud = 90 * minute;
    fixture.metadata.injectFault({ response: { status: 500 } });
    expect(await read()).toBe(expectedRead);
    await tick();
    expect(fixture.logged.join('')).toMatch(/keys not renewed/);
    expect(fixture.logged.join('')).not.toContain(fixture.metadata.keys.secret);
  });

  test('keys that CSMS refuses before their end are replaced, and the mount goes on', async () => {
    await startFixture({ identity: 'agency' });
    await read();
    fixture.account.revoke(fixture.metadata.keys.access);
    fixture.metadata.rotateKeys();
    fixture.clock.node = fixture.clock.cloud = 5 * minute;
    expect(await read()).toBe(expectedRead);
  });

  test.each([
    ['no keys', { body: {} }],
    [
      'an end that is no time',
      {
        body: { credential: { access: 'a', secret: 's', securitytoken: 't', expires_at: 'soon' } },
      },
    ],
    ['a page', { body: '<html>' }],
    ['500', { status: 500 }],
  ])('%s: unavailable, told with the host', async (_, response) => {
    await startFixture({ identity: 'agency' });
    fixture.metadata.injectFault({ route: 'GET', response });
    expect(await read()).toMatch(
      /^failed CREDENTIALS_UNAVAILABLE: .*the metadata service of this node cannot be used: /,
    );
  });
});

describe('the identity provider of the cluster, by its ID token', () => {
  test('the token for an IAM token, that for keys', async () => {
    await startFixture({ identity: 'id-token' });
    expect(await Promise.all([read(), read()])).toEqual([expectedRead, expectedRead]);
    expect(fixture.iam.requests.map(({ method, path }) => `${method} ${path}`)).toEqual([
      'POST /v3.0/OS-AUTH/id-token/tokens',
      'POST /v3.0/OS-CREDENTIAL/securitytokens',
    ]);
  });

  test('the token is read anew at each login', async () => {
    await startFixture({ identity: 'id-token', keyLifetimeMs: hour });
    await read();
    fixture.writeToken('the-second-id-token');
    fixture.clock.node = fixture.clock.cloud = hour;
    expect(await read()).toBe(expectedRead);
  });

  test('refused: once a minute, until the token changes; the token is not shown', async () => {
    await startFixture({ identity: 'id-token' });
    const validToken = 'a-good-id-token';
    fixture.iam.injectFault({
      route: /id-token/,
      response: {
        status: 401,
        body: {
          error: { code: 401, message: 'The token the-first-id-token-of-the-cluster is bad' },
        },
      },
    });
    const line = await read();
    expect(line).toMatch(
      /^failed CREDENTIALS_REFUSED: .*refused the token in .*\/token \(HTTP 401\);/,
    );
    expect(line).not.toContain('the-first-id-token');
    await read();
    expect(fixture.iam.count()).toBe(1);
    fixture.iam.injectFault();
    fixture.writeToken(validToken);
    expect(await read()).toBe(expectedRead);
  });

  test('IAM away: unavailable, with the host', async () => {
    await startFixture({ identity: 'id-token' });
    fixture.iam.injectFault({ reset: true });
    expect(await read()).toMatch(
      /^failed CREDENTIALS_UNAVAILABLE: .*no keys for the identity provider in HUAWEICLOUD_SDK_IDP_ID: 127\.0\.0\.1:\d+ broke the connection/,
    );
  });

  test('no file', async () => {
    await startFixture({
      identity: 'id-token',
      env: { HUAWEICLOUD_SDK_ID_TOKEN_FILE: '/nowhere/token' },
    });
    expect(await read()).toMatch(
      /^failed NOT_CONFIGURED: .*the token file \/nowhere\/token cannot be read/,
    );
  });
});

describe('the identity of the pod', () => {
  test('its token for a session of the agency: once for all pods of the account', async () => {
    await startFixture({ agencies: [agency] });
    const pods = Array.from({ length: 20 }, (_, index) =>
      fixture.read(podClass, {
        pod: `pod-${index}`,
        tokens: fixture.podToken(undefined, { podUid: `pod-${index}` }),
      }),
    );
    expect(new Set((await Promise.all(pods)).flat())).toEqual(new Set([expectedRead]));
    expect(fixture.sts.count()).toBe(1);
    const body = JSON.parse(fixture.sts.requests[0]!.body.toString()) as object;
    expect(body).toMatchObject({ agency_session_name: 'team-a.app', duration_seconds: 3_600 });
    expect(fixture.csms.requests[0]?.headers['x-security-token']).toMatch(/^st-/);
  });

  test('another account cannot have the session', async () => {
    await startFixture({ agencies: [agency] });
    fixture.annotate(['db_login'], { account: 'other' });
    await fixture.read(podClass, { tokens: fixture.podToken() });
    const tokens = fixture.podToken(undefined, { serviceAccount: 'other' });
    const [line] = await fixture.read(podClass, { account: 'other', tokens });
    expect(line).toMatch(
      /^failed CREDENTIALS_REFUSED: .*refused the pod's token for agency iam::123:agency:app \(HTTP 403, STS\.0403, request id sts-1: "\[text withheld: it held a secret\]"\); check the identity provider/,
    );
    expect(line).not.toContain(tokens['sts.huaweicloud.com']);
  });

  test('a refused token is not shown again for a minute; another one is', async () => {
    await startFixture({ agencies: [agency] });
    const otherProviderClass = { ...podClass, providerUrn: 'iam::123:oidcProvider:stranger' };
    const tokens = fixture.podToken();
    for (let mount = 0; mount < 5; mount += 1) await fixture.read(otherProviderClass, { tokens });
    expect(fixture.sts.count()).toBe(1);
    await fixture.read(otherProviderClass, {
      tokens: fixture.podToken(undefined, { podUid: 'next' }),
    });
    expect(fixture.sts.count()).toBe(2);
    fixture.clock.node = minute;
    await fixture.read(otherProviderClass, { tokens });
    expect(fixture.sts.count()).toBe(3);
  });

  test('the keys of the cluster never stand in', async () => {
    await startFixture({ agencies: [] });
    const [line] = await fixture.read(podClass, { tokens: fixture.podToken() });
    expect(line).toMatch(/^failed CREDENTIALS_REFUSED/);
    expect(fixture.csms.count()).toBe(0);
  });

  test('STS away: unavailable, and where another one may be', async () => {
    await startFixture({ agencies: [agency] });
    fixture.sts.injectFault({ response: { status: 503 } });
    const [line] = await fixture.read(podClass, { tokens: fixture.podToken() });
    expect(line).toMatch(
      /^failed CREDENTIALS_UNAVAILABLE: .*HTTP 503\); .*HUAWEICLOUD_SDK_STS_ENDPOINT/,
    );
  });
});

describe("the project's id", () => {
  test('is looked up once where it is not configured', async () => {
    await startFixture({ lookUpProject: true });
    expect(await Promise.all([read(), read(), read()])).toEqual([
      expectedRead,
      expectedRead,
      expectedRead,
    ]);
    expect(fixture.iam.count()).toBe(1);
    expect(fixture.iam.requests[0]?.query).toBe(`name=${region}`);
    expect(fixture.csms.requests[0]?.path).toContain(`/v1/${project}/`);
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
    await startFixture({ lookUpProject: true });
    fixture.account.projects.splice(0, 9, ...projects);
    const line = await read();
    expect(line).toMatch(/^failed NOT_CONFIGURED/);
    expect(line).toContain(message);
    expect(line).toContain('HUAWEICLOUD_SDK_PROJECT_ID');
    expect(fixture.iam.created).toBe(0);
    expect(fixture.iam.count('POST')).toBe(0);
  });

  test('a failed look-up is not kept', async () => {
    await startFixture({ lookUpProject: true });
    const projects = fixture.account.projects.splice(0);
    await read();
    fixture.account.projects.push(...projects);
    expect(await read()).toBe(expectedRead);
  });

  test('not allowed: what to do', async () => {
    await startFixture({ lookUpProject: true });
    fixture.iam.injectFault({
      response: { status: 403, body: { error: { code: 403, message: 'no' } } },
    });
    expect(await read()).toMatch(
      /^failed NOT_CONFIGURED: .*may not look up the project's id .*HTTP 403.*listProjects/,
    );
  });

  test('a wrong key: one call to IAM, none to CSMS, however many mount', async () => {
    await startFixture({ lookUpProject: true });
    fixture.account.revoke(fixture.keys.access);
    const lines = await Promise.all(Array.from({ length: 100 }, read));
    expect(new Set(lines.map((line) => line.slice(0, 26)))).toEqual(
      new Set(['failed CREDENTIALS_REFUSED']),
    );
    expect(fixture.iam.count() + fixture.csms.count()).toBe(1);
  });
});

test('static keys with a security token', async () => {
  await startFixture({ temporaryKeys: true });
  expect(await read()).toBe(expectedRead);
});

test('without a region classes can be checked, and the first mount says what is missing', async () => {
  await startFixture({ env: { HUAWEICLOUD_SDK_REGION: '' } });
  expect(fixture.provider.plan({ objects: objectYaml('db_login') }).plan).toBeDefined();
  expect(await read()).toBe(
    'refused NOT_CONFIGURED: cce: Keyferry does not know the region of this cluster; set HUAWEICLOUD_SDK_REGION, such as eu-west-101',
  );
});
