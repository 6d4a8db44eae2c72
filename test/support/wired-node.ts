/** A node on a real socket whose log and session store a test has in its hand: {@link FakeLog}, {@link FakeStore}. */
import { noAuthorizer } from '../../src/access/authorizer.ts';
import { NodeAdmission } from '../../src/admission/admission.ts';
import { anonymousLink } from '../../src/auth/anonymous.ts';
import type { Authenticator } from '../../src/auth/authenticator.ts';
import { authenticationChain } from '../../src/auth/chain.ts';
import { Delivery } from '../../src/broker/deliver.ts';
import type { SessionPage, SessionStore, StoredSession } from '../../src/broker/ports.ts';
import { Publisher } from '../../src/broker/publish.ts';
import { Subscriptions } from '../../src/broker/subscriptions.ts';
import type { Config } from '../../src/config/config.ts';
import { loadConfig } from '../../src/config/load.ts';
import { allCapabilities } from '../../src/connection/capabilities.ts';
import { ClaimWaits } from '../../src/connection/claim-waits.ts';
import { Connection } from '../../src/connection/connection.ts';
import { Connections } from '../../src/connection/connections.ts';
import { Denials } from '../../src/connection/denials.ts';
import { IntakeBudget } from '../../src/connection/intake-budget.ts';
import { WriteBatch } from '../../src/connection/write-batch.ts';
import { type Counters, makeCounters } from '../../src/counters.ts';
import { eternalLease } from '../../src/embedded/backplane.ts';
import { EmbeddedBus } from '../../src/embedded/bus.ts';
import { EmbeddedCluster } from '../../src/embedded/cluster.ts';
import { EmbeddedRetainedStore } from '../../src/embedded/retained-store.ts';
import { EmbeddedSessionStore } from '../../src/embedded/session-store.ts';
import { EmbeddedWillStore } from '../../src/embedded/will-store.ts';
import { makeLog } from '../../src/log.ts';
import { Reason } from '../../src/mqtt/reason.ts';
import { Sessions } from '../../src/session/sessions.ts';
import { Wills } from '../../src/session/wills.ts';
import { Arrivals } from '../../src/transport/arrivals.ts';
import { listenTcp } from '../../src/transport/tcp.ts';
import { FakeLog } from './fake-log.ts';
import { ShiftedClock } from './shifted-clock.ts';

/** A session store that asks before each write, and counts them. */
export class FakeStore implements SessionStore {
  /** Asked before a write; may wait or reject: then nothing is written. */
  before: () => Promise<void> = async () => {};
  /** Asked after a write; rejects: the answer is lost. */
  after: () => Promise<void> = async () => {};
  /** Writes that were begun, and how many at the same time at most. */
  saves = 0;
  mostAtOnce = 0;
  readonly #store: EmbeddedSessionStore;
  #atOnce = 0;

  constructor(clock: ShiftedClock = new ShiftedClock()) {
    this.#store = new EmbeddedSessionStore({ clock });
  }

  load(clientId: string): Promise<StoredSession> {
    return this.#store.load(clientId);
  }

  async save(clientId: string, record: Buffer, expected: number, ttlSeconds: number): Promise<number | undefined> {
    this.saves++;
    this.#atOnce++;
    this.mostAtOnce = Math.max(this.mostAtOnce, this.#atOnce);
    try {
      await this.before();
      const revision = await this.#store.save(clientId, record, expected, ttlSeconds);
      await this.after();
      return revision;
    } finally {
      this.#atOnce--;
    }
  }

  remove(clientId: string, expected: number): Promise<boolean> {
    return this.#store.remove(clientId, expected);
  }

  maximumBytes(): number {
    return this.#store.maximumBytes();
  }

  page(): Promise<SessionPage> {
    return this.#store.page();
  }
}

export interface WiredNode {
  readonly tcp: number;
  readonly log: FakeLog;
  readonly store: FakeStore;
  readonly sessions: Sessions;
  readonly connections: Connections;
  readonly counters: Counters;
  stop(): Promise<void>;
}

export interface WiredOptions {
  readonly receiveMaximum?: number;
  readonly maximumWindow?: number;
  readonly authenticator?: Authenticator;
  /** Of configuration below `limits`; as far as admission and rates go. */
  readonly limits?: Partial<Config['limits']>;
}

export async function startWiredNode({
  authenticator = authenticationChain({ links: [anonymousLink(false)], judged: () => {} }),
  limits: configured = {},
  maximumWindow = 256,
  receiveMaximum = 100,
}: WiredOptions = {}): Promise<WiredNode> {
  const clock = new ShiftedClock();
  const counters = makeCounters();
  const log = new FakeLog();
  const store = new FakeStore(clock);
  const lease = eternalLease('wired');
  const nothing = (): void => {};
  const retained = new EmbeddedRetainedStore({ clock });
  const bus = new EmbeddedBus(counters, { writable: nothing, disconnected: nothing, connected: nothing });
  const publisher = new Publisher(bus, counters, { retained });
  const willStore = new EmbeddedWillStore();
  const wills = new Wills({ store: willStore, lease, log, publisher, counters, clock, position: () => 0 });
  const sessions = new Sessions({
    log,
    store,
    retained,
    lease,
    wills,
    counters,
    clock,
    maximumWindow,
    logReplaced: nothing,
  });
  const writes = new WriteBatch();
  const connections = new Connections(clock);
  const limits = { ...loadConfig({ env: {} }).limits, ...configured };
  const admission = new NodeAdmission({ limits, clock, counters, log: makeLog('silent', 'wired') });
  const context = {
    ownInbox: '_INBOX',
    capabilities: allCapabilities,
    clock,
    counters,
    bus,
    sessions,
    connections,
    admission,
    intakeBudget: new IntakeBudget(8 * 1024 * 1024),
    writes,
    log: makeLog('silent', 'wired'),
    cluster: new EmbeddedCluster(),
    claimWaits: new ClaimWaits(),
    subscriptions: new Subscriptions(bus, new Delivery(counters, writes.flush)),
    authenticator,
    bindsClientIds: true,
    authorizer: noAuthorizer,
    denials: new Denials(counters.denied, clock, makeLog('silent', 'wired')),
    publisher,
    limits: {
      maximumPacketSize: 1024 * 1024,
      maximumConnectSize: 1024 * 1024,
      connectTimeoutSeconds: 10,
      maximumKeepAliveSeconds: 0,
      maximumSubscriptions: 100,
      maximumOutboundBytes: 1024 * 1024,
      topicAliasMaximum: 32,
      outboundTopicAliasMaximum: 32,
      maximumClientIdBytes: 1_024,
      maximumSessionExpirySeconds: 604_800,
      receiveMaximum,
      publishesPerSecond: limits.publishesPerSecond,
      publishBytesPerSecond: limits.publishBytesPerSecond,
      maximumTopicBytes: limits.maxTopicBytes,
      maximumTopicLevels: limits.maxTopicLevels,
      maximumWillBytes: limits.maxWillBytes,
    },
  };
  const arrivals = new Arrivals({ clock, maximum: 100, timeoutMilliseconds: 10_000, failed: nothing });
  const listener = await listenTcp({ host: '127.0.0.1', port: 0, backlog: 100, admission, arrivals }, (transport) => {
    const connection = new Connection(transport, context);
    connections.add(connection);
    transport.start(connection);
  });
  const stop = async (): Promise<void> => {
    await listener.close();
    await connections.closeAll(Reason.serverShuttingDown);
    arrivals.end();
    connections.stop();
    admission.stop();
    sessions.stop();
    await wills.stop();
  };
  return { tcp: listener.port, log, store, sessions, connections, counters, stop };
}
