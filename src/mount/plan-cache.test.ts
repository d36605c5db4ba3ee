import { describe, expect, test } from '@jest/globals';
import { SecretError } from '../core/errors.ts';
import type { PlanResult, Problem } from '../core/plan.ts';
import type { Parameters } from '../core/workload.ts';
import type { Provider } from '../core/provider.ts';
import { inOneStep } from '../core/steps.ts';
import { PlanCache } from './plan-cache.ts';

const file = { path: 'db', sources: {}, encoding: 'utf-8' } as const;
const good: PlanResult = { plan: { refs: [], files: [file], login: undefined }, problems: [] };
const problem = (severity: Problem['severity'], message: string): Problem => ({
  severity,
  code: 'INVALID_CLASS',
  message,
  parameter: 'objects',
  line: 3,
});

function countingProvider(
  result: PlanResult,
  nodeFacts: () => Promise<unknown> = () => Promise.resolve({}),
) {
  let compiled = 0;
  const provider = {
    name: 'local',
    nodeFacts,
    plan: () =>
      inOneStep('held', () => {
        compiled += 1;
        return result;
      }),
  } as unknown as Provider;
  return { provider, compiled: () => compiled };
}

const context = { signal: new AbortController().signal };
const ignoreWarning = (): void => undefined;
const parameters = (entries: Parameters): Parameters => ({ ...entries });

describe('the plan cache', () => {
  test('compiles the same parameters once, in any order', async () => {
    const plans = new PlanCache();
    const { provider, compiled } = countingProvider(good);
    await plans.plan(provider, parameters({ a: '1', b: '2' }), context, ignoreWarning);
    await plans.plan(provider, parameters({ b: '2', a: '1' }), context, ignoreWarning);
    expect(compiled()).toBe(1);
    await plans.plan(provider, parameters({ a: '1', b: '3' }), context, ignoreWarning);
    expect(compiled()).toBe(2);
  });

  test.each([
    ['many files', { plan: { ...good.plan!, files: Array(9_000).fill(file) }, problems: [] }],
    ['many problems', { problems: Array(9_000).fill(problem('error', 'e')) }],
  ])('caches few plans with %s: they are many times larger than their text', async (_, result) => {
    const plans = new PlanCache();
    const { provider, compiled } = countingProvider(result);
    const requestPlan = (name: string): Promise<unknown> =>
      plans.plan(provider, parameters({ name }), context, ignoreWarning).catch(() => undefined);
    for (let name = 0; name < 5; name += 1) await requestPlan(`${name}`);
    await requestPlan('4');
    expect(compiled()).toBe(5);
    await requestPlan('0');
    expect(compiled()).toBe(6);
  });

  test('keeps the plans of providers apart', async () => {
    const plans = new PlanCache();
    const one = countingProvider(good);
    const other = countingProvider(good);
    await plans.plan(one.provider, {}, context, ignoreWarning);
    await plans.plan({ ...other.provider, name: 'cce' }, {}, context, ignoreWarning);
    expect([one.compiled(), other.compiled()]).toEqual([1, 1]);
  });

  test('throws the worst problem with the places of the others', async () => {
    const { provider } = countingProvider({
      problems: [problem('warning', 'w'), problem('error', 'first'), problem('error', 'second')],
    });
    await expect(new PlanCache().plan(provider, {}, context, ignoreWarning)).rejects.toMatchObject({
      code: 'INVALID_CLASS',
      summary: 'first (objects, line 3); also objects, line 3 (keyferry lint shows all)',
    });
  });

  test('reports warnings once, when the class is compiled', async () => {
    const warned: string[] = [];
    const plans = new PlanCache();
    const { provider } = countingProvider({
      ...good,
      problems: [problem('warning', 'unknown key')],
    });
    for (let i = 0; i < 3; i++)
      await plans.plan(provider, {}, context, ({ message }) => warned.push(message));
    expect(warned).toEqual(['unknown key']);
  });

  test('does not cache a plan whose node facts cannot be read', async () => {
    let reachable = false;
    const nodeFacts = (): Promise<unknown> =>
      reachable
        ? Promise.resolve({})
        : Promise.reject(new SecretError('STORE_UNAVAILABLE', 'no metadata'));
    const { provider, compiled } = countingProvider(good, nodeFacts);
    const plans = new PlanCache();
    await expect(plans.plan(provider, {}, context, ignoreWarning)).rejects.toThrow('no metadata');
    reachable = true;
    await plans.plan(provider, {}, context, ignoreWarning);
    expect(compiled()).toBe(1);
  });

  test('rejects a plan without files', async () => {
    const { provider } = countingProvider({
      plan: { refs: [], files: [], login: undefined },
      problems: [],
    });
    await expect(new PlanCache().plan(provider, {}, context, ignoreWarning)).rejects.toMatchObject({
      code: 'INVALID_CLASS',
    });
  });
});
