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
import { clusterTexts } from '../texts.ts';
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
const backgroundWork = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 50));
const setClock = (ms: number): void => void (cloud.clock.node = cloud.clock.cloud = ms);
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

describe('a login with an OIDC token (RRSA)', () => {
  test('runs once for all concurrent reads', async () => {
    await start();
    const lines = await Promise.all(Array.from({ length: 50 }, () => reader.read(rrsa(), 'db')));
    expect(new Set(lines)).toEqual(new Set([good]));
    expect(cloud.sts.sessions).toEqual([`AssumeRoleWithOIDC ${appRole} as team-a.app for 3600`]);
    expect(cloud.kms.calls[0]?.holder).toBe(appRole);
  });

  test('sends the token in the body, not in the address, and does not sign the call', async () => {
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
  ])('fails: %s; the error has the code, but not the token', async (_, claims, code, hint) => {
    await start();
    const token = podToken(claims);
    const line = await reader.read(rrsa(token), 'db');
    expect(line).toMatch(
      new RegExp(
        `^failed CREDENTIALS_REFUSED: alibabacloud: KMS secret db .*refused the OIDC token for the role ${appRole} \\(HTTP 401, ${code}\\); .*${hint}`,
      ),
    );
    expect(line).not.toContain(token.slice(-20));
    expect(cloud.kms.count()).toBe(0);
  });

  test.each([400, 401, 404, 503])(
    'fails without the token in the error, although STS repeats it: HTTP %d',
    async (status) => {
      await start();
      // Two tokens, because the credential gate remembers a refused one.
      for (const field of ['Code', 'RequestId']) {
        const token = podToken({ podUid: field });
        const body = { Code: 'X', Message: token, [field]: token };
        cloud.sts.injectFault({ response: { status, body } });
        const line = await reader.login(rrsa(token));
        expect(line).toMatch(/^CREDENTIALS_/);
        expect(line).not.toContain(token.slice(0, 40));
      }
      expect(cloud.sts.count()).toBeGreaterThanOrEqual(2);
    },
  );

  test('fails for a role that does not exist', async () => {
    await start();
    expect(await reader.login(rrsa(undefined, { roleArn: 'acs:ram::111:role/none' }))).toMatch(
      /^CREDENTIALS_REFUSED: .*HTTP 404, EntityNotExist\.Role/,
    );
  });

  test('does not use a refused token again for a minute, but another one at once', async () => {
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

  test('reads the token again for each login', async () => {
    await start();
    const tokens = [
      podToken({ podUid: 'first' }),
      podToken({ podUid: 'second', expiresAt: Date.now() + 9 * hour }),
    ];
    let reads = 0;
    const identity = rrsa(() => Promise.resolve(new Redacted(tokens[reads++]!)));
    expect(await reader.read(identity, 'db')).toBe(good);
    setClock(2 * hour);
    expect(await reader.read(identity, 'db')).toBe(good);
    expect(reads).toBe(2);
  });

  test('renews a session once in the background, five minutes before its end', async () => {
    await start();
    await reader.read(rrsa(), 'db');
    setClock(54 * minute);
    await reader.read(rrsa(), 'db');
    await backgroundWork();
    expect(cloud.sts.count()).toBe(1);
    setClock(56 * minute);
    expect(await Promise.all([1, 2, 3].map(() => reader.read(rrsa(), 'db')))).toEqual([
      good,
      good,
      good,
    ]);
    await backgroundWork();
    expect(cloud.sts.count()).toBe(2);
  });

  test('reports a renewal that failed, and keeps the session', async () => {
    await start();
    await reader.read(rrsa(), 'db');
    setClock(56 * minute);
    cloud.sts.injectFault({ response: { status: 503 } });
    expect(await reader.read(rrsa(), 'db')).toBe(good);
    await backgroundWork();
    expect(reader.failures.map(({ code }) => code)).toEqual(['CREDENTIALS_UNAVAILABLE']);
  });

  test('replaces at once a session that KMS does not know any more', async () => {
    await start();
    await reader.read(rrsa(), 'db');
    setClock(5 * minute);
    cloud.account.revoke(accessKeyOf(0));
    expect(await reader.read(rrsa(), 'db')).toBe(good);
    expect(cloud.sts.count()).toBe(2);
  });

  test('does not log in for each read if KMS refuses every session', async () => {
    await start();
    cloud.kms.injectFault({
      response: { status: 404, body: { Code: 'InvalidAccessKeyId.NotFound' } },
    });
    for (let mount = 0; mount < 5; mount += 1)
      expect(await reader.read(rrsa(), 'db')).toMatch(
        /CREDENTIALS_REFUSED: .*refused the role acs:ram::111:role\/app/,
      );
    expect([cloud.sts.count(), cloud.kms.count()]).toEqual([2, 2]);
  });

  test('fails with CREDENTIALS_UNAVAILABLE and the owner if STS is down', async () => {
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
  ])('%s instead of STS is an outage', async (_, status, body) => {
    await start();
    cloud.sts.injectFault({ response: { status, body } });
    for (const identity of [rrsa(), keysSource(cloud.account.issueKeys())])
      expect(await reader.login({ ...identity, crossAccountRoleArn: readerRole })).toMatch(
        new RegExp(`^CREDENTIALS_UNAVAILABLE: .*does not respond like STS \\(HTTP ${status}`),
      );
  });

  test('retries when STS throttles', async () => {
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
      'an expiration that is not a time',
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
  ])('fails if STS sends %s', async (_, response) => {
    await start();
    cloud.sts.injectFault({ response });
    const line = await reader.login(rrsa());
    expect(line).toMatch(
      /^CREDENTIALS_UNAVAILABLE: .*STS sent a response \(HTTP 200\) that Keyferry does not understand/,
    );
    expect(line).not.toContain('canary');
  });
});

describe('keys', () => {
  test('need no login', async () => {
    await start();
    expect(await reader.read(keysSource(cloud.account.issueKeys()), 'db')).toBe(good);
    expect(cloud.sts.count() + cloud.metadata.count()).toBe(0);
  });

  test('can have a security token', async () => {
    await start();
    expect(await reader.read(keysSource(cloud.account.issueKeys({ lifeMs: hour })), 'db')).toBe(
      good,
    );
  });

  test('do not serve a principal with the same id and another secret', async () => {
    await start();
    const keys = keysSource(cloud.account.issueKeys());
    expect(await reader.read(keys, 'db')).toBe(good);
    expect(
      await reader.read({ ...keys, accessKeySecret: new Redacted('guessed-secret') }, 'db'),
    ).toMatch(/CREDENTIALS_REFUSED: .*SignatureDoesNotMatch/);
    expect(await reader.read(keys, 'db')).toBe(good);
  });

  test('assume a role with the configured session name and duration', async () => {
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

  test('that are wrong make one call for several roles', async () => {
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
  test.each(bases)('can be assumed with %s', async (_, base) => {
    await start();
    expect(await reader.read({ ...base(), crossAccountRoleArn: readerRole }, 'db')).toBe(good);
    expect(cloud.sts.sessions.at(-1)).toBe(
      `AssumeRole ${readerRole} as csi-secrets-store-cross-account for 3600`,
    );
    expect(cloud.kms.calls[0]?.holder).toBe(readerRole);
  });

  test('serves OOS with the same session', async () => {
    await start();
    cloud.oos.put('key', 'one');
    const identity: CredentialSource = { ...rrsa(), crossAccountRoleArn: readerRole };
    expect(await reader.read(identity, { service: 'oos', name: 'key' })).toBe('key@1: one');
    expect(cloud.sts.sessions).toHaveLength(2);
  });

  test('that may not be assumed is denied; the base does not read in its place', async () => {
    await start();
    const identity: CredentialSource = {
      ...rrsa(),
      crossAccountRoleArn: 'acs:ram::333:role/foreign',
    };
    expect(await reader.read(identity, 'db')).toMatch(
      /^failed ACCESS_DENIED: .*the role acs:ram::111:role\/app cannot assume the role acs:ram::333:role\/foreign \(HTTP 403, NoPermission.*; it needs sts:AssumeRole/,
    );
    expect(cloud.kms.count()).toBe(0);
  });
});

describe('the RAM role of the node', () => {
  test('takes a token, the name and the keys, once for all concurrent reads', async () => {
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
    'needs no token if the service has none (HTTP %d)',
    async (metadataTokens) => {
      await start({ metadataTokens });
      expect(await reader.read(workerRole, 'db')).toBe(good);
    },
  );

  test('continues without a token after a second', async () => {
    await start({ metadataTokens: 404 });
    cloud.metadata.injectFault({ route: 'PUT', hang: true });
    // Without the second's limit, the read would hang until the time limit of this test.
    expect(await reader.read(workerRole, 'db')).toBe(good);
  });

  test('that is not attached is NOT_CONFIGURED', async () => {
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
      /^CREDENTIALS_UNAVAILABLE: .*does not understand, at Code/,
    ],
  ])('%s', async (_, code, expected) => {
    await start();
    cloud.metadata.current = { ...cloud.metadata.current, code };
    expect(await reader.login(workerRole)).toMatch(expected);
  });

  test.each(['../../user-data', '..', 'a\nb', '<html>'])('an invalid name: %j', async (role) => {
    await start();
    cloud.metadata.injectFault({ route: /credentials\/$/, response: { body: role } });
    expect(await reader.login(workerRole)).toMatch(
      /^CREDENTIALS_UNAVAILABLE: .*sent a role name that is not valid/,
    );
    expect(cloud.metadata.count('GET')).toBe(1);
  });

  test.each([
    ['HTTP 500', { response: { status: 500 } }],
    ['a broken connection', { reset: true }],
  ])('%s: CREDENTIALS_UNAVAILABLE', async (_, fault) => {
    await start();
    cloud.metadata.injectFault(fault);
    expect(await reader.login(workerRole)).toMatch(
      /^CREDENTIALS_UNAVAILABLE: the metadata service of this node cannot be used: .*; the pod needs the way to it/,
    );
  });

  test('takes new keys before the end of the old ones', async () => {
    await start();
    await reader.read(workerRole, 'db');
    setClock(6 * hour - 4 * minute);
    cloud.metadata.issue(6 * hour);
    await reader.read(workerRole, 'db');
    await backgroundWork();
    expect(cloud.metadata.count('PUT')).toBe(2);
  });

  test('calls the metadata service without the proxy, and STS by the proxy', async () => {
    await start();
    const proxy = { httpProxy: 'http://127.0.0.1:1', httpsProxy: 'http://127.0.0.1:1' };
    const http = createHttpClient({ ca: [cloud.ca], proxy });
    const config = {
      metadata: new URL('http://metadata.invalid'),
      sts: new URL('https://sts.invalid'),
    };
    const readerBehindProxy = createAlibabaReader({ ...cloud, http }, { config });
    expect(await readerBehindProxy.login(workerRole)).toMatch(
      /^CREDENTIALS_UNAVAILABLE: .*: metadata\.invalid (?!\(by the proxy)/,
    );
    expect(await readerBehindProxy.login(rrsa())).toMatch(
      /^CREDENTIALS_UNAVAILABLE: .*: sts\.invalid \(by the proxy 127\.0\.0\.1:1\)/,
    );
    await http.close();
  });

  test('the metadata service gives the region of the node', async () => {
    await start();
    const { http, config } = cloud;
    const metadata = createMetadata({
      http,
      now: cloud.now,
      retry: createRetry({ baseMs: 1 }),
      endpoint: config.metadata,
      texts: clusterTexts,
    });
    const { signal } = new AbortController();
    expect(await metadata.region(signal)).toBe(alibabaRegion);
    cloud.metadata.injectFault({ route: 'GET', response: { status: 404 } });
    await expect(metadata.region(signal)).rejects.toMatchObject({ code: 'NOT_CONFIGURED' });
    cloud.metadata.injectFault({ reset: true });
    await expect(metadata.region(signal)).rejects.toMatchObject({ code: 'NOT_CONFIGURED' });
  });
});

/** The id of the key that signed a KMS call. */
function accessKeyOf(call: number): string {
  return String(cloud.kms.requests[call]?.headers['x-acs-accesskey-id']);
}
