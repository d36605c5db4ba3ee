import { LRUCache } from 'lru-cache';
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { SecretError, fileProblemOf } from '../../../core/errors.ts';
import { Redacted } from '../../../core/redacted.ts';
import type { TlsSettings } from '../../../http/connections.ts';
import type { VaultTls } from '../types.ts';

/**
 * How long read files are used: a rotated certificate takes effect without a disk access for each
 * call.
 */
const cacheTtlMs = 5_000;

/** Reads the files that a login's TLS settings name. */
export type TlsFiles = {
  /**
   * @returns undefined where the login has no TLS settings
   * @throws SecretError NOT_CONFIGURED, which names the file
   */
  read(tls: VaultTls): Promise<TlsSettings | undefined>;
};

/** `now` is in milliseconds; only differences count. */
export function createTlsFiles({ now }: { readonly now: () => number }): TlsFiles {
  const cache = new LRUCache<
    string,
    { readonly readAt: number; readonly settings: Promise<TlsSettings> }
  >({
    max: 100,
  });
  return {
    async read(tls) {
      const key = JSON.stringify(Object.entries(tls).sort(([a], [b]) => (a < b ? -1 : 1)));
      if (key === '[]') return undefined;
      const cached = cache.get(key);
      if (cached !== undefined && Math.abs(now() - cached.readAt) < cacheTtlMs)
        return cached.settings;
      const settings = readTlsSettings(tls);
      cache.set(key, { readAt: now(), settings });
      settings.catch(() => cache.delete(key));
      return settings;
    },
  };
}

async function readTlsSettings(tls: VaultTls): Promise<TlsSettings> {
  const { skipVerify, caFile, caDirectory, serverName, certFile, keyFile } = tls;
  // As with Vault's own clients, the file wins over the directory.
  const ca =
    caFile !== undefined
      ? [await read(caFile)]
      : caDirectory !== undefined
        ? await readDirectory(caDirectory)
        : undefined;
  return {
    ...(ca !== undefined && { ca: ca.flatMap(splitCertificates), allowPartialTrustChain: true }),
    ...(certFile !== undefined && { cert: await read(certFile) }),
    ...(keyFile !== undefined && { key: new Redacted(await read(keyFile)) }),
    ...(serverName !== undefined && { servername: serverName }),
    ...(skipVerify === true && { rejectUnauthorized: false }),
  };
}

/**
 * Splits a PEM bundle: OpenSSL skips what it cannot read, so the connection checks each
 * certificate.
 */
function splitCertificates(pem: string): readonly string[] {
  return pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [pem];
}

/** Kubernetes adds entries that begin with a dot to a mounted ConfigMap. */
async function readDirectory(path: string): Promise<readonly string[]> {
  const names = await readdir(path).catch((thrown: unknown) => throwUnreadable(path, thrown));
  const texts = await Promise.all(
    names
      .filter((name) => !name.startsWith('.'))
      .sort()
      .map((name) => read(join(path, name))),
  );
  const certificates = texts.filter((text) => text.includes('-----BEGIN CERTIFICATE-----'));
  if (certificates.length > 0) return certificates;
  throw new SecretError('NOT_CONFIGURED', `${path} holds no certificate`);
}

async function read(path: string): Promise<string> {
  return readFile(path, 'utf8').catch((thrown: unknown) => throwUnreadable(path, thrown));
}

function throwUnreadable(path: string, thrown: unknown): never {
  throw new SecretError('NOT_CONFIGURED', `${path} cannot be read: ${fileProblemOf(thrown)}`, {
    hint: 'it must be a file that Keyferry can see: if Keyferry runs in a container, mount it there',
  });
}
