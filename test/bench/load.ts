import { DriverClient } from '../../src/csi/client.ts';
import type { RawMountRequest } from '../../src/csi/mount-request.ts';
import type { ServerProcess } from './server-process.ts';

/** The cost of a run of mounts. */
export type Run = {
  readonly perSecond: number;
  /** Milliseconds. */
  readonly p50: number;
  readonly p99: number;
  /** CPU of the server for each mount, in microseconds. */
  readonly cpu: number;
};

/**
 * The request that a driver 1.6 sends for a pod: its attributes, a token of the usual size and the
 * class.
 */
export function mountRequest(objects: string, pod = 0): RawMountRequest {
  const uid = `00000000-0000-4000-8000-${String(pod).padStart(12, '0')}`;
  const token = `${'h'.repeat(36)}.${'p'.repeat(800)}.${'s'.repeat(342)}`;
  return {
    attributes: JSON.stringify({
      objects,
      secretProviderClass: 'bench',
      'csi.storage.k8s.io/pod.name': `pod-${pod}`,
      'csi.storage.k8s.io/pod.namespace': 'bench',
      'csi.storage.k8s.io/pod.uid': uid,
      'csi.storage.k8s.io/serviceAccount.name': 'bench',
      'csi.storage.k8s.io/ephemeral': 'true',
      'csi.storage.k8s.io/serviceAccount.tokens': JSON.stringify({
        'sts.example': { token, expirationTimestamp: '2030-01-01T00:00:00Z' },
      }),
    }),
    secrets: 'null',
    targetPath: `/var/lib/kubelet/pods/${uid}/volumes/kubernetes.io~csi/secrets/mount`,
    permission: '420',
  };
}

/**
 * Sends a number of mounts with a limit of concurrent ones, over one connection as the driver does.
 */
export async function runMounts(
  server: ServerProcess,
  request: RawMountRequest,
  { count, concurrency }: { readonly count: number; readonly concurrency: number },
): Promise<Run> {
  const client = new DriverClient({ socketPath: server.socketPath });
  const latencies: number[] = [];
  let remaining = count;
  const worker = async (): Promise<void> => {
    while (remaining-- > 0) {
      const startedAt = performance.now();
      const result = await client.mount(request, { timeoutMs: 120_000 });
      if (result.code !== 'OK') throw new Error(`${result.code}: ${result.message}`);
      latencies.push(performance.now() - startedAt);
    }
  };
  const cpu = server.cpu();
  const startedAt = performance.now();
  await Promise.all(Array.from({ length: concurrency }, worker));
  const seconds = (performance.now() - startedAt) / 1_000;
  const cpuUsed = server.cpu() - cpu;
  client.close();
  latencies.sort((a, b) => a - b);
  const percentile = (share: number): number =>
    latencies[Math.floor((latencies.length - 1) * share)] ?? NaN;
  return {
    perSecond: count / seconds,
    p50: percentile(0.5),
    p99: percentile(0.99),
    cpu: cpuUsed / count,
  };
}
