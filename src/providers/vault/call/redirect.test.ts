import { afterEach, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { startFakeServer } from '../../../../test/fakes/http-server.ts';
import { startFakeVault } from '../../../../test/fakes/vault.ts';
import { createRetry } from '../../../concurrency/retry.ts';
import { SecretError } from '../../../core/errors.ts';
import { Redacted } from '../../../core/redacted.ts';
import { VaultClient } from './api.ts';
import { followRedirect } from './cluster.ts';
import type { VaultCall } from './request.ts';

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of cleanups.splice(0).reverse()) await close();
});

/**
 * A standby node that redirects to the active one, and an untrusted server.
 */
async function setUp() {
  const vault = await startFakeVault({ nodes: 2 });
  cleanups.push(() => vault.close());
  vault.kv2().put('app', { password: 'canary' });
  vault.pki().role('web');
  const [standby, active] = vault.nodes;
  if (standby === undefined || active === undefined) throw new Error('two nodes');
  standby.state = 'redirecting';
  active.state = 'active';
  const untrustedServer = await startFakeServer({
    tls: vault.authority.issue(),
    handler: () => ({ body: {} }),
  });
  cleanups.push(() => untrustedServer.close());
  const api = new VaultClient({
    ...{ http: vault.http, now: vault.now, random: () => 0, log: pino({ level: 'silent' }) },
    retry: createRetry({ baseMs: 1 }),
  });
  const token = new Redacted(vault.rootToken());
  /** The node that responded, or the error line of a user. */
  const callOutcome = async (fields: Partial<VaultCall> = {}): Promise<string> => {
    try {
      const { address } = await api.call({
        ...{ login: vault.login(), token, method: 'GET', path: 'secret/data/app?version=1' },
        ...{ signal: new AbortController().signal, mayIssue: false, ...fields },
      });
      return address === active.address ? 'active' : 'standby';
    } catch (error) {
      if (error instanceof SecretError) return `${error.code}: ${error.summary}`;
      throw error;
    }
  };
  return {
    ...{ vault, standby, active, untrustedServer, token, callOutcome },
    standbyOnly: vault.login({ addresses: [standby.address] }),
    redirectTo: (location: string) =>
      standby.injectFault({ response: { status: 307, headers: { location } } }),
  };
}

describe('a redirect', () => {
  test('leads to the active node with method, path, query, body and token; it is then the first', async () => {
    const { standby, active, token, callOutcome } = await setUp();
    const body = '{"common_name":"web.example"}';
    expect(
      await callOutcome({ method: 'POST', path: 'pki/issue/web?x=%2F', body, mayIssue: true }),
    ).toBe('active');
    expect(active.requests).toHaveLength(1);
    expect(active.requests[0]).toMatchObject({
      method: 'POST',
      path: '/v1/pki/issue/web',
      query: 'x=%2F',
    });
    expect(active.requests[0]?.headers['x-vault-token']).toBe(token.reveal());
    expect(active.requests[0]?.body.toString()).toBe(body);
    expect(await callOutcome()).toBe('active');
    expect(standby.count()).toBe(1);
  });

  test('to another address than those of the login is not followed, so no token is sent', async () => {
    const { standby, untrustedServer, redirectTo, callOutcome, standbyOnly } = await setUp();
    redirectTo(`${untrustedServer.url.origin}/v1/secret/data/app?version=1`);
    expect(await callOutcome({ login: standbyOnly })).toBe(
      `STORE_ANSWER_INVALID: ${standby.address} redirects to ${untrustedServer.url.origin}, which is not among the addresses; ` +
        'list the address of every node as it calls itself (api_addr), or let standby nodes forward',
    );
    expect(standby.count()).toBe(1);
    // The next address may be that of the active node.
    expect(await callOutcome()).toBe('active');
    expect(untrustedServer.connections).toBe(0);
  });

  test('from https to http is not followed, even to one of the addresses', async () => {
    const { untrustedServer, redirectTo, callOutcome, standbyOnly, standby } = await setUp();
    const plain = `http://${untrustedServer.url.host}`;
    redirectTo(`${plain}/v1/secret/data/app?version=1`);
    expect(await callOutcome({ login: standbyOnly })).toBe(
      `STORE_ANSWER_INVALID: ${standby.address} redirects from https to ${plain}`,
    );
    expect(untrustedServer.connections).toBe(0);
    const follow = () =>
      followRedirect('http://b/v1/x', {
        ...{ from: 'https://a', addresses: ['https://a', 'http://b'], secrets: [] },
      });
    expect(follow).toThrow('https://a redirects from https to http://b');
    const from = (address: string) =>
      followRedirect('http://b/v1/x', {
        ...{ from: address, addresses: [address, 'http://b'], secrets: [] },
      });
    expect(from('http://a')).toBe('http://b');
  });

  test('that repeats the token is not shown', async () => {
    const { token, redirectTo, callOutcome, standbyOnly } = await setUp();
    redirectTo(`https://${token.reveal()}/v1/secret/data/app`);
    expect(await callOutcome({ login: standbyOnly })).toMatch(
      /redirects to \[text withheld: it held a secret\], which is not among the addresses/,
    );
  });

  test('is followed once', async () => {
    const { active, standby, callOutcome, redirectTo } = await setUp();
    active.injectFault({
      response: {
        status: 307,
        headers: { location: `${standby.address}/v1/secret/data/app?version=1` },
      },
    });
    redirectTo(`${active.address}/v1/secret/data/app?version=1`);
    expect(await callOutcome()).toMatch(/^STORE_UNAVAILABLE: .* redirects again/);
  });

  test.each([
    ['another path', (host: string) => `https://${host}/v1/secret/data/other?version=1`],
    ['another query', (host: string) => `https://${host}/v1/secret/data/app?version=2`],
    ['a user', (host: string) => `https://user:password@${host}/v1/secret/data/app?version=1`],
    ['a script', () => 'javascript:alert(1)'],
    ['a path alone', () => '/v1/secret/data/app?version=1'],
    ['nothing', () => ''],
  ])('to %s changes nothing in the request', async (_, locationFor) => {
    const { active, redirectTo, callOutcome, standbyOnly } = await setUp();
    const { host } = new URL(active.address);
    redirectTo(locationFor(host));
    // Followed, or passed over for the next address, by what issues, too: who redirects has done
    // nothing.
    expect(await callOutcome({ mayIssue: true })).toBe('active');
    expect(active.count()).toBe(1);
    expect(active.requests[0]).toMatchObject({ path: '/v1/secret/data/app', query: 'version=1' });
    expect(await callOutcome({ login: standbyOnly })).toMatch(
      /^STORE_ANSWER_INVALID: .* redirects /,
    );
  });

  test.each([301, 302, 303, 308])('by %i is not a response of Vault', async (status) => {
    const { standby, active, callOutcome, standbyOnly } = await setUp();
    standby.injectFault({
      response: { status, headers: { location: `${active.address}/v1/secret/data/app?version=1` } },
    });
    expect(await callOutcome({ login: standbyOnly })).toMatch(
      /^STORE_ANSWER_INVALID: .*does not look like one from Vault/,
    );
    expect(active.count()).toBe(0);
  });
});
