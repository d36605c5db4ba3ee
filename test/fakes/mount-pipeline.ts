import type { Logger } from 'pino';
import { Registry } from 'prom-client';
import { SecretError } from '../../src/core/errors.ts';
import { createDriverMount } from '../../src/csi/mount-request.ts';
import { CpuScheduler } from '../../src/concurrency/cpu-scheduler.ts';
import { NamespaceLimiter } from '../../src/concurrency/namespace-limiter.ts';
import { Audit } from '../../src/mount/audit.ts';
import { MountMetrics } from '../../src/mount/metrics.ts';
import { createMount } from '../../src/mount/mount.ts';
import { PlanCache } from '../../src/mount/plan-cache.ts';
import { createRenderSteps } from '../../src/mount/render.ts';
import type { Volume } from '../../src/mount/types.ts';
import { VolumeHistory } from '../../src/mount/volume-history.ts';
import type { Provider } from '../../src/core/provider.ts';
import { createCacheMetrics } from '../../src/cache/metrics.ts';
import { SecretCache } from '../../src/cache/secret-cache.ts';
import { mountRequest } from '../driver/request.ts';

/** A pod, and how its request travels. */
export type TestPod = {
  /** Default `pod-1`. */
  readonly name?: string;
  /** Default `team-a`. */
  readonly namespace?: string;
  /** Default `app`. */
  readonly account?: string;
  /** By audience. Default: the fixture's tokens. */
  readonly tokens?: Readonly<Record<string, string>>;
  /** The Secret of `nodePublishSecretRef`. */
  readonly secret?: Readonly<Record<string, string>>;
  readonly attributes?: Readonly<Record<string, string>>;
  /** `rotation`: as drivers up to 1.5 do it. */
  readonly occasion?: 'publish' | 'rotation';
  readonly signal?: AbortSignal;
};

/** The whole pipeline over one provider, put together as a process does it; without jitter. */
export function createMountPipeline({
  provider,
  now,
  log,
  registry = new Registry(),
  refreshInterval = 30_000,
  patienceMs = 0,
}: {
  readonly provider: Provider;
  readonly now: () => number;
  readonly log: Logger;
  readonly registry?: Registry;
  readonly refreshInterval?: number | undefined;
  /** Of first mounts. Default 0. */
  readonly patienceMs?: number | undefined;
}) {
  const cache = new SecretCache({
    ...{ now, log, random: () => 0, patienceMs },
    freshness: () => ({ refreshIntervalMs: refreshInterval, maxStaleMs: 600_000 }),
    metrics: (bytes) => createCacheMetrics(registry, bytes),
  });
  const mount = createMount({
    providers: new Map([[provider.name, provider]]),
    namespaceLimiter: new NamespaceLimiter({ limit: 1_000, maxQueue: 1_000 }),
    largeMountLimiter: new NamespaceLimiter({ limit: 12, maxQueue: 2_000 }),
    plans: new PlanCache(),
    cache,
    cpuScheduler: new CpuScheduler(),
    renderSteps: createRenderSteps({ versionKey: new Uint8Array(32) }),
    volumeHistory: new VolumeHistory(),
    audit: new Audit({ log, now }),
    metrics: new MountMetrics(registry),
    ...{ log, now },
  });
  const mountCall = createDriverMount({ mount, onInvalid: () => undefined });

  /** @param parameters of the class, or its `objects` alone */
  function volume(parameters: string | Record<string, string>, pod: TestPod = {}): Promise<Volume> {
    const { name = 'pod-1', namespace = 'team-a', account = 'app' } = pod;
    const request = mountRequest({
      trigger: pod.occasion ?? 'publish',
      class: {
        metadata: { name: 'app' },
        spec: {
          provider: provider.name,
          parameters: typeof parameters === 'string' ? { objects: parameters } : parameters,
        },
      },
      pod: { name, namespace, uid: `uid-${name}`, serviceAccount: account },
      attributes: pod.attributes ?? {},
      tokens: pod.tokens ?? {},
      nodePublishSecret: pod.secret,
      tokensInSecrets: false,
      targetPath: `/pods/${name}`,
      versions: [],
    });
    const signal = pod.signal ?? new AbortController().signal;
    return mountCall(request, { provider: provider.name, signal, deadline: now() + 100_000 });
  }

  return { cache, mountCall, volume };
}

/** Files by path, or the line a user would see. */
export async function mountSummary(
  volume: Promise<Volume>,
): Promise<Record<string, string> | string> {
  try {
    const { files } = await volume;
    return Object.fromEntries(
      files.map(({ path, contents }) => [path, Buffer.from(contents).toString()]),
    );
  } catch (error) {
    if (error instanceof SecretError) return `${error.code}: ${error.summary}`;
    throw error;
  }
}
