import { AsyncLocalStorage } from 'node:async_hooks';
import type { Patience } from '../core/provider.ts';

/** On whose behalf a call to a store is made. */
export type Caller = {
  /** The namespace of the workload; empty for Keyferry itself. */
  readonly namespace: string;
  readonly patience: Patience;
};

const keyferryItself: Caller = { namespace: '', patience: () => 0 };
/** It holds no state: its value belongs to one chain of calls, like an argument (docs/adr/0017). */
const callers = new AsyncLocalStorage<Caller>();

/**
 * Runs `work`, and everything that it calls and awaits, on behalf of `caller`. Reads are made so;
 * their logins, retries and requests find their caller with {@link currentCaller}.
 */
export function runAs<T>(caller: Caller, work: () => T): T {
  return callers.run(caller, work);
}

/** Runs work that serves all namespaces, such as a health check, on behalf of Keyferry. */
export function runAsKeyferry<T>(work: () => T): T {
  return callers.run(keyferryItself, work);
}

/** The caller of this chain of calls. Default: Keyferry itself, which has no patience. */
export function currentCaller(): Caller {
  return callers.getStore() ?? keyferryItself;
}

/**
 * Whether a waiter has patience left after the shared call that it joined has failed: the one that
 * started the call had less. The waiter then starts a call of its own.
 */
export function outlasts(waiter: Patience, starter: Patience): boolean {
  return starter() === 0 && waiter() > 0;
}
