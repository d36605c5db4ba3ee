import { afterEach, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { eventually } from '../../test/csi/harness.ts';
import { startFakePods } from '../../test/fakes/kubernetes-pods.ts';
import { createHttpClient } from '../http/client.ts';
import { createKubeApi } from './api.ts';
import { PodWatch } from './pod-watch.ts';

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of cleanups.splice(0).reverse()) await close();
});

async function watched(...uids: string[]) {
  const pods = await startFakePods();
  const http = createHttpClient();
  for (const uid of uids) pods.add(uid);
  const stop = new AbortController();
  const clock = { now: 1_000_000 };
  const logs: { msg: string }[] = [];
  const { server, tokenFile, caFile } = pods;
  const watch = new PodWatch({
    api: createKubeApi({ http, server, tokenFile, caFile }),
    node: 'node-1',
    now: () => clock.now,
    log: pino(
      { level: 'info' },
      { write: (line) => void logs.push(JSON.parse(line) as { msg: string }) },
    ),
    pauseMs: 1,
  });
  const running = watch.run(stop.signal);
  cleanups.push(
    pods.close,
    () => http.close(),
    () => {
      stop.abort(new Error('stopped'));
      return running;
    },
  );
  await until(() => pods.watchCount() === 1);
  return { pods, watch, clock, logs, stop, running };
}

const until = (condition: () => boolean): Promise<void> =>
  eventually(() => expect(condition()).toBe(true));

const becomes = (watch: PodWatch, uid: string, presence: string): Promise<void> =>
  until(() => watch.presence(uid) === presence);

describe('the pods of a node', () => {
  test('are here from the first list on and when they are added, except those of other nodes', async () => {
    const { pods, watch } = await watched('a');
    expect(watch.presence('a')).toBe('here');
    expect(watch.presence('b')).toBe('unknown');
    pods.add('elsewhere', 'node-2');
    pods.add('b');
    await becomes(watch, 'b', 'here');
    expect(watch.presence('elsewhere')).toBe('unknown');
    pods.change('b');
    expect(watch.presence('b')).toBe('here');
  });

  test('are gone when they are deleted or have finished', async () => {
    const { pods, watch } = await watched('a', 'b');
    pods.remove('a');
    await becomes(watch, 'a', 'gone');
    expect(watch.presence('b')).toBe('here');
  });

  test('are watched from where the last watch ended, without another list', async () => {
    const { pods, watch } = await watched('a', 'b');
    pods.change('a');
    pods.sendToWatches('{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"4"}}}\n');
    pods.endWatches();
    pods.remove('a');
    await becomes(watch, 'a', 'gone');
    expect(pods.watchedFrom.slice(0, 2)).toEqual(['3', '4']);
    expect(pods.count.lists).toBe(1);
  });

  test.each([
    [
      'the connection breaks',
      ({ pods }: Awaited<ReturnType<typeof watched>>) => pods.breakWatches(),
    ],
    ['a line is not JSON', ({ pods }) => pods.sendToWatches('{\n')],
    ['a line is not an event', ({ pods }) => pods.sendToWatches('[7]\n')],
    ['a line has no end', ({ pods }) => pods.sendToWatches('x'.repeat(1_100_000))],
  ] satisfies [string, (fixture: Awaited<ReturnType<typeof watched>>) => void][])(
    'are listed again when %s, and pods removed in the meantime are gone',
    async (_, breakWatch) => {
      const fixture = await watched('a', 'b');
      fixture.pods.removeWithoutEvent('a');
      breakWatch(fixture);
      await becomes(fixture.watch, 'a', 'gone');
      expect(fixture.watch.presence('b')).toBe('here');
      expect(fixture.logs).toEqual([]);
    },
  );

  test('are listed again when the version of the watch has expired', async () => {
    const { pods, watch, logs } = await watched('a');
    pods.removeWithoutEvent('a');
    pods.faults.expired = true;
    pods.endWatches();
    await becomes(watch, 'a', 'gone');
    expect(pods.count.lists).toBe(2);
    expect(logs).toEqual([]);
  });

  test('count as running for an hour without events; ended ones stay gone', async () => {
    const { pods, watch, clock } = await watched('a', 'b');
    pods.remove('b');
    await becomes(watch, 'b', 'gone');
    clock.now += 3_600_000;
    expect(watch.presence('a')).toBe('here');
    clock.now += 1;
    expect(watch.presence('a')).toBe('unknown');
    expect(watch.presence('b')).toBe('gone');
    pods.sendToWatches('{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"4"}}}\n');
    await becomes(watch, 'a', 'here');
  });

  test('that may not be watched are logged once with the missing permission, and watched once allowed', async () => {
    const { pods, watch, logs } = await watched('a');
    pods.faults.denied = true;
    pods.breakWatches();
    await until(() => logs.length > 0);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(logs).toEqual([
      expect.objectContaining({
        msg: 'pods cannot be watched',
        code: 'ACCESS_DENIED',
        hint: expect.stringContaining('list and watch for pods'),
      }),
    ]);
    pods.removeWithoutEvent('a');
    pods.faults.denied = false;
    await becomes(watch, 'a', 'gone');
    expect(logs.map(({ msg }) => msg)).toEqual([
      'pods cannot be watched',
      'pods are watched again',
    ]);
  });

  test.each([
    'null',
    '{}',
    '{"metadata":{"resourceVersion":"1"},"items":[{"metadata":[]}]}',
    '<html>',
  ])('stay as they are after a list of %s', async (response) => {
    const { pods, watch, logs } = await watched('a');
    pods.faults.response = response;
    pods.breakWatches();
    await until(() => logs.length > 0);
    expect(watch.presence('a')).toBe('here');
  });

  test('are no longer watched when the signal fires', async () => {
    const { pods, stop, running, logs } = await watched('a');
    stop.abort(new Error('stopped'));
    await running;
    await until(() => pods.watchCount() === 0);
    expect(logs).toEqual([]);
  });
});
