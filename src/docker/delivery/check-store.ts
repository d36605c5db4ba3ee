import { toSecretError } from '../../core/errors.ts';
import type { CheckStep, HostStore } from '../../core/host-store.ts';
import { type CheckedStep, type StoreCheck, toFailure } from '../agent-api.ts';

/** Checks a store step by step, up to the first that fails. Throws only if the signal fires. */
export async function checkStore(
  { checkSteps, check }: Pick<HostStore, 'check' | 'checkSteps'>,
  signal: AbortSignal,
): Promise<StoreCheck> {
  const whole: CheckStep = {
    name: 'log in and read',
    async run() {
      await check(signal);
      return '';
    },
  };
  const steps: CheckedStep[] = [];
  for (const step of checkSteps ?? [whole]) {
    const checked = await runStep(step, signal);
    steps.push(checked);
    if (checked.failure !== undefined) break;
  }
  return { steps };
}

async function runStep({ name, run }: CheckStep, signal: AbortSignal): Promise<CheckedStep> {
  try {
    const found = await run(signal);
    return { name, ...(found !== '' && { found }) };
  } catch (thrown) {
    signal.throwIfAborted();
    return { name, failure: toFailure(toSecretError(thrown)) };
  }
}
