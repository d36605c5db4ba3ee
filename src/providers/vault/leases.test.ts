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

/** Reads a database user. The tests call the provider directly for its lease. */
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
    /** Minutes until the end that the cache has. */
    remainingMinutes: (): number => Math.round((lease.expiresAt - vault.now()) / minutes(1)),
    /** Advances the clock, and renews the token if that is due. */
    async advanceMinutes(count: number): Promise<void> {
      vault.advanceClock(minutes(count));
      tokens.tick();
      await reader.idle();
    },
    /** Renews as the cache does, with the end that it has. */
    async renew(): Promise<string> {
      const renewal = await provider.renew!(grant, lease, neverAborted);
      if (renewal.kind === 'renewed') lease = { ...lease, expiresAt: renewal.expiresAt };
      return renewal.kind;
    },
    release: () => provider.release!(grant, lease, neverAborted),
  };
}

describe('a lease', () => {
  test('is extended by a renewal with the token that read it', async () => {
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

  test('from before the clock was set back is extended, and then has the right end', async () => {
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

  test('at its max TTL is extended while that helps, and then ends early, so that there is time for a new read', async () => {
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

  test('has ended where it was revoked, or Vault refuses its renewal', async () => {
    const revoked = await startLease();
    revoked.vault.leases.all()[0]!.state = 'revoked';
    expect(await revoked.renew()).toBe('ended');
    const denied = await startLease();
    denied.vault.policy('default', {});
    expect(await denied.renew()).toBe('ended');
    expect(denied.lines.join('')).toMatch(/a lease is not renewed.*/);
    expect(denied.lines.join('')).toContain('sys/leases/renew');
  });

  test('lives to its end in an outage', async () => {
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
  test('have the earlier end of the two, which moves with the token', async () => {
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

  test('stay where the lease is renewed a little before the token', async () => {
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

  test('end near the max TTL of the token, while both have some life left', async () => {
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

  test('end together where the token was revoked', async () => {
    const { vault, renew, database } = await startLease();
    vault.tokens.revoke(vault.tokens.all()[0]!);
    expect(database.users()).toEqual([]);
    expect(await renew()).toBe('ended');
  });

  test('end together where the token expired in an outage', async () => {
    const { vault, renew } = await startLease({ token: { ttlMs: minutes(5) } });
    vault.advanceClock(minutes(6));
    expect(await renew()).toBe('ended');
    expect(vault.count(/leases.renew/)).toBe(0);
  });

  test("move together where the lease cannot be renewed, up to the lease's own end", async () => {
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
    // The end dates from before the clock was set back, so it is not known now.
    reader.vault.advanceClock(minutes(-60));
    expect(await reader.provider.renew!(grant, lease, neverAborted)).toEqual({ kind: 'ended' });
    reader.vault.advanceClock(minutes(73));
    expect(
      await reader.provider.renew!(grant, { ...lease, expiresAt: tokenExpiresAt }, neverAborted),
    ).toEqual({
      kind: 'ended',
    });
  });

  test('stay together: the token is renewed for the lease only, until that has ended or was released', async () => {
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

describe('a Vault that uses the lease ids of another one', () => {
  test('does not change which token renews the other lease', async () => {
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
    // A renewal in the millisecond of the read extends nothing.
    await advanceMinutes(40);
    expect(await renew()).toBe('renewed');
    const tokenOf = (path: RegExp) =>
      vault.node.requests.find((request) => path.test(request.path))!.headers['x-vault-token'];
    expect(tokenOf(/leases.renew/)).toBe(tokenOf(/database/));
    expect(tokenOf(/leases.renew/)).not.toBe(tokenOf(/copy/));
  });

  test('that issues any number without an end displaces only leases of its own namespace', async () => {
    const { grantOf, api, vault, tokens } = await startLease();
    let retainedCount = 0;
    const counted = {
      retain: () => ((retainedCount += 1), () => void (retainedCount -= 1)),
      handOver: () => undefined,
      takeOver: tokens.takeOver.bind(tokens),
    };
    const leases = new VaultLeases({
      ...{ api, tokens: counted, now: vault.now },
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

describe('a released lease', () => {
  test('is revoked by the token that read it', async () => {
    const { release, database, vault } = await startLease();
    expect(database.users()).toHaveLength(1);
    await release();
    expect(database.users()).toEqual([]);
    expect(vault.count('POST /v1/sys/leases/revoke')).toBe(1);
    await release();
    expect(vault.count('POST /v1/sys/leases/revoke')).toBe(1);
  });

  test('needs a policy that Vault does not have by default: the error names it, and the end of the lease', async () => {
    const { release, vault } = await startLease();
    vault.policy('app', { 'database/*': ['read'] });
    const error = (await release().catch((thrown: unknown) => thrown)) as SecretError;
    expect(error.code).toBe('ACCESS_DENIED');
    expect(error.summary).toMatch(
      /database\/creds\/app lives on until \d{4}-.*sys\/leases\/revoke/,
    );
  });
});
