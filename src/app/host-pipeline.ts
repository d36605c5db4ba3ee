import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import { createRateLimiterMetrics } from '../concurrency/rate-limiter.ts';
import type { Presence } from '../concurrency/workload-memory.ts';
import type { HostStore } from '../core/host-store.ts';
import { compileGrants } from '../docker/delivery/authorize.ts';
import {
  type DeliverContext,
  type Delivery,
  type Wanted,
  deliver,
} from '../docker/delivery/deliver.ts';
import type { WholeHostConfig } from '../docker/delivery/host-requests.ts';
import { Stores } from '../docker/delivery/stores.ts';
import { openHostStore } from '../providers/host-stores.ts';
import { createFingerprint } from '../providers/shared/identity/fingerprint.ts';
import { createOutgoingHttp, createPipeline } from './pipeline.ts';

/** What {@link createHostPipeline} needs. */
export type HostPipelineOptions = {
  readonly host: WholeHostConfig;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Certificates to trust in addition to the system's, in PEM. */
  readonly caFile: string | undefined;
  readonly versionKey: Uint8Array;
  /** Milliseconds, as the next ones: how long a secret serves before it is read again. */
  readonly refreshInterval: number;
  readonly maxStale: number;
  readonly firstMountPatience: number;
  /** Whether a service still needs its leases. Default: unknown. */
  readonly presence?: Presence;
  /** Changes each store. Default: it stays as it is. */
  readonly wrapStore?: (store: HostStore, name: string) => HostStore;
  readonly log: Logger;
  readonly registry: Registry;
};

const cacheBytes = 32 * 1024 * 1024;
/** The files of one service. */
const maxServiceBytes = 4 * 1024 * 1024;
const maxMounts = 512;

/**
 * The stores of a host's configuration behind the same pipeline as that of `serve`, for the agent
 * and for local mode.
 * @throws SecretError NOT_CONFIGURED
 */
export async function createHostPipeline(options: HostPipelineOptions) {
  const { host, env, presence, wrapStore = (store) => store, log, registry } = options;
  const now = Date.now;
  const http = await createOutgoingHttp(env, options.caFile);
  const storeDeps = {
    ...{ env, http, now, log },
    fingerprint: createFingerprint(),
    rateLimiterMetrics: createRateLimiterMetrics(registry),
  };
  const stores = new Stores({
    openStore: async (config, name) =>
      wrapStore(await openHostStore(config, { ...storeDeps, name }), name),
    isGranted: compileGrants(host.config.agent.grants),
    host,
  });
  const pipeline = createPipeline({
    ...{ providers: stores.providers, cacheBytes, maxMounts, registry, log, now },
    maxResponseBytes: maxServiceBytes,
    freshness: () => ({
      refreshIntervalMs: options.refreshInterval,
      maxStaleMs: options.maxStale,
    }),
    patienceMs: options.firstMountPatience,
    ...(presence && { presence, keepsReplacedLeases: true }),
    versionKey: options.versionKey,
  });
  return {
    stores,
    leases: pipeline.leases,
    deliver: (wanted: Wanted, context: DeliverContext): Promise<Delivery> =>
      deliver(wanted, context, { mount: pipeline.mount, stores, host }),
    /** Releases the leases of services that are gone, and closes connections. */
    async close(): Promise<void> {
      pipeline.tick();
      pipeline.close();
      await stores.close(AbortSignal.timeout(2_000));
      await http.close();
    },
  };
}
