import { afterEach, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { eventually } from '../../test/csi/harness.ts';
import { startFakeKubernetes } from '../../test/fakes/kubernetes.ts';
import { SecretError, type SecretErrorDetails } from '../core/errors.ts';
import type { ErrorCode } from '../core/errors.ts';
import { createHttpClient } from '../http/client.ts';
import { createKubeApi } from './api.ts';
import { PodEvents } from './events.ts';

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of cleanups.splice(0).reverse()) await close();
});

async function createFixture() {
  const kubernetes = await startFakeKubernetes();
  const http = createHttpClient();
  cleanups.push(kubernetes.close, () => http.close());
  const clock = { now: Date.parse('2026-11-22T03:00:00.500Z') };
  const lines: Record<string, unknown>[] = [];
  const events = new PodEvents({
    api: createKubeApi({ http, ...kubernetes }),
    now: () => clock.now,
    log: pino(
      { base: null },
      { write: (line) => void lines.push(JSON.parse(line) as Record<string, unknown>) },
    ),
  });
  const warn = (
    pod: string,
    code: ErrorCode = 'ACCESS_DENIED',
    details: SecretErrorDetails = {},
  ): void =>
    events.warn(
      { namespace: 'shop', name: pod, uid: `uid-${pod}` },
      new SecretError(code, 'no', details),
    );
  const until = (condition: () => boolean): Promise<void> =>
    eventually(() => expect(condition()).toBe(true));
  return { kubernetes, clock, lines, warn, until, requestCount: () => kubernetes.requests.length };
}

describe('an Event on a pod', () => {
  test('has the text that a first mount would show', async () => {
    const { kubernetes, warn, until } = await createFixture();
    warn('web-0', 'ACCESS_DENIED', { hint: 'ask for it\nnicely' });
    await until(() => kubernetes.events.length === 1);
    expect(kubernetes.events).toEqual([
      {
        apiVersion: 'v1',
        kind: 'Event',
        metadata: { namespace: 'shop', generateName: 'web-0.' },
        involvedObject: {
          apiVersion: 'v1',
          kind: 'Pod',
          namespace: 'shop',
          name: 'web-0',
          uid: 'uid-web-0',
        },
        type: 'Warning',
        reason: 'SecretsNotRefreshed',
        message: 'ACCESS_DENIED: no; ask for it nicely',
        source: { component: 'keyferry' },
        firstTimestamp: '2026-11-22T03:00:00Z',
        lastTimestamp: '2026-11-22T03:00:00Z',
        count: 1,
      },
    ]);
  });

  test('is written once an hour for each pod and cause', async () => {
    const { kubernetes, clock, warn, until } = await createFixture();
    for (let round = 0; round < 3; round += 1) {
      warn('a');
      warn('b');
      warn('a', 'STORE_TIMEOUT');
      clock.now += 1_199_999;
    }
    await until(() => kubernetes.events.length === 3);
    clock.now += 3;
    warn('a');
    await until(() => kubernetes.events.length === 4);
  });

  test('is written after the clock was set back', async () => {
    const { kubernetes, clock, warn, until } = await createFixture();
    clock.now += 86_400_000;
    warn('a');
    await until(() => kubernetes.events.length === 1);
    clock.now -= 86_400_000;
    warn('a');
    await until(() => kubernetes.events.length === 2);
  });

  test('that could not be written is retried after five minutes, and the log has the reason', async () => {
    const { kubernetes, clock, lines, warn, until, requestCount } = await createFixture();
    kubernetes.deny(true);
    warn('a');
    await until(() => lines.length === 1);
    expect(lines[0]).toMatchObject({
      msg: 'no event could be written',
      namespace: 'shop',
      pod: 'a',
      code: 'ACCESS_DENIED',
      reason: expect.stringContaining('cannot create resource "events"'),
    });
    warn('a');
    clock.now += 299_999;
    warn('a');
    expect(requestCount()).toBe(1);
    kubernetes.deny(false);
    clock.now += 1;
    warn('a');
    await until(() => kubernetes.events.length === 1);
  });

  test('is dropped above sixteen concurrent writes, and written at the next failure', async () => {
    const pendingWrites: ((created: unknown) => void)[] = [];
    const events = new PodEvents({
      api: { post: () => new Promise((resolve) => pendingWrites.push(resolve)) },
      now: () => 0,
      log: pino({ enabled: false }),
    });
    const warn = (pod: number): void =>
      events.warn(
        { namespace: 'shop', name: `pod-${pod}`, uid: `uid-${pod}` },
        new SecretError('ACCESS_DENIED', 'no'),
      );
    for (let pod = 0; pod < 40; pod += 1) warn(pod);
    expect(pendingWrites).toHaveLength(16);
    for (const finish of pendingWrites) finish({});
    await new Promise(setImmediate);
    for (let pod = 0; pod < 20; pod += 1) warn(pod);
    expect(pendingWrites).toHaveLength(20);
  });
});
