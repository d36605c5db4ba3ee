import type { Plan, PlanResult, Problem } from '../../../core/plan.ts';
import type { Steps } from '../../../core/steps.ts';
import type { Parameters } from '../../../core/workload.ts';
import { mergeProblems } from './merge-problems.ts';
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
export function* compileClass<Login>(
  compile: (reporter: ClassReporter) => Steps<Plan<Login> | undefined>,
): Steps<PlanResult<Login>> {
  const skipped = new Set<string>();
  const found: Problem[] = [];
  const plan = yield* compile({
    report: (problem) => void found.push(problem),
    skip: (check) => void skipped.add(check),
  });
  const problems = mergeProblems(found);
  if (plan === undefined) return { problems };
  const failed = problems.some(({ severity }) => severity === 'error');
  return {
    ...(!failed && { plan }),
    problems,
    ...(skipped.size > 0 && { skipped: [...skipped] }),
  };
}

/** Reports that a class has no `objects`, or has them in the form of another provider. */
export function reportMissingObjects({ report }: ClassReporter, parameters: Parameters): undefined {
  // https://github.com/GoogleCloudPlatform/secrets-store-csi-driver-provider-gcp
  if (Object.hasOwn(parameters, 'secrets'))
    report(
      parameterProblem(
        'secrets',
        "`secrets` is the form of Google Cloud's provider",
        'write a list of maps under `objects`: "- objectName: ..."',
      ),
    );
  else {
    const hint = 'list the secrets to mount under it';
    report(parameterProblem('objects', 'the parameter `objects` is missing', hint));
  }
}
