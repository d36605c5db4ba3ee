import type { Plan, PlanResult, Problem } from '../../../core/plan.ts';
import { parameterProblem } from './parameters.ts';

/** Receives what the compilation of a class finds. */
export type ClassReporter = {
  readonly report: (problem: Problem) => void;
  /** Records a check that needs node facts and is skipped, as one phrase. */
  readonly skip: (check: string) => void;
};

/**
 * Compiles a class. The result has a plan if `compile` returns one and reports no error.
 * @param compile reads the parameters; undefined if a class has no plan, after it reported why
 */
export function compileClass<Login>(
  compile: (reporter: ClassReporter) => Plan<Login> | undefined,
): PlanResult<Login> {
  const problems: Problem[] = [];
  const skipped = new Set<string>();
  const plan = compile({
    report: (problem) => void problems.push(problem),
    skip: (check) => void skipped.add(check),
  });
  if (plan === undefined) return { problems };
  const failed = problems.some(({ severity }) => severity === 'error');
  return {
    ...(!failed && { plan }),
    problems,
    ...(skipped.size > 0 && { skipped: [...skipped] }),
  };
}

/** Reports that a class has no `objects`. */
export function reportMissingObjects({ report }: ClassReporter): undefined {
  const hint = 'list the secrets to mount under it';
  report(parameterProblem('objects', 'the parameter `objects` is missing', hint));
}
