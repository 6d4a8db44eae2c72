/**
 * The worker's end of the channel to its primary; main.ts uses it. A worker lives no longer than its primary: when the channel
 * breaks it stops as if it had been asked to.
 */
import cluster from 'node:cluster';
import type { NodeViews } from '../admin/http.ts';
import type { MetricSnapshot } from '../admin/worker-metrics.ts';
import type { Answer, Assignment, Question, ToPrimary, ToWorker } from './messages.ts';

export class PrimaryLink {
  /** Called once, when the primary is gone. */
  gone: () => void = () => {};
  #views: NodeViews | undefined;

  /** Answers the primary from these views from now on. */
  show(views: NodeViews): void {
    this.#views = views;
  }

  /** The listeners are open. */
  serving(): void {
    tell({ kind: 'serving' });
  }

  /** The listeners are about to be closed. */
  stopping(): void {
    tell({ kind: 'stopping' });
  }

  /** A collection that fails is no answer: the primary goes on without. */
  async answer({ serial, wantsMetrics }: Question): Promise<void> {
    const missing = this.#views === undefined ? 'starting' : this.#views.readiness();
    const metrics = wantsMetrics ? await this.#views?.metrics.getMetricsAsJSON() : undefined;
    const answer: Answer = {
      kind: 'answer',
      serial,
      ...(missing === undefined ? {} : { missing }),
      ...(metrics === undefined ? {} : { metrics: metrics satisfies readonly MetricSnapshot[] }),
    };
    tell(answer);
  }
}

/** Calls `assigned` when the primary has said who this process is. */
export function linkToPrimary(assigned: (assignment: Assignment, link: PrimaryLink) => void): void {
  const link = new PrimaryLink();
  process.on('message', (message: ToWorker) => {
    if (message.kind === 'assignment') assigned(message, link);
    else if (message.kind === 'question') link.answer(message).catch(() => {});
  });
  tell({ kind: 'hello' });
  cluster.worker?.once('disconnect', () => {
    // Without this node ends the process at once, clients and sessions with it.
    if (cluster.worker !== undefined) cluster.worker.exitedAfterDisconnect = true;
    link.gone();
  });
}

/** A primary that is gone hears nothing, and needs not. */
function tell(message: ToPrimary): void {
  if (process.connected) process.send?.(message, undefined, undefined, () => {});
}
