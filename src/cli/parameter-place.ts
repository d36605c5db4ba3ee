import { isScalar, type Node } from 'yaml';
import type { Place } from './finding.ts';

/** How a class stands in its file. */
export type ClassSource = {
  /** The file's lines, without their ends. */
  readonly lines: readonly string[];
  /** The node at a path of keys and indexes inside the class; undefined where it does not stand there itself. */
  nodeAt(...path: (string | number)[]): Node | undefined;
  /** Where a node begins; without one, where the class does. */
  placeOf(node: Node | undefined): Place;
};

/**
 * `exact`: that very character, as in block scalars. Otherwise the beginning of the parameter's value or, where there is
 * no such parameter, of `spec.parameters` or of the class.
 */
export type ExactPlace = Place & { readonly exact: boolean };

/** Finds in the class's file what a provider reported about a parameter's text; see {@link ExactPlace}. */
export function placeInParameter(
  source: ClassSource,
  at: {
    readonly parameter?: string | undefined;
    readonly line?: number | undefined;
    readonly column?: number | undefined;
  },
): ExactPlace {
  const node = at.parameter === undefined ? undefined : source.nodeAt('spec', 'parameters', at.parameter);
  const start = source.placeOf(node ?? source.nodeAt('spec', 'parameters'));
  if (at.line === undefined) return { ...start, exact: true };
  if (isScalar(node) && node.type?.startsWith('BLOCK') === true) {
    // The text begins in the line after the indicator, | or >, and each line stands behind its indentation.
    const written = source.lines[start.line + at.line - 1];
    const meant = String(node.value).split('\n')[at.line - 1];
    if (written !== undefined && meant !== undefined && written.endsWith(meant)) {
      const indentation = written.length - meant.length;
      return {
        file: start.file,
        line: start.line + at.line,
        column: indentation + (at.column ?? 1),
        exact: true,
      };
    }
  }
  return { ...start, exact: false };
}
