import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import {
  agency,
  object,
  podClass,
  startCceRig,
  type CceRig,
  type CceRigOptions,
} from '../../../test/fakes/cce-rig.ts';

let rig: CceRig;

async function start(options: CceRigOptions = {}): Promise<void> {
  rig = await startCceRig(options);
  for (const name of ['db_login', 'tls_key']) rig.csms.put(name, `value of ${name}`);
}
beforeEach(() => start());
afterEach(() => rig.close());

describe('the annotation of the ServiceAccount', () => {
  test('lists what may be used', async () => {
    rig.annotate('["db_login","tls_key"]');
    expect(await rig.read(object('db_login') + object('tls_key'))).toEqual([
      'db_login@v1: value of db_login',
      'tls_key@v1: value of tls_key',
    ]);
  });

  test('missing: nothing may, and CSMS is not asked', async () => {
    expect(await rig.read(object('db_login'))).toEqual([
      'refused NOT_GRANTED: cce: ServiceAccount team-a/app may not use db_login: its annotation cce.io/dew-resource is missing; ' +
        `annotate it with cce.io/dew-resource: '["db_login"]'`,
    ]);
    expect(rig.csms.count()).toBe(0);
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
  ])('%s lists nothing: it %s', async (annotation, fault) => {
    rig.annotate(annotation);
    expect(await rig.read(object('db_login'))).toEqual([
      expect.stringContaining(`its annotation cce.io/dew-resource ${fault}`),
    ]);
    expect(rig.csms.count()).toBe(0);
  });

  test('lists one of two: neither is read, and the line to write has both', async () => {
    rig.annotate(['tls_key', 'unused']);
    expect(await rig.read(object('db_login') + object('tls_key'))).toEqual([
      'refused NOT_GRANTED: cce: ServiceAccount team-a/app may not use db_login: its annotation cce.io/dew-resource does not list it; ' +
        `annotate it with cce.io/dew-resource: '["tls_key","unused","db_login"]'`,
    ]);
    expect(rig.csms.count()).toBe(0);
  });

  test('lists few of many: the message stays short', async () => {
    const many = Array.from({ length: 60 }, (_, index) => `secret_number_${index}`);
    const [line] = await rig.read(many.map((name) => object(name)).join(''));
    expect(line).toContain('may not use secret_number_0, 59 others: its annotation');
    expect(line).toContain('; add the names to its JSON array');
    expect(line!.length).toBeLessThan(300);
  });

  test('removed between two mounts: the second one fails', async () => {
    rig.annotate(['db_login']);
    expect(await rig.read(object('db_login'))).toEqual(['db_login@v1: value of db_login']);
    rig.annotate(['tls_key']);
    expect(await rig.read(object('db_login'))).toEqual([expect.stringContaining('NOT_GRANTED')]);
  });

  test('is that of the pod that asks, not of another account or namespace', async () => {
    rig.annotate(['db_login'], { account: 'app' });
    rig.annotate(['tls_key'], { account: 'other' });
    const [db, tls] = [object('db_login'), object('tls_key')];
    expect(await rig.read(db, { account: 'app' })).toEqual([expect.stringMatching(/^db_login@v1/)]);
    expect(await rig.read(tls, { account: 'app' })).toEqual([expect.stringMatching(/NOT_GRANTED/)]);
    expect(await rig.read(db, { account: 'other' })).toEqual([expect.stringMatching(/NOT_GRANTED/)]);
    expect(await rig.read(tls, { account: 'other' })).toEqual([expect.stringMatching(/^tls_key@v1/)]);
    expect(await rig.read(db, { namespace: 'team-b' })).toEqual([expect.stringMatching(/NOT_GRANTED/)]);
  });

  test('cannot smuggle anything into the message', async () => {
    rig.annotate(JSON.stringify(['\u202eevil\n', "it's", '$(rm)']));
    const [line] = await rig.read(object('db_login'));
    expect(line).toContain(`annotate it with cce.io/dew-resource: '["db_login"]'`);
  });
});

describe('in every mode of shared identities', () => {
  test.each(['granted', 'all'] as const)('%s lifts nothing', async (sharedIdentities) => {
    await rig.close();
    await start({ sharedIdentities });
    expect(await rig.read(object('db_login'))).toEqual([expect.stringContaining('NOT_GRANTED')]);
    rig.annotate(['db_login']);
    expect(await rig.read(object('db_login'))).toEqual(['db_login@v1: value of db_login']);
  });

  test("none refuses the cluster's identity, not that of pods", async () => {
    await rig.close();
    await start({ sharedIdentities: 'none', agencies: [agency] });
    rig.annotate(['db_login']);
    expect(await rig.read(object('db_login'))).toEqual([
      expect.stringMatching(/^refused NOT_GRANTED: .*--shared-identities none; .*usePodOIDC/),
    ]);
    expect(await rig.read(podClass, { tokens: rig.podToken() })).toEqual(['db_login@v1: value of db_login']);
  });
});

describe('with the identity of the pod', () => {
  beforeEach(async () => {
    await rig.close();
    await start({ agencies: [agency] });
  });

  test('the annotation is needed all the same', async () => {
    expect(await rig.read(podClass, { tokens: rig.podToken() })).toEqual([
      expect.stringContaining('its annotation cce.io/dew-resource is missing'),
    ]);
    expect(rig.sts.count()).toBe(0);
  });

  test.each([
    ['no token', {}, 'TOKEN_MISSING'],
    ['for another audience only', { audience: 'vault' }, 'TOKEN_MISSING'],
    ['of another account', { serviceAccount: 'admin' }, 'TOKEN_INVALID'],
    ['of another namespace', { namespace: 'team-b' }, 'TOKEN_INVALID'],
    ['that has expired', { expiresAt: 1_000 }, 'TOKEN_INVALID'],
  ])('a token %s is not even shown to STS', async (what, claims, code) => {
    rig.annotate(['db_login']);
    const { audience, ...rest } = claims as { audience?: string };
    const tokens = what === 'no token' ? {} : rig.podToken(audience, rest);
    expect(await rig.read(podClass, { tokens })).toEqual([expect.stringContaining(`refused ${code}`)]);
    expect(rig.sts.count()).toBe(0);
  });

  test('fingerprints: one for the cluster, one for each account, agency and account made anew', async () => {
    for (const account of ['app', 'other']) rig.annotate(['db_login'], { account });
    const of = async (parameters: Record<string, string>, who = {}): Promise<string> =>
      (await rig.questions(parameters, who))[0]!.grant.principal.fingerprint;
    const tokens = rig.podToken();
    const cluster = { objects: object('db_login') };
    expect(await of(cluster)).toBe(await of(cluster, { account: 'other', tokens }));
    const own = await of(podClass, { tokens });
    expect(await of(podClass, { tokens: rig.podToken(undefined, { podUid: 'another pod' }) })).toBe(own);
    const others = await Promise.all([
      of(cluster),
      of({ ...podClass, agencyUrn: 'iam::123:agency:more' }, { tokens }),
      of({ ...podClass, providerUrn: 'iam::123:oidcProvider:x' }, { tokens }),
      of({ ...podClass, audience: 'mine' }, { tokens: rig.podToken('mine') }),
      of(podClass, { account: 'other', tokens: rig.podToken(undefined, { serviceAccount: 'other' }) }),
      of(podClass, { tokens: rig.podToken(undefined, { serviceAccountUid: 'made anew' }) }),
      of(podClass, { tokens: rig.podToken(undefined, { issuer: 'https://another.cluster' }) }),
    ]);
    expect(new Set([own, ...others]).size).toBe(8);
  });
});

test('grants are of principal scope, and in the order of the refs', async () => {
  rig.annotate(['db_login', 'tls_key']);
  const grants = (await rig.questions(object('tls_key') + object('db_login', 'v1'))).map(
    ({ grant }) => grant,
  );
  expect(grants.map(({ ref, scope, principal }) => [ref.name, scope, principal.identity])).toEqual([
    ['tls_key', 'principal', 'shared'],
    ['db_login', 'principal', 'shared'],
  ]);
});
