import { Script, createContext } from 'node:vm';
import { errorCodeOf } from '../core/errors.ts';

/** CPU time in milliseconds. No expression starts when it is 0 or less. */
export type ExpressionTime = { remainingMs: number };

/**
 * Makes the time of one volume. An expression blocks all other mounts while it runs, and a class
 * can have thousands of expressions.
 */
export function createExpressionTime(): ExpressionTime {
  return { remainingMs: volumeMs };
}

/** The time of one volume. */
export const volumeMs = 200;

/** How much of its time a throttled process may stand still: 7 of 8 parts. */
const maxThrottling = 8;

/**
 * Runs a function and aborts it after `limitMs`. `node:vm` limits wall time, and a throttled
 * container can stand still for longer than the limit. So a function that was aborted without
 * having used the CPU runs again, and may take longer. The CPU time used is subtracted from
 * `time`. The VM context is created on first use.
 */
export function createTimeLimit(limitMs: number): <T>(time: ExpressionTime, work: () => T) => T {
  const script = new Script('work()');
  let context: { work?: (() => unknown) | undefined } | undefined;

  const run = (vmContext: object, timeout: number): unknown => {
    const before = process.cpuUsage();
    try {
      return script.runInContext(vmContext, { timeout });
    } catch (thrown) {
      const wasThrottled = isTimeout(thrown) && cpuMsSince(before) < limitMs / 2;
      if (wasThrottled && timeout < limitMs * maxThrottling) return run(vmContext, timeout * 2);
      throw thrown;
    }
  };

  return (time, work) => {
    context ??= createContext({});
    context.work = work;
    const before = process.cpuUsage();
    try {
      return run(context, limitMs) as ReturnType<typeof work>;
    } finally {
      context.work = undefined;
      time.remainingMs -= cpuMsSince(before);
    }
  };
}

function cpuMsSince(before: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1_000;
}

/** Whether an error is that of {@link createTimeLimit}. */
export function isTimeout(thrown: unknown): boolean {
  return errorCodeOf(thrown) === 'ERR_SCRIPT_EXECUTION_TIMEOUT';
}
