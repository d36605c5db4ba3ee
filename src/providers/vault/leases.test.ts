import { afterEach, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { vaultResponse } from '../../../test/fakes/vault-responses.ts';
import type { LeaseLifetime } from '../../../test/fakes/vault-leases.ts';
import { type VaultReader, startVaultReader } from '../../../test/fakes/vault-reader.ts';
import type { TokenLifetime } from '../../../test/fakes/vault-tokens.ts';
import type { SecretError } from '../../core/errors.ts';
import type { Lease } from '../../core/provider.ts';
import { Redacted } from '../../core/redacted.ts';
import { VaultLeases } from './leases.ts';

const neverAborted = new AbortController().signal;
const minutes = (count: number): number => count * 60_000;
const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of cleanups.splice(0).reverse()) await close();
});

/** A database user, read; what becomes of its lease is asked of the provider alone. */
async function startLease({
  life = {},
  token = {},
}: { life?: LeaseLifetime; token?: TokenLifetime } = {}) {
  const reader: VaultReader = await startVaultReader({
    lifetime: { maxTtlMs: minutes(10_000), ...token },
  });
  cleanups.push(reader.close);
  const { vault, provider, tokens, database } = reader;
  database.role('app', life);
  const grant = reader.grantOf('database/creds/app');
  const request = {
    grant,
    urgency: 'first' as const,
    signal: neverAborted,
    onStart: () => undefined,
  };
  const [result] = await Promise.all(provider.fetch([request]));
  if (result?.kind !== 'value' || result.value.lease === undefined) throw new Error('no lease');
  let { lease } = result.value;
  return {
    ...reader,
    lease: (): Lease => lease,
    /** Minutes until the end that the store goes by. */
    remainingMinutes: (): number => Math.round((lease.expiresAt - vault.now()) / minutes(1)),
    /** Lets time pass, and the token be renewed if that is due. */
    async advanceMinutes(count: number): Promise<void> {
      vault.advanceClock(minutes(count));
      tokens.tick();
      await reader.idle();
    },
    /** As the store asks, which goes by the end it was told. */
    async renew(): Promise<string> {
      const renewal = await provider.renew!(grant, lease, neverAborted);
      if (renewal.kind === 'renewed') lease = { ...lease, expiresAt: renewal.expiresAt };
      return renewal.kind;
    },
    release: () => provider.release!(grant, lease, neverAborted),
  };
}

describe('a lease', () => {
  test('is put off by a renewal, with the token that read it', async () => {
    const { advanceMinutes, renew, remainingMinutes, vault } = await startLease({
      life: { ttlMs: minutes(60) },
      token: { ttlMs: minutes(600) },
    });
    expect(remainingMinutes()).toBe(60);
    await advanceMinutes(40);
    expect(await renew()).toBe('renewed');
    expect(remainingMinutes()).toBe(60);
    expect(vault.leases.all()).toMatchObject([{ renewals: 1, state: 'live' }]);
  });

  test('from before the clock was set back is put off, and its end is then the right one', async () => {
    const { advanceMinutes, renew, remainingMinutes, vault } = await startLease({
      life: { ttlMs: minutes(60) },
      token: { ttlMs: minutes(600) },
    });
    await advanceMinutes(-480);
    expect(await renew()).toBe('renewed');
    expect(remainingMinutes()).toBe(60);
    await advanceMinutes(40);
    expect(await renew()).toBe('renewed');
    expect(vault.leases.all()).toMatchObject([{ renewals: 2, state: 'live' }]);
  });

  test('at its max TTL is put off once more while that helps, and is then ended early: there is time to read anew', async () => {
    const { advanceMinutes, renew, remainingMinutes, database } = await startLease({
      life: { ttlMs: minutes(60), maxTtlMs: minutes(90) },
      token: { ttlMs: minutes(6_000) },
    });
    await advanceMinutes(40);
    expect(await renew()).toBe('renewed');
    expect(remainingMinutes()).toBe(50);
    await advanceMinutes(34);
    expect(await renew()).toBe('ended');
    expect(remainingMinutes()).toBe(16);
    expect(database.users()).toHaveLength(1);
  });

  test('that was revoked, or whose renewal is refused, has ended', async () => {
    const revoked = await startLease();
    revoked.vault.leases.all()[0]!.state = 'revoked';
    expect(await revoked.renew()).toBe('ended');
    const denied = await startLease();
    denied.vault.policy('default', {});
    expect(await denied.renew()).toBe('ended');
    expect(denied.lines.join('')).toMatch(/a lease is not renewed.*/);
    expect(denied.lines.join('')).toContain('sys/leases/renew');
  });

  test('that nobody answers for lives on to its end', async () => {
    const { renew, vault, remainingMinutes } = await startLease();
    vault.node.state = 'sealed';
    await expect(renew()).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    expect(remainingMinutes()).toBe(60);
    vault.node.state = 'active';
    await expect(renew()).resolves.toBeDefined();
  });

  test.each(['null', '{}', '{"lease_duration":-1}', '{"lease_duration":"60"}', 'no JSON'])(
    'is not put off by %s',
    async (body) => {
      const { renew, vault, remainingMinutes } = await startLease();
      vault.node.injectFault({ route: /sys.leases.renew/, response: { body } });
      await expect(renew()).rejects.toMatchObject({ kind: expect.not.stringMatching('definite') });
      expect(remainingMinutes()).toBe(60);
    },
  );
});

describe('a lease and its token', () => {
  test('the end that is told is the earlier one, and moves with the token', async () => {
    const { advanceMinutes, renew, remainingMinutes, lease, vault } = await startLease({
      life: { ttlMs: minutes(600) },
      token: { ttlMs: minutes(30) },
    });
    expect(remainingMinutes()).toBe(30);
    expect(lease().renewable).toBe(true);
    await advanceMinutes(21);
    expect(vault.tokens.all()).toMatchObject([{ renewals: 1 }]);
    expect(await renew()).toBe('renewed');
    expect(remainingMinutes()).toBe(30);
  });

  test('a renewal that comes a little before that of the token is told the truth, and the lease is not given up', async () => {
    const { vault, renew, remainingMinutes, advanceMinutes } = await startLease({
      life: { ttlMs: minutes(600) },
      token: { ttlMs: minutes(30) },
    });
    vault.advanceClock(minutes(20));
    expect(await renew()).toBe('renewed');
    expect(remainingMinutes()).toBe(10);
    await advanceMinutes(1);
    expect(await renew()).toBe('renewed');
    expect(remainingMinutes()).toBe(30);
  });

  test('near the max TTL of the token it is ended, while both have some life left', async () => {
    const { advanceMinutes, renew, remainingMinutes } = await startLease({
      life: { ttlMs: minutes(600) },
      token: { ttlMs: minutes(60), maxTtlMs: minutes(60) },
    });
    await advanceMinutes(40);
    expect(await renew()).toBe('renewed');
    expect(remainingMinutes()).toBe(20);
    await advanceMinutes(13);
    expect(await renew()).toBe('ended');
    expect(remainingMinutes()).toBe(7);
  });

  test('the lease of a token that was revoked has ended, whatever its own life', async () => {
    const { vault, renew, database } = await startLease();
    vault.tokens.revoke(vault.tokens.all()[0]!);
    expect(database.users()).toEqual([]);
    expect(await renew()).toBe('ended');
  });

  test('and so has that of a token that ran out while nobody could renew it', async () => {
    const { vault, renew } = await startLease({ token: { ttlMs: minutes(5) } });
    vault.advanceClock(minutes(6));
    expect(await renew()).toBe('ended');
    expect(vault.count(/leases.renew/)).toBe(0);
  });

  test('what cannot be renewed itself moves with its token, and no further than its own end', async () => {
    const reader = await startVaultReader({ lifetime: { ttlMs: minutes(30) } });
    cleanups.push(reader.close);
    reader.pki.role('web', { ttlMs: minutes(40), generateLease: true });
    const grant = reader.grantOf({
      name: 'pki/issue/web',
      method: 'POST',
      body: '{"common_name":"a.example"}',
    });
    const [result] = await Promise.all(
      reader.provider.fetch([
        { grant, urgency: 'first', signal: neverAborted, onStart: () => undefined },
      ]),
    );
    const lease = (result as { value: { lease: Lease } }).value.lease;
    expect(Math.round((lease.expiresAt - reader.vault.now()) / minutes(1))).toBe(30);
    reader.vault.advanceClock(minutes(21));
    reader.tokens.tick();
    await reader.idle();
    const renewed = await reader.provider.renew!(grant, lease, neverAborted);
    expect(renewed).toMatchObject({ kind: 'renewed' });
    const tokenExpiresAt = (renewed as { expiresAt: number }).expiresAt;
    expect(Math.round((tokenExpiresAt - reader.vault.now()) / minutes(1))).toBe(19);
    expect(reader.vault.count(/leases.renew/)).toBe(0);
    // Before the clock was set back, its end was another: nobody knows the right one.
    reader.vault.advanceClock(minutes(-60));
    expect(await reader.provider.renew!(grant, lease, neverAborted)).toEqual({ kind: 'ended' });
    reader.vault.advanceClock(minutes(73));
    expect(
      await reader.provider.renew!(grant, { ...lease, expiresAt: tokenExpiresAt }, neverAborted),
    ).toEqual({
      kind: 'ended',
    });
  });

  test('a token is renewed for its lease alone, until the lease has ended or was given back', async () => {
    const { advanceMinutes, release, vault } = await startLease({
      life: { ttlMs: minutes(600) },
      token: { ttlMs: minutes(30) },
    });
    for (let round = 0; round < 5; round += 1) await advanceMinutes(21);
    expect(vault.tokens.all()).toMatchObject([{ renewals: 5, state: 'good' }]);
    await release();
    await advanceMinutes(21);
    await advanceMinutes(10);
    expect(vault.tokens.all()).toMatchObject([{ renewals: 5 }]);
  });
});

describe("a lease of a Vault that names it as another's", () => {
  test('leaves that one to the token that read it', async () => {
    const { vault, provider, grantOf, advanceMinutes, renew, lease } = await startLease({
      life: { ttlMs: minutes(60) },
      token: { ttlMs: minutes(600) },
    });
    vault.policy('app', { 'copy/*': ['read'] });
    vault.backend('copy', () =>
      vaultResponse('{}', { id: lease().id, seconds: 60, renewable: true }),
    );
    const grant = grantOf('copy/it', { account: 'other' });
    await Promise.all(
      provider.fetch([{ grant, urgency: 'first', signal: neverAborted, onStart: () => undefined }]),
    );
    // A renewal in the millisecond of the reading would put nothing off.
    await advanceMinutes(40);
    expect(await renew()).toBe('renewed');
    const tokenOf = (path: RegExp) =>
      vault.node.requests.find((request) => path.test(request.path))!.headers['x-vault-token'];
    expect(tokenOf(/leases.renew/)).toBe(tokenOf(/database/));
    expect(tokenOf(/leases.renew/)).not.toBe(tokenOf(/copy/));
  });

  test('or hands out any number that never end, crowds out its own namespace alone', async () => {
    const { grantOf, api, vault } = await startLease();
    let retainedCount = 0;
    const tokens = { retain: () => ((retainedCount += 1), () => void (retainedCount -= 1)) };
    const leases = new VaultLeases({
      ...{ api, tokens, now: vault.now },
      log: pino({ level: 'silent' }),
    });
    cleanups.push(() => Promise.resolve(leases.close()));
    const session = { login: vault.login(), token: new Redacted('its') };
    const grantIn = (namespace: string) => {
      const grant = grantOf('x');
      return { ...grant, workload: { ...grant.workload, tenant: namespace } };
    };
    const life = { renewable: false, expiresAt: Infinity };
    leases.track(grantIn('team-b'), session, { id: 'first', ...life });
    for (let count = 0; count < 5_000; count += 1)
      leases.track(grantIn('team-a'), session, { id: `${count}`, ...life });
    expect(retainedCount).toBe(2_001);
    expect(
      await leases.renew(grantIn('team-b'), { id: 'first', ...life, expiresAt: 0 }, neverAborted),
    ).toMatchObject({
      kind: 'renewed',
    });
  });
});

describe('a lease that is given back', () => {
  test('is revoked by the token that read it', async () => {
    const { release, database, vault } = await startLease();
    expect(database.users()).toHaveLength(1);
    await release();
    expect(database.users()).toEqual([]);
    expect(vault.count('POST /v1/sys/leases/revoke')).toBe(1);
    await release();
    expect(vault.count('POST /v1/sys/leases/revoke')).toBe(1);
  });

  test('needs a right that Vault does not give by itself: the failure names it, and when the lease ends', async () => {
    const { release, vault } = await startLease();
    vault.policy('app', { 'database/*': ['read'] });
    const error = (await release().catch((thrown: unknown) => thrown)) as SecretError;
    expect(error.code).toBe('ACCESS_DENIED');
    expect(error.summary).toMatch(
      /database\/creds\/app lives on until \d{4}-.*sys\/leases\/revoke/,
    );
  });
});
