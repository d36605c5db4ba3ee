import { afterEach, describe, expect, test } from '@jest/globals';
import * as fc from 'fast-check';
import { pino } from 'pino';
import type { TokenLifetime } from '../../../test/fakes/vault-tokens.ts';
import { startFakeVault } from '../../../test/fakes/vault.ts';
import { createRetry } from '../../concurrency/retry.ts';
import { SecretError } from '../../core/errors.ts';
import { Redacted } from '../../core/redacted.ts';
import { classify, isKnownError } from '../shared/reads/store-errors.ts';
import { VaultClient } from './call/api.ts';
import type { VaultCall } from './call/request.ts';
import {
  type VaultErrorResponse,
  callErrors,
  nodeErrors,
  parseErrorResponse,
  transientErrors,
} from './errors.ts';

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of cleanups.splice(0).reverse()) await close();
});

function errorResponseOf(status: number, ...errors: readonly string[]): VaultErrorResponse {
  const body = Buffer.from(JSON.stringify({ errors }));
  return parseErrorResponse({ status, headers: {}, body }, 0);
}

/** A Vault, a token whose policy allows `secret/data/app` alone, and the error of a call. */
async function setUp(life: TokenLifetime = {}) {
  const vault = await startFakeVault();
  cleanups.push(() => vault.close());
  vault.kv2();
  vault.policy('app', {
    'secret/data/app': ['read'],
    'database/*': ['read'],
    'kv/*': ['read', 'update'],
  });
  const { now, http } = vault;
  const log = pino({ level: 'silent' });
  const api = new VaultClient({
    ...{ http, now, log, random: () => 0 },
    retry: createRetry({ baseMs: 1 }),
  });
  const token = new Redacted(vault.tokens.issue(life).id);
  const login = vault.login({ namespace: 'team-a' });
  const outcomeOf = async (path: string, fields: Partial<VaultCall> = {}): Promise<string> => {
    try {
      const signal = new AbortController().signal;
      const response = await api.call({
        login,
        token,
        method: 'GET',
        path,
        signal,
        mayIssue: true,
        ...fields,
      });
      return String(response.status);
    } catch (error) {
      if (!(error instanceof SecretError)) throw error;
      expect(error.summary).not.toContain(token.reveal());
      return `${error.code}: ${error.summary}`;
    }
  };
  return { vault, login, outcomeOf };
}

describe('the error of a call', () => {
  test('names the path and the capability that a policy denies', async () => {
    const { outcomeOf } = await setUp();
    expect(await outcomeOf('secret/data/a%20b?version=1')).toBe(
      'ACCESS_DENIED: Vault denies GET secret/data/a b to role app (auth/kubernetes, namespace team-a) ' +
        '(HTTP 403: "1 error occurred: permission denied"); a policy of it must allow "read" on secret/data/a b',
    );
    expect(await outcomeOf('pki/issue/web', { method: 'PUT', body: '{}' })).toMatch(
      /^ACCESS_DENIED: .*; a policy of it must allow "update" \(or "create"\) on pki\/issue\/web$/,
    );
  });

  test('names a token that has expired, or is not a token', async () => {
    const { vault, login, outcomeOf } = await setUp({ ttlMs: 60_000 });
    vault.advanceClock(60_001);
    expect(await outcomeOf('secret/data/app')).toBe(
      'CREDENTIALS_REFUSED: Vault did not take the token at GET secret/data/app for role app ' +
        '(auth/kubernetes, namespace team-a) (HTTP 403: "permission denied"); it has expired, was revoked, or has reached its max TTL; ' +
        'Keyferry logs in again, at most once a minute',
    );
    const openbao = { ...login, dialect: 'openbao', method: 'token' } as const;
    expect(await outcomeOf('secret/data/app', { login: openbao })).toMatch(
      /^CREDENTIALS_REFUSED: OpenBao did not take the token at GET secret\/data\/app for the given token \(namespace team-a\).*put another one in its place$/,
    );
  });

  test('names an outage of the database behind a path', async () => {
    const { vault, outcomeOf } = await setUp();
    const { database, role } = vault.database();
    role('app');
    database.down = true;
    expect(await outcomeOf('database/creds/app')).toMatch(
      /^STORE_UNAVAILABLE: Vault at https:.* failed at GET database\/creds\/app for role app \(.*connection refused"\); the backend of this path/,
    );
    database.down = false;
    expect(await outcomeOf('database/creds/nope')).toMatch(
      /^STORE_REFUSED_REQUEST: .*"unknown role: nope"/,
    );
  });

  test('names a method that a path does not support', async () => {
    const { vault, outcomeOf } = await setUp();
    vault.kv1();
    expect(await outcomeOf('kv/x', { method: 'PUT', body: '{}' })).toMatch(
      /^STORE_REFUSED_REQUEST: .*HTTP 405: .*unsupported operation.*check path, method and arguments$/,
    );
  });

  test('contains nothing of the query, which can hold a secret', async () => {
    const { outcomeOf } = await setUp();
    expect(await outcomeOf('secret/data/nope?password=canary')).not.toContain('canary');
  });
});

describe('a response', () => {
  test('is returned as it is for a 404 of Vault', async () => {
    const { vault, outcomeOf } = await setUp();
    expect(await outcomeOf('secret/data/app')).toBe('404');
    vault.node.injectFault({ response: { status: 404, body: '404 page not found' } });
    expect(await outcomeOf('secret/data/app')).toMatch(
      /^STORE_ANSWER_INVALID: the response to GET secret\/data\/app does not look like one from Vault \(HTTP 404\); check that the address/,
    );
  });

  // The texts of a real Vault 1.14, and of 1.15 and later where they differ.
  test.each([
    [403, 'permission denied', 'CREDENTIALS_REFUSED'],
    [
      403,
      '2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n',
      'CREDENTIALS_REFUSED',
    ],
    [400, 'missing client token', 'CREDENTIALS_REFUSED'],
    [403, '1 error occurred:\n\t* permission denied\n\n', 'ACCESS_DENIED'],
    [403, 'permission denied: the policy says so', 'ACCESS_DENIED'],
    [403, 'denied by a rule; permission denied', 'ACCESS_DENIED'],
    [400, 'permission denied', 'STORE_REFUSED_REQUEST'],
    [405, '1 error occurred:\n\t* unsupported operation\n\n', 'STORE_REFUSED_REQUEST'],
  ])('%i %j is %s', async (status, text, code) => {
    const { login } = await setUp();
    const context = { login, method: 'GET', path: 'x' };
    expect(classify(callErrors, errorResponseOf(status, text), context, []).code).toBe(code);
  });

  test('of a backend that mentions a seal does not make the node sealed', () => {
    const nodeErrorOf = (status: number, text: string) => {
      const response = errorResponseOf(status, text);
      if (!isKnownError(nodeErrors, response)) return undefined;
      return classify(nodeErrors, response, { address: 'https://vault' }, []);
    };
    expect(nodeErrorOf(503, 'Vault is sealed')).toMatchObject({ unsent: true });
    expect(nodeErrorOf(500, 'the sealed box cannot be opened')).toBeUndefined();
    expect(nodeErrorOf(400, 'Vault is sealed')).toBeUndefined();
    expect(
      nodeErrorOf(500, 'local node not active but active cluster node not found'),
    ).toMatchObject({
      unsent: true,
    });
  });

  test('of a megabyte is classified within two seconds of CPU time', async () => {
    const { login } = await setUp();
    const secrets = ['x'.repeat(30_000)];
    const before = process.cpuUsage();
    for (const filler of [' ', '\n', ' \n', '\n* ', 'x y']) {
      const text = `a${filler.repeat(1_000_000 / filler.length)}b`;
      const context = { login, method: 'GET', path: 'x' };
      classify(callErrors, errorResponseOf(400, text), context, secrets);
    }
    const { user, system } = process.cpuUsage(before);
    expect((user + system) / 1_000).toBeLessThan(2_000);
  });

  test('of any kind makes an error of one line without the token', async () => {
    const { login } = await setUp();
    const secret = 'hvs.CAESICanaryCanaryCanary';
    const texts = fc.array(
      fc.oneof(fc.string({ unit: 'binary' }), fc.constant(secret), fc.constant('\n\t* ')),
    );
    fc.assert(
      fc.property(texts, fc.constantFrom(400, 403, 412, 429, 500), (errors, status) => {
        const response = errorResponseOf(status, ...errors);
        const context = { login, method: 'GET', path: 'secret/data/app', address: 'https://vault' };
        const rules = status < 404 ? callErrors : transientErrors;
        const { message } = classify(rules, response, context, [secret]);
        expect(message).not.toContain(secret);
        expect(message).toMatch(/^\P{C}+$/u);
      }),
      { numRuns: 30 },
    );
  });
});
