/** Metrics in Prometheus form, read from the counters when they are asked for: counting costs the hot path nothing. */
import { type Aggregator, Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client';
import type {
  ArrivalCounters,
  AuthenticationCounters,
  AuthenticationName,
  Counters,
  DenialCounters,
  DropCounters,
  LimitCounters,
} from '../counters.ts';

/** Messages that wait for a group, and that its members have not acknowledged. */
interface GroupLag {
  readonly group: string;
  readonly filter: string;
  readonly pending: number;
  readonly unacknowledged: number;
}

/** Characters of a label's value. */
const LABEL_CHARACTERS = 128;

/** What is not a counter: read at the moment of asking. */
export interface Gauges {
  /** Clients whose CONNECT was accepted. */
  connectedClients(): number;
  /** Network connections, those before CONNECT included. */
  openConnections(): number;
  subscriptions(): number;
  interests(): number;
  groupMembers(): number;
  /** Groups that read the log, with members on this node, and how far some of them are behind. */
  groups(): number;
  groupLags(): Promise<readonly GroupLag[]>;
  /** Sessions of connected clients, and patterns of the log that they read. */
  sessions(): number;
  feeds(): number;
  /** Wills that wait for the end of their delay, of this node and of dead ones. */
  willsWaiting(): number;
  /** 1 while new clients are sent away. */
  isShedding(): boolean;
  /** 1 while the node is connected to its backplane. */
  isBusConnected(): boolean;
}

const counterHelp = {
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

/** A registry of its own with everything a node shows. */
export function makeMetrics(counters: Counters, gauges: Gauges): Registry {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  for (const [key, [name, help]] of Object.entries(counterHelp) as Array<
    [keyof typeof counterHelp, readonly [string, string]]
  >) {
    addCounter(registry, name, help, () => counters[key]);
  }
  addDrops(registry, counters.dropped);
  addLimits(registry, counters.limited);
  addArrivalFailures(registry, counters.arrivalsFailed);
  addAuthentications(registry, counters.authentications);
  addDenials(registry, counters.denied);
  addGauge(registry, 'supermq_clients_connected', 'Clients connected to this node', gauges.connectedClients);
  addGauge(registry, 'supermq_connections_open', 'Open network connections', gauges.openConnections);
  addGauge(registry, 'supermq_subscriptions', 'Subscriptions of the clients of this node', gauges.subscriptions);
  addGauge(
    registry,
    'supermq_interests',
    'Distinct filters this node has subscribed on the backplane',
    gauges.interests,
  );
  addGauge(registry, 'supermq_group_members', 'Group subscriptions of the clients of this node', gauges.groupMembers);
  addGauge(registry, 'supermq_groups', 'Groups on the log with members on this node', gauges.groups);
  addLags(registry, gauges);
  addGauge(registry, 'supermq_sessions', 'Sessions of the clients of this node', gauges.sessions);
  addGauge(registry, 'supermq_feeds', 'Patterns of the log that sessions of this node read', gauges.feeds);
  addGauge(registry, 'supermq_wills_waiting', 'Wills that wait here for the end of their delay', gauges.willsWaiting);
  const isShedding = (): number => (gauges.isShedding() ? 1 : 0);
  addGauge(registry, 'supermq_shedding', '1 while the node is overloaded and takes no new clients', isShedding, 'max');
  const isConnected = (): number => (gauges.isBusConnected() ? 1 : 0);
  // Of several workers: 1 while all of them are.
  addGauge(registry, 'supermq_bus_connected', '1 while connected to the backplane', isConnected, 'min');
  return registry;
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

function addDrops(registry: Registry, dropped: DropCounters): void {
  new Counter({
    name: 'supermq_messages_dropped_total',
    help: 'Messages dropped, by cause',
    labelNames: ['cause'],
    registers: [registry],
    collect() {
      this.reset();
      for (const [key, cause] of Object.entries(dropCauses) as Array<[keyof DropCounters, string]>)
        this.inc({ cause }, dropped[key]);
    },
  });
}

/** The label is the option's name. */
function addLimits(registry: Registry, limited: LimitCounters): void {
  new Counter({
    name: 'supermq_limit_reached_total',
    help: 'Times that a limit was reached, by the name of its option',
    labelNames: ['limit'],
    registers: [registry],
    collect() {
      this.reset();
      for (const [limit, count] of Object.entries(limited)) this.inc({ limit }, count);
    },
  });
}

function addArrivalFailures(registry: Registry, failed: ArrivalCounters): void {
  new Counter({
    name: 'supermq_arrivals_failed_total',
    help: 'Network connections that were closed before they came to speak MQTT, by cause',
    labelNames: ['cause'],
    registers: [registry],
    collect() {
      this.reset();
      for (const [key, cause] of Object.entries(arrivalCauses) as Array<[keyof ArrivalCounters, string]>)
        this.inc({ cause }, failed[key]);
    },
  });
}

function addAuthentications(registry: Registry, authentications: Counters['authentications']): void {
  new Counter({
    name: 'supermq_authentications_total',
    help: 'Clients judged, by the authenticator that decided and its result; authenticator chain: none knew the client',
    labelNames: ['authenticator', 'result'],
    registers: [registry],
    collect() {
      this.reset();
      for (const [authenticator, counts] of Object.entries(authentications) as Array<
        [AuthenticationName, AuthenticationCounters]
      >)
        for (const [result, count] of Object.entries(counts)) this.inc({ authenticator, result }, count);
    },
  });
}

function addDenials(registry: Registry, denied: DenialCounters): void {
  new Counter({
    name: 'supermq_acl_denied_total',
    help: 'What the rules of access have denied, by action',
    labelNames: ['action'],
    registers: [registry],
    collect() {
      this.reset();
      for (const [action, count] of Object.entries(denied)) this.inc({ action }, count);
    },
  });
}

function addLags(registry: Registry, gauges: Gauges): void {
  const add = (name: string, help: string, read: (lag: GroupLag) => number): void => {
    new Gauge({
      name,
      help,
      labelNames: ['group', 'filter'],
      // Of the group on the log: all workers with members see the same.
      aggregator: 'max',
      registers: [registry],
      async collect() {
        const lags = await gauges.groupLags();
        this.reset();
        for (const lag of lags) {
          const labels = { group: lag.group.slice(0, LABEL_CHARACTERS), filter: lag.filter.slice(0, LABEL_CHARACTERS) };
          this.set(labels, read(lag));
        }
      },
    });
  };
  add('supermq_group_pending', 'Messages that no member of a group has been given yet', ({ pending }) => pending);
  add(
    'supermq_group_unacknowledged',
    'Messages in the hands of the members of a group, on all nodes',
    ({ unacknowledged }) => unacknowledged,
  );
}

/** `aggregator`: how the values of several workers become one. */
function addGauge(
  registry: Registry,
  name: string,
  help: string,
  read: () => number,
  aggregator: Aggregator = 'sum',
): void {
  new Gauge({
    name,
    help,
    aggregator,
    registers: [registry],
    collect() {
      this.set(read());
    },
  });
}
