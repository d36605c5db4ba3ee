import { Counter, Histogram, type Registry } from 'prom-client';

/** What calls to stores are counted by; one set serves all providers. */
export type BudgetMetrics = {
  readonly wait: Histogram<'budget' | 'urgency'>;
  readonly refused: Counter<'budget' | 'urgency'>;
  /** Attempts that failed, by budget and error code; most are repeated, so mounts may have succeeded all the same. */
  readonly failedAttempts: Counter<'budget' | 'code'>;
};

/** Declares the metrics of {@link createBudget}. */
export function createBudgetMetrics(registry: Registry): BudgetMetrics {
  const labelNames = ['budget', 'urgency'] as const;
  return {
    wait: new Histogram({
      name: 'keyferry_budget_wait_seconds',
      help: 'How long calls waited for the rate budget that let them go, by budget and urgency (first, refresh).',
      labelNames,
      buckets: [0.001, 0.1, 0.5, 1, 2, 5, 10, 30, 60],
      registers: [registry],
    }),
    refused: new Counter({
      name: 'keyferry_budget_refused_total',
      help: 'Calls that got no rate budget in time, by budget and urgency (first, refresh).',
      labelNames,
      registers: [registry],
    }),
    failedAttempts: new Counter({
      name: 'keyferry_failed_attempts_total',
      help: 'Calls to a store that failed, by code, repeated or not: throttling that was waited out shows here alone.',
      labelNames: ['budget', 'code'],
      registers: [registry],
    }),
  };
}
