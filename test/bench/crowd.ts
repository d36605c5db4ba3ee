import { setTimeout as sleep } from 'node:timers/promises';
import { DriverClient } from '../../src/csi/client.ts';
import type { RawMountRequest } from '../../src/csi/mount-request.ts';
import { mountRequest } from './load.ts';
import type { ServerProcess } from './server-process.ts';

/** Pods of one namespace that start at once. */
type Crowd = {
  readonly pods: number;
  /** How many classes they have, one after the other. */
  readonly classes: number;
  readonly objects: number;
  readonly filesPerObject: number;
};

const crowds: readonly Crowd[] = [
  { pods: 110, classes: 1, objects: 250, filesPerObject: 1 },
  { pods: 110, classes: 110, objects: 250, filesPerObject: 1 },
  // Classes of 90 KiB.
  { pods: 20, classes: 20, objects: 400, filesPerObject: 4 },
];

/** A JSON secret with enough keys for the crowd's objects. */
export const crowdSecret = JSON.stringify(
  Object.fromEntries(Array.from({ length: 60 }, (_, n) => [`key${n}`, `value of key ${n}`])),
);

/** Objects that select keys of ten JSON secrets. Each `variant` is a class of its own. */
function crowdObjects({ objects, filesPerObject }: Crowd, variant: number): string {
  const files = (n: number): string =>
    Array.from(
      { length: filesPerObject },
      (_, file) => `{path: key${(n + file) % 60}, objectAlias: file-${variant}-${n}-${file}}`,
    ).join(', ');
  return Array.from(
    { length: objects },
    (_, n) => `- objectName: crowd-${n % 10}\n  jmesPath: [${files(n)}]`,
  ).join('\n');
}

/**
 * Pods of one namespace with large classes start at once. Meanwhile another namespace mounts a
 * cached class. Each crowd has classes that the process has not seen.
 */
export async function benchCrowd(
  start: () => Promise<ServerProcess>,
  neighbourObjects: string,
): Promise<void> {
  const rows: object[] = [];
  for (const crowd of crowds) {
    const server = await start();
    const client = new DriverClient({ socketPath: server.socketPath });
    const neighbour = new DriverClient({ socketPath: server.socketPath });
    const neighbourRequest = inNamespace('neighbour', mountRequest(neighbourObjects, 9_999));
    try {
      const alone = await measureNeighbour(neighbour, neighbourRequest, sleep(2_000));
      const requests = Array.from({ length: crowd.pods }, (_, pod) =>
        mountRequest(crowdObjects(crowd, pod % crowd.classes), pod),
      );
      const startedAt = performance.now();
      const mounts = Promise.all(
        requests.map((request) => client.mount(request, { timeoutMs: 120_000 })),
      );
      const beside = await measureNeighbour(neighbour, neighbourRequest, mounts);
      const results = await mounts;
      rows.push({
        ...crowd,
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
    '\npods that start at once in one namespace, and cached mounts of another one (<= 20 s; neighbour <= 50 ms)',
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
  const run = { isOver: false };
  void end.finally(() => (run.isOver = true));
  while (!run.isOver) {
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
