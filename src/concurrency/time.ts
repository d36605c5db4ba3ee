/**
 * Whether `since` is less than `ms` milliseconds before `at`. Undefined is not recent. Neither is a
 * time in the future: it was recorded before the clock was set back, and its age is unknown.
 */
export function isRecent(since: number | undefined, ms: number, at: number): boolean {
  return since !== undefined && since <= at && at - since < ms;
}
