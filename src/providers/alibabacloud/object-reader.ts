import type { Problem } from '../../plan/plan.ts';
import type { YamlMap } from '../../plan/yaml-list.ts';
import type { Position, Refuse, Text } from '../file-names.ts';
import type { AlibabaFacts } from './parameters.ts';
import type { TranslatePath } from './path-translation.ts';

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

/** A scalar that has to say something; what is missing is reported. */
export function required(map: YamlMap, key: string, hint: string, { refuse }: Reader): Text | undefined {
  const scalar = map.scalar(key);
  // One of the wrong shape has been reported as such.
  const isMissing = scalar === undefined ? !map.has(key) : scalar.text === '';
  if (isMissing) refuse(map.position, `${map.where} has no ${key}`, hint);
  return isMissing ? undefined : pick(scalar);
}

/** A scalar that says something: an empty one is as good as none. */
export function filled(map: YamlMap, key: string): Text | undefined {
  const scalar = map.scalar(key);
  return scalar?.text === '' ? undefined : pick(scalar);
}

function pick(scalar: (Text & Position) | undefined): Text | undefined {
  return scalar && { text: scalar.text, line: scalar.line, column: scalar.column };
}
