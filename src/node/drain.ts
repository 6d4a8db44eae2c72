/** How a node that stops parts from its clients; server.ts calls it once, when its listeners are closed. */
import type { Backplane } from '../broker/ports.ts';
import type { Clock } from '../clock.ts';
import type { Config } from '../config/config.ts';
import type { Connections } from '../connection/connections.ts';
import type { NodeContext } from '../connection/context.ts';
import { Reason, RedirectError } from '../mqtt/reason.ts';

/** How long a stopping node waits for the CONNECT of a network connection that is open already, to redirect its client; at most half of what it has. */
const CONNECT_GRACE_MILLISECONDS = 1_000;

export interface DrainOptions {
  readonly drain: Config['drain'];
  readonly clock: Clock;
  readonly log: NodeContext['log'];
  readonly connections: Connections;
  readonly backplane: Backplane | undefined;
  /** Called when no connection may be added any more. */
  readonly closing: () => void;
}

/** Clients are told, sessions written, messages under way settled; what NATS does not answer in time is left as it is. */
export async function drainClients(options: DrainOptions, milliseconds: number): Promise<void> {
  const { backplane, clock, log } = options;
  const drained = goodbye(options, Math.min(CONNECT_GRACE_MILLISECONDS, milliseconds / 2))
    .then(() => backplane?.log?.settleAll(milliseconds))
    .then(() => true);
  const late = new Promise<boolean>((resolve) => clock.after(milliseconds, () => resolve(false)));
  // The clock's timers keep no process alive; this one has to.
  const alive = setInterval(() => {}, milliseconds);
  if (!(await Promise.race([drained, late])))
    log.warn({ event: 'node.drainCut' }, 'Stopping without an answer of NATS for every session and message');
  clearInterval(alive);
}

/** With another server to go to, those are told too that have not sent CONNECT yet. MQTT5 section 4.11 */
async function goodbye({ closing, connections, drain }: DrainOptions, graceMilliseconds: number): Promise<void> {
  const { permanent, serverReference } = drain;
  if (serverReference.length > 0) {
    const reason = permanent ? Reason.serverMoved : Reason.useAnotherServer;
    await connections.drain(new RedirectError(reason, serverReference.join(' ')), graceMilliseconds);
  }
  closing();
  await connections.closeAll(Reason.serverShuttingDown);
}
