/**
 * The one place that knows all parts: builds them, joins them, and takes them down again. main.ts calls it with a
 * configuration; tests call it too, several times in one process.
 */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Logger } from 'pino';
import { type AdminServer, startAdmin } from './admin/http.ts';
import { makeMetrics } from './admin/metrics.ts';
import { Delivery } from './broker/deliver.ts';
import type { BusEvents, LogEvents, MessageLog, NodeLease, WillStore } from './broker/ports.ts';
import { Publisher } from './broker/publish.ts';
import { Subscriptions } from './broker/subscriptions.ts';
import type { CancelTimer, Clock } from './clock.ts';
import type { Config } from './config/config.ts';
import { Connection } from './connection/connection.ts';
import { Connections } from './connection/connections.ts';
import type { NodeContext } from './connection/context.ts';
import { WriteBatch } from './connection/write-batch.ts';
import { type Counters, makeCounters } from './counters.ts';
import { EmbeddedBus } from './embedded/bus.ts';
import { EmbeddedCluster } from './embedded/cluster.ts';
import { EmbeddedGroupLog } from './embedded/group-log.ts';
import { EmbeddedLog } from './embedded/log.ts';
import { EmbeddedRetainedStore } from './embedded/retained-store.ts';
import { EmbeddedSessionStore } from './embedded/session-store.ts';
import { EmbeddedWillStore } from './embedded/will-store.ts';
import { Reason } from './mqtt/reason.ts';
import { type Backplane, connectNatsBackplane } from './nats/backplane.ts';
import { Sessions } from './session/sessions.ts';
import { handOverWills } from './session/will-handover.ts';
import { Wills } from './session/wills.ts';
import type { Listener, Transport } from './transport/listener.ts';
import { listenTcp } from './transport/tcp.ts';
import { listenWebSocket } from './transport/ws.ts';

/** WebSocket frames may carry several packets, up to this much beside the largest one. */
const FRAME_ALLOWANCE_BYTES = 64 * 1024;
/** A message of a group goes from a silent node to another member when the node can no longer serve for sure. */
const LEASES_PER_GROUP_ACK_WAIT = 2;

export interface ServerOptions {
  readonly config: Config;
  readonly clock: Clock;
  readonly log: Logger;
  /** The node cannot go on; whoever runs it should end the process. */
  readonly failed: (cause: Error) => void;
}

export interface RunningServer {
  /** Bound ports by listener name (tcp, tls, ws, wss); http when it is on. */
  readonly ports: Readonly<Record<string, number>>;
  readonly counters: Counters;
  /** Not ready → no new connections → DISCONNECT 0x8B to everybody → NATS and HTTP closed. A second call waits for the first. */
  stop(): Promise<void>;
}

/**
 * Starts a node and resolves once it serves; waits for NATS as long as `signal` allows.
 * @throws ServerTooOldError, errors of ports that cannot be bound and of files that cannot be read
 */
export async function startServer(
  options: ServerOptions,
  signal: AbortSignal = new AbortController().signal,
): Promise<RunningServer> {
  const node = new Node(options);
  try {
    await node.start(signal);
  } catch (error) {
    await node.stop();
    throw error;
  }
  return node;
}

class Node implements RunningServer {
  readonly ports: Record<string, number> = {};
  readonly counters = makeCounters();
  readonly #options: ServerOptions;
  readonly #writes = new WriteBatch();
  readonly #connections: Connections;
  readonly #listeners: Listener[] = [];
  readonly #incarnation = randomBytes(9).toString('base64url');
  #subscriptions: Subscriptions | undefined;
  #sessions: Sessions | undefined;
  #backplane: Backplane | undefined;
  #admin: AdminServer | undefined;
  #stopped: Promise<void> | undefined;
  #cancelLease: CancelTimer | undefined;
  #stopHandover: CancelTimer | undefined;
  #isServing = false;

  constructor(options: ServerOptions) {
    this.#options = options;
    this.#connections = new Connections(options.clock);
  }

  async start(signal: AbortSignal): Promise<void> {
    await this.#startAdmin();
    const backplane = await this.#connectBackplane(signal);
    this.#backplane = backplane;
    await this.#listen(this.#makeContext(backplane));
    this.#isServing = true;
    this.#options.log.info({ event: 'node.ready', ports: this.ports }, 'Serving');
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#takeDown();
    return this.#stopped;
  }

  async #takeDown(): Promise<void> {
    const { clock, config, log } = this.#options;
    this.#isServing = false;
    this.#cancelLease?.();
    const deadline = clock.now() + config.drainSeconds * 1000;
    await Promise.all(this.#listeners.map((listener) => listener.close()));
    await this.#drain(deadline - clock.now());
    this.#connections.stop();
    this.#stopHandover?.();
    this.#sessions?.stop();
    await this.#sessions?.wills.stop();
    await this.#backplane?.close();
    await this.#admin?.close();
    log.info({ event: 'node.stopped' }, 'Stopped');
  }

  /** Clients are told, sessions written, messages under way settled; what NATS does not answer in time is left as it is. */
  async #drain(milliseconds: number): Promise<void> {
    const { clock, log } = this.#options;
    const drained = this.#connections
      .closeAll(Reason.serverShuttingDown)
      .then(() => this.#backplane?.log?.settleAll(milliseconds))
      .then(() => true);
    const late = new Promise<boolean>((resolve) => clock.after(milliseconds, () => resolve(false)));
    // The clock's timers keep no process alive; this one has to.
    const alive = setInterval(() => {}, milliseconds);
    if (!(await Promise.race([drained, late])))
      log.warn({ event: 'node.drainCut' }, 'Stopping without an answer of NATS for every session and message');
    clearInterval(alive);
  }

  async #startAdmin(): Promise<void> {
    const { host, port } = this.#options.config.http;
    if (port === 0) return;
    const metrics = makeMetrics(this.counters, {
      connectedClients: () => this.#connections.connectedCount,
      openConnections: () => this.#connections.size,
      subscriptions: () => this.#subscriptions?.count ?? 0,
      interests: () => this.#subscriptions?.interestCount ?? 0,
      groupMembers: () => this.#subscriptions?.groupMemberCount ?? 0,
      groups: () => this.#backplane?.groups?.count ?? 0,
      groupLags: async () => (await this.#backplane?.groups?.lags()) ?? [],
      sessions: () => this.#sessions?.count ?? 0,
      feeds: () => this.#sessions?.feeds.count ?? 0,
      willsWaiting: () => this.#sessions?.wills.waiting ?? 0,
      isBusConnected: () => this.#backplane?.bus.isConnected ?? false,
    });
    this.#admin = await startAdmin({ host, port, metrics, readiness: () => this.#whyNotReady() });
    this.ports['http'] = this.#admin.port;
  }

  #whyNotReady(): string | undefined {
    if (this.#stopped !== undefined) return 'stopping';
    if (this.#backplane === undefined) return 'waiting for NATS';
    if (!this.#backplane.bus.isConnected) return 'not connected to NATS';
    if (this.#sessions?.mayServe(this.#options.clock.now()) === false) return 'without a lease';
    return this.#isServing ? undefined : 'starting';
  }

  async #connectBackplane(signal: AbortSignal): Promise<Backplane> {
    const { clock, config, failed, log } = this.#options;
    const events = this.#busEvents();
    if (config.nats.servers.length === 0) {
      log.warn(
        { event: 'node.embedded' },
        'No NATS servers are configured: this node is alone and keeps everything in memory',
      );
      return this.#embeddedBackplane();
    }
    const { jetstream, log: stored, maxInFlightBytes, replicas, storage, topicPrefix, ...settings } = config.nats;
    return connectNatsBackplane({
      settings,
      topicPrefix,
      maximumInFlightBytes: maxInFlightBytes,
      jetstream: jetstream === 'on',
      replicas,
      storage,
      logMaxAgeSeconds: stored.maxAgeSeconds,
      logMaxBytes: stored.maxBytes,
      logDiscard: stored.discard,
      duplicateWindowSeconds: stored.duplicateWindowSeconds,
      nodeId: config.node.id,
      incarnation: this.#incarnation,
      counters: this.counters,
      clock,
      log,
      events,
      logEvents: this.#logEvents(),
      groupAckWaitSeconds: config.leaseSeconds * LEASES_PER_GROUP_ACK_WAIT,
      groupRetentionSeconds: config.groups.retentionSeconds,
      maximumGroups: config.limits.maxGroups,
      leaseSeconds: config.leaseSeconds,
      leaseLost: () => this.#leaseLost(),
      failed,
      signal,
    });
  }

  #embeddedBackplane(): Backplane {
    const { clock, config } = this.#options;
    const bus = new EmbeddedBus(this.counters, this.#busEvents(), config.limits.maxPacketBytes);
    const cluster = new EmbeddedCluster();
    const close = async (): Promise<void> => void (await Promise.all([bus.close(), cluster.close()]));
    if (config.nats.jetstream === 'off') return { bus, cluster, close };
    const { maxAgeSeconds: maximumAgeSeconds } = config.nats.log;
    const log = new EmbeddedLog({ maximumAgeSeconds, clock });
    const sessions = new EmbeddedSessionStore({ clock });
    const retained = new EmbeddedRetainedStore({ clock });
    const wills = new EmbeddedWillStore();
    const { retentionSeconds } = config.groups;
    const groups = new EmbeddedGroupLog({ log, clock, retentionSeconds, maximumGroups: config.limits.maxGroups });
    const lease = eternalLease(this.#incarnation);
    const closeAll = async (): Promise<void> => {
      retained.close();
      await Promise.all([close(), groups.close(), log.close()]);
    };
    return { bus, cluster, log, sessions, retained, wills, groups, lease, close: closeAll };
  }

  #logEvents(): LogEvents {
    return { gap: () => this.#sessions?.feeds.gap() };
  }

  /** What a lost backplane means: publishers read on (and lose QoS 0), after the lease time clients are sent elsewhere. */
  #busEvents(): BusEvents {
    const { clock, config, log } = this.#options;
    return {
      writable: () => this.#connections.resumeAll(),
      disconnected: () => {
        this.#connections.resumeAll();
        this.#cancelLease = clock.after(config.leaseSeconds * 1000, () => {
          log.warn(
            { event: 'node.leaseEnded', clients: this.#connections.connectedCount },
            'NATS is away for longer than the lease: closing all clients',
          );
          void this.#connections.closeAll(Reason.serverBusy);
        });
      },
      connected: () => {
        this.#cancelLease?.();
        this.#sessions?.reconnected();
      },
    };
  }

  /** Other nodes may have the sessions by now: clients are closed, and find a node that works. */
  #leaseLost(): void {
    this.counters.leasesLost++;
    this.#sessions?.wills.leaseLost();
    void this.#connections.closeAll(Reason.serverBusy);
  }

  /** Clients come back, and their sessions begin where the new log does. */
  #logReplaced(): void {
    this.#options.log.error({ event: 'log.replaced' }, 'The log was made anew or set back: closing all clients');
    void this.#connections.closeAll(Reason.serverBusy);
  }

  #makeSessions(backplane: Backplane, publisher: Publisher): Sessions | undefined {
    const { groups, lease, log, retained, sessions: store, wills: willStore } = backplane;
    if (lease === undefined || log === undefined || store === undefined) return undefined;
    if (retained === undefined || willStore === undefined) return undefined;
    const { clock, config } = this.#options;
    const { counters } = this;
    const position = (): number => sessions.feeds.position;
    const wills = new Wills({ store: willStore, lease, log, publisher, counters, clock, position });
    const sessions = new Sessions({
      log,
      store,
      retained,
      groups,
      lease,
      wills,
      counters,
      clock,
      logReplaced: () => this.#logReplaced(),
      maximumWindow: config.limits.maxInFlightPerClient,
    });
    this.#stopHandover = this.#handOverWills({ store: willStore, lease, log }, sessions);
    return sessions;
  }

  #handOverWills(
    { lease, log, store }: { lease: NodeLease; log: MessageLog; store: WillStore },
    sessions: Sessions,
  ): CancelTimer {
    const { clock, log: logger } = this.#options;
    return handOverWills({
      wills: sessions.wills,
      store,
      lease,
      clock,
      now: () => log.now(),
      died: (owner) => {
        logger.info({ event: 'node.foundDead', owner }, 'A node with wills holds no lease any more');
        sessions.nodeDied();
      },
      takenOver: (owner, count, seconds) =>
        logger.info({ event: 'wills.takenOver', owner, count, seconds }, 'Wills of a dead node are published'),
      failed: (err) => logger.debug({ event: 'wills.lookFailed', err }, 'Wills of dead nodes: no answer, trying again'),
    });
  }

  #makeContext(backplane: Backplane): NodeContext {
    const { bus, cluster } = backplane;
    const { clock, config, log } = this.#options;
    const { limits } = config;
    const delivery = new Delivery(this.counters, this.#writes.flush);
    const subscriptions = new Subscriptions(bus, delivery, backplane.groups !== undefined);
    this.#subscriptions = subscriptions;
    const publisher = new Publisher(bus, this.counters, backplane.retained);
    const sessions = this.#makeSessions(backplane, publisher);
    this.#sessions = sessions;
    return {
      clock,
      log,
      bus,
      cluster,
      sessions,
      subscriptions,
      counters: this.counters,
      connections: this.#connections,
      writes: this.#writes,
      publisher,
      limits: {
        maximumPacketSize: limits.maxPacketBytes,
        connectTimeoutSeconds: limits.connectTimeoutSeconds,
        maximumKeepAliveSeconds: limits.maxKeepAliveSeconds,
        maximumSubscriptions: limits.maxSubscriptionsPerClient,
        maximumOutboundBytes: limits.maxOutboundBytesPerClient,
        topicAliasMaximum: limits.topicAliasMaximum,
        outboundTopicAliasMaximum: limits.outboundTopicAliasMaximum,
        maximumClientIdBytes: limits.maxClientIdBytes,
        maximumSessionExpirySeconds: limits.maxSessionExpirySeconds,
        receiveMaximum: limits.receiveMaximum,
      },
    };
  }

  async #listen(context: NodeContext): Promise<void> {
    const { limits, mqtt } = this.#options.config;
    const accept = (transport: Transport): void => this.#accept(transport, context);
    const base = {
      host: mqtt.tcp.host,
      backlog: limits.backlog,
      acceptsMore: () => this.#acceptsMore(limits.maxConnections),
    };
    const frames = { path: mqtt.ws.path, maximumFrameBytes: limits.maxPacketBytes + FRAME_ALLOWANCE_BYTES };
    const tls = mqtt.tls.port !== 0 || mqtt.wss.port !== 0 ? readTls(this.#options.config.tls) : undefined;
    const bind = async (starting: Promise<Listener>): Promise<void> => {
      const listener = await starting;
      this.#listeners.push(listener);
      this.ports[listener.name] = listener.port;
    };
    if (mqtt.tcp.port !== 0) await bind(listenTcp({ ...base, port: mqtt.tcp.port }, accept));
    if (mqtt.ws.port !== 0) await bind(listenWebSocket({ ...base, ...frames, port: mqtt.ws.port }, accept));
    if (tls === undefined) return;
    if (mqtt.tls.port !== 0) await bind(listenTcp({ ...base, port: mqtt.tls.port, tls }, accept));
    if (mqtt.wss.port !== 0) await bind(listenWebSocket({ ...base, ...frames, port: mqtt.wss.port, tls }, accept));
  }

  #acceptsMore(maximum: number): boolean {
    if (this.#connections.size < maximum) return true;
    this.counters.connectionsRefused++;
    return false;
  }

  #accept(transport: Transport, context: NodeContext): void {
    this.counters.connectionsAccepted++;
    const connection = new Connection(transport, context);
    this.#connections.add(connection);
    transport.start(connection);
  }
}

/** Of a node that is alone: nobody judges it. */
function eternalLease(incarnation: string): NodeLease {
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

function readTls(files: Config['tls']): { cert: string; key: string; ca?: string } {
  const cert = readFileSync(files.cert, 'utf8');
  const key = readFileSync(files.key, 'utf8');
  return files.ca === '' ? { cert, key } : { cert, key, ca: readFileSync(files.ca, 'utf8') };
}
