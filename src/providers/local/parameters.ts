import { quoteForeign } from '../../errors/status-text.ts';
import { nearestName } from '../../plan/nearest.ts';
import type { PlanResult, Problem } from '../../plan/plan.ts';
import type { Parameters } from '../../plan/workload.ts';
import { readObjects } from './objects.ts';

/** There is nothing to log in to. */
export type LocalLogin = Readonly<Record<string, never>>;

/** Compiles a class for `provider: local`; docs/providers/local.md has what users write. Pure. */
export function planLocal(parameters: Parameters): PlanResult<LocalLogin> {
  const problems: Problem[] = [];
  const say = (severity: Problem['severity'], parameter: string, message: string, hint?: string): void =>
    void problems.push({
      severity,
      code: 'INVALID_CLASS',
      message,
      ...(hint !== undefined && { hint }),
      parameter,
    });

  for (const name of Object.keys(parameters).filter((key) => key !== 'objects')) {
    const nearest = nearestName(name, ['objects']);
    const hint = nearest && `did you mean ${nearest}?`;
    say('warning', name, `a parameter that means nothing to provider local: ${quoteForeign(name)}`, hint);
  }
  if (parameters.objects === undefined) {
    say('error', 'objects', 'the parameter `objects` is missing', 'list the secrets to mount under it');
    return { problems };
  }
  const { refs, files } = readObjects(parameters.objects, (problem) => void problems.push(problem));
  const failed = problems.some(({ severity }) => severity === 'error');
  return failed ? { problems } : { plan: { refs, files, login: {} }, problems };
}
