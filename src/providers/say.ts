import type { Problem } from '../plan/plan.ts';
import type { Refuse } from './file-names.ts';

/** Takes down problems of one kind. Default of the code: INVALID_CLASS. */
export type Say = (severity: Problem['severity'], code?: Problem['code']) => Refuse;

/** For problems of what stands in a parameter, each with its place. */
export function sayIn(parameter: string, report: (problem: Problem) => void): Say {
  return (severity, code = 'INVALID_CLASS') =>
    ({ line, column }, message, hint) =>
      report({
        ...{ severity, code, message, parameter, line, column },
        ...(hint !== undefined && { hint }),
      });
}
