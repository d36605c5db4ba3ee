import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { Redacted } from '../../../core/redacted.ts';
import { SecretError } from '../../../core/errors.ts';
import { RejectionCache } from '../../../concurrency/rejection-cache.ts';
import { createRetry } from '../../../concurrency/retry.ts';
import { createHttpClient } from '../../../http/client.ts';
import { missingPath } from '../../../../test/missing-path.ts';
import { startFakeServer } from '../../../../test/fakes/http-server.ts';
import { createTestCa } from '../../../../test/fakes/tls.ts';
import { startFakeVault } from '../../../../test/fakes/vault.ts';
import { CredentialGate } from '../../shared/credentials/credential-gate.ts';
import { VaultClient } from './api.ts';
import type { VaultTls } from '../types.ts';
import { VaultTokenManager } from '../credentials/token-manager.ts';

const neverAborted = new AbortController().signal;
const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of cleanups.splice(0).reverse()) await close();
});

/** A Vault with a private CA, and a process that does not trust it. */
async function setUp() {
  const vault = await startFakeVault();
  cleanups.push(() => vault.close());
  vault.kv2().put('app', { password: 'canary' });
  const http = createHttpClient();
  cleanups.push(() => http.close());
  const [now, log, random] = [vault.now, pino({ level: 'silent' }), () => 0];
  const api = new VaultClient({ ...{ http, now, log, random }, retry: createRetry({ baseMs: 1 }) });
  const credentialGate = new CredentialGate({ rejectionCache: new RejectionCache({ now }), now });
  const tokens = new VaultTokenManager({ api, credentialGate, now, log, random });
  cleanups.push(() => tokens.close(AbortSignal.abort()));
  const token = new Redacted(vault.rootToken());
  const outcomeOf = async (work: Promise<unknown>): Promise<string> => {
    try {
      await work;
      return 'ok';
    } catch (error) {
      if (error instanceof SecretError) return `${error.code}: ${error.summary}`;
      throw error;
    }
  };
  return {
    vault,
    tokens,
    outcomeOf,
    writeFile(name: string, content: string): string {
      const path = join(vault.directory, name);
      writeFileSync(path, content);
      return path;
    },
    callOutcome: (tls: VaultTls, addresses = vault.addresses) =>
      outcomeOf(
        api.call({
          ...{
            login: vault.login({ tls, addresses }),
            token,
            method: 'GET',
            path: 'secret/data/app',
          },
          ...{ signal: neverAborted, mayIssue: true },
        }),
      ),
  };
}

describe('TLS', () => {
  test('trusts a private CA only where the login names its file', async () => {
    const { vault, writeFile, callOutcome } = await setUp();
    const caFile = writeFile('ca.crt', vault.ca);
    expect(await callOutcome({ caFile })).toBe('ok');
    expect(await callOutcome({})).toMatch(
      /^STORE_UNAVAILABLE: .*certificate of an unknown authority/,
    );
    expect(await callOutcome({ skipVerify: true })).toBe('ok');
  });

  test('trusts an intermediate authority', async () => {
    const { writeFile, callOutcome } = await setUp();
    const issuing = createTestCa('Root').intermediate('Issuing');
    const server = await startFakeServer({
      tls: issuing.issue(),
      handler: () => ({ body: { data: { password: 'canary' } } }),
    });
    cleanups.push(() => server.close());
    const addresses = [server.url.origin];
    expect(await callOutcome({ caFile: writeFile('ca.crt', issuing.cert) }, addresses)).toBe('ok');
    expect(
      await callOutcome(
        { caFile: writeFile('other.crt', createTestCa('Strangers').cert) },
        addresses,
      ),
    ).toMatch(/unknown authority/);
  });

  test('reads a wrong CA again, because the file can change', async () => {
    const { vault, writeFile, callOutcome } = await setUp();
    const caFile = writeFile('ca.crt', createTestCa('Strangers').cert);
    expect(await callOutcome({ caFile })).toMatch(/unknown authority/);
    writeFile('ca.crt', `# ours\n${createTestCa('Strangers').cert}\n${vault.ca}`);
    vault.advanceClock(10_000);
    expect(await callOutcome({ caFile })).toBe('ok');
  });

  test('trusts all certificates of a directory, and nothing else in it', async () => {
    const { vault, writeFile, callOutcome } = await setUp();
    const caDirectory = join(vault.directory, 'ca');
    mkdirSync(join(caDirectory, '..data'), { recursive: true });
    writeFile('ca/README', 'certificates of ours');
    expect(await callOutcome({ caDirectory })).toBe(
      `NOT_CONFIGURED: ${caDirectory} holds no certificate`,
    );
    writeFile('ca/a.pem', createTestCa('Strangers').cert);
    writeFile('ca/b.pem', vault.ca);
    expect(await callOutcome({ caDirectory })).toBe('ok');
  });

  test('accepts another name in the certificate than that of the host where the login names it', async () => {
    const { vault, writeFile, callOutcome } = await setUp();
    const caFile = writeFile('ca.crt', vault.ca);
    expect(await callOutcome({ caFile, serverName: 'localhost' })).toBe('ok');
    expect(await callOutcome({ caFile, serverName: 'vault.example' })).toMatch(
      /certificate for another name/,
    );
  });

  test('fails with the name of a missing file', async () => {
    const { callOutcome } = await setUp();
    const caFile = missingPath();
    expect(await callOutcome({ caFile })).toContain(
      `NOT_CONFIGURED: ${caFile} cannot be read: no such file; `,
    );
  });

  test('logs in with a client certificate, and with a changed one', async () => {
    const { vault, tokens, writeFile, outcomeOf } = await setUp();
    const clientCa = createTestCa('People');
    vault.auth.cert().role('web', { ca: clientCa.cert });
    const tls = { caFile: writeFile('ca.crt', vault.ca), certFile: '', keyFile: '' };
    const writeClientCertificate = (ca: typeof clientCa): void => {
      const { cert, key } = ca.issue({ hosts: ['web.example'] });
      Object.assign(tls, {
        certFile: writeFile('tls.crt', cert),
        keyFile: writeFile('tls.key', key),
      });
    };
    const login = (role?: string) =>
      outcomeOf(
        tokens.getSession(
          `${role}`,
          {
            login: {
              ...vault.login({ method: 'cert', mount: 'cert', tls: { ...tls } }),
              ...(role === undefined ? {} : { role }),
            },
            getCredential: () => Promise.resolve({ kind: 'cert' }),
          },
          neverAborted,
        ),
      );
    writeClientCertificate(createTestCa('Strangers'));
    expect(await login('web')).toMatch(
      /^CREDENTIALS_REFUSED: .*role web \(auth\/cert\).*must trust the authority/,
    );
    // A refused one is not sent again; another one is.
    vault.advanceClock(10_000);
    await login('web');
    expect(vault.count('POST /v1/auth/cert/login')).toBe(1);
    writeClientCertificate(clientCa);
    vault.advanceClock(10_000);
    expect(await login('web')).toBe('ok');
    expect(vault.node.requests.at(-1)?.body.toString()).toBe('{"name":"web"}');
    rmSync(tls.keyFile);
    // Also where the clock was set back.
    vault.advanceClock(-3_600_000);
    expect(await login('another')).toMatch(/^NOT_CONFIGURED: .*tls.key cannot be read/);
  });
});
