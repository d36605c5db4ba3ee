import { describe, expect, test } from '@jest/globals';
import { createRoom } from './memory-limiter.ts';

const calm = new AbortController().signal;

describe('the room for responses', () => {
  test('is given in order of arrival, as far as it goes', async () => {
    const room = createRoom(100);
    const order: string[] = [];
    const leave = await room.take(60, calm);
    const second = room.take(50, calm).then((leaveSecond) => {
      order.push('second');
      return leaveSecond;
    });
    const third = room.take(10, calm).then(() => order.push('third'));
    await new Promise(setImmediate);
    // The small one would fit, but would make the large one wait for ever.
    expect(order).toEqual([]);
    leave();
    leave();
    await Promise.all([second, third]);
    expect(order).toEqual(['second', 'third']);
    expect(room.taken).toBe(60);
    (await second)();
    expect(room.taken).toBe(10);
  });

  test('is for one alone that is larger than all of it', async () => {
    const room = createRoom(100);
    const leave = await room.take(1, calm);
    const huge = room.take(5_000, calm);
    leave();
    await huge;
    expect(room.taken).toBe(100);
  });

  test('goes on to the next when one who waits leaves', async () => {
    const room = createRoom(100);
    await room.take(50, calm);
    const leaver = new AbortController();
    const left = room.take(100, leaver.signal);
    const next = room.take(50, calm);
    leaver.abort(new Error('left'));
    await expect(left).rejects.toThrow('left');
    await next;
    expect(room.taken).toBe(100);
    await expect(room.take(1, leaver.signal)).rejects.toThrow('left');
  });
});
