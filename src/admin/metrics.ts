/** Metrics in Prometheus form, read from the counters when they are asked for: counting costs the hot path nothing. */
import { type Aggregator, collectDefaultMetrics, Gauge, Registry } from 'prom-client';
import type { Counters } from '../counters.ts';
import { addCounters } from './counter-metrics.ts';

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

/** A registry of its own with everything a node shows. */
export function makeMetrics(counters: Counters, gauges: Gauges): Registry {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  addCounters(registry, counters);
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
