import { afterEach, describe, expect, test } from '@jest/globals';
import { missingPath } from '../../../../test/missing-path.ts';
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
import { eventually } from '../../../../test/fakes/timers.ts';
import { runSteps } from '../../../core/steps.ts';

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
const expectedRead = 'db_login@v1: value';

describe('the agency of the node, from the metadata service', () => {
  test('gets a token and then the keys, once for all callers', async () => {
    await startFixture({ identity: 'agency' });
    const lines = await Promise.all(Array.from({ length: 50 }, read));
    expect(new Set(lines)).toEqual(new Set([expectedRead]));
    expect(fixture.metadata.requests.map(({ method, path }) => `${method} ${path}`)).toEqual([
      'PUT /meta-data/latest/api/token',
      'GET /openstack/latest/securitykey',
    ]);
  });

  test.each([404, 405, 503] as const)(
    'gets keys without a token if the service has no tokens (%d), and tries again after a day',
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

  test('gets a new token when the service rejects the old one', async () => {
    await startFixture({ identity: 'agency', keyLifetimeMs: 2 * hour });
    expect(await read()).toBe(expectedRead);
    fixture.metadata.clearTokens();
    fixture.clock.node = fixture.clock.cloud = 2 * hour;
    fixture.metadata.rotateKeys();
    expect(await read()).toBe(expectedRead);
    expect(fixture.metadata.count('PUT')).toBe(2);
  });

  test('reports a missing agency, without a second token', async () => {
    await startFixture({ identity: 'agency' });
    fixture.metadata.hasAgency = false;
    expect(await read()).toMatch(
      /^failed NOT_CONFIGURED: cce: secret db_login .*: this node has no agency to read secrets with \(HTTP 401\); attach an agency to the ECS/,
    );
    expect(fixture.metadata.count()).toBe(2);
    fixture.metadata.hasAgency = true;
    expect(await read()).toBe(expectedRead);
  });

  test('renews the keys in the background 40 minutes before they expire', async () => {
    await startFixture({ identity: 'agency', keyLifetimeMs: 24 * hour });
    await read();
    fixture.clock.node = 24 * hour - 41 * minute;
    fixture.clock.cloud = fixture.clock.node;
    await read();
    expect(fixture.metadata.count(/securitykey/)).toBe(1);
    fixture.clock.node = 24 * hour - 39 * minute;
    fixture.clock.cloud = fixture.clock.node;
    fixture.metadata.rotateKeys();
    const { securitytoken } = fixture.metadata.keys;
    await eventually(async () => {
      expect(await read()).toBe(expectedRead);
      return fixture.csms.requests.at(-1)?.headers['x-security-token'] === securitytoken;
    });
    expect(fixture.metadata.count(/securitykey/)).toBe(2);
  });

  test('logs a failed renewal, and still uses the old keys', async () => {
    await startFixture({ identity: 'agency', keyLifetimeMs: 2 * hour });
    await read();
    fixture.clock.node = fixture.clock.cloud = 90 * minute;
    fixture.metadata.injectFault({ response: { status: 500 } });
    expect(await read()).toBe(expectedRead);
    await eventually(() => fixture.logged.join('').includes('keys not renewed'));
    expect(fixture.logged.join('')).not.toContain(fixture.metadata.keys.secret);
  });

  test('replaces keys that CSMS refuses early, within the same mount', async () => {
    await startFixture({ identity: 'agency' });
    await read();
    fixture.account.revoke(fixture.metadata.keys.access);
    fixture.metadata.rotateKeys();
    fixture.clock.node = fixture.clock.cloud = 5 * minute;
    expect(await read()).toBe(expectedRead);
  });

  test.each([
    ['a response without keys', { body: {} }],
    [
      'an expiry that is not a time',
      {
        body: { credential: { access: 'a', secret: 's', securitytoken: 't', expires_at: 'soon' } },
      },
    ],
    ['an HTML page', { body: '<html>' }],
    ['500', { status: 500 }],
  ])('reports CREDENTIALS_UNAVAILABLE for %s', async (_, response) => {
    await startFixture({ identity: 'agency' });
    fixture.metadata.injectFault({ route: 'GET', response });
    expect(await read()).toMatch(
      /^failed CREDENTIALS_UNAVAILABLE: .*the metadata service of this node cannot be used: /,
    );
  });
});

describe('the identity provider of the cluster, with its ID token', () => {
  test('gets an IAM token for the ID token, and keys for the IAM token', async () => {
    await startFixture({ identity: 'id-token' });
    expect(await Promise.all([read(), read()])).toEqual([expectedRead, expectedRead]);
    expect(fixture.iam.requests.map(({ method, path }) => `${method} ${path}`)).toEqual([
      'POST /v3.0/OS-AUTH/id-token/tokens',
      'POST /v3.0/OS-CREDENTIAL/securitytokens',
    ]);
  });

  test('reads the token file again for each login', async () => {
    await startFixture({ identity: 'id-token', keyLifetimeMs: hour });
    await read();
    fixture.writeToken('the-second-id-token');
    fixture.clock.node = fixture.clock.cloud = hour;
    expect(await read()).toBe(expectedRead);
  });

  test('tries a refused token once a minute, and never shows it', async () => {
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

  test('reports CREDENTIALS_UNAVAILABLE with the host when IAM is down', async () => {
    await startFixture({ identity: 'id-token' });
    fixture.iam.injectFault({ reset: true });
    expect(await read()).toMatch(
      /^failed CREDENTIALS_UNAVAILABLE: .*no keys for the identity provider in HUAWEICLOUD_SDK_IDP_ID: 127\.0\.0\.1:\d+ broke the connection/,
    );
  });

  test('reports a missing token file', async () => {
    const file = missingPath();
    await startFixture({ identity: 'id-token', env: { HUAWEICLOUD_SDK_ID_TOKEN_FILE: file } });
    const outcome = await read();
    expect(outcome).toMatch(/^failed NOT_CONFIGURED: /);
    expect(outcome).toContain(`the token file ${file} cannot be read`);
  });
});

describe('the identity of the pod', () => {
  test('gets one session of the agency for all pods of the ServiceAccount', async () => {
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

  test('does not give the session to another ServiceAccount', async () => {
    await startFixture({ agencies: [agency] });
    fixture.annotate(['db_login'], { account: 'other' });
    await fixture.read(podClass, { tokens: fixture.podToken() });
    const tokens = fixture.podToken(undefined, { serviceAccount: 'other' });
    const [line] = await fixture.read(podClass, { account: 'other', tokens });
    expect(line).toMatch(
      /^failed CREDENTIALS_REFUSED: .*refused the pod's token for agency iam::123:agency:app \(HTTP 403, STS\.0403: "\[text withheld: it held a secret\]"\); check the identity provider/,
    );
    expect(line).not.toContain(tokens['sts.huaweicloud.com']);
  });

  test('sends a refused token again after a minute, and another token at once', async () => {
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

  test('is never replaced by the keys of the cluster', async () => {
    await startFixture({ agencies: [] });
    const [line] = await fixture.read(podClass, { tokens: fixture.podToken() });
    expect(line).toMatch(/^failed CREDENTIALS_REFUSED/);
    expect(fixture.csms.count()).toBe(0);
  });

  test.each([429, 503])(
    'does not show the token when STS sends it back with HTTP %d',
    async (status) => {
      await startFixture({ agencies: [agency] });
      const tokens = fixture.podToken();
      const [token = ''] = Object.values(tokens);
      const body = { error_code: token.slice(0, 60), request_id: token, error_msg: token };
      const headers = { 'x-request-id': token };
      fixture.sts.injectFault({ response: { status, headers, body } });
      const [line = ''] = await fixture.read(podClass, { tokens });
      expect(line).toMatch(/^failed CREDENTIALS_UNAVAILABLE/);
      expect(line).not.toContain(token.slice(0, 40));
    },
  );

  test('reports CREDENTIALS_UNAVAILABLE with the endpoint variable when STS is down', async () => {
    await startFixture({ agencies: [agency] });
    fixture.sts.injectFault({ response: { status: 503 } });
    const [line] = await fixture.read(podClass, { tokens: fixture.podToken() });
    expect(line).toMatch(
      /^failed CREDENTIALS_UNAVAILABLE: .*HTTP 503\); .*HUAWEICLOUD_SDK_STS_ENDPOINT/,
    );
  });
});

describe("the project's id", () => {
  test('is looked up once if it is not configured', async () => {
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
  ])('reports %s projects and creates none', async (_, projects, message) => {
    await startFixture({ lookUpProject: true });
    fixture.account.projects.splice(0, 9, ...projects);
    const line = await read();
    expect(line).toMatch(/^failed NOT_CONFIGURED/);
    expect(line).toContain(message);
    expect(line).toContain('HUAWEICLOUD_SDK_PROJECT_ID');
    expect(fixture.iam.created).toBe(0);
    expect(fixture.iam.count('POST')).toBe(0);
  });

  test('is looked up again after a failure', async () => {
    await startFixture({ lookUpProject: true });
    const projects = fixture.account.projects.splice(0);
    await read();
    fixture.account.projects.push(...projects);
    expect(await read()).toBe(expectedRead);
  });

  test('reports the missing permission with the remedy', async () => {
    await startFixture({ lookUpProject: true });
    fixture.iam.injectFault({
      response: { status: 403, body: { error: { code: 403, message: 'no' } } },
    });
    expect(await read()).toMatch(
      /^failed NOT_CONFIGURED: .*may not look up the project's id .*HTTP 403.*listProjects/,
    );
  });

  test('costs one call to IAM and none to CSMS with a wrong key, for 100 mounts', async () => {
    await startFixture({ lookUpProject: true });
    fixture.account.revoke(fixture.keys.access);
    const lines = await Promise.all(Array.from({ length: 100 }, read));
    expect(new Set(lines.map((line) => line.slice(0, 26)))).toEqual(
      new Set(['failed CREDENTIALS_REFUSED']),
    );
    expect(fixture.iam.count() + fixture.csms.count()).toBe(1);
  });
});

test('uses static keys with a security token', async () => {
  await startFixture({ temporaryKeys: true });
  expect(await read()).toBe(expectedRead);
});

test('plans without a region, and reports the missing variable at the first mount', async () => {
  await startFixture({ env: { HUAWEICLOUD_SDK_REGION: '' } });
  const { plan } = runSteps(fixture.provider.plan({ objects: objectYaml('db_login') }));
  expect(plan).toBeDefined();
  expect(await read()).toBe(
    'refused NOT_CONFIGURED: cce: Keyferry does not know the region of this cluster; set HUAWEICLOUD_SDK_REGION, such as eu-west-101',
  );
});
