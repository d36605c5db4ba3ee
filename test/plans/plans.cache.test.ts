import { describe, expect, test } from '@jest/globals';
import { createRender } from '../../src/mount/render.ts';
import type { Volume } from '../../src/mount/types.ts';
import type { Plan, SecretRef } from '../../src/core/plan.ts';
import type { Grant } from '../../src/core/provider.ts';
import { absent, failed, grantOf, unchanged, value } from '../fakes/scripted-provider.ts';
import { createCacheFixture, hour, minute, useFakeClock, second } from '../fakes/cache-fixture.ts';
import { alibabaTwoRoles, productionDatabase, stagingDatabase } from './alibaba-two-roles.ts';
import { awsFailover, database } from './aws-failover.ts';
import { vaultLeasedRead } from './vault-leased-read.ts';
import { vaultPost } from './vault-post.ts';

useFakeClock();

type Authorize = (ref: SecretRef, pod: string) => Grant;

/** As a provider's `authorize`: one identity for each account, role and region. */
const authorize: Authorize = (ref, pod) =>
  grantOf({
    ref,
    pod,
    principal: `${pod.split('-')[0]!} ${ref.role ?? ''} ${ref.region ?? ''}`,
    scope: ref.service === 'vault' ? 'pod' : 'principal',
    fallbacks: (ref.fallbacks ?? []).map((fallback) => authorize(fallback, pod)),
  });

/** Mounts a plan for pods named `<account>-<pod>`. */
function createMounts(plan: Plan) {
  const fixture = createCacheFixture();
  const render = createRender({ versionKey: Buffer.alloc(32, 7) });
  const mount = async (pod: string): Promise<Volume> => {
    const grants = plan.refs.map((ref) => authorize(ref, pod));
    const waiter = { signal: new AbortController().signal, deadline: Date.now() + 100 * second };
    return render(plan, await fixture.cache.read(fixture.provider, grants, waiter), 0o644);
  };
  return { ...fixture, mount };
}

const textOf = ({ files }: Volume, path: string): string =>
  Buffer.from(files.find((file) => file.path === path)!.contents).toString();

describe('two cross-account roles in one class', () => {
  const byRole = ({ grant: { ref } }: { grant: Grant }) => {
    if (ref.role === stagingDatabase.role) return value('{"env":"staging"}', { version: 'v1' });
    return value('{"pass-word":"p","users":[{"name":"app"}]}', { version: 'v9' });
  };

  test('are two reads in one batch, each as its own principal', async () => {
    const { mount, provider } = createMounts(alibabaTwoRoles);
    provider.script('eu/prod/db', byRole);
    const volume = await mount('shop-1');
    expect(textOf(volume, 'staging.json')).toBe('{"env":"staging"}');
    expect(textOf(volume, 'db-pass')).toBe('p');
    expect(provider.calls.map(({ batch }) => batch)).toEqual([0, 0, 0]);
    expect(new Set(provider.calls.map(({ principal }) => principal)).size).toBe(3);
  });

  test('serve the next pod of the account from the cache, and no other account', async () => {
    const { mount, provider } = createMounts(alibabaTwoRoles);
    provider.script('eu/prod/db', byRole);
    provider.script('banner', value('hello', { modified: '1767225600000' }));
    const first = await mount('shop-1');
    expect(await mount('shop-2')).toEqual(first);
    expect(provider.calls).toHaveLength(3);
    provider.script('eu/prod/db', failed('ACCESS_DENIED'));
    await expect(mount('blog-1')).rejects.toMatchObject({ code: 'ACCESS_DENIED' });
  });

  test('fail the volume at the next read when one role loses its access, and serve when it is restored', async () => {
    const { mount, provider, advanceClock } = createMounts(alibabaTwoRoles);
    provider.script('eu/prod/db', byRole);
    const first = await mount('shop-1');
    await advanceClock(30 * second);
    provider.script('eu/prod/db', (call) =>
      call.grant.ref === productionDatabase ? failed('ACCESS_DENIED') : unchanged(),
    );
    await expect(mount('shop-1')).rejects.toMatchObject({ code: 'ACCESS_DENIED' });
    provider.script('eu/prod/db', (call) =>
      call.known === undefined ? byRole(call) : unchanged(),
    );
    expect(await mount('shop-1')).toEqual(first);
  });

  test('leave out the optional parameter until it exists', async () => {
    const { mount, provider, advanceClock } = createMounts(alibabaTwoRoles);
    provider.script('eu/prod/db', byRole);
    provider.script('banner', absent(), value('hello', { modified: '1767225600000' }));
    expect((await mount('shop-1')).files.map(({ path }) => path)).not.toContain('banner');
    await advanceClock(30 * second);
    expect(textOf(await mount('shop-1'), 'banner')).toBe('hello');
  });
});

describe('AWS failover and 25 parameters', () => {
  const json = '{"endpoint":{"port":5432}}';
  const respond = ({ grant: { ref } }: { grant: Grant }) =>
    ref.service === 'secretsmanager'
      ? value(json, { version: '7d3e' })
      : value(`parameter ${ref.name}`, { version: ref.version ?? '1', modified: '1767225600' });

  test('are read in one batch for any number of pods', async () => {
    const { cache, mount, provider } = createMounts(awsFailover);
    for (const { name } of awsFailover.refs) provider.script(name, respond);
    const volumes = await Promise.all(Array.from({ length: 20 }, (_, pod) => mount(`shop-${pod}`)));
    expect(new Set(volumes.map((volume) => JSON.stringify(volume))).size).toBe(1);
    expect(provider.calls).toHaveLength(26);
    expect(new Set(provider.calls.map(({ batch }) => batch)).size).toBe(1);
    expect(cache.hasDelivered(authorize(database, 'shop-7'))).toBe(true);
  });

  test('come from the other region in an outage, and the replica by its own name', async () => {
    const { mount, provider } = createMounts(awsFailover);
    const failInPrimaryRegion = (call: { grant: Grant }) =>
      call.grant.ref.region === 'eu-west-1' ? failed('STORE_UNAVAILABLE') : respond(call);
    for (const { name, fallbacks } of awsFailover.refs) {
      provider.script(name, failInPrimaryRegion);
      for (const fallback of fallbacks ?? []) provider.script(fallback.name, failInPrimaryRegion);
    }
    const volume = await mount('shop-1');
    expect(textOf(volume, 'port')).toBe('5432');
    expect(volume.files).toHaveLength(27);
    expect(provider.calls).toHaveLength(52);
    expect(new Set(provider.calls.slice(26).map(({ batch }) => batch)).size).toBe(1);
    expect(provider.calls.slice(26).every(({ grant }) => grant.ref.region === 'us-east-1')).toBe(
      true,
    );
  });

  test('come from the other region only for the parameter with an outage', async () => {
    const { mount, provider } = createMounts(awsFailover);
    for (const { name } of awsFailover.refs) provider.script(name, respond);
    provider.script('/app/p7', (call) =>
      call.grant.ref.region === 'eu-west-1' ? failed('STORE_THROTTLED') : respond(call),
    );
    expect(textOf(await mount('shop-1'), '_app_p7')).toBe('parameter /app/p7');
    expect(provider.calls).toHaveLength(27);
  });
});

describe('three objects of one leased read', () => {
  let issued = 0;
  const issue = () => {
    const name = `v-${(issued += 1)}`;
    const document = `{"username":"${name}","password":"p-${name}"}`;
    const lease = { id: name, renewable: true, expiresAt: Date.now() + hour };
    return value(`{"lease_id":"${name}","data":${document}}`, { document, envelope: true, lease });
  };

  test('are one database user, and another one for each pod', async () => {
    const { mount, provider } = createMounts(vaultLeasedRead);
    provider.script('database/creds/app', issue);
    const volumes = await Promise.all(Array.from({ length: 50 }, (_, pod) => mount(`shop-${pod}`)));
    const users = volumes.map((volume) => textOf(volume, 'username'));
    expect(new Set(users).size).toBe(50);
    for (const [index, volume] of volumes.entries()) {
      expect(textOf(volume, 'password')).toBe(`p-${users[index]!}`);
    }
    expect(provider.calls).toHaveLength(50);
  });

  test('keep their versions over renewals, and are released when only another pod sends requests', async () => {
    const { mount, provider, advanceClock } = createMounts(vaultLeasedRead);
    provider.script('database/creds/app', issue);
    provider.scriptRenewals(() => ({ kind: 'renewed', expiresAt: Date.now() + hour }));
    const first = await mount('shop-1');
    for (let request = 0; request < 20; request++) {
      await advanceClock(5 * minute);
      expect(await mount('shop-1')).toEqual(first);
    }
    expect(provider.calls).toHaveLength(1);
    expect(provider.renewals).toHaveLength(2);
    for (let request = 0; request < 4; request++) {
      await mount('shop-2');
      await advanceClock(5 * minute);
    }
    expect(provider.releases).toMatchObject([{ lease: textOf(first, 'username') }]);
  });
});

describe('reads with a body', () => {
  let issued = 0;
  const issue = ({ grant: { ref } }: { grant: Grant }) => {
    const name = ref.body!.includes('client') ? 'client' : 'server';
    const number = (issued += 1);
    return value('', {
      document: `{"certificate":"${name} ${number}","private_key":"K","expiration":${number}}`,
    });
  };
  const createScriptedMounts = () => {
    const mounts = createMounts(vaultPost);
    mounts.provider.script('pki/issue/web', issue);
    mounts.provider.script(
      'sys/tools/random/4',
      value('', { document: '{"random_bytes":"AP8QIA=="}' }),
    );
    return mounts;
  };

  test('are one read each, and give each file its own result', async () => {
    const { mount, provider } = createScriptedMounts();
    const volume = await mount('shop-1');
    expect(textOf(volume, 'server/tls.crt')).toMatch(/^server/);
    expect(provider.calls.map(({ grant }) => grant.ref)).toEqual(vaultPost.refs);
  });

  test('belong to the pod for an hour: no other pod gets them, and no republish reads them', async () => {
    const { mount, provider, advanceClock } = createScriptedMounts();
    const first = await mount('shop-1');
    const other = await mount('shop-2');
    expect(textOf(other, 'server/tls.crt')).not.toBe(textOf(first, 'server/tls.crt'));
    await advanceClock(30 * minute);
    expect(await mount('shop-1')).toEqual(first);
    await advanceClock(30 * minute - second);
    expect(await mount('shop-1')).toEqual(first);
    expect(provider.calls).toHaveLength(6);
    await advanceClock(second);
    expect(textOf(await mount('shop-1'), 'server/tls.crt')).not.toBe(
      textOf(first, 'server/tls.crt'),
    );
    expect(provider.calls).toHaveLength(9);
  });
});
