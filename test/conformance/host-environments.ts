import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import type { HostStore, StoreAuth, StoreConfig, StoreType } from '../../src/core/host-store.ts';
import { Redacted } from '../../src/core/redacted.ts';
import { createHttpClient, type HttpClient } from '../../src/http/client.ts';
import { hostStores } from '../../src/providers/host-stores.ts';
import { addVersion } from '../../src/providers/local/store/history.ts';
import { StoreWriter } from '../../src/providers/local/store/writer.ts';
import { createFingerprint } from '../../src/providers/shared/identity/fingerprint.ts';
import { alibabaRegion, startAlibabaCloud } from '../fakes/alibaba-cloud.ts';
import { awsRegion, startAwsCloud } from '../fakes/aws-cloud.ts';
import { createHuaweiAccount } from '../fakes/huawei-account.ts';
import { startFakeCsms } from '../fakes/huawei-csms.ts';
import { createTestCa } from '../fakes/tls.ts';
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
  alibabacloud: startAlibaba,
  aws: startAws,
  huawei: startHuawei,
  local: startLocal,
  openbao: () => startVault('openbao'),
  vault: () => startVault('vault'),
};

/** Opens a store. Default: with an empty environment. */
export function openHostStore(
  config: StoreConfig,
  http: HttpClient,
  env: Readonly<Record<string, string>> = {},
): Promise<HostStore> {
  return hostStores[config.type](config, {
    ...{ name: 'main', env, http, now: Date.now, log: pino({ level: 'silent' }) },
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

/** With keys in dso.yaml. */
async function startHuawei(): Promise<HostEnvironment> {
  const account = createHuaweiAccount();
  const project = 'project-1';
  const ca = createTestCa();
  const csms = await startFakeCsms({ account, project, tls: ca.issue() });
  const { access, secret } = account.issueKeys();
  const http = createHttpClient({ ca: [ca.cert] });
  const config: StoreConfig = {
    ...{ type: 'huawei', region: 'cn-north-4', projectId: project, endpoint: csms.url.href },
    auth: keysAuth(access, secret),
  };
  return {
    ...{ store: await openHostStore(config, http), calls: () => csms.count() },
    ...{ secrets: [access, secret], pathOf: (name) => name },
    put: async (name, value) => void csms.put(name, value),
    takeAway: async () => csms.injectFault({ reset: true }),
    async stop() {
      await http.close();
      await csms.close();
    },
  };
}

/** With a role that keys of the environment assume. */
async function startAws(): Promise<HostEnvironment> {
  const roleArn = 'arn:aws:iam::111122223333:role/secrets';
  const cloud = await startAwsCloud({ roles: [{ arn: roleArn, trustedHolders: ['user'] }] });
  const { accessKeyId, secretAccessKey } = cloud.account.issueKeys();
  const { secretsManager, sts } = cloud;
  // The SDK reads the environment of the process.
  const saved = process.env;
  process.env = {
    ...saved,
    ...{ AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey },
  };
  const auth = { method: 'environment', params: new Map(), credentials: new Map() };
  const config: StoreConfig = { type: 'aws', region: awsRegion, roleArn, auth };
  return {
    store: await openHostStore(config, cloud.http, cloud.env),
    calls: () => secretsManager.count() + sts.count(),
    ...{ secrets: [accessKeyId, secretAccessKey], pathOf: (name) => `shop/${name}` },
    put: async (name, value) => void secretsManager.put(`shop/${name}`, value),
    takeAway: async () => secretsManager.injectFault({ reset: true }),
    async stop() {
      process.env = saved;
      await cloud.close();
    },
  };
}

/** With keys in dso.yaml. */
async function startAlibaba(): Promise<HostEnvironment> {
  const cloud = await startAlibabaCloud();
  const { kms, http, account } = cloud;
  const { accessKeyId, accessKeySecret } = account.issueKeys();
  const config: StoreConfig = {
    ...{ type: 'alibabacloud', region: alibabaRegion, endpoint: kms.url.host },
    auth: keysAuth(accessKeyId, accessKeySecret),
  };
  return {
    ...{ store: await openHostStore(config, http), calls: () => kms.count() },
    ...{ secrets: [accessKeyId, accessKeySecret], pathOf: (name) => `shop/${name}` },
    put: async (name, value) => void kms.put(`shop/${name}`, value),
    takeAway: async () => kms.injectFault({ reset: true }),
    stop: () => cloud.close(),
  };
}

function keysAuth(accessKey: string, secretKey: string): StoreAuth {
  return {
    method: 'access_key',
    params: new Map([['access_key', accessKey]]),
    credentials: new Map([['secret_key', new Redacted(secretKey)]]),
  };
}
