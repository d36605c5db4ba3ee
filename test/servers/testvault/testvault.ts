import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createHttpClient } from '../../../src/http/client.ts';
import { createTestCa } from '../../fakes/tls.ts';
import { buildGoProgram, programInPath } from '../go-program.ts';
import { freePorts, startProgram, type StartedProgram } from '../started-program.ts';

/** The programs that this machine lacks to build testvault. */
export async function missingTestVaultDependencies(): Promise<readonly string[]> {
  return (await programInPath('go')) === undefined ? ['go >= 1.24, to build testvault'] : [];
}

/** Builds testvault if needed; the first time takes four minutes on two cores. */
export function buildTestVault(): Promise<string> {
  return buildGoProgram({ directory: import.meta.dirname, name: 'testvault', target: '.' });
}

/**
 * An unsealed Vault with TLS on a free port of 127.0.0.1, with its files in a temporary directory.
 * @param hosts further names in its certificate
 */
export async function startTestVault({ hosts = [] }: { readonly hosts?: readonly string[] } = {}) {
  const program = await buildTestVault();
  const directory = await mkdtemp(join(tmpdir(), 'kf-testvault-'));
  const file = (name: string): string => join(directory, name);
  const [port = 0] = await freePorts(1);
  const url = new URL(`https://127.0.0.1:${port}`);
  const ca = createTestCa('Test Vault CA');
  const { cert, key } = ca.issue({ hosts: ['localhost', '127.0.0.1', ...hosts] });
  await Promise.all([
    writeFile(file('ca.crt'), ca.cert),
    writeFile(file('tls.crt'), cert),
    writeFile(file('tls.key'), key),
  ]);
  const http = createHttpClient({ ca: [ca.cert] });
  let token = '';

  /**
   * Calls Vault as root.
   * @returns the parsed response
   * @throws for a status that is not a success
   */
  async function root(method: string, path: string, body?: object): Promise<VaultBody> {
    const response = await http.request({
      method,
      url: new URL(`/v1/${path}`, url),
      headers: { 'x-vault-token': token },
      ...(body !== undefined && { body: JSON.stringify(body) }),
      signal: new AbortController().signal,
    });
    const text = response.body.toString();
    if (response.status >= 300) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return text === '' ? {} : (JSON.parse(text) as VaultBody);
  }

  const start = (): Promise<StartedProgram> =>
    startProgram({
      program,
      args: [
        '-addr',
        url.host,
        '-dir',
        file('data'),
        '-cert',
        file('tls.crt'),
        '-key',
        file('tls.key'),
      ],
      // It responds as soon as it listens, although it is sealed.
      isReady: () => root('GET', 'sys/seal-status').then(() => true),
    });
  let server = await start();
  const initResponse = await root('PUT', 'sys/init', { secret_shares: 1, secret_threshold: 1 });
  const { keys, root_token: rootToken } = initResponse as unknown as {
    keys: string[];
    root_token: string;
  };
  token = rootToken;

  async function unseal(): Promise<void> {
    await root('PUT', 'sys/unseal', { key: keys[0] });
    for (;;) {
      const { status } = await http.request({
        ...{ method: 'GET', url: new URL('/v1/sys/health', url) },
        signal: new AbortController().signal,
      });
      if (status === 200) return;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  await unseal();
  return {
    url,
    ca,
    caFile: file('ca.crt'),
    rootToken,
    root,
    seal: () => root('PUT', 'sys/seal'),
    unseal,
    /** Kills it, as a node that fails, and starts it again with its stored data. */
    async restart(): Promise<void> {
      await server.stop('SIGKILL');
      server = await start();
      await unseal();
    },
    async stop(): Promise<void> {
      await server.stop('SIGKILL');
      await http.close();
      await rm(directory, { recursive: true });
    },
  };
}

export type TestVault = Awaited<ReturnType<typeof startTestVault>>;

/** The part of Vault's envelope that suites use. */
export type VaultBody = {
  readonly data?: Readonly<Record<string, unknown>>;
  readonly auth?: Readonly<Record<string, unknown>>;
};
