/** `poll` with the patience of the tests. */
import { poll } from './poll.ts';

const PATIENCE_MILLISECONDS = 30_000;

/** Resolves once `holds` says true, rejects after 30 seconds. */
export function eventually(holds: () => boolean | Promise<boolean>, what = 'what the test waits for'): Promise<void> {
  return poll(async () => holds(), { what, timeoutMs: PATIENCE_MILLISECONDS });
}
