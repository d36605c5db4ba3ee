import { hash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { SecretError } from '../core/errors.ts';
import type { Plan, PlanResult, Problem } from '../core/plan.ts';
import type { Parameters } from '../core/workload.ts';
import type { Provider } from '../core/provider.ts';

/** See {@link createPlanCache}. */
export type PlanCache = {
  /**
   * The plan of a class. `onWarning` is told its warnings when it is compiled, which `compile` does when it may; default at once.
   * @throws SecretError the worst of its problems, or why its facts could not be had
   */
  plan(
    provider: Provider,
    parameters: Parameters,
    asked: { readonly signal: AbortSignal },
    onWarning: (problem: Problem) => void,
    compile?: (work: () => PlanResult) => PlanResult | Promise<PlanResult>,
  ): Promise<Plan>;
};

/** Plans, and about the bytes they take. */
const limits = { max: 1_000, maxSize: 16 * 1024 * 1024 };
/** What a file, a ref or a problem takes: `{path: a}` in the text becomes half a kilobyte. */
const entryBytes = 1_024;

/**
 * Compiles each class once, so that a republish parses no YAML. The key is a digest of provider and parameters; tokens never reach it, they are
 * not among the parameters. A class with problems is remembered too; one whose facts could not be had is not.
 */
export function createPlanCache(): PlanCache {
  const results = new LRUCache<string, PlanResult>(limits);
  const digests = new WeakMap<Parameters, string>();

  /** Worked out once for parameters that come again as the same object. */
  function digestOf(parameters: Parameters): string {
    let digest = digests.get(parameters);
    if (digest === undefined)
      digests.set(parameters, (digest = hash('sha256', canonical(parameters), 'base64')));
    return digest;
  }

  return {
    async plan(provider, parameters, asked, onWarning, compile = (work) => work()) {
      const key = provider.name + digestOf(parameters);
      const known = results.get(key);
      if (known !== undefined) return planOf(known);
      const facts = await provider.nodeFacts(parameters, asked.signal);
      const result = await compile(() => {
        const meanwhile = results.get(key);
        if (meanwhile !== undefined) return meanwhile;
        const compiled = provider.plan(parameters, facts);
        results.set(key, compiled, { size: sizeOf(parameters, compiled) });
        compiled.problems.filter(({ severity }) => severity === 'warning').forEach(onWarning);
        return compiled;
      });
      return planOf(result);
    },
  };
}

/** The same text for the same parameters, in whatever order they came. */
function canonical(parameters: Parameters): string {
  return JSON.stringify(parameters, Object.keys(parameters).sort());
}

function sizeOf(parameters: Parameters, { plan, problems }: PlanResult): number {
  const entries = problems.length + (plan === undefined ? 0 : plan.files.length + plan.refs.length);
  return canonical(parameters).length + 1 + entries * entryBytes;
}

function planOf({ plan, problems }: PlanResult): Plan {
  const errors = problems.filter(({ severity }) => severity === 'error');
  if (errors[0] !== undefined) throw worst(errors[0], errors.length - 1);
  if (plan === undefined || plan.files.length === 0) throw nothingToMount();
  return plan;
}

function worst({ code, message, hint, parameter, line }: Problem, more: number): SecretError {
  const place =
    parameter === undefined || line === undefined ? '' : ` (${parameter}, line ${line})`;
  return new SecretError(code, message + place, { more, ...(hint !== undefined && { hint }) });
}

function nothingToMount(): SecretError {
  return new SecretError('INVALID_CLASS', 'the class asks for no file', {
    hint: 'list at least one object',
  });
}
