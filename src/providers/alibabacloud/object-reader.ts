import type { Problem } from '../../plan/plan.ts';
import type { Refuse } from '../file-names.ts';
import type { TranslatePath } from '../path-translation.ts';
import type { AlibabaFacts } from './parameters.ts';

/** What stands around the objects of a class. */
export type ObjectsContext = {
  /** The parameter's name, as it is written. */
  readonly parameter: string;
  readonly report: (problem: Problem) => void;
  readonly translate: TranslatePath;
  readonly region: string | undefined;
  /** None offline. */
  readonly facts: AlibabaFacts | undefined;
  /** Takes down a check that needs facts. */
  readonly skip: (check: string) => void;
};

/** The same, with the two ways to report. */
export type Reader = ObjectsContext & { readonly refuse: Refuse; readonly warn: Refuse };
