import { setTimeout as sleep } from 'node:timers/promises';
import { DriverClient } from '../../src/csi/client.ts';
import type { RawMountRequest } from '../../src/csi/mount-request.ts';
import { mountRequest } from './load.ts';
import type { ServerProcess } from './server-process.ts';

const pods = 110;
const objectsPerPod = 250;

/** A JSON secret with enough keys for the crowd's objects. */
export const crowdSecret = JSON.stringify(
  Object.fromEntries(Array.from({ length: 60 }, (_, n) => [`key${n}`, `value of key ${n}`])),
);

/** Objects that select keys of ten JSON secrets. Each `variant` is a class of its own. */
function crowdObjects(variant: number): string {
  return Array.from(
    { length: objectsPerPod },
    (_, n) =>
      `- objectName: crowd-${n % 10}\n  jmesPath: [{path: key${n % 60}, objectAlias: file-${variant}-${n}}]`,
  ).join('\n');
}

/**
 * 110 pods of one namespace with 250 objects each start at once. Meanwhile another namespace mounts
 * a cached class. Each crowd has classes that the process has not seen.
 */
export async function benchCrowd(
  start: () => Promise<ServerProcess>,
  neighbourObjects: string,
): Promise<void> {
  const rows: object[] = [];
  for (const classes of [1, pods]) {
    const server = await start();
    const client = new DriverClient({ socketPath: server.socketPath });
    const neighbour = new DriverClient({ socketPath: server.socketPath });
    const neighbourRequest = inNamespace('neighbour', mountRequest(neighbourObjects, 9_999));
    try {
      const alone = await measureNeighbour(neighbour, neighbourRequest, sleep(2_000));
      const requests = Array.from({ length: pods }, (_, pod) =>
        mountRequest(crowdObjects(pod % classes), pod),
      );
      const startedAt = performance.now();
      const crowd = Promise.all(
        requests.map((request) => client.mount(request, { timeoutMs: 120_000 })),
      );
      const beside = await measureNeighbour(neighbour, neighbourRequest, crowd);
      const results = await crowd;
      rows.push({
        'different classes': classes,
        succeeded: results.filter(({ code }) => code === 'OK').length,
        'all done s': ((performance.now() - startedAt) / 1_000).toFixed(1),
        'neighbour p99 ms alone': alone.toFixed(1),
        'neighbour p99 ms beside': beside.toFixed(1),
        'MiB after': server.rss().toFixed(0),
      });
    } finally {
      client.close();
      neighbour.close();
      await server.stop();
    }
  }
  console.log(
    `\n${pods} pods x ${objectsPerPod} objects at once in one namespace, and cached mounts of another one (<= 20 s; neighbour <= 50 ms)`,
  );
  console.table(rows);
}

/** The p99 in ms of mounts, one after the other, until `end`. */
async function measureNeighbour(
  client: DriverClient,
  request: RawMountRequest,
  end: Promise<unknown>,
): Promise<number> {
  const latencies: number[] = [];
  const crowd = { isOver: false };
  void end.finally(() => (crowd.isOver = true));
  while (!crowd.isOver) {
    const startedAt = performance.now();
    const { code } = await client.mount(request, { timeoutMs: 120_000 });
    if (code !== 'OK') throw new Error(`the neighbour's mount failed: ${code}`);
    latencies.push(performance.now() - startedAt);
    await sleep(2);
  }
  latencies.sort((one, other) => one - other);
  return latencies[Math.floor((latencies.length - 1) * 0.99)] ?? NaN;
}

function inNamespace(namespace: string, request: RawMountRequest): RawMountRequest {
  const attributes = JSON.parse(request.attributes) as Record<string, string>;
  attributes['csi.storage.k8s.io/pod.namespace'] = namespace;
  return { ...request, attributes: JSON.stringify(attributes) };
}
