import { providers } from '../providers/registry.ts';
import type { Planner } from './check-class.ts';

/** Loads of every provider what compiles its classes. */
export function loadPlanners(): Promise<readonly Planner[]> {
  return Promise.all(
    Object.entries(providers).map(async ([name, { plan }]) => ({ name, plan: await plan() })),
  );
}
