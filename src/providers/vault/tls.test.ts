import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { Redacted } from '../../core/redacted.ts';
import { SecretError } from '../../core/errors.ts';
import { createRefusals } from '../../concurrency/rejection-cache.ts';
import { createRetry } from '../../concurrency/retry.ts';
import { createHttp } from '../../http/client.ts';
import { startFakeServer } from '../../../test/fakes/http-server.ts';
import { createTestCa } from '../../../test/fakes/tls.ts';
import { startFakeVault } from '../../../test/fakes/vault.ts';
import { createProving } from '../shared/credentials/credential-gate.ts';
import { createVaultApi } from './client/client.ts';
import type { VaultTls } from './types.ts';
import { createVaultTokens } from './auth/token-manager.ts';

const forever = new AbortController().signal;
const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

/** A Vault behind a private CA, and a process that has not heard of it. */
async function setUp() {
  const vault = await startFakeVault();
  closing.push(() => vault.close());
  vault.kv2().put('app', { password: 'canary' });
  const http = createHttp();
  closing.push(() => http.close());
  const [now, log, random] = [vault.now, pino({ level: 'silent' }), () => 0];
  const api = createVaultApi({ ...{ http, now, log, random }, retry: createRetry({ baseMs: 1 }) });
  const proving = createProving({ refusals: createRefusals({ now }) });
  const tokens = createVaultTokens({ api, proving, now, log, random });
  closing.push(() => tokens.close(AbortSignal.abort()));
  const token = new Redacted(vault.rootToken());
  const told = async (work: Promise<unknown>): Promise<string> => {
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
    told,
    file(name: string, content: string): string {
      const path = join(vault.directory, name);
      writeFileSync(path, content);
      return path;
    },
    asked: (tls: VaultTls, addresses = vault.addresses) =>
      told(
        api.call({
          ...{ login: vault.login({ tls, addresses }), token, method: 'GET', path: 'secret/data/app' },
          ...{ signal: forever, issues: true },
        }),
      ),
  };
}

describe('TLS', () => {
  test('a private CA is trusted where the login names its file, and only there', async () => {
    const { vault, file, asked } = await setUp();
    const caFile = file('ca.crt', vault.ca);
    expect(await asked({ caFile })).toBe('ok');
    expect(await asked({})).toMatch(/^STORE_UNAVAILABLE: .*certificate of an unknown authority/);
    expect(await asked({ skipVerify: true })).toBe('ok');
  });

  test('an intermediate authority is enough', async () => {
    const { file, asked } = await setUp();
    const issuing = createTestCa('Root').intermediate('Issuing');
    const server = await startFakeServer({
      tls: issuing.issue(),
      handler: () => ({ body: { data: { password: 'canary' } } }),
    });
    closing.push(() => server.close());
    const addresses = [server.url.origin];
    expect(await asked({ caFile: file('ca.crt', issuing.cert) }, addresses)).toBe('ok');
    expect(await asked({ caFile: file('other.crt', createTestCa('Strangers').cert) }, addresses)).toMatch(
      /unknown authority/,
    );
  });

  test('a CA that is found wrong is looked for again: the file may have been changed', async () => {
    const { vault, file, asked } = await setUp();
    const caFile = file('ca.crt', createTestCa('Strangers').cert);
    expect(await asked({ caFile })).toMatch(/unknown authority/);
    file('ca.crt', `# ours\n${createTestCa('Strangers').cert}\n${vault.ca}`);
    vault.turn(10_000);
    expect(await asked({ caFile })).toBe('ok');
  });

  test('of a directory all certificates count, and nothing else', async () => {
    const { vault, file, asked } = await setUp();
    const caDirectory = join(vault.directory, 'ca');
    mkdirSync(join(caDirectory, '..data'), { recursive: true });
    file('ca/README', 'certificates of ours');
    expect(await asked({ caDirectory })).toBe(`NOT_CONFIGURED: ${caDirectory} holds no certificate`);
    file('ca/a.pem', createTestCa('Strangers').cert);
    file('ca/b.pem', vault.ca);
    expect(await asked({ caDirectory })).toBe('ok');
  });

  test('the name in the certificate can be another than that of the host', async () => {
    const { vault, file, asked } = await setUp();
    const caFile = file('ca.crt', vault.ca);
    expect(await asked({ caFile, serverName: 'localhost' })).toBe('ok');
    expect(await asked({ caFile, serverName: 'vault.example' })).toMatch(/certificate for another name/);
  });

  test('a file that is not there is named', async () => {
    const { asked } = await setUp();
    expect(await asked({ caFile: '/nowhere/ca.crt' })).toMatch(
      /^NOT_CONFIGURED: \/nowhere\/ca.crt cannot be read; /,
    );
  });

  test('a certificate logs in, and is found when it changes', async () => {
    const { vault, tokens, file, told } = await setUp();
    const people = createTestCa('People');
    vault.auth.cert().role('web', { ca: people.cert });
    const tls = { caFile: file('ca.crt', vault.ca), certFile: '', keyFile: '' };
    const show = (ca: typeof people): void => {
      const { cert, key } = ca.issue({ hosts: ['web.example'] });
      Object.assign(tls, { certFile: file('tls.crt', cert), keyFile: file('tls.key', key) });
    };
    const login = (role?: string) =>
      told(
        tokens.of(
          `${role}`,
          {
            login: {
              ...vault.login({ method: 'cert', mount: 'cert', tls: { ...tls } }),
              ...(role === undefined ? {} : { role }),
            },
            proof: () => Promise.resolve({ kind: 'cert' }),
          },
          forever,
        ),
      );
    show(createTestCa('Strangers'));
    expect(await login('web')).toMatch(
      /^CREDENTIALS_REFUSED: .*role web \(auth\/cert\).*must trust the authority/,
    );
    // A refused one is not shown again; another one is.
    vault.turn(10_000);
    await login('web');
    expect(vault.count('POST /v1/auth/cert/login')).toBe(1);
    show(people);
    vault.turn(10_000);
    expect(await login('web')).toBe('ok');
    expect(vault.node.requests.at(-1)?.body.toString()).toBe('{"name":"web"}');
    rmSync(tls.keyFile);
    // Also where the clock was set back.
    vault.turn(-3_600_000);
    expect(await login('another')).toMatch(/^NOT_CONFIGURED: .*tls.key cannot be read/);
  });
});
