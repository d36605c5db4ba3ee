import { describe, expect, test } from '@jest/globals';
import { SecretError } from '../../src/core/errors.ts';
import { createRender } from '../../src/mount/render.ts';
import type { Volume } from '../../src/mount/types.ts';
import { checkFilePath, findPathClash } from '../../src/formats/file-path.ts';
import { refKey, type Plan, type SecretRef } from '../../src/core/plan.ts';
import type { Outcome, SecretValue } from '../../src/core/provider.ts';
import { alibabaTwoRoles } from './alibaba-two-roles.ts';
import { awsFailover, database } from './aws-failover.ts';
import { byAddress, dotenv, futurePlans } from './future-plans.ts';
import { vaultLeasedRead } from './vault-leased-read.ts';
import { vaultPost } from './vault-post.ts';

const render = createRender({ versionKey: Buffer.alloc(32, 7) });
const plans: readonly (readonly [string, Plan])[] = Object.entries({
  alibabaTwoRoles,
  awsFailover,
  vaultLeasedRead,
  vaultPost,
  byAddress,
  dotenv,
});

const delivered = (
  ref: SecretRef,
  content: string,
  rest: Partial<SecretValue> = {},
  served = ref,
): Outcome => ({
  kind: 'value',
  ref,
  served,
  value: { bytes: Buffer.from(content), ...rest },
});
const texts = ({ files }: Volume): Record<string, string> =>
  Object.fromEntries(
    files.map(({ path, contents }) => [path, Buffer.from(contents).toString('latin1')]),
  );
const versions = (volume: Volume): Record<string, string> =>
  Object.fromEntries(volume.versions.map(({ id, version }) => [id, version]));

describe('every plan', () => {
  test.each(plans)(
    '%s has distinct refs, and makes safe, distinct files of them',
    (_, { refs, files }) => {
      expect(new Set(refs.map(refKey)).size).toBe(refs.length);
      for (const { sources } of files)
        for (const { ref } of Object.values(sources)) expect(refs).toContain(ref);
      for (const ref of refs)
        expect(
          files.some(({ sources }) => Object.values(sources).some((source) => source.ref === ref)),
        ).toBe(true);
      expect(
        files.map(({ path }) => checkFilePath(path)).filter((error) => error !== undefined),
      ).toEqual([]);
      expect(findPathClash(files.map(({ path }) => path))).toBeUndefined();
    },
  );
  test('of the future has distinct refs, too', () => {
    for (const { refs } of futurePlans) expect(new Set(refs.map(refKey)).size).toBe(refs.length);
  });
});

describe('two cross-account roles in one class', () => {
  const [staging, production, banner] = alibabaTwoRoles.refs as [SecretRef, SecretRef, SecretRef];
  const outcomes = [
    delivered(staging, '{"env":"staging"}', { version: 'v1' }),
    delivered(production, '{"pass-word":"p","users":[{"name":"app"}]}', { version: 'v9' }),
  ];

  test('give each file the secret of its own account', () => {
    const volume = render(
      alibabaTwoRoles,
      [...outcomes, delivered(banner, 'hello', { version: '4', modified: '1767225600000' })],
      0o644,
    );
    expect(texts(volume)).toEqual({
      'staging.json': '{"env":"staging"}',
      eu_prod_db: '{"pass-word":"p","users":[{"name":"app"}]}',
      'db-user': 'app',
      'db-pass': 'p',
      banner: 'hello',
    });
    expect(versions(volume)).toMatchObject({
      'staging.json': 'v1',
      eu_prod_db: 'v9',
      'db-user': expect.stringMatching(/^v9\+/),
      banner: expect.stringMatching(/^4\+/),
    });
  });

  test('leave out the absent optional parameter', () => {
    const absent: Outcome = {
      kind: 'absent',
      ref: banner,
      error: new SecretError('OBJECT_NOT_FOUND', 'no banner'),
    };
    expect(Object.keys(texts(render(alibabaTwoRoles, [...outcomes, absent], 0o644)))).not.toContain(
      'banner',
    );
  });

  test('fail when one of the two roles is denied', () => {
    const denied: Outcome = {
      kind: 'failed',
      ref: production,
      error: new SecretError('ACCESS_DENIED', 'denied'),
    };
    expect(() =>
      render(alibabaTwoRoles, [outcomes[0]!, denied, delivered(banner, '')], 0o644),
    ).toThrow('denied');
  });
});

describe('AWS failover and 25 parameters', () => {
  const parameters = awsFailover.refs.slice(1);
  const json = '{"endpoint":{"port":5432}}';
  const render27 = (served: SecretRef): Volume =>
    render(
      awsFailover,
      [
        delivered(database, json, { version: '7d3e' }, served),
        ...parameters.map((ref) =>
          delivered(ref, `${ref.name} ${ref.version ?? ''}`, {
            version: ref.version ?? '1',
            modified: '1767225600',
          }),
        ),
      ],
      0o640,
    );

  test('make 27 files, each from its own parameter', () => {
    const volume = render27(database);
    expect(volume.files).toHaveLength(27);
    expect(volume.files.map(({ mode }) => mode)).toEqual([0o400, ...Array<number>(26).fill(0o640)]);
    expect(texts(volume)).toMatchObject({
      port: '5432',
      _app_p1: '/app/p1 ',
      _app_p24: '/app/p24 ',
      'p24-v3': '/app/p24 3',
    });
    expect(versions(volume)['p24-v3']).toMatch(/^3\+[0-9a-f]{8}$/);
  });

  test('keep the versions when the replica returns the same secret', () =>
    expect(render27(database.fallbacks![0]!)).toEqual(render27(database)));
});

describe('three objects of one leased read', () => {
  const [user] = vaultLeasedRead.refs as [SecretRef];
  const issued = (name: string): Outcome => {
    const document = `{"username":"${name}","password":"p-${name}"}`;
    const envelope = `{"request_id":"","lease_id":"database/creds/app/${name}","lease_duration":3600,"renewable":true,"data":${document},"warnings":null}`;
    const lease = {
      id: `database/creds/app/${name}`,
      renewable: true,
      expiresAt: 1_767_225_600_000,
    };
    return delivered(user, envelope, { document, envelope: true, lease });
  };

  test('belong together', () => {
    const files = texts(render(vaultLeasedRead, [issued('v-1')], 0o644));
    expect(files).toMatchObject({ username: 'v-1', password: 'p-v-1' });
    expect(JSON.parse(files['nested/envelope.json']!)).toMatchObject({
      data: { username: 'v-1', password: 'p-v-1' },
    });
  });

  test('all change their version with the lease, and only then', () => {
    const [one, again, other] = ['v-1', 'v-1', 'v-2'].map((name) =>
      versions(render(vaultLeasedRead, [issued(name)], 0o644)),
    );
    expect(again).toEqual(one);
    for (const id of Object.keys(one!)) expect(other![id]).not.toBe(one![id]);
  });
});

describe('reads with a body', () => {
  test('are distinguished by it, and each gives its own result', () => {
    const [server, client, random] = vaultPost.refs as [SecretRef, SecretRef, SecretRef];
    const volume = render(
      vaultPost,
      [
        delivered(server, '', { document: '{"certificate":"S","private_key":"K"}' }),
        delivered(client, '', { document: '{"certificate":"C","expiration":1767225600}' }),
        delivered(random, '', { document: '{"random_bytes":"AP8QIA=="}' }),
      ],
      0o644,
    );
    expect(texts(volume)).toEqual({
      'server/tls.crt': 'S',
      'server/tls.key': 'K',
      'client/expiration': '1767225600',
      seed: '\0\xff\x10\x20',
    });
  });
});
