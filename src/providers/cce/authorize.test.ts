import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import {
  agency,
  objectYaml,
  podClass,
  startCceFixture,
  type CceFixture,
  type CceFixtureOptions,
} from '../../../test/fakes/cce-fixture.ts';

let fixture: CceFixture;

async function start(options: CceFixtureOptions = {}): Promise<void> {
  fixture = await startCceFixture(options);
  for (const name of ['db_login', 'tls_key']) fixture.csms.put(name, `value of ${name}`);
}
beforeEach(() => start());
afterEach(() => fixture.close());

describe('the annotation of the ServiceAccount', () => {
  test('grants the listed names', async () => {
    fixture.annotate('["db_login","tls_key"]');
    expect(await fixture.read(objectYaml('db_login') + objectYaml('tls_key'))).toEqual([
      'db_login@v1: value of db_login',
      'tls_key@v1: value of tls_key',
    ]);
  });

  test('grants nothing if it is missing, without a call to CSMS', async () => {
    expect(await fixture.read(objectYaml('db_login'))).toEqual([
      'refused NOT_GRANTED: cce: ServiceAccount team-a/app may not use db_login: its annotation cce.io/dew-resource is missing; ' +
        `annotate it with cce.io/dew-resource: '["db_login"]'`,
    ]);
    expect(fixture.csms.count()).toBe(0);
  });

  test.each([
    ['', 'is not JSON'],
    ['db_login', 'is not JSON'],
    ['"db_login"', 'is not a JSON array of strings'],
    ['{"db_login": true}', 'is not a JSON array of strings'],
    ['["db_login", 7]', 'is not a JSON array of strings'],
    ['[["db_login"]]', 'is not a JSON array of strings'],
    ['null', 'is not a JSON array of strings'],
    ['["db_login"', 'is not JSON'],
    ['[]', 'does not list it'],
    ['["*"]', 'does not list it'],
    ['["db_login "]', 'does not list it'],
    ['["DB_LOGIN"]', 'does not list it'],
  ])('%s grants nothing: it %s', async (annotation, problem) => {
    fixture.annotate(annotation);
    expect(await fixture.read(objectYaml('db_login'))).toEqual([
      expect.stringContaining(`its annotation cce.io/dew-resource ${problem}`),
    ]);
    expect(fixture.csms.count()).toBe(0);
  });

  test('grants neither of two secrets if it lists one, and the hint has both', async () => {
    fixture.annotate(['tls_key', 'unused']);
    expect(await fixture.read(objectYaml('db_login') + objectYaml('tls_key'))).toEqual([
      'refused NOT_GRANTED: cce: ServiceAccount team-a/app may not use db_login: its annotation cce.io/dew-resource does not list it; ' +
        `annotate it with cce.io/dew-resource: '["tls_key","unused","db_login"]'`,
    ]);
    expect(fixture.csms.count()).toBe(0);
  });

  test('gets a short message for many missing names', async () => {
    const many = Array.from({ length: 60 }, (_, index) => `secret_number_${index}`);
    const [line] = await fixture.read(many.map((name) => objectYaml(name)).join(''));
    expect(line).toContain('may not use secret_number_0, 59 others: its annotation');
    expect(line).toContain('; add the names to its JSON array');
    expect(line!.length).toBeLessThan(300);
  });

  test('denies the second mount after a name was removed', async () => {
    fixture.annotate(['db_login']);
    expect(await fixture.read(objectYaml('db_login'))).toEqual(['db_login@v1: value of db_login']);
    fixture.annotate(['tls_key']);
    expect(await fixture.read(objectYaml('db_login'))).toEqual([
      expect.stringContaining('NOT_GRANTED'),
    ]);
  });

  test('counts for its own ServiceAccount and namespace only', async () => {
    fixture.annotate(['db_login'], { account: 'app' });
    fixture.annotate(['tls_key'], { account: 'other' });
    const [db, tls] = [objectYaml('db_login'), objectYaml('tls_key')];
    expect(await fixture.read(db, { account: 'app' })).toEqual([
      expect.stringMatching(/^db_login@v1/),
    ]);
    expect(await fixture.read(tls, { account: 'app' })).toEqual([
      expect.stringMatching(/NOT_GRANTED/),
    ]);
    expect(await fixture.read(db, { account: 'other' })).toEqual([
      expect.stringMatching(/NOT_GRANTED/),
    ]);
    expect(await fixture.read(tls, { account: 'other' })).toEqual([
      expect.stringMatching(/^tls_key@v1/),
    ]);
    expect(await fixture.read(db, { namespace: 'team-b' })).toEqual([
      expect.stringMatching(/NOT_GRANTED/),
    ]);
  });

  test('cannot add text to the message', async () => {
    fixture.annotate(JSON.stringify(['\u202eevil\n', "it's", '$(rm)']));
    const [line] = await fixture.read(objectYaml('db_login'));
    expect(line).toContain(`annotate it with cce.io/dew-resource: '["db_login"]'`);
  });
});

describe('the mode of shared identities', () => {
  test.each(['granted', 'all'] as const)(
    '%s does not replace the annotation',
    async (sharedIdentities) => {
      await fixture.close();
      await start({ sharedIdentities });
      expect(await fixture.read(objectYaml('db_login'))).toEqual([
        expect.stringContaining('NOT_GRANTED'),
      ]);
      fixture.annotate(['db_login']);
      expect(await fixture.read(objectYaml('db_login'))).toEqual([
        'db_login@v1: value of db_login',
      ]);
    },
  );

  test("none denies the cluster's identity, but not that of pods", async () => {
    await fixture.close();
    await start({ sharedIdentities: 'none', agencies: [agency] });
    fixture.annotate(['db_login']);
    expect(await fixture.read(objectYaml('db_login'))).toEqual([
      expect.stringMatching(/^refused NOT_GRANTED: .*--shared-identities none; .*usePodOIDC/),
    ]);
    expect(await fixture.read(podClass, { tokens: fixture.podToken() })).toEqual([
      'db_login@v1: value of db_login',
    ]);
  });
});

describe('with the identity of the pod', () => {
  beforeEach(async () => {
    await fixture.close();
    await start({ agencies: [agency] });
  });

  test('the annotation is also necessary', async () => {
    expect(await fixture.read(podClass, { tokens: fixture.podToken() })).toEqual([
      expect.stringContaining('its annotation cce.io/dew-resource is missing'),
    ]);
    expect(fixture.sts.count()).toBe(0);
  });

  test.each([
    ['no token', {}, 'TOKEN_MISSING'],
    ['for another audience only', { audience: 'vault' }, 'TOKEN_MISSING'],
    ['of another account', { serviceAccount: 'admin' }, 'TOKEN_INVALID'],
    ['of another namespace', { namespace: 'team-b' }, 'TOKEN_INVALID'],
    ['that has expired', { expiresAt: 1_000 }, 'TOKEN_INVALID'],
  ])('a token %s is not sent to STS', async (what, claims, code) => {
    fixture.annotate(['db_login']);
    const { audience, ...rest } = claims as { audience?: string };
    const tokens = what === 'no token' ? {} : fixture.podToken(audience, rest);
    expect(await fixture.read(podClass, { tokens })).toEqual([
      expect.stringContaining(`refused ${code}`),
    ]);
    expect(fixture.sts.count()).toBe(0);
  });

  test('fingerprints differ for the cluster, and for each ServiceAccount (uid) and agency', async () => {
    for (const account of ['app', 'other']) fixture.annotate(['db_login'], { account });
    const fingerprintOf = async (
      parameters: Record<string, string>,
      workload = {},
    ): Promise<string> =>
      (await fixture.fetchRequests(parameters, workload))[0]!.grant.principal.fingerprint;
    const tokens = fixture.podToken();
    const cluster = { objects: objectYaml('db_login') };
    expect(await fingerprintOf(cluster)).toBe(
      await fingerprintOf(cluster, { account: 'other', tokens }),
    );
    const podFingerprint = await fingerprintOf(podClass, { tokens });
    expect(
      await fingerprintOf(podClass, {
        tokens: fixture.podToken(undefined, { podUid: 'another pod' }),
      }),
    ).toBe(podFingerprint);
    const others = await Promise.all([
      fingerprintOf(cluster),
      fingerprintOf({ ...podClass, agencyUrn: 'iam::123:agency:more' }, { tokens }),
      fingerprintOf({ ...podClass, providerUrn: 'iam::123:oidcProvider:x' }, { tokens }),
      fingerprintOf({ ...podClass, audience: 'mine' }, { tokens: fixture.podToken('mine') }),
      fingerprintOf(podClass, {
        account: 'other',
        tokens: fixture.podToken(undefined, { serviceAccount: 'other' }),
      }),
      fingerprintOf(podClass, {
        tokens: fixture.podToken(undefined, { serviceAccountUid: 'created again' }),
      }),
      fingerprintOf(podClass, {
        tokens: fixture.podToken(undefined, { issuer: 'https://another.cluster' }),
      }),
    ]);
    expect(new Set([podFingerprint, ...others]).size).toBe(8);
  });
});

test('grants have the scope principal and the order of the refs', async () => {
  fixture.annotate(['db_login', 'tls_key']);
  const grants = (
    await fixture.fetchRequests(objectYaml('tls_key') + objectYaml('db_login', 'v1'))
  ).map(({ grant }) => grant);
  expect(grants.map(({ ref, scope, principal }) => [ref.name, scope, principal.kind])).toEqual([
    ['tls_key', 'principal', 'shared'],
    ['db_login', 'principal', 'shared'],
  ]);
});
