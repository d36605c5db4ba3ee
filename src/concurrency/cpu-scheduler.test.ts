import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import fc from 'fast-check';
import { type Step, type Steps, inOneStep } from '../core/steps.ts';
import { CpuScheduler } from './cpu-scheduler.ts';

const neverAborted = { signal: new AbortController().signal };

beforeEach(() => {
  jest.useFakeTimers({ doNotFake: ['nextTick', 'queueMicrotask', 'setImmediate'] });
});
afterEach(() => {
  jest.useRealTimers();
});

type RunOptions = {
  readonly ms?: number;
  readonly size?: Step;
  readonly name?: string;
  readonly waiter?: { readonly signal: AbortSignal };
};

/** A scheduler whose clock advances with the work, with stalls and with timers. */
function createFixture({ burstMs = 20 } = {}) {
  const clock = { worked: 0, stalled: 0 };
  const startedAt = Date.now();
  const now = (): number => clock.worked + clock.stalled + Date.now() - startedAt;
  const turns: (() => void)[] = [];
  const log: string[] = [];
  const waits: number[] = [];
  const scheduler = new CpuScheduler({
    now,
    cpu: () => clock.worked,
    sliceMs: 5,
    burstMs,
    refill: 0.01,
    activeMs: 1_000,
    nextTurn: (run) => void turns.push(run),
    onWaited: (ms) => void waits.push(ms),
  });

  function* steps(name: string, count: number, ms: number, size: Step): Steps<string> {
    for (let step = 1; step <= count; step += 1) {
      yield size;
      clock.worked += ms;
      log.push(name);
    }
    return name;
  }
  const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  return {
    ...{ scheduler, clock, now, log, waits, turns, steps },
    /** Runs work of so many steps of `ms`; each step writes `name` to the log. */
    run(
      namespace: string,
      count: number,
      { ms = 1, size = 'normal', name = namespace, waiter = neverAborted }: RunOptions = {},
    ): Promise<string> {
      scheduler.noteActive(namespace);
      return scheduler.run(namespace, waiter, steps(name, count, ms, size));
    },
    /** Runs one turn; returns what ran in it. */
    async turn(): Promise<string> {
      await settle();
      const from = log.length;
      // The event loop, too, ends all microtasks before the next callback.
      for (const run of turns.splice(0)) {
        run();
        await settle();
      }
      return log.slice(from).join('');
    },
    settle,
  };
}

describe('work of one namespace', () => {
  test('runs at once, without a turn of the event loop, if it has no steps', async () => {
    const { scheduler, turns } = createFixture();
    // eslint-disable-next-line require-yield
    function* small(): Steps<string> {
      return 'done';
    }
    await expect(scheduler.run('a', neverAborted, small())).resolves.toBe('done');
    expect(turns).toHaveLength(0);
  });

  test('runs in slices of 5 ms, one slice in each turn', async () => {
    const { run, log, turn } = createFixture();
    const result = run('a', 12);
    expect(log.splice(0).join('')).toBe('aaaaa');
    expect(await turn()).toBe('aaaaa');
    expect(await turn()).toBe('aa');
    await expect(result).resolves.toBe('a');
  });

  test('never pauses: 110 pods use all the CPU time, whatever they used before', async () => {
    const { run, turn, clock, now } = createFixture();
    const mounts = Promise.all(
      Array.from({ length: 110 }, () => run('a', 3, { ms: 20, size: 'large' })),
    );
    while (clock.worked < 110 * 60) expect(await turn()).toBe('a');
    await mounts;
    expect(now()).toBe(110 * 60);
  });

  test('runs one task after the other, so that few documents are open', async () => {
    const { run, turn, log } = createFixture();
    void run('a', 8, { name: '1' });
    void run('a', 8, { name: '2' });
    for (let turns = 0; turns < 4; turns += 1) await turn();
    expect(log.join('')).toBe('1111111122222222');
  });

  test('runs a large step alone in its turn', async () => {
    const { run, turn, log } = createFixture();
    void run('a', 3, { ms: 6, size: 'large' });
    expect(log.splice(0).join('')).toBe('a');
    expect(await turn()).toBe('a');
    expect(await turn()).toBe('a');
  });
});

describe('work of several namespaces', () => {
  test('within their bursts gets one slice each in turn', async () => {
    const { run, turn } = createFixture({ burstMs: 1_000 });
    void run('a', 20);
    void run('b', 20);
    const ran: string[] = [];
    for (let turns = 0; turns < 5; turns += 1) ran.push(await turn());
    expect(ran).toEqual(['aaaaa', 'bbbbb', 'aaaaa', 'bbbbb', 'aaaaa']);
  });

  test('a namespace that joins gets no credit for the time before', async () => {
    const { run, turn } = createFixture({ burstMs: 1_000 });
    for (let mounts = 0; mounts < 4; mounts += 1) void run('a', 50);
    for (let turns = 0; turns < 10; turns += 1) await turn();
    void run('b', 50);
    const ran: string[] = [];
    for (let turns = 0; turns < 6; turns += 1) ran.push(await turn());
    expect(ran.filter((slice) => slice === 'aaaaa')).toHaveLength(3);
  });

  test('one that has used its burst pauses 3 times as long as each slice', async () => {
    const { scheduler, run, turn, log, settle } = createFixture();
    const large = run('a', 40);
    for (let turns = 0; turns < 4; turns += 1) await turn();
    scheduler.noteActive('b');
    expect(await turn()).toBe('aaaaa');
    log.length = 0;
    expect(await turn()).toBe('');
    await jest.advanceTimersByTimeAsync(14);
    expect(log).toEqual([]);
    await jest.advanceTimersByTimeAsync(1);
    await settle();
    expect(log.join('')).toBe('aaaaa');
    await drain(turn);
    await jest.advanceTimersByTimeAsync(1_000);
    await drain(turn);
    await expect(large).resolves.toBe('a');
  });

  test('one that has used its burst pauses 200 times as long as a large step', async () => {
    const { scheduler, run, turn, log } = createFixture();
    void run('a', 3, { ms: 50, size: 'large' });
    scheduler.noteActive('b');
    expect(await turn()).toBe('a');
    log.length = 0;
    expect(await turn()).toBe('');
    // The neighbour stays active.
    for (let round = 0; round < 19; round += 1) {
      await jest.advanceTimersByTimeAsync(500);
      scheduler.noteActive('b');
    }
    expect(log).toEqual([]);
    await jest.advanceTimersByTimeAsync(500);
    expect(log).toEqual(['a']);
  });

  test('one that has used its burst pauses before and after its held work, not in it', async () => {
    const { scheduler, run, turn, log, now, clock } = createFixture();
    scheduler.noteActive('b');
    scheduler.charge('a', 30);
    void run('a', 12, { size: 'held' });
    expect(await turn()).toBe('');
    await jest.advanceTimersByTimeAsync(90);
    while (log.length < 12) await turn();
    expect(now()).toBe(90 + clock.worked);
    log.length = 0;
    void run('a', 1);
    expect(await turn()).toBe('');
    await jest.advanceTimersByTimeAsync(36);
    expect(log).toEqual(['a']);
  });

  test('one is in held steps at a time, so that little memory is held', async () => {
    const { run, turn, log } = createFixture({ burstMs: 1_000 });
    for (const namespace of ['a', 'b', 'c']) void run(namespace, 8, { size: 'held' });
    while (log.length < 24) await turn();
    expect(log.join('')).toBe('aaaaaaaabbbbbbbbcccccccc');
  });

  test('held work leaves every second turn to the others', async () => {
    const { run, turn } = createFixture({ burstMs: 1_000 });
    void run('a', 30, { size: 'held' });
    void run('b', 20);
    const ran: string[] = [];
    for (let turns = 0; turns < 6; turns += 1) ran.push(await turn());
    expect(ran.slice(1).filter((slice) => slice === 'aaaaa').length).toBeGreaterThanOrEqual(2);
    expect(ran.slice(1).filter((slice) => slice === 'bbbbb').length).toBeGreaterThanOrEqual(2);
  });

  test('held work that is cancelled lets the next begin', async () => {
    const { run, turn, log } = createFixture({ burstMs: 1_000 });
    const cancelled = new AbortController();
    const first = run('a', 30, { size: 'held', waiter: cancelled }).catch(String);
    void run('b', 8, { size: 'held' });
    await turn();
    cancelled.abort(new Error('too late'));
    await expect(first).resolves.toBe('Error: too late');
    log.length = 0;
    await drain(turn);
    expect(log.join('')).toBe('bbbbbbbb');
  });

  test('a pause ends when no other namespace has been active for a second', async () => {
    const { scheduler, run, turn, log } = createFixture();
    void run('a', 3, { ms: 50, size: 'large' });
    scheduler.noteActive('b');
    await turn();
    log.length = 0;
    expect(await turn()).toBe('');
    await jest.advanceTimersByTimeAsync(1_000);
    expect(log).toEqual(['a']);
  });

  test('CPU time that was used elsewhere counts', async () => {
    const { scheduler, run, turn, log } = createFixture();
    scheduler.noteActive('a');
    scheduler.noteActive('b');
    scheduler.charge('a', 30);
    void run('a', 1);
    expect(await turn()).toBe('');
    await jest.advanceTimersByTimeAsync(89);
    expect(log).toEqual([]);
    await jest.advanceTimersByTimeAsync(1);
    expect(log).toEqual(['a']);
  });

  test('small work of a namespace in a pause runs at once', async () => {
    const { scheduler, run, turn, steps } = createFixture();
    void run('a', 3, { ms: 50, size: 'large' });
    scheduler.noteActive('b');
    await turn();
    await expect(scheduler.run('a', neverAborted, steps('small', 0, 1, 'normal'))).resolves.toBe(
      'small',
    );
  });

  test('what a namespace used while it was alone is not held against it', async () => {
    const { scheduler, run, turn } = createFixture();
    for (let mounts = 0; mounts < 50; mounts += 1) void run('a', 1, { ms: 100, size: 'large' });
    for (let turns = 0; turns < 51; turns += 1) await turn();
    scheduler.noteActive('b');
    await expect(run('a', 1)).resolves.toBe('a');
  });

  test('does not count time in which the process does not run, as in a throttled container', async () => {
    const { scheduler, clock, run, turn } = createFixture();
    scheduler.noteActive('b');
    const stalled = inOneStep('normal', () => (clock.stalled += 10_000));
    await scheduler.run('a', neverAborted, stalled);
    await turn();
    scheduler.noteActive('b');
    await expect(run('a', 1)).resolves.toBe('a');
  });

  test('every task ends, whatever the mix', async () => {
    const task = fc.record({
      namespace: fc.constantFrom('a', 'b', 'c'),
      count: fc.integer({ min: 1, max: 8 }),
      ms: fc.integer({ min: 0, max: 10 }),
      size: fc.constantFrom<Step>('normal', 'large', 'held', 'held-large'),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(task, { maxLength: 8 }), async (tasks) => {
        const { run, turn } = createFixture();
        const results = Promise.all(
          tasks.map(({ namespace, count, ...options }) => run(namespace, count, options)),
        );
        while (jest.getTimerCount() > 0 || (await hasTurns(turn)))
          await jest.advanceTimersByTimeAsync(1_000);
        await expect(results).resolves.toEqual(tasks.map(({ namespace }) => namespace));
      }),
      { numRuns: 20 },
    );
  });
});

describe('a task', () => {
  test('that fails rejects, and the others go on', async () => {
    const { scheduler, run, turn } = createFixture();
    const first = run('a', 10);
    const broken = inOneStep('normal', () => {
      throw new Error('broken');
    });
    const failed = scheduler.run('b', neverAborted, broken).catch(String);
    await drain(turn);
    expect(await failed).toBe('Error: broken');
    await expect(first).resolves.toBe('a');
  });

  test('whose caller leaves does not run any more, and keeps no timer', async () => {
    const { scheduler, run, turn, log } = createFixture();
    const caller = new AbortController();
    void run('a', 3, { ms: 50, size: 'large' });
    scheduler.noteActive('b');
    await turn();
    const outcome = run('a', 10, { name: 'left', waiter: caller }).catch((error: unknown) => error);
    caller.abort('left');
    expect(await outcome).toBe('left');
    await turn();
    expect(log).not.toContain('left');
  });

  test('reports how long it waited, without the time that it ran', async () => {
    const { clock, run, turn, waits } = createFixture();
    const first = run('a', 6);
    const second = run('b', 1);
    clock.stalled += 30;
    await drain(turn);
    await Promise.all([first, second]);
    expect(waits.sort((one, other) => one - other)).toEqual([30, 31]);
  });
});

describe('sharing a turn', () => {
  test('lets work of a crowd continue in later turns, 5 ms in each', async () => {
    const { scheduler, clock, turn, settle } = createFixture();
    const counts: number[] = [];
    let ranInTurn = 0;
    for (let mounts = 0; mounts < 12; mounts += 1) {
      void scheduler.shareTurn().then(() => {
        clock.worked += 2;
        ranInTurn += 1;
      });
      await settle();
    }
    for (let turns = 0; turns < 5; turns += 1) {
      counts.push(ranInTurn);
      ranInTurn = 0;
      await turn();
    }
    expect(counts).toEqual([3, 3, 3, 3, 0]);
  });

  test('has one slice together with steps that run at once', async () => {
    const { scheduler, clock, run, log, turn } = createFixture();
    await scheduler.shareTurn();
    clock.worked += 3;
    void run('a', 5);
    expect(log.join('')).toBe('aa');
    expect(await turn()).toBe('aaa');
  });

  test('comes in the next turn, however much work of others waits', async () => {
    const { scheduler, run, turn } = createFixture();
    for (let mounts = 0; mounts < 10; mounts += 1) void run('a', 20);
    let isNext = false;
    void scheduler.shareTurn().then(() => (isNext = true));
    await turn();
    expect(isNext).toBe(true);
  });
});

/** Runs turns until nothing runs any more without a timer. */
async function drain(turn: () => Promise<string>): Promise<void> {
  while (await hasTurns(turn));
}

async function hasTurns(turn: () => Promise<string>): Promise<boolean> {
  return (await turn()) !== '';
}
