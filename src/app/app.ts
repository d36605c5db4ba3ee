import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import { createRateLimiterMetrics } from '../concurrency/rate-limiter.ts';
import type { Settings } from '../config/settings.ts';
import { SecretError } from '../core/errors.ts';
import type { Provider } from '../core/provider.ts';
import { type KubeAccess, type KubeApi, createKubeApi } from '../kube/api.ts';
import { PodEvents } from '../kube/events.ts';
import { PodWatch } from '../kube/pod-watch.ts';
import { ServiceAccounts } from '../kube/service-accounts.ts';
import type { Mount } from '../mount/mount.ts';
import { createOutgoingHttp, createPipeline } from './pipeline.ts';
import { type ProviderContext, providers as providerRegistry } from '../providers/registry.ts';
import { createFingerprint } from '../providers/shared/identity/fingerprint.ts';
import {
  SharedIdentity,
  createSharedIdentityMetrics,
} from '../providers/shared/identity/shared-identity.ts';

/** A composed process: the mount pipeline and its providers. */
export type Composition = {
  readonly mount: Mount;
  /** Logs and counts a request that a front door cannot read. */
  readonly reportInvalid: (provider: string, error: SecretError) => void;
  readonly providers: ReadonlyMap<string, Provider>;
  /** Stops background work and closes connections. */
  close(): Promise<void>;
};

/** What {@link compose} needs. */
export type ComposeDeps = {
  readonly settings: Settings;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly log: Logger;
  readonly registry: Registry;
  /** The key of versions for secrets whose store has none; see version-key.ts. */
  readonly versionKey: Uint8Array;
};

/**
 * The composition root: creates the providers that are configured, and the pipeline that serves
 * them.
 * @throws SecretError NOT_CONFIGURED for an unknown provider and for settings that are not valid
 */
export async function compose({
  settings,
  env,
  log,
  registry,
  versionKey,
}: ComposeDeps): Promise<Composition> {
  const now = Date.now;
  const http = await createOutgoingHttp(env, settings.caFile);
  const kubeApi = createKubeApi({ http, env, ...kubeAccess(settings) });
  const providerContext: ProviderContext = {
    settings,
    env,
    http,
    kubeApi,
    serviceAccounts: new ServiceAccounts({ api: kubeApi, now }),
    fingerprint: createFingerprint(),
    sharedIdentity: new SharedIdentity({
      mode: settings.sharedIdentities,
      grantsFile: settings.sharedIdentityGrants,
      chartValue: env.KEYFERRY_SHARED_IDENTITIES_VALUE,
      log,
      now,
      metrics: createSharedIdentityMetrics(registry),
    }),
    now,
    log,
    rateLimiterMetrics: createRateLimiterMetrics(registry),
  };
  const providers = await loadProviders(settings.providers, providerContext);
  const podWatch =
    settings.podWatch === 'on' ? watchPods({ api: kubeApi, env, now, log }) : undefined;
  const pipeline = createPipeline({
    ...{ providers, log, now, registry, versionKey },
    freshness: (name) => ({
      refreshIntervalMs:
        settings.refreshInterval ?? providerRegistry[name]?.refreshInterval ?? 30_000,
      maxStaleMs: settings.maxStale,
    }),
    cacheBytes: settings.cacheBytes,
    maxMounts: settings.maxMounts,
    maxResponseBytes: settings.maxResponseBytes,
    patienceMs: settings.firstMountPatience,
    ...(podWatch && { presence: (uid: string) => podWatch.presence(uid) }),
    ...(settings.events === 'on' && { events: new PodEvents({ api: kubeApi, now, log }) }),
  });
  const stop = new AbortController();
  const podWatchDone = podWatch?.run(stop.signal);
  return {
    mount: pipeline.mount,
    reportInvalid(provider, error) {
      pipeline.metrics.recordMount(provider, error.code, 0);
      log.warn({ provider, code: error.code, reason: error.summary }, 'mount failed');
    },
    providers,
    async close() {
      pipeline.close();
      stop.abort(new SecretError('SHUTTING_DOWN', 'Keyferry is stopping'));
      await podWatchDone;
      const signal = AbortSignal.timeout(2_000);
      await Promise.allSettled(
        [...providers.values()].map(async (provider) => provider.close?.(signal)),
      );
      await http.close();
    },
  };
}

/** @throws SecretError NOT_CONFIGURED if the environment does not name the node */
function watchPods(deps: {
  readonly api: KubeApi;
  readonly env: ComposeDeps['env'];
  readonly now: () => number;
  readonly log: Logger;
}): PodWatch {
  const node = deps.env.KEYFERRY_NODE_NAME ?? deps.env.NODE_NAME ?? '';
  if (node !== '') return new PodWatch({ ...deps, node });
  throw new SecretError(
    'NOT_CONFIGURED',
    '--pod-watch is on, but the name of the node is not set',
    {
      hint: 'set KEYFERRY_NODE_NAME from spec.nodeName with the downward API',
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

async function loadProviders(
  names: readonly string[],
  providerContext: ProviderContext,
): Promise<ReadonlyMap<string, Provider>> {
  const loaded = new Map<string, Provider>();
  for (const name of names) {
    const entry = Object.hasOwn(providerRegistry, name) ? providerRegistry[name] : undefined;
    if (entry === undefined) {
      throw new SecretError(
        'NOT_CONFIGURED',
        `--providers names ${JSON.stringify(name)}, which does not exist`,
        {
          hint: `the providers are ${Object.keys(providerRegistry).join(', ')}`,
        },
      );
    }
    loaded.set(name, await entry.create(providerContext));
  }
  return loaded;
}
