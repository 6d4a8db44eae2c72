/** Waiting for something outside this process that sends no event: asked again and again, with an end. */
import { setTimeout as pause } from 'node:timers/promises';

const INTERVAL_MILLISECONDS = 20;

export interface PollOptions {
  /** What is waited for, as the error names it. */
  readonly what: string;
  readonly timeoutMs: number;
  /** Throws when waiting has become pointless. */
  readonly giveUp?: () => void;
}

/** Resolves once `check` says true; rejects after `timeoutMs`. */
export async function poll(check: () => Promise<boolean>, { what, timeoutMs, giveUp }: PollOptions): Promise<void> {
  const end = performance.now() + timeoutMs;
  while (!(await check())) {
    giveUp?.();
    if (performance.now() > end) throw new Error(`${what}: not within ${timeoutMs} ms`);
    await pause(INTERVAL_MILLISECONDS);
  }
}
