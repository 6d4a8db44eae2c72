/** The ports of broker/ports.ts on a NATS cluster: makes the node's two connections and joins them with bus and cluster. */
import type { NatsConnection } from 'nats';
import type { Logger } from 'pino';
import type { Bus, BusEvents, Cluster } from '../broker/ports.ts';
import type { Clock } from '../clock.ts';
import type { Counters } from '../counters.ts';
import { NatsBus } from './bus.ts';
import { connectNats, type NatsSettings, watchConnection } from './client.ts';
import { NatsCluster } from './cluster.ts';
import { SubjectMap } from './subject.ts';

export interface NatsBackplaneOptions {
  readonly settings: NatsSettings;
  readonly topicPrefix: string;
  readonly maximumInFlightBytes: number;
  readonly nodeId: string;
  /** Random per start of the node. */
  readonly incarnation: string;
  readonly counters: Counters;
  readonly clock: Clock;
  readonly log: Logger;
  readonly events: BusEvents;
  /** A connection has ended for good without being closed: the node cannot go on. */
  readonly failed: (cause: Error) => void;
  /** Gives up connecting. */
  readonly signal: AbortSignal;
}

export interface Backplane {
  readonly bus: Bus;
  readonly cluster: Cluster;
  close(): Promise<void>;
}

/** Waits for NATS as long as it takes. */
export async function connectNatsBackplane(options: NatsBackplaneOptions): Promise<Backplane> {
  const { clock, counters, events, incarnation, log, nodeId, settings, signal } = options;
  const subjects = new SubjectMap(options.topicPrefix);
  const connection = await connectNats(settings, nodeId, { noEcho: false, log, signal });
  const control = await connectNats(settings, `${nodeId} control`, { noEcho: true, log, signal });
  const bus = new NatsBus({
    connection,
    subjects,
    counters,
    events,
    maximumInFlightBytes: options.maximumInFlightBytes,
  });
  const cluster = new NatsCluster({ connection: control, incarnation, clock });
  let isClosing = false;
  const closed = (cause: Error | undefined): void => {
    if (!isClosing) options.failed(cause ?? new Error('NATS connection closed'));
  };
  watchConnection(connection, log, {
    disconnected: () => bus.disconnected(),
    reconnected: () => bus.reconnected(),
    closed,
  });
  watchConnection(control, log, { disconnected: ignore, reconnected: () => cluster.reconnected(), closed });
  logServer(log, connection);
  return {
    bus,
    cluster,
    close: async () => {
      isClosing = true;
      await Promise.all([bus.close(), cluster.close()]);
    },
  };
}

/** The message connection tells whether the node serves; the control connection only has to come back. */
function ignore(): void {}

function logServer(log: Logger, connection: NatsConnection): void {
  const { cluster, max_payload: maximumPayload, version } = connection.info ?? {};
  log.info(
    { event: 'nats.connected', server: connection.getServer(), version, cluster, maximumPayload },
    'Connected to NATS',
  );
}
