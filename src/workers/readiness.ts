/**
 * When several workers behind one port are ready. A load balancer asks: would a new connection be served? The primary hands connections to serving
 * workers only, so one that is being started again costs capacity, no connection; one that serves and is not ready gets its share and
 * refuses it. At the first start all of them are waited for.
 */
import type { Readiness } from '../admin/http.ts';
import type { SlotState } from './worker-slot.ts';

export interface WorkerReport {
  readonly index: number;
  readonly state: SlotState;
  readonly hasServed: boolean;
  /** Why it is not ready; undefined when it is. */
  readonly missing: string | undefined;
}

const REASONS = { down: 'ended, to be started again', starting: 'starting', stopping: 'stopping' } as const;

/** Ready: all have served once, one serves now, and each that serves is ready. */
export function judgeReadiness(workers: readonly WorkerReport[]): Readiness {
  const faults = workers.flatMap((worker) => {
    const reason = reasonOf(worker);
    return reason === undefined ? [] : [`worker ${worker.index}: ${reason}`];
  });
  const serving = workers.filter(({ state }) => state === 'serving');
  const isReady =
    workers.every(({ hasServed }) => hasServed) &&
    serving.length > 0 &&
    serving.every(({ missing }) => missing === undefined);
  if (faults.length === 0) return { isReady, text: 'ready' };
  return { isReady, text: isReady ? `ready, without ${faults.join('; ')}` : faults.join('; ') };
}

function reasonOf({ missing, state }: WorkerReport): string | undefined {
  if (state === 'serving' || state === 'starting')
    return missing ?? (state === 'starting' ? REASONS.starting : undefined);
  return REASONS[state];
}
