import { hash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { SecretError } from '../core/errors.ts';
import { type Plan, type PlanResult, type Problem, problemText } from '../core/plan.ts';
import type { Parameters } from '../core/workload.ts';
import type { Provider } from '../core/provider.ts';
import { type Steps, runSteps } from '../core/steps.ts';

/** The number of plans, and roughly the bytes they take. */
const limits = { max: 1_000, maxSize: 16 * 1024 * 1024 };
/** What a file, a ref or a problem takes: `{path: a}` in the text becomes half a kilobyte. */
const entryBytes = 1_024;

/** Runs the compilation of a class of so many characters. */
export type RunCompilation = (
  steps: Steps<PlanResult>,
  length: number,
) => PlanResult | Promise<PlanResult>;

/**
 * Compiles each class once, so that a republish parses no YAML. The key is a digest of provider and
 * parameters. Parameters hold no tokens, so tokens are not part of it. A class with problems is
 * cached too. A class whose node facts cannot be read is not cached.
 */
export class PlanCache {
  readonly #results = new LRUCache<string, PlanResult>(limits);
  readonly #digests = new WeakMap<Parameters, string>();

  /**
   * The plan of a class.
   * @param onWarning receives the warnings and hints of a class when it is compiled
   * @param run runs the compilation, now or later; default now
   * @throws SecretError the worst of the plan's problems, or why the node facts cannot be read
   */
  async plan(
    provider: Provider,
    parameters: Parameters,
    context: { readonly signal: AbortSignal },
    onWarning: (problem: Problem) => void,
    run: RunCompilation = runSteps,
  ): Promise<Plan> {
    const key = provider.name + this.#digestOf(parameters);
    const cached = this.#results.get(key);
    if (cached !== undefined) return planOf(cached);
    const { length } = canonical(parameters);
    const nodeFacts = await provider.nodeFacts(parameters, {
      signal: context.signal,
      run: async (steps) => run(steps, length),
    });
    const results = this.#results;
    function* compile(): Steps<PlanResult> {
      yield 'held';
      // Another mount of the class may have compiled it in the meantime.
      const existing = results.get(key);
      if (existing !== undefined) return existing;
      const compiled = yield* provider.plan(parameters, nodeFacts);
      results.set(key, compiled, { size: sizeOf(length, compiled) });
      compiled.problems.filter(({ severity }) => severity !== 'error').forEach(onWarning);
      return compiled;
    }
    return planOf(await run(compile(), length));
  }

  /** Computed once per parameters object: a front door passes the same object again. */
  #digestOf(parameters: Parameters): string {
    let digest = this.#digests.get(parameters);
    if (digest === undefined) {
      digest = hash('sha256', canonical(parameters), 'base64');
      this.#digests.set(parameters, digest);
    }
    return digest;
  }
}

/** The same text for the same parameters in any order. */
function canonical(parameters: Parameters): string {
  return JSON.stringify(parameters, Object.keys(parameters).sort());
}

/** @param length of the parameters, in characters */
function sizeOf(length: number, { plan, problems }: PlanResult): number {
  const entries = problems.length + (plan === undefined ? 0 : plan.files.length + plan.refs.length);
  return length + 1 + entries * entryBytes;
}

function planOf({ plan, problems }: PlanResult): Plan {
  const errors = problems.filter(({ severity }) => severity === 'error');
  if (errors[0] !== undefined) throw problemError(errors[0], errors.slice(1));
  if (plan === undefined || plan.files.length === 0) throw noFilesError();
  return plan;
}

function problemError(problem: Problem, others: readonly Problem[]): SecretError {
  const { code, hint, line } = problem;
  const place = line === undefined ? '' : ` (${placeOf(problem)})`;
  return new SecretError(code, problemText(problem) + place, {
    others: [...new Set(others.map(placeOf))],
    ...(hint !== undefined && { hint }),
  });
}

/** `objects, line 3` */
function placeOf({ message, parameter, line }: Problem): string {
  if (parameter === undefined) return message;
  return line === undefined ? parameter : `${parameter}, line ${line}`;
}

/** The error of a class whose plan has no files. */
export function noFilesError(): SecretError {
  return new SecretError('INVALID_CLASS', 'the class defines no file', {
    hint: 'list at least one object',
  });
}
