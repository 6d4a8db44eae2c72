/** What a node publishes to and stores in, as configured: NATS, or without servers the same in memory. server.ts connects it once. */
import type { Backplane, BusEvents, LogEvents } from '../broker/ports.ts';
import type { Clock } from '../clock.ts';
import type { Config } from '../config/config.ts';
import type { NodeContext } from '../connection/context.ts';
import type { Counters } from '../counters.ts';
import { makeEmbeddedBackplane } from '../embedded/backplane.ts';
import { connectNatsBackplane } from '../nats/backplane.ts';
import { storageSettings } from './storage-settings.ts';

/** A message of a group goes from a silent node to another member when the node can no longer serve for sure. */
const LEASES_PER_GROUP_ACK_WAIT = 2;

export interface BackplaneOptions {
  readonly config: Config;
  readonly clock: Clock;
  readonly log: NodeContext['log'];
  readonly counters: Counters;
  /** Random per start of the node. */
  readonly incarnation: string;
  readonly events: BusEvents;
  readonly logEvents: LogEvents;
  readonly leaseLost: () => void;
  /** The node cannot go on. */
  readonly failed: (cause: Error) => void;
}

/**
 * Waits for NATS as long as `signal` allows.
 * @throws ServerTooOldError
 */
export async function connectBackplane(options: BackplaneOptions, signal: AbortSignal): Promise<Backplane> {
  const { config, log } = options;
  if (config.nats.servers.length > 0) return connectNats(options, signal);
  log.warn(
    { event: 'node.embedded' },
    'No NATS servers are configured: this node is alone and keeps everything in memory',
  );
  return makeEmbedded(options);
}

function makeEmbedded({ clock, config, counters, events, incarnation }: BackplaneOptions): Backplane {
  return makeEmbeddedBackplane({
    counters,
    clock,
    events,
    incarnation,
    maximumPacketBytes: config.limits.maxPacketBytes,
    stores: config.nats.jetstream === 'on',
    logMaxAgeSeconds: config.nats.log.maxAgeSeconds,
    groupRetentionSeconds: config.groups.retentionSeconds,
    maximumGroups: config.limits.maxGroups,
    retained: config.nats.retained,
    maximumSessions: config.nats.sessions.maxSessions,
  });
}

function connectNats({ config, ...parts }: BackplaneOptions, signal: AbortSignal): Promise<Backplane> {
  const { jetstream, maxInFlightBytes, provision, retained, sessions, topicPrefix, ...settings } = config.nats;
  return connectNatsBackplane({
    ...parts,
    settings,
    topicPrefix,
    maximumInFlightBytes: maxInFlightBytes,
    jetstream: jetstream === 'on',
    provision,
    ...storageSettings(config.nats),
    retainedMaxMessages: retained.maxMessages,
    retainedMaxBytes: retained.maxBytes,
    sessionsMaximum: sessions.maxSessions,
    nodeId: config.node.id,
    groupAckWaitSeconds: config.leaseSeconds * LEASES_PER_GROUP_ACK_WAIT,
    groupRetentionSeconds: config.groups.retentionSeconds,
    maximumGroups: config.limits.maxGroups,
    leaseSeconds: config.leaseSeconds,
    signal,
  });
}
