/**
 * What the next step of some work takes:
 * - `normal`: a millisecond or less.
 * - `large`: it may block the event loop for more than 20 ms, and cannot be divided.
 * - `held`, `held-large`: the same, for work that keeps megabytes until it ends.
 */
export type Step = 'normal' | 'large' | 'held' | 'held-large';

/**
 * Work in steps: each `yield` says what the next step takes, and is a point where other work may
 * run. What comes before the first `yield` runs at once. Returns the result.
 */
export type Steps<T> = Generator<Step, T>;

/** Work that cannot be divided. */
export function* inOneStep<T>(step: Step, work: () => T): Steps<T> {
  yield step;
  return work();
}

/** Runs all steps now. */
export function runSteps<T>(steps: Steps<T>): T {
  for (;;) {
    const result = steps.next();
    if (result.done === true) return result.value;
  }
}
