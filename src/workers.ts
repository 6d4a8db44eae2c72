/**
 * Several processes on one machine that share the listeners. Each is a node of its own: own NATS connections, own node id
 * (with a suffix), own HTTP port (one above the other). The primary only starts them and starts them again.
 */
import cluster, { type Worker } from 'node:cluster';
import type { Logger } from 'pino';

/** A worker that ends at once is not started again faster than this. */
const RESTART_MILLISECONDS = 1_000;

/** What tells a worker which one it is. */
export const WORKER_INDEX_VARIABLE = 'SUPERMQ_WORKER_INDEX';

export interface PrimaryOptions {
  readonly count: number;
  readonly log: Logger;
  /** All workers have ended after {@link Primary.stop}. */
  readonly stopped: () => void;
}

export interface Primary {
  /** Asks every worker to stop. */
  stop(): void;
}

/** Starts the workers and keeps their number. */
export function startWorkers({ count, log, stopped }: PrimaryOptions): Primary {
  const workers = new Map<number, Worker>();
  let isStopping = false;
  const start = (index: number): void => {
    if (isStopping) return;
    const worker = cluster.fork({ [WORKER_INDEX_VARIABLE]: String(index) });
    workers.set(index, worker);
    worker.once('exit', (code, signal) => {
      workers.delete(index);
      if (isStopping) return workers.size === 0 ? stopped() : undefined;
      log.error({ event: 'worker.ended', index, code, signal }, 'A worker ended; starting another one');
      setTimeout(() => start(index), RESTART_MILLISECONDS);
    });
  };
  for (let index = 0; index < count; index++) start(index);
  return {
    stop: () => {
      isStopping = true;
      if (workers.size === 0) return stopped();
      for (const worker of workers.values()) worker.process.kill('SIGTERM');
    },
  };
}
