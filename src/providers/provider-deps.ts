import type { Logger } from 'pino';
import type { BudgetMetrics } from '../flow/budget-metrics.ts';
import type { Http } from '../http/http.ts';
import type { Fingerprint } from './fingerprint.ts';

/** What every provider of a remote store needs of the process it runs in. */
export type ProviderDeps = {
  /** What it is configured by; see `config.ts` of the provider. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly http: Http;
  readonly fingerprint: Fingerprint;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
  readonly budgetMetrics?: BudgetMetrics;
  /** The longest pause before a second attempt, in milliseconds. */
  readonly retryBaseMs?: number;
};
