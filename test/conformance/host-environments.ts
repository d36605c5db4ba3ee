import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import type { HostStore, StoreConfig, StoreType } from '../../src/core/host-store.ts';
import { Redacted } from '../../src/core/redacted.ts';
import { createHttpClient, type HttpClient } from '../../src/http/client.ts';
import { hostStores } from '../../src/providers/host-stores.ts';
import { addVersion } from '../../src/providers/local/store/history.ts';
import { StoreWriter } from '../../src/providers/local/store/writer.ts';
import { createFingerprint } from '../../src/providers/shared/identity/fingerprint.ts';
import { startFakeVault } from '../fakes/vault.ts';

/** One host store, made as a process makes it, in front of a store that can be taken away. */
export type HostEnvironment = {
  readonly store: HostStore;
  /** The path of a reference to the secret of this name. */
  readonly pathOf: (name: string) => string;
  put(name: string, value: string): Promise<void>;
  /** From now on the store gives no response, or cannot be read. */
  takeAway(): Promise<void>;
  /** How many calls reached the store. Absent for a store of files. */
  readonly calls?: () => number;
  /** Credentials that no message and no description may contain. */
  readonly secrets: readonly string[];
  stop(): Promise<void>;
};

/** The environments by type. A type without one is tested only where no store is needed. */
export const hostEnvironments: Readonly<
  Partial<Record<StoreType, () => Promise<HostEnvironment>>>
> = {
  local: startLocal,
  openbao: () => startVault('openbao'),
  vault: () => startVault('vault'),
};

/** Opens a store with an empty environment. */
export function openHostStore(config: StoreConfig, http: HttpClient): Promise<HostStore> {
  return hostStores[config.type](config, {
    ...{ name: 'main', env: {}, http, now: Date.now, log: pino({ level: 'silent' }) },
    ...{ fingerprint: createFingerprint(), retryBaseMs: 1 },
  });
}

async function startLocal(): Promise<HostEnvironment> {
  const directory = mkdtempSync(join(tmpdir(), 'keyferry-host-'));
  const files = { storeFile: join(directory, 'store.age'), keyFile: join(directory, 'store.key') };
  const writer = new StoreWriter(files);
  await writer.init();
  const http = createHttpClient();
  return {
    store: await openHostStore({ type: 'local', ...files }, http),
    pathOf: (name) => name,
    async put(name, value) {
      await writer.change((document) =>
        addVersion(document, name, Buffer.from(value), new Date().toISOString()),
      );
    },
    takeAway: async () => rmSync(files.storeFile),
    secrets: [readFileSync(files.keyFile, 'utf8').trim()],
    async stop() {
      await http.close();
      rmSync(directory, { recursive: true });
    },
  };
}

async function startVault(type: 'vault' | 'openbao'): Promise<HostEnvironment> {
  const vault = await startFakeVault({ http: true });
  const kv = vault.kv2();
  vault.policy('app', { 'secret/*': ['read', 'list'] });
  const role = vault.auth.approle().role('app');
  const secretId = role.secretId();
  const config: StoreConfig = {
    ...{ type, addresses: vault.addresses },
    auth: {
      method: 'approle',
      params: new Map([['role_id', role.roleId]]),
      credentials: new Map([['secret_id', new Redacted(secretId)]]),
    },
  };
  const store = await openHostStore(config, vault.http);
  return {
    ...{ store, calls: () => vault.count(), secrets: [secretId] },
    pathOf: (name) => `secret/data/${name}`,
    put: async (name, value) => kv.put(name, { value }),
    async takeAway() {
      vault.node.injectFault({ reset: true });
    },
    async stop() {
      await store.close?.(AbortSignal.timeout(1_000));
      await vault.close();
    },
  };
}
