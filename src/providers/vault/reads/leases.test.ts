import { afterEach, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { vaultEnvelope } from '../../../../test/fakes/vault-answers.ts';
import type { LeaseLife } from '../../../../test/fakes/vault-leases.ts';
import { type VaultReader, startVaultReader } from '../../../../test/fakes/vault-reader.ts';
import type { TokenLife } from '../../../../test/fakes/vault-tokens.ts';
import type { SecretError } from '../../../core/errors.ts';
import type { Lease } from '../../../core/provider.ts';
import { Redacted } from '../../../core/redacted.ts';
import { createLeases } from './leases.ts';

const forever = new AbortController().signal;
const minutes = (count: number): number => count * 60_000;
const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

/** A database user, read; what becomes of its lease is asked of the provider alone. */
async function leased({ life = {}, token = {} }: { life?: LeaseLife; token?: TokenLife } = {}) {
  const reader: VaultReader = await startVaultReader({ life: { maxTtlMs: minutes(10_000), ...token } });
  closing.push(reader.close);
  const { vault, provider, tokens, database } = reader;
  database.role('app', life);
  const grant = reader.grantOf('database/creds/app');
  const question = { grant, urgency: 'first' as const, signal: forever, onStart: () => undefined };
  const [result] = await Promise.all(provider.fetch([question]));
  if (result?.kind !== 'value' || result.value.lease === undefined) throw new Error('no lease');
  let { lease } = result.value;
  return {
    ...reader,
    lease: (): Lease => lease,
    /** Minutes until the end that the store goes by. */
    left: (): number => Math.round((lease.expiresAt - vault.now()) / minutes(1)),
    /** Lets time pass, and the token be renewed if that is due. */
    async turn(count: number): Promise<void> {
      vault.turn(minutes(count));
      tokens.tick();
      await reader.idle();
    },
    /** As the store asks, which goes by the end it was told. */
    async renew(): Promise<string> {
      const answer = await provider.renew!(grant, lease, forever);
      if (answer.kind === 'renewed') lease = { ...lease, expiresAt: answer.expiresAt };
      return answer.kind;
    },
    release: () => provider.release!(grant, lease, forever),
  };
}

describe('a lease', () => {
  test('is put off by a renewal, with the token that read it', async () => {
    const { turn, renew, left, vault } = await leased({
      life: { ttlMs: minutes(60) },
      token: { ttlMs: minutes(600) },
    });
    expect(left()).toBe(60);
    await turn(40);
    expect(await renew()).toBe('renewed');
    expect(left()).toBe(60);
    expect(vault.leases.all()).toMatchObject([{ renewals: 1, state: 'live' }]);
  });

  test('from before the clock was set back is put off, and its end is then the right one', async () => {
    const { turn, renew, left, vault } = await leased({
      life: { ttlMs: minutes(60) },
      token: { ttlMs: minutes(600) },
    });
    await turn(-480);
    expect(await renew()).toBe('renewed');
    expect(left()).toBe(60);
    await turn(40);
    expect(await renew()).toBe('renewed');
    expect(vault.leases.all()).toMatchObject([{ renewals: 2, state: 'live' }]);
  });

  test('at its max TTL is put off once more while that helps, and is then ended early: there is time to read anew', async () => {
    const { turn, renew, left, database } = await leased({
      life: { ttlMs: minutes(60), maxTtlMs: minutes(90) },
      token: { ttlMs: minutes(6_000) },
    });
    await turn(40);
    expect(await renew()).toBe('renewed');
    expect(left()).toBe(50);
    await turn(34);
    expect(await renew()).toBe('ended');
    expect(left()).toBe(16);
    expect(database.users()).toHaveLength(1);
  });

  test('that was revoked, or whose renewal is refused, has ended', async () => {
    const revoked = await leased();
    revoked.vault.leases.all()[0]!.state = 'revoked';
    expect(await revoked.renew()).toBe('ended');
    const denied = await leased();
    denied.vault.policy('default', {});
    expect(await denied.renew()).toBe('ended');
    expect(denied.lines.join('')).toMatch(/a lease is not renewed.*/);
    expect(denied.lines.join('')).toContain('sys/leases/renew');
  });

  test('that nobody answers for lives on to its end', async () => {
    const { renew, vault, left } = await leased();
    vault.node.state = 'sealed';
    await expect(renew()).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    expect(left()).toBe(60);
    vault.node.state = 'active';
    await expect(renew()).resolves.toBeDefined();
  });

  test.each(['null', '{}', '{"lease_duration":-1}', '{"lease_duration":"60"}', 'no JSON'])(
    'is not put off by %s',
    async (body) => {
      const { renew, vault, left } = await leased();
      vault.node.behave({ on: /sys.leases.renew/, answer: { body } });
      await expect(renew()).rejects.toMatchObject({ kind: expect.not.stringMatching('definite') });
      expect(left()).toBe(60);
    },
  );
});

describe('a lease and its token', () => {
  test('the end that is told is the earlier one, and moves with the token', async () => {
    const { turn, renew, left, lease, vault } = await leased({
      life: { ttlMs: minutes(600) },
      token: { ttlMs: minutes(30) },
    });
    expect(left()).toBe(30);
    expect(lease().renewable).toBe(true);
    await turn(21);
    expect(vault.tokens.all()).toMatchObject([{ renewals: 1 }]);
    expect(await renew()).toBe('renewed');
    expect(left()).toBe(30);
  });

  test('a renewal that comes a little before that of the token is told the truth, and the lease is not given up', async () => {
    const { vault, renew, left, turn } = await leased({
      life: { ttlMs: minutes(600) },
      token: { ttlMs: minutes(30) },
    });
    vault.turn(minutes(20));
    expect(await renew()).toBe('renewed');
    expect(left()).toBe(10);
    await turn(1);
    expect(await renew()).toBe('renewed');
    expect(left()).toBe(30);
  });

  test('near the max TTL of the token it is ended, while both have some life left', async () => {
    const { turn, renew, left } = await leased({
      life: { ttlMs: minutes(600) },
      token: { ttlMs: minutes(60), maxTtlMs: minutes(60) },
    });
    await turn(40);
    expect(await renew()).toBe('renewed');
    expect(left()).toBe(20);
    await turn(13);
    expect(await renew()).toBe('ended');
    expect(left()).toBe(7);
  });

  test('the lease of a token that was revoked has ended, whatever its own life', async () => {
    const { vault, renew, database } = await leased();
    vault.tokens.revoke(vault.tokens.all()[0]!);
    expect(database.users()).toEqual([]);
    expect(await renew()).toBe('ended');
  });

  test('and so has that of a token that ran out while nobody could renew it', async () => {
    const { vault, renew } = await leased({ token: { ttlMs: minutes(5) } });
    vault.turn(minutes(6));
    expect(await renew()).toBe('ended');
    expect(vault.count(/leases.renew/)).toBe(0);
  });

  test('what cannot be renewed itself moves with its token, and no further than its own end', async () => {
    const reader = await startVaultReader({ life: { ttlMs: minutes(30) } });
    closing.push(reader.close);
    reader.pki.role('web', { ttlMs: minutes(40), generateLease: true });
    const grant = reader.grantOf({
      name: 'pki/issue/web',
      method: 'POST',
      body: '{"common_name":"a.example"}',
    });
    const [result] = await Promise.all(
      reader.provider.fetch([{ grant, urgency: 'first', signal: forever, onStart: () => undefined }]),
    );
    const lease = (result as { value: { lease: Lease } }).value.lease;
    expect(Math.round((lease.expiresAt - reader.vault.now()) / minutes(1))).toBe(30);
    reader.vault.turn(minutes(21));
    reader.tokens.tick();
    await reader.idle();
    const renewed = await reader.provider.renew!(grant, lease, forever);
    expect(renewed).toMatchObject({ kind: 'renewed' });
    const end = (renewed as { expiresAt: number }).expiresAt;
    expect(Math.round((end - reader.vault.now()) / minutes(1))).toBe(19);
    expect(reader.vault.count(/leases.renew/)).toBe(0);
    // Before the clock was set back, its end was another: nobody knows the right one.
    reader.vault.turn(minutes(-60));
    expect(await reader.provider.renew!(grant, lease, forever)).toEqual({ kind: 'ended' });
    reader.vault.turn(minutes(73));
    expect(await reader.provider.renew!(grant, { ...lease, expiresAt: end }, forever)).toEqual({
      kind: 'ended',
    });
  });

  test('a token is renewed for its lease alone, until the lease has ended or was given back', async () => {
    const { turn, release, vault } = await leased({
      life: { ttlMs: minutes(600) },
      token: { ttlMs: minutes(30) },
    });
    for (let round = 0; round < 5; round += 1) await turn(21);
    expect(vault.tokens.all()).toMatchObject([{ renewals: 5, state: 'good' }]);
    await release();
    await turn(21);
    await turn(10);
    expect(vault.tokens.all()).toMatchObject([{ renewals: 5 }]);
  });
});

describe("a lease of a Vault that names it as another's", () => {
  test('leaves that one to the token that read it', async () => {
    const { vault, provider, grantOf, turn, renew, lease } = await leased({
      life: { ttlMs: minutes(60) },
      token: { ttlMs: minutes(600) },
    });
    vault.policy('app', { 'copy/*': ['read'] });
    vault.backend('copy', () => vaultEnvelope('{}', { id: lease().id, seconds: 60, renewable: true }));
    const grant = grantOf('copy/it', { account: 'other' });
    await Promise.all(
      provider.fetch([{ grant, urgency: 'first', signal: forever, onStart: () => undefined }]),
    );
    // A renewal in the millisecond of the reading would put nothing off.
    await turn(40);
    expect(await renew()).toBe('renewed');
    const tokenOf = (path: RegExp) =>
      vault.node.requests.find((request) => path.test(request.path))!.headers['x-vault-token'];
    expect(tokenOf(/leases.renew/)).toBe(tokenOf(/database/));
    expect(tokenOf(/leases.renew/)).not.toBe(tokenOf(/copy/));
  });

  test('or hands out any number that never end, crowds out its own namespace alone', async () => {
    const { grantOf, api, vault } = await leased();
    let kept = 0;
    const tokens = { dependOn: () => ((kept += 1), () => void (kept -= 1)) };
    const leases = createLeases({ ...{ api, tokens, now: vault.now }, log: pino({ level: 'silent' }) });
    closing.push(() => Promise.resolve(leases.close()));
    const session = { login: vault.login(), token: new Redacted('its') };
    const of = (namespace: string) => {
      const grant = grantOf('x');
      return { ...grant, workload: { ...grant.workload, namespace } };
    };
    const life = { renewable: false, expiresAt: Infinity };
    leases.hold(of('team-b'), session, { id: 'first', ...life });
    for (let count = 0; count < 5_000; count += 1)
      leases.hold(of('team-a'), session, { id: `${count}`, ...life });
    expect(kept).toBe(2_001);
    expect(await leases.renew(of('team-b'), { id: 'first', ...life, expiresAt: 0 }, forever)).toMatchObject({
      kind: 'renewed',
    });
  });
});

describe('a lease that is given back', () => {
  test('is revoked by the token that read it', async () => {
    const { release, database, vault } = await leased();
    expect(database.users()).toHaveLength(1);
    await release();
    expect(database.users()).toEqual([]);
    expect(vault.count('POST /v1/sys/leases/revoke')).toBe(1);
    await release();
    expect(vault.count('POST /v1/sys/leases/revoke')).toBe(1);
  });

  test('needs a right that Vault does not give by itself: the failure names it, and when the lease ends', async () => {
    const { release, vault } = await leased();
    vault.policy('app', { 'database/*': ['read'] });
    const error = (await release().catch((thrown: unknown) => thrown)) as SecretError;
    expect(error.code).toBe('ACCESS_DENIED');
    expect(error.summary).toMatch(/database\/creds\/app lives on until \d{4}-.*sys\/leases\/revoke/);
  });
});
