import { readFile } from 'node:fs/promises';
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import { createCacheMetrics } from '../cache/metrics.ts';
import { createSecretCache } from '../cache/secret-cache.ts';
import { createNamespaceLimiter } from '../concurrency/namespace-limiter.ts';
import { createRateLimiterMetrics } from '../concurrency/rate-limiter.ts';
import type { Settings } from '../config/settings.ts';
import { SecretError } from '../core/errors.ts';
import type { Provider } from '../core/provider.ts';
import { createHttp } from '../http/client.ts';
import { type KubeAccess, type KubeApi, createKubeApi } from '../kube/api.ts';
import { createPodEvents } from '../kube/events.ts';
import { type PodWatch, createPodWatch } from '../kube/pod-watch.ts';
import { createServiceAccounts } from '../kube/service-accounts.ts';
import { createAudit } from '../mount/audit.ts';
import { createMountMetrics } from '../mount/metrics.ts';
import { type Mount, createMount } from '../mount/mount.ts';
import { createPlanCache } from '../mount/plan-cache.ts';
import { createRender } from '../mount/render.ts';
import { createStaleness } from '../mount/staleness.ts';
import { createVolumeHistory } from '../mount/volume-history.ts';
import { type ProviderContext, providers as known } from '../providers/registry.ts';
import { createFingerprint } from '../providers/shared/identity/fingerprint.ts';
import {
  SharedIdentity,
  createSharedIdentityMetrics,
} from '../providers/shared/identity/shared-identity.ts';

/** The whole walk, put together. */
export type Composition = {
  readonly mount: Mount;
  /** Logs and counts a request that a front door cannot read. */
  readonly reportInvalid: (provider: string, error: SecretError) => void;
  readonly providers: ReadonlyMap<string, Provider>;
  /** Ends background work and connections. */
  close(): Promise<void>;
};

/** What {@link compose} needs. */
export type ComposeDeps = {
  readonly settings: Settings;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly log: Logger;
  readonly registry: Registry;
  /** Keys the versions of files without one; see version-key.ts. */
  readonly versionKey: Uint8Array;
};

/**
 * Puts a process together: the providers asked for, and the walk that serves them.
 * @throws SecretError NOT_CONFIGURED for an unknown provider or a setting that cannot be used
 */
export async function compose({
  settings,
  env,
  log,
  registry,
  versionKey,
}: ComposeDeps): Promise<Composition> {
  const now = Date.now;
  const http = createHttp({
    proxy: {
      httpsProxy: env.HTTPS_PROXY ?? env.https_proxy,
      httpProxy: env.HTTP_PROXY ?? env.http_proxy,
      noProxy: env.NO_PROXY ?? env.no_proxy,
    },
    ...(settings.caFile !== undefined && { ca: [await readAuthorities(settings.caFile)] }),
  });
  const kubeApi = createKubeApi({ http, env, ...kubeAccess(settings) });
  const surroundings: ProviderContext = {
    settings,
    env,
    http,
    kubeApi,
    serviceAccounts: createServiceAccounts({ api: kubeApi, now }),
    fingerprint: createFingerprint(),
    sharedIdentity: new SharedIdentity({
      mode: settings.sharedIdentities,
      grantsFile: settings.sharedIdentityGrants,
      log,
      now,
      metrics: createSharedIdentityMetrics(registry),
    }),
    now,
    log,
    rateLimiterMetrics: createRateLimiterMetrics(registry),
  };
  const providers = await load(settings.providers, surroundings);
  const podWatch =
    settings.podWatch === 'on' ? watchPods({ api: kubeApi, env, now, log }) : undefined;
  const store = createSecretCache({
    now,
    random: Math.random,
    maxBytes: settings.cacheBytes,
    freshness: (name) => ({
      refreshInterval: settings.refreshInterval ?? known[name]?.refreshInterval ?? 30_000,
      maxStale: settings.maxStale,
    }),
    metrics: (bytes) => createCacheMetrics(registry, bytes),
    log,
    ...(podWatch && { presence: podWatch.presence }),
  });
  const metrics = createMountMetrics(registry);
  const mount = createMount({
    providers,
    turns: createNamespaceLimiter({ limit: settings.maxMounts, maxQueue: 2_000 }),
    plans: createPlanCache(),
    store,
    render: createRender({ versionKey, maxBytes: settings.maxResponseBytes }),
    volumeHistory: createVolumeHistory(),
    audit: createAudit({ log, now }),
    metrics,
    staleness: createStaleness({
      registry,
      ...(settings.events === 'on' && { events: createPodEvents({ api: kubeApi, now, log }) }),
    }),
    log,
    now,
  });
  const clock = setInterval(store.tick, 1_000);
  clock.unref();
  const stop = new AbortController();
  const watching = podWatch?.run(stop.signal);
  return {
    mount,
    reportInvalid(provider, error) {
      metrics.answered(provider, error.code, 0);
      log.warn({ provider, code: error.code, reason: error.summary }, 'mount failed');
    },
    providers,
    async close() {
      clearInterval(clock);
      stop.abort(new SecretError('SHUTTING_DOWN', 'Keyferry stops'));
      await watching;
      const signal = AbortSignal.timeout(2_000);
      await Promise.allSettled(
        [...providers.values()].map(async (provider) => provider.close?.(signal)),
      );
      await http.close();
    },
  };
}

/** @throws SecretError NOT_CONFIGURED where nobody says which node this is */
function watchPods(deps: {
  readonly api: KubeApi;
  readonly env: ComposeDeps['env'];
  readonly now: () => number;
  readonly log: Logger;
}): PodWatch {
  const node = deps.env.KEYFERRY_NODE_NAME ?? deps.env.NODE_NAME ?? '';
  if (node !== '') return createPodWatch({ ...deps, node });
  throw new SecretError(
    'NOT_CONFIGURED',
    '--pod-watch is on, and Keyferry does not know its node',
    {
      hint: 'set KEYFERRY_NODE_NAME from spec.nodeName, by the downward API',
    },
  );
}

function kubeAccess({
  kubeServer: server,
  kubeTokenFile: tokenFile,
  kubeCaFile: caFile,
}: Settings): Partial<KubeAccess> {
  return { ...(server && { server }), ...(tokenFile && { tokenFile }), ...(caFile && { caFile }) };
}

async function load(
  names: readonly string[],
  surroundings: ProviderContext,
): Promise<ReadonlyMap<string, Provider>> {
  const loaded = new Map<string, Provider>();
  for (const name of names) {
    const entry = Object.hasOwn(known, name) ? known[name] : undefined;
    if (entry === undefined) {
      throw new SecretError(
        'NOT_CONFIGURED',
        `--providers names ${JSON.stringify(name)}, which is none of ours`,
        {
          hint: `the providers are ${Object.keys(known).join(', ')}`,
        },
      );
    }
    loaded.set(name, await entry.create(surroundings));
  }
  return loaded;
}

async function readAuthorities(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    throw new SecretError('NOT_CONFIGURED', `--ca-file ${file} cannot be read`, {
      hint: 'give a PEM file that this process may read',
      cause,
    });
  }
}
