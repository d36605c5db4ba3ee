import { LRUCache } from 'lru-cache';
import { createBudget, type Budget, type BudgetOptions } from './budget.ts';
import type { BudgetMetrics } from './budget-metrics.ts';

/** Services, regions and accounts, or Vaults, whose rates are kept apart. */
const maxBudgets = 1_000;

/** The budget of a key; made with these options where there is none. */
export type Budgets = (key: string, options: Pick<BudgetOptions, 'name' | 'perSecond' | 'burst'>) => Budget;

/**
 * Budgets by key, those used last.
 * @param deps.now milliseconds; only differences count
 */
export function createBudgets({
  now,
  metrics,
}: {
  readonly now: () => number;
  readonly metrics?: BudgetMetrics | undefined;
}): Budgets {
  const budgets = new LRUCache<string, Budget>({ max: maxBudgets });
  return (key, options) => {
    const known = budgets.get(key);
    if (known !== undefined) return known;
    const fresh = createBudget({ ...options, now, ...(metrics && { metrics }) });
    budgets.set(key, fresh);
    return fresh;
  };
}
