import type { Refuse } from '../file-names.ts';
import type { FilesReader } from '../jmespath-files.ts';
import type { AlibabaFacts } from './parameters.ts';

/** What stands around the objects of a class. */
export type ObjectsContext = Omit<FilesReader, 'refuse'> & {
  readonly region: string | undefined;
  /** None offline. */
  readonly facts: AlibabaFacts | undefined;
  /** Takes down a check that needs facts. */
  readonly skip: (check: string) => void;
};

/** The same, with the two ways to report. */
export type Reader = ObjectsContext & { readonly refuse: Refuse; readonly warn: Refuse };
