/** The counters of a node as Prometheus metrics: the plain ones, and those that are one metric with labels. metrics.ts registers them. */
import { Counter, type Registry } from 'prom-client';
import type { ArrivalCounters, Counters, DropCounters } from '../counters.ts';

const counterMetrics = {
  connectionsAccepted: ['supermq_connections_accepted_total', 'Network connections accepted'],
  connectionsRefused: ['supermq_connections_refused_total', 'Network connections refused before anything was read'],
  connectsAccepted: ['supermq_connects_accepted_total', 'CONNECT packets answered with success'],
  connectsRefused: ['supermq_connects_refused_total', 'CONNECT packets refused'],
  takeovers: ['supermq_takeovers_total', 'Connections closed because their client connected again'],
  keepAliveTimeouts: ['supermq_keep_alive_timeouts_total', 'Connections closed for silence'],
  protocolErrors: ['supermq_protocol_errors_total', 'Connections closed because the client broke a rule'],
  internalErrors: ['supermq_internal_errors_total', 'Connections closed by a defect of the server'],
  messagesReceived: ['supermq_messages_received_total', 'Messages published by clients of this node'],
  messagesDelivered: ['supermq_messages_delivered_total', 'Messages delivered to clients of this node'],
  bytesReceived: ['supermq_bytes_received_total', 'Bytes received from clients'],
  bytesSent: ['supermq_bytes_sent_total', 'Bytes sent to clients'],
  busPublished: ['supermq_bus_published_total', 'Messages handed to the backplane'],
  busReceived: ['supermq_bus_received_total', 'Messages taken from the backplane, once per matching filter'],
  busReconnects: ['supermq_bus_reconnects_total', 'Times the backplane connection was restored'],
  busRefused: [
    'supermq_bus_refused_total',
    'Requests of this node that the backplane refused: missing permissions, ended logins',
  ],
  busSubscriptionsRefused: [
    'supermq_bus_subscriptions_refused_total',
    'Subscriptions for filters of clients that the backplane refused to this node',
  ],
  subscribesRefused: [
    'supermq_subscribes_refused_total',
    'Filters refused in SUBACK because the backplane refused them to this node',
  ],
  retainedStored: ['supermq_retained_stored_total', 'Retained messages put in their place, removals included'],
  retainedRefused: ['supermq_retained_refused_total', 'Retained messages that the store had no room for'],
  sessionsRefused: ['supermq_sessions_refused_total', 'CONNECTs for whose session the store had no room'],
  retainedDelivered: ['supermq_retained_delivered_total', 'Retained messages sent to new subscriptions'],
  retainIgnored: ['supermq_retain_ignored_total', 'MQTT 3.x messages with RETAIN, delivered but not retained'],
  logStored: ['supermq_log_stored_total', 'Messages of QoS 1 and 2 stored for clients of this node'],
  logRefused: ['supermq_log_refused_total', 'Messages of QoS 1 and 2 that the log refused'],
  logHoles: ['supermq_log_holes_total', 'Live messages whose predecessor was missing'],
  logRepaired: ['supermq_log_repaired_total', 'Messages read from the log because no live copy came'],
  logReadsFailed: ['supermq_log_reads_failed_total', 'Questions to the log that nobody answered'],
  sessionsResumed: ['supermq_sessions_resumed_total', 'Sessions that continued on this node'],
  sessionsTruncated: ['supermq_sessions_truncated_total', 'Sessions whose unread messages had partly left the log'],
  sessionsReset: ['supermq_sessions_reset_total', 'Sessions whose positions were of another log'],
  sessionsOrphaned: ['supermq_sessions_orphaned_total', 'Sessions of dead nodes that were given their end'],
  leasesLost: ['supermq_leases_lost_total', "Times this node's lease was over"],
  willsStored: ['supermq_wills_stored_total', 'Wills stored for clients of this node'],
  willsPublished: ['supermq_wills_published_total', 'Wills published for clients that this node has or had'],
  willsOfDeadNodes: ['supermq_wills_of_dead_nodes_total', 'Wills published for clients of dead nodes'],
  willsCancelled: ['supermq_wills_cancelled_total', 'Delayed wills whose client came back in time'],
  groupsRemade: ['supermq_groups_remade_total', 'Consumers of groups that were gone and were made again'],
  sessionsFenced: ['supermq_sessions_fenced_total', 'Sessions that another node took over without asking'],
  credentialsExpired: ['supermq_credentials_expired_total', 'Connections closed because the credentials had expired'],
  addressesJailed: ['supermq_addresses_jailed_total', 'Addresses that were jailed'],
  clientsJailed: ['supermq_clients_jailed_total', 'Client ids that were jailed at an address'],
} as const satisfies Record<
  Exclude<keyof Counters, 'dropped' | 'limited' | 'arrivalsFailed' | 'authentications' | 'denied'>,
  readonly [string, string]
>;

const dropCauses = {
  forbiddenTopic: 'forbidden_topic',
  notAuthorized: 'not_authorized',
  payloadInvalid: 'payload_invalid',
  busDisconnected: 'bus_disconnected',
  tooLargeForBus: 'too_large_for_bus',
  notMqtt: 'not_mqtt',
  slowSubscriber: 'slow_subscriber',
  tooLargeForSubscriber: 'too_large_for_subscriber',
  expired: 'expired',
  forgedSequence: 'forged_sequence',
  outOfRetention: 'out_of_retention',
} as const satisfies Record<keyof DropCounters, string>;

const arrivalCauses = {
  proxyHeader: 'proxy_header',
  tls: 'tls',
  upgrade: 'upgrade',
  timeout: 'timeout',
  crowded: 'crowded',
  left: 'left',
} as const satisfies Record<keyof ArrivalCounters, string>;

/** One value of a metric and the labels that it has. */
type Labelled = readonly [labels: Readonly<Record<string, string>>, value: number];

interface LabelledMetric {
  readonly name: string;
  readonly help: string;
  readonly labelNames: string[];
  readonly read: (counters: Counters) => Labelled[];
}

const labelledMetrics: readonly LabelledMetric[] = [
  {
    name: 'supermq_messages_dropped_total',
    help: 'Messages dropped, by cause',
    labelNames: ['cause'],
    read: ({ dropped }) => byCause(dropCauses, dropped),
  },
  {
    name: 'supermq_limit_reached_total',
    help: 'Times that a limit was reached, by the name of its option',
    labelNames: ['limit'],
    read: ({ limited }) => Object.entries(limited).map(([limit, count]) => [{ limit }, count]),
  },
  {
    name: 'supermq_arrivals_failed_total',
    help: 'Network connections that were closed before they came to speak MQTT, by cause',
    labelNames: ['cause'],
    read: ({ arrivalsFailed }) => byCause(arrivalCauses, arrivalsFailed),
  },
  {
    name: 'supermq_authentications_total',
    help: 'Clients judged, by the authenticator that decided and its result; authenticator chain: none knew the client',
    labelNames: ['authenticator', 'result'],
    read: ({ authentications }) =>
      Object.entries(authentications).flatMap(([authenticator, counts]) =>
        Object.entries(counts).map(([result, count]): Labelled => [{ authenticator, result }, count]),
      ),
  },
  {
    name: 'supermq_acl_denied_total',
    help: 'What the rules of access have denied, by action',
    labelNames: ['action'],
    read: ({ denied }) => Object.entries(denied).map(([action, count]) => [{ action }, count]),
  },
];

/** Read from the counters when they are asked for. */
export function addCounters(registry: Registry, counters: Counters): void {
  for (const [key, [name, help]] of Object.entries(counterMetrics) as Array<
    [keyof typeof counterMetrics, readonly [string, string]]
  >) {
    addCounter(registry, name, help, () => counters[key]);
  }
  for (const metric of labelledMetrics) addLabelled(registry, metric, counters);
}

function byCause<Key extends string>(
  causes: Readonly<Record<Key, string>>,
  counts: Readonly<Record<Key, number>>,
): Labelled[] {
  return (Object.entries(causes) as Array<[Key, string]>).map(([key, cause]) => [{ cause }, counts[key]]);
}

function addCounter(registry: Registry, name: string, help: string, read: () => number): void {
  new Counter({
    name,
    help,
    registers: [registry],
    collect() {
      this.reset();
      this.inc(read());
    },
  });
}

function addLabelled(registry: Registry, { name, help, labelNames, read }: LabelledMetric, counters: Counters): void {
  new Counter({
    name,
    help,
    labelNames,
    registers: [registry],
    collect() {
      this.reset();
      for (const [labels, value] of read(counters)) this.inc(labels, value);
    },
  });
}
