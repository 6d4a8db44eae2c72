/**
 * Connections that the primary has handed to one worker and has not heard of since. Node's cluster module forgets them when the worker dies: the
 * primary would keep them open, and their clients would wait for a CONNACK that nobody sends. The messages are node's own
 * (lib/internal/cluster); without them this does nothing, and test/cluster/workers.test.ts fails.
 */
import type { Worker } from 'node:cluster';

interface Handle {
  close(): void;
}

/** From the primary: a connection comes with it; from the worker: whether it takes the connection. */
interface ClusterMessage {
  readonly act?: string;
  readonly seq?: number;
  readonly ack?: number;
}

/** The form in which the cluster module calls it. */
type Send = (message: ClusterMessage, handle?: Handle, ...rest: unknown[]) => boolean;

/** Closes what a worker that dies has not answered for, so that the clients connect again. */
export function closeUnansweredOf(worker: Worker): void {
  const unanswered = new Map<number, Handle>();
  const child = worker.process;
  const send = child.send as Send;
  child.send = ((message, handle, ...rest) => {
    if (message.act === 'newconn' && message.seq !== undefined && handle !== undefined)
      unanswered.set(message.seq, handle);
    return send.call(child, message, handle, ...rest);
  }) as Send as typeof child.send;
  child.on('internalMessage', ({ ack }: ClusterMessage) => {
    if (ack !== undefined) unanswered.delete(ack);
  });
  worker.once('exit', () => {
    for (const handle of unanswered.values()) handle.close();
    unanswered.clear();
  });
}
