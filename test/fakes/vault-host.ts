import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pino, type Logger } from 'pino';
import { SecretError } from '../../src/core/errors.ts';
import { grant } from '../../src/core/grant.ts';
import type { StoreConfig } from '../../src/core/host-store.ts';
import type { Selector } from '../../src/core/plan.ts';
import type { FetchResult, Grant } from '../../src/core/provider.ts';
import { Redacted } from '../../src/core/redacted.ts';
import type { HttpClient } from '../../src/http/client.ts';
import { createOpenSecret } from '../../src/mount/extract.ts';
import { createFingerprint } from '../../src/providers/shared/identity/fingerprint.ts';
import { createVaultHostStore } from '../../src/providers/vault/host.ts';
import type { VaultSession } from '../../src/providers/vault/types.ts';
import { startFakeVault, type FakeVaultOptions } from './vault.ts';

/** The `auth` of dso.yaml; `credentials` are those that must not be printed. */
export type HostAuth = {
  readonly method: string;
  readonly params?: Readonly<Record<string, string>>;
  readonly credentials?: Readonly<Record<string, string>>;
};

/** See {@link startVaultHost}. */
export type VaultHostOptions = FakeVaultOptions & {
  readonly dialect?: 'vault' | 'openbao';
};

const neverAborted = new AbortController().signal;

/** Makes the function that opens a Vault as dso.yaml says. */
export function createVaultHostOpener({
  dialect,
  addresses,
  caFile,
  http,
  now,
  log,
  closing,
}: {
  readonly dialect: 'vault' | 'openbao';
  readonly addresses: readonly string[];
  readonly caFile: string;
  readonly http: HttpClient;
  readonly now: () => number;
  readonly log: Logger;
  /** Gets a function that closes each store. */
  readonly closing: (() => Promise<unknown>)[];
}) {
  return (auth: HostAuth | undefined, config: Partial<StoreConfig> = {}) => {
    const store = createVaultHostStore(
      dialect,
      {
        ...{ type: dialect, addresses, caFile },
        auth: auth && {
          method: auth.method,
          params: new Map(Object.entries(auth.params ?? {})),
          credentials: new Map(
            Object.entries(auth.credentials ?? {}).map(([key, text]) => [key, new Redacted(text)]),
          ),
        },
        ...config,
      },
      {
        ...{ name: 'main', env: {}, http, now, log, retryBaseMs: 1 },
        fingerprint: createFingerprint(),
      },
    );
    closing.push(async () => store.close?.(AbortSignal.timeout(1_000)));

    const grantOf = async (path: string, service = 'app'): Promise<Grant<VaultSession>> =>
      grant({
        ref: store.refFor(path),
        principal: await store.principal(neverAborted),
        scope: store.grantScope ?? 'principal',
        workload: {
          tenant: 'shop',
          identity: { name: service },
          instance: `shop/${service}`,
          volume: `dso_shop.${service}`,
          tokens: new Map(),
          secrets: new Map(),
        },
      });

    async function fetchOne(path: string, service?: string): Promise<FetchResult> {
      const [result] = store.fetch([
        {
          grant: await grantOf(path, service),
          ...{ urgency: 'first', signal: neverAborted, onStart: () => undefined },
        },
      ]);
      if (result === undefined) throw new Error('there is one result for each request');
      return result;
    }

    return {
      ...{ store, grantOf, fetch: fetchOne },
      /** What a reference takes from a secret, or `CODE: message; hint`. */
      read: (path: string, selector: Selector = { kind: 'sole' }): Promise<string> =>
        summarize(async () => {
          const result = await fetchOne(path);
          if (result.kind === 'unchanged') throw new Error('nothing was known');
          if (result.kind !== 'value') throw result.error;
          const extract = createOpenSecret()(store.refFor(path), result.value);
          return Buffer.from(extract(selector)).toString();
        }),
      /** `ok`, or `CODE: message; hint`. */
      check: (): Promise<string> => summarize(() => store.check(neverAborted).then(() => 'ok')),
      /** What each step found, up to the first that fails. */
      async steps(): Promise<readonly string[]> {
        const found: string[] = [];
        for (const { name, run } of store.checkSteps ?? []) {
          const text = await summarize(() => run(neverAborted));
          found.push(`${name}: ${text}`);
          if (/^[A-Z_]{6,}: /.test(text)) break;
        }
        return found;
      },
      list: (): Promise<string> =>
        summarize(async () =>
          ((await store.list?.(neverAborted)) ?? []).map(({ path }) => path).join(' '),
        ),
    };
  };
}

/** A Vault with an app's secrets, and what a host without Kubernetes opens it with. */
export async function startVaultHost(options: VaultHostOptions = {}) {
  const { dialect = 'vault' } = options;
  const vault = await startFakeVault(options);
  const lines: string[] = [];
  const log = pino({ level: 'trace' }, { write: (line: string) => void lines.push(line) });
  const closing: (() => Promise<unknown>)[] = [];
  vault.policy('app', {
    'secret/*': ['read', 'list'],
    'kv/*': ['read', 'list'],
    'database/*': ['read'],
    'sys/leases/revoke': ['update'],
  });

  /** Writes a file below the temporary directory. */
  const file = (name: string, text: string): string => {
    const path = join(vault.directory, name);
    writeFileSync(path, text);
    return path;
  };
  const caFile = file('ca.crt', vault.ca);

  const open = createVaultHostOpener({
    ...{ dialect, caFile, log, closing, addresses: vault.addresses },
    ...{ http: vault.http, now: vault.now },
  });

  return {
    ...{ vault, lines, file, caFile, open },
    /** How many logins were sent, to all mounts and namespaces. */
    logins: (): number => vault.count(/^POST \/v1\/auth\/.+\/login$/),
    async close(): Promise<void> {
      for (const close of closing) await close();
      await vault.close();
    },
  };
}

export type VaultHost = Awaited<ReturnType<typeof startVaultHost>>;

async function summarize(work: () => Promise<string>): Promise<string> {
  try {
    return await work();
  } catch (thrown) {
    if (thrown instanceof SecretError) return `${thrown.code}: ${thrown.summary}`;
    throw thrown;
  }
}
