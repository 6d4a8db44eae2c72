/**
 * The sessions and wills of a node, joined with the ports that keep them, and the look for wills of nodes that are dead. server.ts calls it
 * once; a backplane that stores nothing has none of them.
 */
import type { Logger } from 'pino';
import type { Backplane } from '../broker/ports.ts';
import type { Publisher } from '../broker/publish.ts';
import type { CancelTimer, Clock } from '../clock.ts';
import type { Counters } from '../counters.ts';
import { Sessions } from '../session/sessions.ts';
import { handOverWills, type WillHandoverOptions } from '../session/will-handover.ts';
import { Wills } from '../session/wills.ts';

export interface NodeSessionsOptions {
  readonly backplane: Backplane;
  readonly publisher: Publisher;
  readonly counters: Counters;
  readonly clock: Clock;
  readonly log: Logger;
  /** Messages that a client may leave unacknowledged, whatever it says itself. */
  readonly maximumWindow: number;
  /** The log is another one, or was set back. */
  readonly logReplaced: () => void;
}

export interface NodeSessions {
  readonly sessions: Sessions;
  readonly stopHandover: CancelTimer;
}

/** Undefined: the backplane stores nothing. */
export function makeNodeSessions(options: NodeSessionsOptions): NodeSessions | undefined {
  const { backplane, clock, counters, logReplaced, maximumWindow, publisher } = options;
  const { groups, lease, log, retained, sessions: store, wills: willStore } = backplane;
  if (lease === undefined || log === undefined || store === undefined) return undefined;
  if (retained === undefined || willStore === undefined) return undefined;
  const position = (): number => sessions.feeds.position;
  const wills = new Wills({ store: willStore, lease, log, publisher, counters, clock, position });
  const ports = { log, store, retained, groups, lease };
  const sessions = new Sessions({ ...ports, wills, counters, clock, logReplaced, maximumWindow });
  const stopHandover = handOverWills({
    wills,
    store: willStore,
    lease,
    clock,
    now: () => log.now(),
    ...handoverEvents(options.log, sessions),
  });
  return { sessions, stopHandover };
}

function handoverEvents(log: Logger, sessions: Sessions): Pick<WillHandoverOptions, 'died' | 'takenOver' | 'failed'> {
  return {
    died: (owner) => {
      log.info({ event: 'node.foundDead', owner }, 'A node with wills holds no lease any more');
      sessions.nodeDied();
    },
    takenOver: (owner, count, seconds) =>
      log.info({ event: 'wills.takenOver', owner, count, seconds }, 'Wills of a dead node are published'),
    failed: (err) => log.debug({ event: 'wills.lookFailed', err }, 'Wills of dead nodes: no answer, trying again'),
  };
}
