/** How long the supervisor waits before it starts a worker again: longer each time, and from the beginning after a long life. */

const SHORTEST_MILLISECONDS = 1_000;
const LONGEST_MILLISECONDS = 30_000;
/** A worker that lived for as long did not end because of its start. */
const LONG_LIFE_MILLISECONDS = 60_000;

/** `previous`: the delay before the life that has ended now, 0 = none. */
export function restartDelay(previous: number, livedMilliseconds: number): number {
  if (previous === 0 || livedMilliseconds >= LONG_LIFE_MILLISECONDS) return SHORTEST_MILLISECONDS;
  return Math.min(previous * 2, LONGEST_MILLISECONDS);
}
