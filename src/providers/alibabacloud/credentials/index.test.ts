import { afterEach, describe, expect, test } from '@jest/globals';
import {
  type AlibabaCloudOptions,
  type FakeAlibabaCloud,
  alibabaRegion,
  startAlibabaCloud,
} from '../../../../test/fakes/alibaba-cloud.ts';
import { createAlibabaReader, keysSource } from '../../../../test/fakes/alibaba-reader.ts';
import { mintAlibabaToken } from '../../../../test/fakes/alibaba-sts.ts';
import { createRetry } from '../../../concurrency/retry.ts';
import { Redacted } from '../../../core/redacted.ts';
import { createHttpClient } from '../../../http/client.ts';
import type { CredentialSource } from '../types.ts';
import { createMetadata } from './metadata.ts';

const minute = 60_000;
const hour = 60 * minute;

const providerArn = 'acs:ram::111:oidc-provider/ack-rrsa-c1';
const appRole = 'acs:ram::111:role/app';
const readerRole = 'acs:ram::222:role/reader';
const keysRole = 'acs:ram::111:role/keys';
const roles = [
  { arn: appRole, oidc: { providerArn, subject: 'system:serviceaccount:team-a:app' } },
  { arn: readerRole, trustedPrincipals: [appRole, keysRole, 'worker', 'user'] },
  { arn: keysRole, trustedPrincipals: ['user'] },
];

let cloud: FakeAlibabaCloud;
let reader: ReturnType<typeof createAlibabaReader>;
afterEach(() => cloud.close());

async function start(options: AlibabaCloudOptions = {}): Promise<void> {
  cloud = await startAlibabaCloud({ roles, ...options });
  reader = createAlibabaReader(cloud);
  cloud.kms.put('db', 'value');
}
const good = 'db@v1: value';
const tick = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 50));
const turn = (ms: number): void => void (cloud.clock.node = cloud.clock.cloud = ms);
const podToken = (claims: Partial<Parameters<typeof mintAlibabaToken>[0]> = {}): string =>
  mintAlibabaToken({
    namespace: 'team-a',
    serviceAccount: 'app',
    expiresAt: cloud.now() + hour,
    ...claims,
  });
const rrsa = (
  token: string | (() => Promise<Redacted>) = podToken(),
  more: Partial<CredentialSource & { kind: 'rrsa' }> = {},
): CredentialSource & { kind: 'rrsa' } => ({
  kind: 'rrsa',
  roleArn: appRole,
  oidcProviderArn: providerArn,
  sessionName: 'team-a.app',
  token: typeof token === 'string' ? () => Promise.resolve(new Redacted(token)) : token,
  ...more,
});
const workerRole: CredentialSource = { kind: 'worker-role' };

describe('an OIDC token for a session of a role (RRSA)', () => {
  test('once for all who ask', async () => {
    await start();
    const lines = await Promise.all(Array.from({ length: 50 }, () => reader.read(rrsa(), 'db')));
    expect(new Set(lines)).toEqual(new Set([good]));
    expect(cloud.sts.sessions).toEqual([`AssumeRoleWithOIDC ${appRole} as team-a.app for 3600`]);
    expect(cloud.kms.calls[0]?.holder).toBe(appRole);
  });

  test('the token travels in the body, never in the address, and unsigned', async () => {
    await start();
    const token = podToken();
    await reader.read(rrsa(token), 'db');
    const [request] = cloud.sts.requests;
    expect(request?.query).toBe('Format=JSON');
    expect(request?.headers.authorization).toBeUndefined();
    expect(new URLSearchParams(request?.body.toString()).get('OIDCToken')).toBe(token);
  });

  test.each([
    [
      'another ServiceAccount',
      { serviceAccount: 'other' },
      'AuthenticationFail.NoPermission',
      'must name the OIDC provider, and this ServiceAccount',
    ],
    [
      'another audience',
      { audience: 'vault' },
      'AuthenticationFail.OIDCToken.AudienceNotMatch',
      'client ids',
    ],
    ['expired', { expiresAt: 0 }, 'AuthenticationFail.OIDCToken.Expired', 'clock'],
  ])('refused: %s; with the code, and without the token', async (_, claims, code, hint) => {
    await start();
    const token = podToken(claims);
    const line = await reader.read(rrsa(token), 'db');
    expect(line).toMatch(
      new RegExp(
        `^failed CREDENTIALS_REFUSED: alibabacloud: KMS secret db .*refused the OIDC token for the role ${appRole} \\(HTTP 401, ${code}, request id req-\\w+\\); .*${hint}`,
      ),
    );
    expect(line).not.toContain(token.slice(-20));
    expect(cloud.kms.count()).toBe(0);
  });

  test('refused: a role that does not exist', async () => {
    await start();
    expect(await reader.login(rrsa(undefined, { roleArn: 'acs:ram::111:role/none' }))).toMatch(
      /^CREDENTIALS_REFUSED: .*HTTP 404, EntityNotExist\.Role/,
    );
  });

  test('a refused token is not shown again for a minute; another one is', async () => {
    await start();
    const token = podToken({ serviceAccount: 'other' });
    await Promise.all(Array.from({ length: 20 }, () => reader.read(rrsa(token), 'db')));
    await reader.read(rrsa(token), 'db');
    expect(cloud.sts.count()).toBe(1);
    expect(await reader.read(rrsa(), 'db')).toBe(good);
    expect(cloud.sts.count()).toBe(2);
    cloud.clock.node = minute;
    await reader.read(rrsa(token, { sessionName: 'again' }), 'db');
    expect(cloud.sts.count()).toBe(3);
  });

  test('each login takes the token as it is then', async () => {
    await start();
    const tokens = [
      podToken({ podUid: 'first' }),
      podToken({ podUid: 'second', expiresAt: Date.now() + 9 * hour }),
    ];
    let reads = 0;
    const identity = rrsa(() => Promise.resolve(new Redacted(tokens[reads++]!)));
    expect(await reader.read(identity, 'db')).toBe(good);
    turn(2 * hour);
    expect(await reader.read(identity, 'db')).toBe(good);
    expect(reads).toBe(2);
  });

  test('five minutes before its end a session is renewed behind the mounts, once', async () => {
    await start();
    await reader.read(rrsa(), 'db');
    turn(54 * minute);
    await reader.read(rrsa(), 'db');
    await tick();
    expect(cloud.sts.count()).toBe(1);
    turn(56 * minute);
    expect(await Promise.all([1, 2, 3].map(() => reader.read(rrsa(), 'db')))).toEqual([
      good,
      good,
      good,
    ]);
    await tick();
    expect(cloud.sts.count()).toBe(2);
  });

  test('a renewal that fails is told, and the session serves on', async () => {
    await start();
    await reader.read(rrsa(), 'db');
    turn(56 * minute);
    cloud.sts.injectFault({ response: { status: 503 } });
    expect(await reader.read(rrsa(), 'db')).toBe(good);
    await tick();
    expect(reader.failures.map(({ code }) => code)).toEqual(['CREDENTIALS_UNAVAILABLE']);
  });

  test('a session KMS no longer knows: another one at once, and the mount has its secret', async () => {
    await start();
    await reader.read(rrsa(), 'db');
    turn(5 * minute);
    cloud.account.revoke(accessKeyOf(0));
    expect(await reader.read(rrsa(), 'db')).toBe(good);
    expect(cloud.sts.count()).toBe(2);
  });

  test('but a KMS that refuses every session is not given one after another', async () => {
    await start();
    cloud.kms.injectFault({
      response: { status: 404, body: { Code: 'InvalidAccessKeyId.NotFound' } },
    });
    for (let mount = 0; mount < 5; mount += 1)
      expect(await reader.read(rrsa(), 'db')).toMatch(
        /CREDENTIALS_REFUSED: .*refused the role acs:ram::111:role\/app/,
      );
    expect([cloud.sts.count(), cloud.kms.count()]).toEqual([1, 1]);
  });

  test('STS away: unavailable, and who for', async () => {
    await start();
    cloud.sts.injectFault({ reset: true });
    expect(await reader.login(rrsa())).toMatch(
      /^CREDENTIALS_UNAVAILABLE: no keys for the role acs:ram::111:role\/app: 127\.0\.0\.1:\d+ broke the connection/,
    );
  });

  test.each([
    ['a page', 403, '<html>login</html>'],
    ['a redirect', 302, ''],
    ['another API', 404, { error: 'no such route' }],
  ])('%s instead of STS is no refusal', async (_, status, body) => {
    await start();
    cloud.sts.injectFault({ response: { status, body } });
    for (const identity of [rrsa(), keysSource(cloud.account.issueKeys())])
      expect(await reader.login({ ...identity, crossAccountRoleArn: readerRole })).toMatch(
        new RegExp(`^CREDENTIALS_UNAVAILABLE: .*does not answer as STS does \\(HTTP ${status}`),
      );
  });

  test('STS throttles: waited out', async () => {
    await start();
    cloud.sts.injectFault({
      times: 2,
      response: { status: 400, body: { Code: 'Throttling.User' } },
    });
    expect(await reader.login(rrsa())).toBe('none');
  });

  test.each([
    ['no keys', { body: {} }],
    [
      'an end that is no time',
      {
        body: {
          Credentials: {
            AccessKeyId: 'a',
            AccessKeySecret: 'canary',
            SecurityToken: 't',
            Expiration: 'soon',
          },
        },
      },
    ],
    ['a page', { body: '<html>canary</html>' }],
  ])('STS answers with %s', async (_, answer) => {
    await start();
    cloud.sts.injectFault({ response: answer });
    const line = await reader.login(rrsa());
    expect(line).toMatch(
      /^CREDENTIALS_UNAVAILABLE: .*STS answered HTTP 200 with something we do not understand/,
    );
    expect(line).not.toContain('canary');
  });
});

describe('keys', () => {
  test('as they are; no login', async () => {
    await start();
    expect(await reader.read(keysSource(cloud.account.issueKeys()), 'db')).toBe(good);
    expect(cloud.sts.count() + cloud.metadata.count()).toBe(0);
  });

  test('with a security token', async () => {
    await start();
    expect(await reader.read(keysSource(cloud.account.issueKeys({ lifeMs: hour })), 'db')).toBe(
      good,
    );
  });

  test('of one pod never serve another: the same id with another secret is another principal', async () => {
    await start();
    const keys = keysSource(cloud.account.issueKeys());
    expect(await reader.read(keys, 'db')).toBe(good);
    expect(
      await reader.read({ ...keys, accessKeySecret: new Redacted('guessed-secret') }, 'db'),
    ).toMatch(/CREDENTIALS_REFUSED: .*SignatureDoesNotMatch/);
    expect(await reader.read(keys, 'db')).toBe(good);
  });

  test('that may only assume a role: with session name and duration as configured', async () => {
    await start();
    const keys = keysSource(cloud.account.issueKeys());
    const identity: CredentialSource = {
      ...keys,
      kind: 'keys-role',
      roleArn: keysRole,
      sessionName: 'csi-secrets-store-provider-alibaba',
      durationSeconds: 900,
    };
    expect(await reader.read(identity, 'db')).toBe(good);
    expect(cloud.sts.sessions).toEqual([
      `AssumeRole ${keysRole} as csi-secrets-store-provider-alibaba for 900`,
    ]);
    expect(cloud.kms.calls[0]?.holder).toBe(keysRole);
  });

  test('that are wrong are not tried for one role after another', async () => {
    await start();
    const keys = cloud.account.issueKeys();
    cloud.account.revoke(keys.accessKeyId);
    for (const role of ['a', 'b', 'c'])
      expect(
        await reader.login({
          ...keysSource(keys),
          crossAccountRoleArn: `acs:ram::222:role/${role}`,
        }),
      ).toMatch(
        /^CREDENTIALS_REFUSED: Alibaba Cloud refused the access key \(HTTP 404, InvalidAccessKeyId\.NotFound/,
      );
    expect(cloud.sts.count()).toBe(1);
  });
});

describe("another account's role", () => {
  const bases: [string, () => CredentialSource][] = [
    ['an OIDC token', () => rrsa()],
    ['keys', () => keysSource(cloud.account.issueKeys())],
    [
      'the role of keys',
      () => ({
        ...keysSource(cloud.account.issueKeys()),
        ...{ kind: 'keys-role', roleArn: keysRole, sessionName: 'session', durationSeconds: 3_600 },
      }),
    ],
    ['the role of the node', () => workerRole],
  ];
  test.each(bases)('on top of %s', async (_, base) => {
    await start();
    expect(await reader.read({ ...base(), crossAccountRoleArn: readerRole }, 'db')).toBe(good);
    expect(cloud.sts.sessions.at(-1)).toBe(
      `AssumeRole ${readerRole} as csi-secrets-store-cross-account for 3600`,
    );
    expect(cloud.kms.calls[0]?.holder).toBe(readerRole);
  });

  test('and for OOS', async () => {
    await start();
    cloud.oos.put('key', 'one');
    const identity: CredentialSource = { ...rrsa(), crossAccountRoleArn: readerRole };
    expect(await reader.read(identity, { service: 'oos', name: 'key' })).toBe('key@1: one');
    expect(cloud.sts.sessions).toHaveLength(2);
  });

  test('that may not be assumed: denied, who and which, and the base never stands in', async () => {
    await start();
    const identity: CredentialSource = {
      ...rrsa(),
      crossAccountRoleArn: 'acs:ram::333:role/foreign',
    };
    expect(await reader.read(identity, 'db')).toMatch(
      /^failed ACCESS_DENIED: .*the role acs:ram::111:role\/app cannot assume the role acs:ram::333:role\/foreign \(HTTP 403, NoPermission, request id req-\w+.*; it needs sts:AssumeRole/,
    );
    expect(cloud.kms.count()).toBe(0);
  });
});

describe('the RAM role of the node, by its metadata', () => {
  test('a token, the name, the keys: once for all who ask', async () => {
    await start();
    const lines = await Promise.all(
      Array.from({ length: 50 }, () => reader.read(workerRole, 'db')),
    );
    expect(new Set(lines)).toEqual(new Set([good]));
    const base = '/latest/meta-data/ram/security-credentials/';
    expect(cloud.metadata.requests.map(({ method, path }) => `${method} ${path}`)).toEqual([
      'PUT /latest/api/token',
      `GET ${base}`,
      `GET ${base}KubernetesWorkerRole-1234`,
    ]);
  });

  test.each([403, 404] as const)(
    'where there are no tokens (%d): without one',
    async (metadataTokens) => {
      await start({ metadataTokens });
      expect(await reader.read(workerRole, 'db')).toBe(good);
    },
  );

  test('where the token never comes: without one, after a second', async () => {
    await start({ metadataTokens: 404 });
    cloud.metadata.injectFault({ route: 'PUT', hang: true });
    const since = Date.now();
    expect(await reader.read(workerRole, 'db')).toBe(good);
    expect(Date.now() - since).toBeLessThan(5_000);
  });

  test('none attached: it says so', async () => {
    await start();
    cloud.metadata.current = { ...cloud.metadata.current, role: undefined };
    expect(await reader.login(workerRole)).toMatch(
      /^NOT_CONFIGURED: this node has no RAM role to read secrets with; attach a RAM role/,
    );
  });

  test.each([
    [
      'a Code that is not Success',
      'Failed',
      /^CREDENTIALS_UNAVAILABLE: .*do not understand, at Code/,
    ],
  ])('%s', async (_, code, wanted) => {
    await start();
    cloud.metadata.current = { ...cloud.metadata.current, code };
    expect(await reader.login(workerRole)).toMatch(wanted);
  });

  test.each(['../../user-data', '..', 'a\nb', '<html>'])(
    'a role that is no name: %j',
    async (role) => {
      await start();
      cloud.metadata.injectFault({ route: /credentials\/$/, response: { body: role } });
      expect(await reader.login(workerRole)).toMatch(
        /^CREDENTIALS_UNAVAILABLE: .*named a role that cannot be one/,
      );
      expect(cloud.metadata.count('GET')).toBe(1);
    },
  );

  test.each([
    ['500', { response: { status: 500 } }],
    ['a broken connection', { reset: true }],
  ])('%s: unavailable', async (_, trouble) => {
    await start();
    cloud.metadata.injectFault(trouble);
    expect(await reader.login(workerRole)).toMatch(
      /^CREDENTIALS_UNAVAILABLE: the metadata service of this node cannot be used: .*; the pod needs the way to it/,
    );
  });

  test('keys are taken anew before their end', async () => {
    await start();
    await reader.read(workerRole, 'db');
    turn(6 * hour - 4 * minute);
    cloud.metadata.issue(6 * hour);
    await reader.read(workerRole, 'db');
    await tick();
    expect(cloud.metadata.count('PUT')).toBe(2);
  });

  test('never by a proxy, which STS is reached by', async () => {
    await start();
    const proxy = { httpProxy: 'http://127.0.0.1:1', httpsProxy: 'http://127.0.0.1:1' };
    const http = createHttpClient({ ca: [cloud.ca], proxy });
    const config = {
      metadata: new URL('http://metadata.invalid'),
      sts: new URL('https://sts.invalid'),
    };
    const behind = createAlibabaReader({ ...cloud, http }, { config });
    expect(await behind.login(workerRole)).toMatch(
      /^CREDENTIALS_UNAVAILABLE: .*: metadata\.invalid (?!\(by the proxy)/,
    );
    expect(await behind.login(rrsa())).toMatch(
      /^CREDENTIALS_UNAVAILABLE: .*: sts\.invalid \(by the proxy 127\.0\.0\.1:1\)/,
    );
    await http.close();
  });

  test('the region of the node', async () => {
    await start();
    const { http, config } = cloud;
    const metadata = createMetadata({
      http,
      now: cloud.now,
      retry: createRetry({ baseMs: 1 }),
      endpoint: config.metadata,
    });
    const { signal } = new AbortController();
    expect(await metadata.region(signal)).toBe(alibabaRegion);
    cloud.metadata.injectFault({ route: 'GET', response: { status: 404 } });
    await expect(metadata.region(signal)).rejects.toMatchObject({ code: 'NOT_CONFIGURED' });
    cloud.metadata.injectFault({ reset: true });
    await expect(metadata.region(signal)).rejects.toMatchObject({ code: 'NOT_CONFIGURED' });
  });
});

/** The id of the keys a KMS call was signed with. */
function accessKeyOf(call: number): string {
  return String(cloud.kms.requests[call]?.headers['x-acs-accesskey-id']);
}
