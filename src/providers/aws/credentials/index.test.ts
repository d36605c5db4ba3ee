import { afterEach, describe, expect, test } from '@jest/globals';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type FakeAwsCloud, awsRegion, startAwsCloud } from '../../../../test/fakes/aws-cloud.ts';
import { createAwsReader } from '../../../../test/fakes/aws-reader.ts';
import { mintAwsToken } from '../../../../test/fakes/aws-sts.ts';
import { Redacted } from '../../../core/redacted.ts';
import type { HttpClient } from '../../../http/client.ts';
import type { AddressType, AwsCredentialRequest } from '../types.ts';

const minute = 60_000;
const hour = 60 * minute;
const appRole = 'arn:aws:iam::111122223333:role/team/app';
const podRole = 'arn:aws:iam::111122223333:role/pod';
const version = '00000000-0000-4000-8000-000000000001';
const good = `db@${version}: value`;

let cloud: FakeAwsCloud;
let reader: ReturnType<typeof createAwsReader>;
const environment = { ...process.env };
afterEach(async () => {
  process.env = { ...environment };
  await cloud.close();
});

async function start(): Promise<void> {
  cloud = await startAwsCloud({
    roles: [{ arn: appRole, subject: 'system:serviceaccount:team-a:app' }],
    associations: { 'team-a/app': podRole },
  });
  reader = createAwsReader(cloud);
  cloud.secretsManager.put('db', 'value');
}
/** Waits for work in the background. */
async function until(isDone: () => boolean): Promise<void> {
  while (!isDone()) await new Promise((resolve) => setTimeout(resolve, 5));
}
const setClocks = (ms: number): void => void (cloud.clock.node = cloud.clock.cloud = ms);
const mint = (claims: Partial<Parameters<typeof mintAwsToken>[0]> = {}): string =>
  mintAwsToken({
    namespace: 'team-a',
    serviceAccount: 'app',
    expiresAt: cloud.now() + hour,
    ...claims,
  });
const irsa = (token = mint(), more: object = {}): AwsCredentialRequest => ({
  ...{ kind: 'irsa', roleArn: appRole, sessionName: 'team-a.app', region: awsRegion },
  token: new Redacted(token),
  ...more,
});
const podIdentity = (
  addressType: AddressType = 'auto',
  claims: object = {},
): AwsCredentialRequest => ({
  ...{ kind: 'pod-identity', addressType, region: awsRegion },
  token: new Redacted(mint({ audience: 'pods.eks.amazonaws.com', ...claims })),
});
/** Variables of Keyferry's own process that must not affect the identity of a pod. */
const ownEnvironment = {
  AWS_ACCESS_KEY_ID: 'AKIAEVIL',
  AWS_SECRET_ACCESS_KEY: 'evil',
  AWS_ROLE_ARN: 'arn:aws:iam::999999999999:role/evil',
  AWS_ROLE_SESSION_NAME: 'evil',
  AWS_CONTAINER_CREDENTIALS_RELATIVE_URI: '/evil',
  AWS_CONTAINER_CREDENTIALS_FULL_URI: 'http://127.0.0.1:1/evil',
  AWS_CONTAINER_AUTHORIZATION_TOKEN: 'evil',
  AWS_ENDPOINT_URL: 'https://127.0.0.1:1/',
  AWS_ENDPOINT_URL_STS: 'https://127.0.0.1:1/',
  AWS_ENDPOINT_URL_SECRETS_MANAGER: 'https://127.0.0.1:1/',
  AWS_REGION: 'mars-north-1',
  AWS_PROFILE: 'evil',
  AWS_MAX_ATTEMPTS: '9',
};

describe('a session of a role for the token of a ServiceAccount (IRSA)', () => {
  test('is made once for concurrent callers', async () => {
    await start();
    const who = irsa();
    const lines = await Promise.all(Array.from({ length: 50 }, () => reader.read(who, 'db')));
    expect(new Set(lines)).toEqual(new Set([good]));
    expect(cloud.sts.sessions).toEqual([`${appRole} as team-a.app for 3600`]);
    expect(cloud.sts.count()).toBe(1);
    expect(cloud.secretsManager.calls[0]?.holder).toBe(appRole);
  });

  test('sends the token in the body of an unsigned request, not in the URL', async () => {
    await start();
    const token = mint();
    await reader.read(irsa(token), 'db');
    const [request] = cloud.sts.requests;
    expect(`${request?.path}?${request?.query}`).toBe('/?');
    expect(request?.headers.authorization).toBeUndefined();
    expect(new URLSearchParams(request?.body.toString()).get('WebIdentityToken')).toBe(token);
  });

  test.each([
    [
      'another ServiceAccount',
      { serviceAccount: 'other' },
      'HTTP 403, AccessDenied',
      'with this ServiceAccount as sub',
    ],
    ['another audience', { audience: 'vault' }, 'HTTP 400, InvalidIdentityToken', 'client ids'],
    ['expired', { expiresAt: 0 }, 'HTTP 400, ExpiredTokenException', 'clock'],
  ])(
    'reports a refused token (%s) with the code and without the token',
    async (_, claims, code, hint) => {
      await start();
      const token = mint(claims);
      const line = await reader.read(irsa(token), 'db');
      expect(line).toMatch(
        new RegExp(
          `^failed CREDENTIALS_REFUSED: aws: Secrets Manager secret db .*STS in eu-west-1 refused the ServiceAccount's token for the role ${appRole} \\(${code}.*; .*${hint}`,
        ),
      );
      expect(line).not.toContain(token.slice(-20));
      expect(cloud.secretsManager.count()).toBe(0);
    },
  );

  test('hides a text that repeats the token', async () => {
    await start();
    const token = `${mint()}x`;
    const line = await reader.login(irsa(token));
    expect(line).toMatch(/^CREDENTIALS_REFUSED: .*InvalidIdentityToken: .*OIDC provider/);
    expect(line).not.toContain(token.slice(0, 20));
  });

  test('reports a role that does not exist', async () => {
    await start();
    expect(await reader.login(irsa(undefined, { roleArn: `${appRole}-none` }))).toMatch(
      /^CREDENTIALS_REFUSED: .*role\/team\/app-none \(HTTP 403, AccessDenied: .*; the role must exist/,
    );
  });

  test('does not send a refused token again for a minute, but sends another one', async () => {
    await start();
    const token = mint({ serviceAccount: 'other' });
    await Promise.all(Array.from({ length: 20 }, () => reader.read(irsa(token), 'db')));
    await reader.read(irsa(token), 'db');
    expect(cloud.sts.count()).toBe(1);
    expect(await reader.read(irsa(), 'db')).toBe(good);
    expect(cloud.sts.count()).toBe(2);
    cloud.clock.node = minute;
    await reader.read(irsa(token, { sessionName: 'again' }), 'db');
    expect(cloud.sts.count()).toBe(3);
  });

  test('sends a token that the STS of one region refused to the STS of another', async () => {
    await start();
    const token = mint();
    const body =
      '<ErrorResponse><Error><Code>RegionDisabledException</Code></Error></ErrorResponse>';
    cloud.sts.injectFault({
      times: 1,
      response: { status: 403, headers: { 'content-type': 'text/xml' }, body },
    });
    expect(await reader.login(irsa(token, { region: 'me-south-1' }))).toMatch(
      /^CREDENTIALS_REFUSED: .*activate STS for me-south-1/,
    );
    expect(await reader.read(irsa(token), 'db')).toBe(good);
  });

  test('renews the session in the background, 5 minutes before its end', async () => {
    await start();
    const who = irsa(mint({ expiresAt: cloud.now() + 9 * hour }));
    await reader.read(who, 'db');
    setClocks(54 * minute);
    await reader.read(who, 'db');
    expect(cloud.sts.sessions).toHaveLength(1);
    setClocks(56 * minute);
    cloud.sts.injectFault({ delayMs: 20 });
    expect(await reader.read(who, 'db')).toBe(good);
    await until(() => cloud.sts.sessions.length > 1);
    expect(cloud.sts.sessions).toHaveLength(2);
  });

  test('serves the session during an outage of STS, and reports the failed renewal', async () => {
    await start();
    const who = irsa(mint({ expiresAt: cloud.now() + 9 * hour }));
    await reader.read(who, 'db');
    setClocks(56 * minute);
    cloud.sts.injectFault({ response: { status: 503, body: '<html>' } });
    expect(await reader.read(who, 'db')).toBe(good);
    await until(() => reader.failures.length > 0);
    expect(reader.failures.map(({ summary }) => summary)).toEqual([
      expect.stringMatching(
        /^no keys for the role of the ServiceAccount: the service failed: STS in eu-west-1 \(HTTP 503\); check/,
      ),
    ]);
  });

  test('returns CREDENTIALS_UNAVAILABLE for an outage of STS before the first session', async () => {
    await start();
    cloud.sts.injectFault({ reset: true });
    const [result] = await reader.results(irsa(), { name: 'db' });
    expect(result?.kind === 'failed' && [result.error.code, result.error.kind]).toEqual([
      'CREDENTIALS_UNAVAILABLE',
      'outage',
    ]);
    expect(cloud.sts.count()).toBe(3);
    expect(await reader.read(irsa(), { name: 'db', region: 'us-east-1' })).toMatch(
      /CREDENTIALS_UNAVAILABLE/,
    );
  });

  test.each([
    [
      'throttling',
      {
        status: 400,
        body: '<ErrorResponse><Error><Code>Throttling</Code></Error></ErrorResponse>',
      },
    ],
    [
      'an identity provider that is not available',
      {
        status: 400,
        body: '<ErrorResponse><Error><Code>IDPCommunicationError</Code></Error></ErrorResponse>',
      },
    ],
  ])('retries a transient error: %s', async (_, response) => {
    await start();
    cloud.sts.injectFault({
      times: 1,
      response: { headers: { 'content-type': 'text/xml' }, ...response },
    });
    expect(await reader.read(irsa(), 'db')).toBe(good);
  });

  test.each([
    ['a page', { status: 404, body: '<html>canary' }],
    ['an invalid success', { status: 200, body: '<a>canary</a>' }],
    ['nothing', { status: 200, body: '' }],
  ])('does not treat an unknown response as a refusal: %s', async (_, response) => {
    await start();
    cloud.sts.injectFault({ times: 1, response });
    const line = await reader.read(irsa(), 'db');
    expect(line).toMatch(/^failed CREDENTIALS_UNAVAILABLE: .*STS in eu-west-1/);
    expect(line).not.toContain('canary');
    expect(await reader.read(irsa(), 'db')).toBe(good);
  });

  test.each([
    ['eu-west-1', false, 'sts.eu-west-1.amazonaws.com'],
    ['us-east-2', false, 'sts.us-east-2.amazonaws.com'],
    ['us-east-2', true, 'sts-fips.us-east-2.amazonaws.com'],
  ])('calls the STS of its region: %s, FIPS %s', async (region, fips, host) => {
    await start();
    const hosts: string[] = [];
    const http: HttpClient = {
      ...cloud.http,
      request: async ({ url }) => {
        hosts.push(url.host);
        return { status: 404, headers: {}, body: Buffer.from('') };
      },
    };
    const { podIdentityAgent, perSecond, burst } = cloud.config;
    const config = { fips, dualstack: false, podIdentityAgent, perSecond, burst };
    await createAwsReader({ http, config, now: cloud.now }).login(irsa(undefined, { region }));
    expect(hosts).toEqual([host]);
  });

  test('fails at once if STS wants a pause of more than 5 s', async () => {
    await start();
    const headers = { 'retry-after': '6' };
    cloud.sts.injectFault({ response: { status: 503, headers, body: '<html>' } });
    expect(await reader.read(irsa(), 'db')).toMatch(/^failed CREDENTIALS_UNAVAILABLE/);
    expect(cloud.sts.count()).toBe(1);
  });

  test('replaces a session that AWS ended early, without a failed mount', async () => {
    await start();
    const who = irsa();
    await reader.read(who, 'db');
    setClocks(2 * minute);
    cloud.account.revoke(lastKeyId());
    expect(await reader.read(who, 'db')).toBe(good);
    expect(cloud.sts.sessions).toHaveLength(2);
  });

  test('makes only one new session if the store refuses each of them', async () => {
    await start();
    const who = irsa();
    await reader.read(who, 'db');
    setClocks(2 * minute);
    cloud.secretsManager.injectFault({
      response: { status: 400, body: { __type: 'ExpiredTokenException' } },
    });
    for (let round = 0; round < 5; round++)
      expect(await reader.read(who, 'db')).toMatch(
        /^failed CREDENTIALS_REFUSED: .*the role .*ExpiredToken/,
      );
    expect(cloud.sts.sessions).toHaveLength(2);
  });

  test('ignores identities and endpoints in the environment of Keyferry', async () => {
    await start();
    const dir = mkdtempSync(join(tmpdir(), 'kf-aws-'));
    const file = (name: string, text: string): string => {
      writeFileSync(join(dir, name), text);
      return join(dir, name);
    };
    Object.assign(process.env, ownEnvironment, {
      AWS_WEB_IDENTITY_TOKEN_FILE: file('token', mint({ serviceAccount: 'evil' })),
      AWS_CONFIG_FILE: file(
        'config',
        '[profile evil]\nendpoint_url = https://127.0.0.1:1/\nrole_arn = arn:aws:iam::9:role/x\n',
      ),
    });
    try {
      expect(await reader.read(irsa(), 'db')).toBe(good);
      expect(cloud.sts.sessions).toEqual([`${appRole} as team-a.app for 3600`]);
    } finally {
      rmSync(dir, { recursive: true });
    }
  });
});

describe('EKS Pod Identity', () => {
  test('sends the token as the Authorization header, once for concurrent callers', async () => {
    await start();
    const who = podIdentity();
    const lines = await Promise.all(Array.from({ length: 20 }, () => reader.read(who, 'db')));
    expect(new Set(lines)).toEqual(new Set([good]));
    expect(cloud.agent.ipv4.sessions).toEqual([`${podRole} for team-a/app/pod-uid`]);
    expect(cloud.agent.ipv4.count('GET /v1/credentials')).toBe(1);
    expect(cloud.secretsManager.calls[0]?.holder).toBe(podRole);
  });

  test('calls the agent without a proxy', async () => {
    await start();
    const requests: unknown[] = [];
    const http: HttpClient = {
      ...cloud.http,
      request: (request) => {
        requests.push([request.url.port, request.direct]);
        return cloud.http.request(request);
      },
    };
    await createAwsReader({ ...cloud, http }).read(podIdentity(), 'db');
    expect(requests[0]).toEqual([cloud.agent.ipv4.url.port, true]);
  });

  test('ignores tokens and endpoints in the environment of Keyferry', async () => {
    await start();
    const dir = mkdtempSync(join(tmpdir(), 'kf-aws-'));
    writeFileSync(
      join(dir, 'token'),
      mint({ audience: 'pods.eks.amazonaws.com', namespace: 'keyferry' }),
    );
    Object.assign(process.env, ownEnvironment, {
      AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: join(dir, 'token'),
    });
    try {
      expect(await reader.read(podIdentity(), 'db')).toBe(good);
      expect(cloud.agent.ipv4.sessions).toEqual([`${podRole} for team-a/app/pod-uid`]);
    } finally {
      rmSync(dir, { recursive: true });
    }
  });

  test.each(['ipv4', 'ipv6'] as const)(
    'uses only %s where the class prefers it',
    async (family) => {
      await start();
      expect(await reader.read(podIdentity(family), 'db')).toBe(good);
      const other = family === 'ipv4' ? 'ipv6' : 'ipv4';
      expect([cloud.agent[family].count(), cloud.agent[other].count()]).toEqual([1, 0]);
      cloud.agent[family].injectFault({ reset: true });
      expect(await reader.read(podIdentity(family, { podUid: 'next' }), 'db')).toMatch(
        /^failed CREDENTIALS_UNAVAILABLE: .*no keys for the pod, from EKS Pod Identity: .*; check that the add-on eks-pod-identity-agent runs on this node/,
      );
      expect(cloud.agent[other].count()).toBe(0);
    },
  );

  test('with auto, falls back to the other address, remembers it, and can return', async () => {
    await start();
    const next = (podUid: string) => reader.read(podIdentity('auto', { podUid }), 'db');
    const callCounts = () => [cloud.agent.ipv4.count(), cloud.agent.ipv6.count()];
    cloud.agent.ipv4.injectFault({ reset: true });
    expect(await next('1')).toBe(good);
    expect(callCounts()).toEqual([1, 1]);
    expect(await next('2')).toBe(good);
    expect(callCounts()).toEqual([1, 2]);
    cloud.agent.ipv4.injectFault();
    cloud.agent.ipv6.injectFault({ reset: true });
    expect(await next('3')).toBe(good);
    expect(await next('4')).toBe(good);
    expect(callCounts()).toEqual([3, 3]);
  });

  test('names both addresses if neither has an agent', async () => {
    await start();
    const unusedPorts = { ipv4: new URL('http://127.0.0.1:1'), ipv6: new URL('http://[::1]:1') };
    const readerWithoutAgent = createAwsReader(cloud, {
      config: { podIdentityAgent: unusedPorts },
    });
    expect(await readerWithoutAgent.read(podIdentity(), 'db')).toMatch(
      /^failed CREDENTIALS_UNAVAILABLE: .*127\.0\.0\.1:1 .*, and \[::1\]:1 .*; check that the add-on/,
    );
  });

  test.each([
    [
      'a ServiceAccount without association',
      { serviceAccount: 'other' },
      'HTTP 404: "\\(ResourceNotFoundException',
      'create a Pod Identity association',
    ],
    [
      'another audience',
      { audience: 'sts.amazonaws.com' },
      'HTTP 400: "\\(InvalidTokenException',
      'see the log of',
    ],
    ['expired', { expiresAt: 0 }, 'HTTP 400: "\\(ExpiredTokenException', 'clock'],
  ])(
    'reports a refused token (%s) with the text of the agent, and sends it once a minute',
    async (_, claims, response, hint) => {
      await start();
      const who = podIdentity('auto', claims);
      const line = await reader.read(who, 'db');
      expect(line).toMatch(
        new RegExp(
          `^failed CREDENTIALS_REFUSED: .*agent of EKS Pod Identity refused the pod's token \\(${response}.*; .*${hint}`,
        ),
      );
      await reader.read(who, 'db');
      expect(cloud.agent.ipv4.count()).toBe(1);
    },
  );

  test('hides a text that repeats the token', async () => {
    await start();
    const token = `not.a.${'token'.repeat(10)}`;
    const line = await reader.read(
      { ...podIdentity(), token: new Redacted(token) } as AwsCredentialRequest,
      'db',
    );
    expect(line).toMatch(/^failed CREDENTIALS_REFUSED: .*HTTP 400: "\[text withheld/);
    expect(line).not.toContain('tokentoken');
  });

  test.each([
    ['throttled', { status: 429, body: 'Too Many Requests.' }],
    ['broken', { status: 500, body: 'no' }],
  ])('retries a transient error: %s', async (_, response) => {
    await start();
    cloud.agent.ipv4.injectFault({ times: 2, response });
    expect(await reader.read(podIdentity(), 'db')).toBe(good);
    expect(cloud.agent.ipv4.count()).toBe(3);
  });

  test('fails at once if the agent wants a pause of more than 5 s', async () => {
    await start();
    const headers = { 'retry-after': '6' };
    cloud.agent.ipv4.injectFault({ response: { status: 429, headers, body: 'no' } });
    expect(await reader.read(podIdentity(), 'db')).toMatch(/^failed CREDENTIALS_UNAVAILABLE/);
    expect(cloud.agent.ipv4.count()).toBe(1);
  });

  test('does not treat an unknown response as a refusal', async () => {
    await start();
    cloud.agent.ipv4.injectFault({ response: { status: 403, body: '<html>' } });
    expect(await reader.read(podIdentity(), 'db')).toMatch(
      /^failed CREDENTIALS_UNAVAILABLE: .*does not respond like the agent of EKS Pod Identity \(HTTP 403\)/,
    );
  });
});

describe("Keyferry's own identity", () => {
  const own: AwsCredentialRequest = { kind: 'default-chain', method: 'default', region: awsRegion };

  test('comes from the default credential chain, here the environment', async () => {
    await start();
    const keys = cloud.account.issueKeys({ holder: 'keyferry' });
    Object.assign(process.env, {
      AWS_ACCESS_KEY_ID: keys.accessKeyId,
      AWS_SECRET_ACCESS_KEY: keys.secretAccessKey,
    });
    expect(await reader.read(own, 'db')).toBe(good);
    expect(cloud.secretsManager.calls[0]?.holder).toBe('keyferry');
  });

  test('can be a role by a token file, whose STS call uses the HTTP client of Keyferry', async () => {
    await start();
    const dir = mkdtempSync(join(tmpdir(), 'kf-aws-'));
    writeFileSync(join(dir, 'token'), mint());
    Object.assign(process.env, {
      AWS_WEB_IDENTITY_TOKEN_FILE: join(dir, 'token'),
      AWS_ROLE_ARN: appRole,
      AWS_ENDPOINT_URL_STS: cloud.sts.url.href,
      AWS_CONFIG_FILE: join(dir, 'none'),
      AWS_SHARED_CREDENTIALS_FILE: join(dir, 'none'),
    });
    try {
      // Only the HTTP client of Keyferry trusts the certificate authority of the fake.
      expect(await reader.read(own, 'db')).toBe(good);
    } finally {
      rmSync(dir, { recursive: true });
    }
  });

  test('names the remedies where the chain finds no credentials', async () => {
    await start();
    Object.assign(process.env, {
      AWS_CONFIG_FILE: '/none',
      AWS_SHARED_CREDENTIALS_FILE: '/none',
      AWS_EC2_METADATA_DISABLED: 'true',
    });
    expect(await reader.login(own)).toMatch(
      /^NOT_CONFIGURED: Keyferry has no AWS credentials of its own; give its/,
    );
  });
});

function lastKeyId(): string {
  const { authorization = '' } = cloud.secretsManager.requests.at(-1)?.headers ?? {};
  return /Credential=([^/]+)/.exec(authorization)?.[1] ?? '';
}
