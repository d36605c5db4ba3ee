import { expect, test } from '@jest/globals';
import { currentCaller, runAs } from '../../../concurrency/caller.ts';
import { CircuitBreaker } from '../../../concurrency/circuit-breaker.ts';
import { Nodes } from './nodes.ts';

test('a health check takes no connection of the namespace whose call needs it', async () => {
  const namespaces: string[] = [];
  const breaker = new CircuitBreaker({ now: () => 0 });
  const node = { login: { tls: {} }, address: 'https://vault:8200' };
  const nodes = new Nodes({
    breaker,
    health: async () => {
      namespaces.push(currentCaller().namespace);
      return 200;
    },
    now: () => 0,
  });
  const request = (): Promise<unknown> =>
    nodes.request(node, new AbortController().signal, async () => {
      namespaces.push(currentCaller().namespace);
      return { status: 500, headers: {}, body: Buffer.from('') };
    });
  breaker.markHalfOpen(JSON.stringify([node.address, []]));
  await runAs({ namespace: 'team-a', patience: () => 0 }, request).catch(() => undefined);
  expect(namespaces).toEqual(['', 'team-a']);
});
