import { setTimeout as sleep } from 'node:timers/promises';
import { SecretError } from '../../core/errors.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import type { Engine } from '../engine/engine.ts';

/** In milliseconds. */
export type HealthDelays = {
  /** How long a container may take to become healthy. */
  readonly healthMs: number;
  /** How long a container without a health check must run. */
  readonly settleMs: number;
  /** Between two questions. */
  readonly pollMs: number;
};

/** A health check may begin that many questions too late. */
const slackPolls = 10;

/**
 * Waits until a container is healthy or, if it has no health check, until it has run for a while.
 * @throws SecretError ROTATION_FAILED if it ends, is unhealthy, or takes too long; or the reason of
 * the signal
 */
export async function untilHealthy(
  { id, name }: { readonly id: string; readonly name: string },
  engine: Pick<Engine, 'container'>,
  { healthMs, settleMs, pollMs }: HealthDelays,
  signal: AbortSignal,
): Promise<void> {
  const shown = sanitizeUserText(name);
  let [checkedAt, uncheckedMs] = ['', 0];
  const failure = (reason: string): SecretError =>
    new SecretError('ROTATION_FAILED', `${shown} has started with the new secrets, and ${reason}`, {
      hint: `see docker logs ${shown}, and whether the new secret is right`,
    });
  // The time that has passed is counted, so that a clock that is set does not matter.
  for (let waitedMs = 0, ranMs = 0; ; waitedMs += pollMs) {
    const state = await engine.container(id);
    if (state === undefined) throw failure('it has been removed');
    if (!state.isRunning || state.isRestarting)
      throw failure(`it has ended with exit code ${state.exitCode}`);
    if (state.health === 'healthy') return;
    if (state.health === 'unhealthy') throw failure('it is unhealthy');
    if (state.health === undefined && ranMs >= settleMs) return;
    uncheckedMs = state.checkedAt === checkedAt ? uncheckedMs + pollMs : 0;
    ({ checkedAt } = state);
    // An engine before 23.0 with live-restore checks no container that it finds running.
    if (state.health !== undefined && uncheckedMs > state.checkedEveryMs + slackPolls * pollMs)
      throw failure('the engine does not check its health');
    if (waitedMs >= healthMs) throw failure(`it is not healthy after ${waitedMs / 1_000} s`);
    await sleep(pollMs, undefined, { signal, ref: false });
    ranMs += pollMs;
  }
}
