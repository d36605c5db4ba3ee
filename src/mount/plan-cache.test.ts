import { describe, expect, test } from '@jest/globals';
import { SecretError } from '../core/errors.ts';
import type { PlanResult, Problem } from '../core/plan.ts';
import type { Parameters } from '../core/workload.ts';
import type { Provider } from '../core/provider.ts';
import { createPlanCache } from './plan-cache.ts';

const file = { path: 'db', sources: {}, encoding: 'utf-8' } as const;
const good: PlanResult = { plan: { refs: [], files: [file], login: undefined }, problems: [] };
const problem = (severity: Problem['severity'], message: string): Problem => ({
  severity,
  code: 'INVALID_CLASS',
  message,
  parameter: 'objects',
  line: 3,
});

function counting(
  result: PlanResult,
  nodeFacts: () => Promise<unknown> = () => Promise.resolve({}),
) {
  let compiled = 0;
  const provider = {
    name: 'local',
    nodeFacts,
    plan: () => {
      compiled += 1;
      return result;
    },
  } as unknown as Provider;
  return { provider, compiled: () => compiled };
}

const asked = { signal: new AbortController().signal };
const silent = (): void => undefined;
const parameters = (entries: Parameters): Parameters => ({ ...entries });

describe('the plan cache', () => {
  test('compiles the same parameters once, in whatever order they come', async () => {
    const plans = createPlanCache();
    const { provider, compiled } = counting(good);
    await plans.plan(provider, parameters({ a: '1', b: '2' }), asked, silent);
    await plans.plan(provider, parameters({ b: '2', a: '1' }), asked, silent);
    expect(compiled()).toBe(1);
    await plans.plan(provider, parameters({ a: '1', b: '3' }), asked, silent);
    expect(compiled()).toBe(2);
  });

  test.each([
    ['many files', { plan: { ...good.plan!, files: Array(9_000).fill(file) }, problems: [] }],
    ['many faults', { problems: Array(9_000).fill(problem('error', 'e')) }],
  ])('keeps few plans with %s: they are many times larger than their text', async (_, result) => {
    const plans = createPlanCache();
    const { provider, compiled } = counting(result);
    const ask = (name: string): Promise<unknown> =>
      plans.plan(provider, parameters({ name }), asked, silent).catch(() => undefined);
    for (let name = 0; name < 5; name += 1) await ask(`${name}`);
    await ask('4');
    expect(compiled()).toBe(5);
    await ask('0');
    expect(compiled()).toBe(6);
  });

  test('keeps providers apart', async () => {
    const plans = createPlanCache();
    const one = counting(good);
    const other = counting(good);
    await plans.plan(one.provider, {}, asked, silent);
    await plans.plan({ ...other.provider, name: 'cce' }, {}, asked, silent);
    expect([one.compiled(), other.compiled()]).toEqual([1, 1]);
  });

  test('tells the worst problem whole and how many more there are', async () => {
    const { provider } = counting({
      problems: [problem('warning', 'w'), problem('error', 'first'), problem('error', 'second')],
    });
    await expect(createPlanCache().plan(provider, {}, asked, silent)).rejects.toMatchObject({
      code: 'INVALID_CLASS',
      summary: 'first (objects, line 3); and 1 more: keyferry lint',
    });
  });

  test('says warnings once, and no problem at all for a remembered class', async () => {
    const warned: string[] = [];
    const plans = createPlanCache();
    const { provider } = counting({ ...good, problems: [problem('warning', 'unknown key')] });
    for (let i = 0; i < 3; i++)
      await plans.plan(provider, {}, asked, ({ message }) => warned.push(message));
    expect(warned).toEqual(['unknown key']);
  });

  test('remembers no plan whose facts could not be had', async () => {
    let reachable = false;
    const nodeFacts = (): Promise<unknown> =>
      reachable
        ? Promise.resolve({})
        : Promise.reject(new SecretError('STORE_UNAVAILABLE', 'no metadata'));
    const { provider, compiled } = counting(good, nodeFacts);
    const plans = createPlanCache();
    await expect(plans.plan(provider, {}, asked, silent)).rejects.toThrow('no metadata');
    reachable = true;
    await plans.plan(provider, {}, asked, silent);
    expect(compiled()).toBe(1);
  });

  test('refuses a plan without files', async () => {
    const { provider } = counting({
      plan: { refs: [], files: [], login: undefined },
      problems: [],
    });
    await expect(createPlanCache().plan(provider, {}, asked, silent)).rejects.toMatchObject({
      code: 'INVALID_CLASS',
    });
  });
});
