import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { CpuScheduler, type Steps, inOneStep } from './cpu-scheduler.ts';

const neverAborted = { signal: new AbortController().signal };

/** A scheduler on a clock of its own, whose turns the test runs. */
function createFixture() {
  let now = 0;
  const turns: (() => void)[] = [];
  const log: string[] = [];
  const waits: number[] = [];
  const scheduler = new CpuScheduler({
    now: () => now,
    sliceMs: 5,
    nextTurn: (run) => void turns.push(run),
    onWaited: (ms) => void waits.push(ms),
  });

  /** Work of so many steps; each takes `ms` and writes its name. */
  function* steps(name: string, count: number, ms = 1): Steps<string> {
    for (let step = 1; step <= count; step += 1) {
      now += ms;
      log.push(name);
      yield;
    }
    return name;
  }
  const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  return {
    ...{ scheduler, log, waits, steps, turns },
    run: (namespace: string, count: number, ms?: number, name = namespace) =>
      scheduler.run(namespace, neverAborted, steps(name, count, ms)),
    /** Runs one turn; returns what ran in it. */
    async turn(): Promise<string> {
      await settle();
      const from = log.length;
      turns.shift()?.();
      await settle();
      return log.slice(from).join('');
    },
    advance: (ms: number): void => void (now += ms),
  };
}

describe('work without other work', () => {
  test('runs at once, without a turn of the event loop', async () => {
    const { run, log, turns } = createFixture();
    await run('a', 1);
    expect([log, turns.length]).toEqual([['a'], 0]);
  });

  test('runs in slices of 5 ms, one slice in each turn', async () => {
    const { run, turn } = createFixture();
    const result = run('a', 12);
    expect(await turn()).toBe('aaaaa');
    expect(await turn()).toBe('aa');
    await expect(result).resolves.toBe('a');
  });

  test('never waits for work that has ended: 110 pods of one namespace use all the CPU time', async () => {
    const { run, turn } = createFixture();
    const mounts = Promise.all(Array.from({ length: 110 }, () => run('a', 50)));
    let ran = 5;
    while (ran < 5_500) {
      const { length } = await turn();
      expect(length).toBeGreaterThan(0);
      ran += length;
    }
    await turn();
    await mounts;
  });

  test('is not held against the namespace afterwards', async () => {
    const { run, turn, log } = createFixture();
    const large = run('a', 20);
    for (let turns = 0; turns < 4; turns += 1) await turn();
    await large;
    log.length = 0;
    await run('a', 1);
    expect(log).toEqual(['a']);
  });
});

describe('work of several namespaces', () => {
  test('gets one slice each in turn', async () => {
    const { run, turn } = createFixture();
    void run('a', 20);
    void run('b', 20);
    const ran: string[] = [];
    for (let turns = 0; turns < 5; turns += 1) ran.push(await turn());
    expect(ran).toEqual(['aaaaa', 'bbbbb', 'aaaaa', 'bbbbb', 'aaaaa']);
  });

  test('small work waits for one slice at most while another namespace has a hundred large ones', async () => {
    const { run, turn, log } = createFixture();
    for (let mounts = 0; mounts < 100; mounts += 1) void run('a', 50);
    for (let turns = 0; turns < 10; turns += 1) await turn();
    log.length = 0;
    const small = run('b', 1);
    await turn();
    await turn();
    await small;
    expect(log.indexOf('b')).toBeLessThanOrEqual(5);
  });

  test('a namespace that was away gets no credit for it', async () => {
    const { run, turn } = createFixture();
    for (let mounts = 0; mounts < 4; mounts += 1) void run('a', 50);
    for (let turns = 0; turns < 10; turns += 1) await turn();
    void run('b', 50);
    const ran: string[] = [];
    for (let turns = 0; turns < 6; turns += 1) ran.push(await turn());
    expect(ran.filter((slice) => slice === 'aaaaa')).toHaveLength(3);
  });

  test('tasks of one namespace run one after the other', async () => {
    const { run, turn, log } = createFixture();
    void run('a', 8, 1, '1');
    void run('a', 8, 1, '2');
    for (let turns = 0; turns < 3; turns += 1) await turn();
    expect(log.join('')).toBe('1111111122222222');
  });

  test('every task ends, whatever the mix', async () => {
    const task = fc.record({
      namespace: fc.constantFrom('a', 'b', 'c'),
      count: fc.integer({ min: 1, max: 30 }),
      ms: fc.integer({ min: 0, max: 3 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(task, { maxLength: 20 }), async (tasks) => {
        const { run, turn, turns } = createFixture();
        const results = Promise.all(
          tasks.map(({ namespace, count, ms }) => run(namespace, count, ms)),
        );
        do await turn();
        while (turns.length > 0);
        await expect(results).resolves.toEqual(tasks.map(({ namespace }) => namespace));
      }),
      { numRuns: 30 },
    );
  });
});

describe('a task', () => {
  test('that fails rejects, and the others go on', async () => {
    const { scheduler, run, turn } = createFixture();
    const first = run('a', 10);
    const failing = scheduler.run(
      'b',
      neverAborted,
      inOneStep(() => {
        throw new Error('broken');
      }),
    );
    const failed = failing.catch((error: unknown) => String(error));
    for (let turns = 0; turns < 4; turns += 1) await turn();
    expect(await failed).toBe('Error: broken');
    await expect(first).resolves.toBe('a');
  });

  test('whose caller leaves does not run any more', async () => {
    const { scheduler, steps, run, turn, log } = createFixture();
    void run('a', 10);
    const caller = new AbortController();
    const waiting = scheduler.run('b', caller, steps('b', 10));
    const outcome = waiting.catch((error: unknown) => error);
    caller.abort('left');
    expect(await outcome).toBe('left');
    for (let turns = 0; turns < 4; turns += 1) await turn();
    expect(log).not.toContain('b');
  });

  test('reports how long it waited, without the time that it ran', async () => {
    const { run, turn, waits, advance } = createFixture();
    const first = run('a', 6);
    const second = run('b', 1);
    advance(30);
    for (let turns = 0; turns < 3; turns += 1) await turn();
    await Promise.all([first, second]);
    expect(waits.sort((one, other) => one - other)).toEqual([30, 31]);
  });
});
