/** The ports of broker/ports.ts on a NATS cluster: makes the node's two connections and joins them with bus and cluster. */
import type { NatsConnection } from 'nats';
import type { Logger } from 'pino';
import type { Backplane, BusEvents, LogEvents } from '../broker/ports.ts';
import type { Clock } from '../clock.ts';
import type { Counters } from '../counters.ts';
import { NatsBus } from './bus.ts';
import { connectNats, type NatsSettings, type Refusal, watchConnection } from './client.ts';
import { NatsCluster } from './cluster.ts';
import { NatsGroupLog } from './group-log.ts';
import { Requests } from './jetstream.ts';
import { NatsLease } from './lease.ts';
import { NatsLog } from './log.ts';
import { LogRecords } from './log-record.ts';
import { provision, type StorageSettings } from './provision.ts';
import { RefusedSubscriptions } from './refused-subscriptions.ts';
import { RETAINED_PREFIX, RETAINED_STREAM } from './retained-page.ts';
import { NatsRetainedStore } from './retained-store.ts';
import { NatsSessionStore, SESSION_STREAM } from './session-store.ts';
import { StreamQuota } from './stream-quota.ts';
import { SubjectMap } from './subject.ts';
import { NatsWillStore } from './will-store.ts';
import { subscribeAgain } from './wire/connect.ts';

export interface NatsBackplaneOptions extends StorageSettings {
  readonly settings: NatsSettings;
  readonly topicPrefix: string;
  readonly maximumInFlightBytes: number;
  /** Off: no log and no sessions. */
  readonly jetstream: boolean;
  readonly provision: 'auto' | 'check';
  /** Of the whole cluster; 0 or absent = what JetStream allows. */
  readonly retainedMaxMessages?: number;
  readonly retainedMaxBytes?: number;
  readonly sessionsMaximum?: number;
  readonly logEvents: LogEvents;
  /** How long a message of a group stays with a node that says nothing. */
  readonly groupAckWaitSeconds: number;
  readonly groupRetentionSeconds: number;
  readonly maximumGroups: number;
  readonly leaseSeconds: number;
  /** The node's lease is over: it must serve nobody until it has another one. */
  readonly leaseLost: () => void;
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

/** Waits for NATS as long as it takes. */
export async function connectNatsBackplane(options: NatsBackplaneOptions): Promise<Backplane> {
  const { clock, counters, events, incarnation, log, nodeId, settings, signal } = options;
  const subjects = new SubjectMap(options.topicPrefix, settings.inboxPrefix);
  let publishRefused: (subject: string) => void = () => {};
  const refused = ({ isPublish, subject }: Refusal): void => {
    counters.busRefused++;
    if (isPublish) publishRefused(subject);
  };
  const failed = (): void => void counters.internalErrors++;
  const refusals = new RefusedSubscriptions({ counters, clock, log, inboxPrefix: settings.inboxPrefix });
  const connection = await connectNats(settings, nodeId, {
    noEcho: false,
    log,
    signal,
    refused,
    failed,
    subscriptionRefused: (refusal) => {
      const isOfClients = refusals.refused(refusal);
      if (isOfClients) counters.busRefused++;
      return isOfClients;
    },
    subscriptionsExceeded: () => {
      counters.busRefused++;
      refusals.exceeded();
    },
  });
  const control = await connectNats(settings, `${nodeId} control`, { noEcho: true, log, signal, refused, failed });
  const bus = new NatsBus({
    connection,
    subjects,
    refusals,
    counters,
    events,
    maximumInFlightBytes: options.maximumInFlightBytes,
  });
  refusals.lifted = (keys) => {
    subscribeAgain(connection, (subject, queue) => keys.has(RefusedSubscriptions.keyOf(subject, queue)));
    bus.judge();
  };
  const cluster = new NatsCluster({ connection: control, incarnation, clock });
  const stores = options.jetstream
    ? await openStores(options, { feed: connection, control, refusals, subjects })
    : undefined;
  publishRefused = (subject) => stores?.log.publishRefused(subject);
  let isClosing = false;
  const closed = (cause: Error | undefined): void => {
    if (!isClosing) options.failed(cause ?? new Error('NATS connection closed'));
  };
  watchConnection(connection, log, {
    disconnected: () => {
      bus.disconnected();
      stores?.log.feedDisconnected();
      stores?.pages.disconnected();
    },
    reconnected: () => {
      bus.reconnected();
      stores?.log.feedReconnected();
      stores?.groups.feedReconnected();
    },
    closed,
  });
  watchConnection(control, log, {
    // The message connection tells whether the node serves; this one only has to come back.
    disconnected: () => {
      stores?.log.controlDisconnected();
      stores?.groups.controlDisconnected();
    },
    reconnected: () => {
      cluster.reconnected();
      stores?.log.controlReconnected();
      stores?.groups.controlReconnected();
    },
    closed,
  });
  logServer(log, connection);
  return {
    bus,
    cluster,
    ...(stores === undefined ? {} : storesOf(stores)),
    close: async () => {
      isClosing = true;
      await stores?.groups.close();
      await stores?.lease.release();
      stores?.retained.close();
      await stores?.log.close();
      stores?.pages.close();
      stores?.requests.close();
      await Promise.all([bus.close(), cluster.close()]);
    },
  };
}

interface Stores {
  readonly log: NatsLog;
  readonly sessions: NatsSessionStore;
  readonly retained: NatsRetainedStore;
  /** Questions on the message connection whose answers may be much. */
  readonly pages: Requests;
  readonly wills: NatsWillStore;
  readonly groups: NatsGroupLog;
  readonly lease: NatsLease;
  readonly requests: Requests;
}

function storesOf({
  groups,
  lease,
  log,
  retained,
  sessions,
  wills,
}: Stores): Omit<Backplane, 'bus' | 'cluster' | 'close'> {
  return { groups, lease, log, retained, sessions, wills };
}

/** Streams are made or checked first. */
async function openStores(
  options: NatsBackplaneOptions,
  {
    control,
    feed,
    refusals,
    subjects,
  }: { control: NatsConnection; feed: NatsConnection; refusals: RefusedSubscriptions; subjects: SubjectMap },
): Promise<Stores> {
  const { clock, counters, log: logger, logEvents: events } = options;
  const requests = new Requests(control, clock);
  await provision(requests, options, logger);
  const log = new NatsLog({
    feed,
    control: requests,
    subjects,
    refusals,
    counters,
    clock,
    events,
    replicas: options.replicas,
  });
  // Before any live message: what the leader knows is the measure of what is plausible.
  await log.state();
  const pages = new Requests(feed, clock);
  const quotaOf = (stream: string, messages = 0, bytes = 0): StreamQuota =>
    new StreamQuota({ requests, stream, clock, messages, bytes });
  const retained = new NatsRetainedStore({
    quota: quotaOf(RETAINED_STREAM, options.retainedMaxMessages, options.retainedMaxBytes),
    control: requests,
    pages,
    records: new LogRecords(subjects, RETAINED_PREFIX),
    subjects,
    clock,
    replicas: options.replicas,
    logIdentity: () => log.identity,
    askLog: () => log.state(),
  });
  const { leaseSeconds: seconds, nodeId, signal } = options;
  const lost = (): void => {
    log.abandonPublishes();
    retained.abandon();
    options.leaseLost();
  };
  const lease = new NatsLease({ requests, nodeId, seconds, clock, log: logger, lost });
  await lease.acquire(signal);
  const groups = new NatsGroupLog({
    feed,
    control: requests,
    subjects,
    counters,
    clock,
    log: logger,
    ackWaitSeconds: options.groupAckWaitSeconds,
    retentionSeconds: options.groupRetentionSeconds,
    maximumGroups: options.maximumGroups,
  });
  const wills = new NatsWillStore(requests);
  const sessions = new NatsSessionStore(requests, quotaOf(SESSION_STREAM, options.sessionsMaximum));
  return { log, sessions, retained, pages, wills, groups, lease, requests };
}

function logServer(log: Logger, connection: NatsConnection): void {
  const { cluster, max_payload: maximumPayload, version } = connection.info ?? {};
  log.info(
    { event: 'nats.connected', server: connection.getServer(), version, cluster, maximumPayload },
    'Connected to NATS',
  );
}
