/**
 * The ports of broker/ports.ts in memory, all of them: what a node has that is alone. node/backplane.ts takes it when no NATS servers are
 * configured. What it stores ends with the process.
 */
import type { Backplane, BusEvents, NodeLease } from '../broker/ports.ts';
import type { Clock } from '../clock.ts';
import type { Counters } from '../counters.ts';
import { EmbeddedBus } from './bus.ts';
import { EmbeddedCluster } from './cluster.ts';
import { EmbeddedGroupLog } from './group-log.ts';
import { EmbeddedLog } from './log.ts';
import { EmbeddedRetainedStore } from './retained-store.ts';
import { EmbeddedSessionStore } from './session-store.ts';
import { EmbeddedWillStore } from './will-store.ts';

export interface EmbeddedBackplaneOptions {
  readonly counters: Counters;
  readonly clock: Clock;
  readonly events: BusEvents;
  /** Random per start of the node. */
  readonly incarnation: string;
  readonly maximumPacketBytes: number;
  /** False: no log and no sessions. */
  readonly stores: boolean;
  readonly logMaxAgeSeconds: number;
  readonly groupRetentionSeconds: number;
  readonly maximumGroups: number;
  /** 0 = no limit but the memory that the store allows itself. */
  readonly retained?: { readonly maxMessages: number; readonly maxBytes: number };
  readonly maximumSessions?: number;
}

const unlimited = Number.POSITIVE_INFINITY;

export function makeEmbeddedBackplane(options: EmbeddedBackplaneOptions): Backplane {
  const { clock, counters, events, maximumGroups } = options;
  const bus = new EmbeddedBus(counters, events, options.maximumPacketBytes);
  const cluster = new EmbeddedCluster();
  const close = async (): Promise<void> => void (await Promise.all([bus.close(), cluster.close()]));
  if (!options.stores) return { bus, cluster, close };
  const log = new EmbeddedLog({ maximumAgeSeconds: options.logMaxAgeSeconds, clock });
  const sessions = new EmbeddedSessionStore({ clock, maximumSessions: options.maximumSessions || unlimited });
  const { maxBytes = 0, maxMessages = 0 } = options.retained ?? {};
  const retained = new EmbeddedRetainedStore({
    clock,
    maximumMessages: maxMessages || unlimited,
    ...(maxBytes === 0 ? {} : { maximumBytes: maxBytes }),
  });
  const wills = new EmbeddedWillStore();
  const groups = new EmbeddedGroupLog({ log, clock, retentionSeconds: options.groupRetentionSeconds, maximumGroups });
  const lease = eternalLease(options.incarnation);
  const closeAll = async (): Promise<void> => {
    retained.close();
    await Promise.all([close(), groups.close(), log.close()]);
  };
  return { bus, cluster, log, sessions, retained, wills, groups, lease, close: closeAll };
}

/** Of a node that is alone: nobody judges it. */
export function eternalLease(incarnation: string): NodeLease {
  return {
    incarnation,
    deadline: Number.POSITIVE_INFINITY,
    isSettled: false,
    isAlive: async () => true,
    elect: async () => false,
    lead: async () => false,
    release: async () => {},
  };
}
