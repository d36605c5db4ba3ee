import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import type { FreshnessOptions } from '../cache/freshness.ts';
import { createCacheMetrics } from '../cache/metrics.ts';
import { SecretCache } from '../cache/secret-cache.ts';
import { CpuScheduler } from '../concurrency/cpu-scheduler.ts';
import { NamespaceLimiter } from '../concurrency/namespace-limiter.ts';
import { type Presence, WorkloadMemory } from '../concurrency/workload-memory.ts';
import type { Provider } from '../core/provider.ts';
import type { HttpClient } from '../http/client.ts';
import { createProxyChoice } from '../http/proxy.ts';
import type { PodEvents } from '../kube/events.ts';
import { Audit } from '../mount/audit.ts';
import { MountMetrics } from '../mount/metrics.ts';
import { type Mount, createMount } from '../mount/mount.ts';
import { PlanCache } from '../mount/plan-cache.ts';
import { createRenderSteps } from '../mount/render.ts';
import { Staleness } from '../mount/staleness.ts';
import { VolumeHistory } from '../mount/volume-history.ts';
import { readCaFile } from './start-checks.ts';

/** What {@link createPipeline} needs. */
export type PipelineOptions = {
  /** By name. More can be added later. */
  readonly providers: ReadonlyMap<string, Provider>;
  readonly freshness: (provider: string) => FreshnessOptions;
  /** The memory for cached secrets. */
  readonly cacheBytes: number;
  /** Mounts in progress at once. */
  readonly maxMounts: number;
  /** The bytes of all files of a mount. */
  readonly maxResponseBytes: number;
  /** How long a mount without a cached value waits for a store that is away, in milliseconds. */
  readonly patienceMs: number;
  /** Whether a workload still runs. Default: unknown. */
  readonly presence?: Presence;
  /** See `keepsReplaced` of LeaseManager. */
  readonly keepsReplacedLeases?: boolean;
  readonly events?: PodEvents;
  /** See version-key.ts. */
  readonly versionKey: Uint8Array;
  readonly registry: Registry;
  readonly log: Logger;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
};

/** The parts of a process that do not depend on its front door. */
export type Pipeline = {
  readonly mount: Mount;
  readonly metrics: MountMetrics;
  /** Its leases outlive the process by `handOver` and `takeOver`. */
  readonly leases: Pick<SecretCache, 'handOver' | 'takeOver' | 'releaseReplaced'>;
  /** Renews and releases the leases that are due. It also happens once a second. */
  readonly tick: () => void;
  /** Stops the background work. */
  readonly close: () => void;
};

/** Connects the parts of the mount pipeline: the same for every front door. */
export function createPipeline(options: PipelineOptions): Pipeline {
  const { providers, presence, events, registry, log, now } = options;
  const workloadMemory = new WorkloadMemory({ ...(presence && { presence }) });
  const cache = new SecretCache({
    workloadMemory,
    now,
    random: Math.random,
    maxBytes: options.cacheBytes,
    freshness: options.freshness,
    metrics: (bytes) => createCacheMetrics(registry, bytes),
    log,
    patienceMs: options.patienceMs,
    ...(presence && { presence }),
    keepsReplacedLeases: options.keepsReplacedLeases,
  });
  const metrics = new MountMetrics(registry);
  const mount = createMount({
    providers,
    namespaceLimiter: new NamespaceLimiter({ limit: options.maxMounts, maxQueue: 2_000 }),
    largeMountLimiter: new NamespaceLimiter({ limit: 8, maxQueue: 2_000 }),
    plans: new PlanCache(),
    cache,
    cpuScheduler: new CpuScheduler({ onWaited: (ms) => metrics.recordCpuWait(ms) }),
    renderSteps: createRenderSteps({
      versionKey: options.versionKey,
      maxBytes: options.maxResponseBytes,
    }),
    volumeHistory: new VolumeHistory(workloadMemory),
    audit: new Audit({ log, now, workloadMemory }),
    metrics,
    staleness: new Staleness({ registry, workloadMemory, ...(events && { events }) }),
    log,
    now,
  });
  const tick = (): void => cache.tick();
  const maintenance = setInterval(tick, 1_000);
  maintenance.unref();
  return { mount, metrics, leases: cache, tick, close: () => clearInterval(maintenance) };
}

/**
 * The client of all outgoing calls, with the proxy of the environment.
 * @param caFile certificates to trust in addition to the system's
 * @throws SecretError NOT_CONFIGURED
 */
export async function createOutgoingHttp(
  env: Readonly<Record<string, string | undefined>>,
  caFile: string | undefined,
): Promise<HttpClient> {
  const proxy = {
    httpsProxy: env.HTTPS_PROXY ?? env.https_proxy,
    httpProxy: env.HTTP_PROXY ?? env.http_proxy,
    noProxy: env.NO_PROXY ?? env.no_proxy,
  };
  createProxyChoice(proxy);
  const options = { proxy, ...(caFile !== undefined && { ca: await readCaFile(caFile) }) };
  let client: Promise<HttpClient> | undefined;
  // Its library takes some 10 MiB, and a process with only the embedded store makes no calls.
  const load = async (): Promise<HttpClient> =>
    (await import('../http/client.ts')).createHttpClient(options);
  return {
    request: async (request) => (await (client ??= load())).request(request),
    // A request after the end fails as the client says.
    close: async () => (await (client ??= load())).close(),
  };
}
