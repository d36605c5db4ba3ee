import { createRetry, type Retry } from '../flow/retry.ts';
import type { ProviderDeps } from './provider-deps.ts';

/** The retry of a provider; its failed attempts are counted under its name. */
export function createProviderRetry(
  name: string,
  { retryBaseMs, budgetMetrics }: Pick<ProviderDeps, 'retryBaseMs' | 'budgetMetrics'>,
): Retry {
  return createRetry({
    ...(retryBaseMs !== undefined && { baseMs: retryBaseMs }),
    onFailedAttempt: ({ code }) => budgetMetrics?.failedAttempts.inc({ budget: name, code }),
  });
}
