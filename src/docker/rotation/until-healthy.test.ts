import { expect, test } from '@jest/globals';
import type { ContainerState } from '../engine/engine.ts';
import { untilHealthy } from './until-healthy.ts';

const delays = { healthMs: 3_600_000, settleMs: 0, pollMs: 1 };
const starting: ContainerState = {
  ...{ isRunning: true, isRestarting: false, hasStarted: true, exitCode: 0, error: '' },
  ...{ startedAt: '', restartPolicy: 'no', health: 'starting', checkedAt: '', checkedEveryMs: 5 },
};

/** Asks an engine that says this of the container, one after another. */
async function wait(says: (question: number) => Partial<ContainerState>): Promise<void> {
  let question = 0;
  const container = async () => ({ ...starting, ...says((question += 1)) });
  const { signal } = new AbortController();
  await untilHealthy({ id: 'a', name: 'shop-app-1' }, { container }, delays, signal);
}

test('a container may take long, as long as its health is checked', async () => {
  await wait((question) =>
    question === 100 ? { health: 'healthy' } : { checkedAt: `check ${Math.floor(question / 10)}` },
  );
});

test('a container whose health the engine does not check any more is not waited for', async () => {
  await expect(wait((question) => ({ checkedAt: question < 5 ? '' : 'once' }))).rejects.toThrow(
    'shop-app-1 has started with the new secrets, and the engine does not check its health',
  );
});
