/**
 * Whether it was less than `ms` milliseconds before `at`; never was is not. What is to be yet was before the clock was set back, nobody
 * knows when: it is not recent.
 */
export function isRecent(since: number | undefined, ms: number, at: number): boolean {
  return since !== undefined && since <= at && at - since < ms;
}
