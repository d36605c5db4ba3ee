import { setTimeout as sleep } from 'node:timers/promises';
import { DriverClient } from '../../src/csi/client.ts';
import { greedyParameters, request } from './hostile-requests.ts';

/**
 * Simulates a node full of pods of one namespace. They request as much as the limits allow, again
 * and again until SIGTERM. Then it prints how often each code was returned. The kubelet waits
 * longer after each failure, and a minute after a success; these pods wait a second.
 */
const [, , socketPath = ''] = process.argv;
const client = new DriverClient({ socketPath });
const codes: Record<string, number> = {};
let number = 0;

async function runPod(name: string): Promise<never> {
  for (;;) {
    number += 1;
    const createParameters = greedyParameters[number % greedyParameters.length];
    const { code } = await client.mount(
      request(name, createParameters?.(number) ?? {}, {}, 'team-b'),
      {
        timeoutMs: 60_000,
      },
    );
    codes[code] = (codes[code] ?? 0) + 1;
    await sleep(1_000);
  }
}

process.on('SIGTERM', () => {
  process.stdout.write(JSON.stringify(codes), () => process.exit());
});
for (let index = 0; index < 100; index += 1) void runPod(`greedy-${index}`);
