import { afterEach, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { startFakePods } from '../../test/fakes/kubernetes-pods.ts';
import { createHttpClient } from '../http/client.ts';
import { createKubeApi } from './api.ts';
import { type PodWatch, createPodWatch } from './pod-watch.ts';

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
  const watch = createPodWatch({
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

async function until(holds: () => boolean): Promise<void> {
  for (
    const late = Date.now() + 5_000;
    !holds();
    await new Promise((resolve) => setTimeout(resolve, 1))
  )
    if (Date.now() > late) throw new Error('it never came true');
}

const becomes = (watch: PodWatch, uid: string, presence: string): Promise<void> =>
  until(() => watch.presence(uid) === presence);

describe('the pods of a node', () => {
  test('are here from the first list on, and as they come; those of other nodes are not looked at', async () => {
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

  test('are watched on from where a watch ended: nothing is missed, and nothing listed again', async () => {
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
    ['a line is no JSON', ({ pods }) => pods.sendToWatches('{\n')],
    ['a line is no event', ({ pods }) => pods.sendToWatches('[7]\n')],
    ['a line has no end', ({ pods }) => pods.sendToWatches('x'.repeat(1_100_000))],
  ] satisfies [string, (rig: Awaited<ReturnType<typeof watched>>) => void][])(
    'are listed anew when %s: whoever left meanwhile is gone',
    async (_, breakIt) => {
      const rig = await watched('a', 'b');
      rig.pods.removeWithoutEvent('a');
      breakIt(rig);
      await becomes(rig.watch, 'a', 'gone');
      expect(rig.watch.presence('b')).toBe('here');
      expect(rig.logs).toEqual([]);
    },
  );

  test('are listed anew where the watch is too far behind', async () => {
    const { pods, watch, logs } = await watched('a');
    pods.removeWithoutEvent('a');
    pods.trouble.expired = true;
    pods.endWatches();
    await becomes(watch, 'a', 'gone');
    expect(pods.count.lists).toBe(2);
    expect(logs).toEqual([]);
  });

  test('are believed to be there for an hour without a word; those that went stay gone', async () => {
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

  test('that may not be watched are told of once, with the right that is missing, and watched as soon as they may', async () => {
    const { pods, watch, logs } = await watched('a');
    pods.trouble.denied = true;
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
    pods.trouble.denied = false;
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
  ])('are not taken from a list like %s', async (answer) => {
    const { pods, watch, logs } = await watched('a');
    pods.trouble.response = answer;
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
