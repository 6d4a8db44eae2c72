/**
 * The one place that knows all parts: builds them, joins them, and takes them down again. main.ts calls it with a
 * configuration; tests call it too, several times in one process.
 */
import { randomBytes } from 'node:crypto';
import type { Logger } from 'pino';
import type { Authorizer } from './access/authorizer.ts';
import { type AdminServer, type NodeViews, startNodeAdmin } from './admin/http.ts';
import { makeMetrics } from './admin/metrics.ts';
import { NodeAdmission } from './admission/admission.ts';
import type { Authenticator } from './auth/authenticator.ts';
import type { Backplane, BusEvents } from './broker/ports.ts';
import type { Publisher } from './broker/publish.ts';
import type { Subscriptions } from './broker/subscriptions.ts';
import type { CancelTimer, Clock } from './clock.ts';
import type { Config } from './config/config.ts';
import { AccessReview } from './connection/access-review.ts';
import { Connection } from './connection/connection.ts';
import { Connections } from './connection/connections.ts';
import type { NodeContext } from './connection/context.ts';
import { type Counters, makeCounters } from './counters.ts';
import { Reason } from './mqtt/reason.ts';
import { type NodeAccess, openAccess } from './node/access.ts';
import { type NodeAuthentication, openAuthentication } from './node/authentication.ts';
import { connectBackplane } from './node/backplane.ts';
import { makeContext } from './node/context.ts';
import { drainClients } from './node/drain.ts';
import { openListeners } from './node/listeners.ts';
import { makeNodeSessions } from './node/sessions.ts';
import type { Sessions } from './session/sessions.ts';
import type { Listener, Transport } from './transport/listener.ts';

export interface ServerOptions {
  readonly config: Config;
  readonly clock: Clock;
  readonly log: Logger;
  /** The node cannot go on; whoever runs it should end the process. */
  readonly failed: (cause: Error) => void;
  /** Gets what the node shows of itself before it starts. */
  readonly shown?: (views: NodeViews) => void;
}

export interface RunningServer {
  /** Bound ports by listener name (tcp, tls, ws, wss); http when it is on. */
  readonly ports: Readonly<Record<string, number>>;
  readonly counters: Counters;
  /**
   * Not ready → no new connections → DISCONNECT to everybody, 0x8B or, with `drain.serverReference`, 0x9C or 0x9D → NATS and HTTP closed.
   * A second call waits for the first.
   */
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
  readonly #connections: Connections;
  readonly #admission: NodeAdmission;
  readonly #listeners: Listener[] = [];
  readonly #incarnation = randomBytes(9).toString('base64url');
  #subscriptions: Subscriptions | undefined;
  #sessions: Sessions | undefined;
  #backplane: Backplane | undefined;
  #admin: AdminServer | undefined;
  #authentication: NodeAuthentication | undefined;
  #access: NodeAccess | undefined;
  readonly #accessReview: AccessReview;
  #stopped: Promise<void> | undefined;
  #cancelLease: CancelTimer | undefined;
  #stopHandover: CancelTimer | undefined;
  #endArrivals: () => void = () => {};
  #isServing = false;
  /** False: what a listener still had to hand over when it closed is let go. */
  #acceptsConnections = true;

  constructor(options: ServerOptions) {
    this.#options = options;
    this.#connections = new Connections(options.clock);
    const { clock, config, log } = options;
    this.#admission = new NodeAdmission({ limits: config.limits, counters: this.counters, clock, log });
    this.#accessReview = new AccessReview(this.#connections);
  }

  async start(signal: AbortSignal): Promise<void> {
    const { clock, config, log } = this.#options;
    this.#authentication = openAuthentication({ config, clock, log, counters: this.counters });
    const { authenticator } = this.#authentication;
    this.#access = openAccess({ acl: config.acl, clock, log, changed: () => this.#accessReview.begin() });
    const { authorizer } = this.#access;
    await this.#startAdmin();
    const backplane = await this.#connectBackplane(signal);
    this.#backplane = backplane;
    this.#endArrivals = await this.#listen(this.#makeContext(backplane, authenticator, authorizer));
    this.#isServing = true;
    log.info({ event: 'node.ready', ports: this.ports }, 'Serving');
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
    await drainClients(
      {
        drain: config.drain,
        clock,
        log,
        connections: this.#connections,
        backplane: this.#backplane,
        closing: () => {
          this.#acceptsConnections = false;
        },
      },
      deadline - clock.now(),
    );
    this.#endArrivals();
    this.#connections.stop();
    this.#admission.stop();
    this.#authentication?.close();
    this.#access?.close();
    this.#accessReview.stop();
    this.#stopHandover?.();
    this.#sessions?.stop();
    await this.#sessions?.wills.stop();
    await this.#backplane?.close();
    await this.#admin?.close();
    log.info({ event: 'node.stopped' }, 'Stopped');
  }

  async #startAdmin(): Promise<void> {
    const { config, shown } = this.#options;
    if (config.http.port === 0 && shown === undefined) return;
    const views = { readiness: () => this.#whyNotReady(), metrics: this.#makeMetrics() };
    shown?.(views);
    if (config.http.port === 0) return;
    this.#admin = await startNodeAdmin(config.http, views);
    this.ports['http'] = this.#admin.port;
  }

  #makeMetrics(): NodeViews['metrics'] {
    return makeMetrics(this.counters, {
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
      isShedding: () => this.#admission.shortage !== undefined,
      isBusConnected: () => this.#backplane?.bus.isConnected ?? false,
    });
  }

  #whyNotReady(): string | undefined {
    if (this.#stopped !== undefined) return 'stopping';
    if (this.#backplane === undefined) return 'waiting for NATS';
    if (!this.#backplane.bus.isConnected) return 'not connected to NATS';
    if (this.#sessions?.mayServe(this.#options.clock.now()) === false) return 'without a lease';
    return this.#isServing ? undefined : 'starting';
  }

  #connectBackplane(signal: AbortSignal): Promise<Backplane> {
    const { clock, config, failed, log } = this.#options;
    const options = {
      config,
      clock,
      log,
      counters: this.counters,
      incarnation: this.#incarnation,
      events: this.#busEvents(),
      logEvents: { gap: () => this.#sessions?.feeds.gap() },
      leaseLost: () => this.#leaseLost(),
      failed,
    };
    return connectBackplane(options, signal);
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
    const { clock, config, log } = this.#options;
    const made = makeNodeSessions({
      backplane,
      publisher,
      counters: this.counters,
      clock,
      log,
      maximumWindow: config.limits.maxInFlightPerClient,
      logReplaced: () => this.#logReplaced(),
    });
    this.#stopHandover = made?.stopHandover;
    return made?.sessions;
  }

  #makeContext(backplane: Backplane, authenticator: Authenticator, authorizer: Authorizer): NodeContext {
    const { clock, config, log } = this.#options;
    const context = makeContext({
      config,
      clock,
      log,
      counters: this.counters,
      backplane,
      connections: this.#connections,
      admission: this.#admission,
      authenticator,
      authorizer,
      makeSessions: (publisher) => this.#makeSessions(backplane, publisher),
    });
    this.#subscriptions = context.subscriptions;
    this.#sessions = context.sessions;
    return context;
  }

  /** Returns what ends arrivals. */
  #listen(context: NodeContext): Promise<() => void> {
    const { clock, config, log } = this.#options;
    return openListeners({
      config,
      clock,
      log,
      counters: this.counters,
      accept: (transport) => this.#accept(transport, context),
      admission: this.#admission,
      opened: (listener) => {
        this.#listeners.push(listener);
        if (listener.port !== 0) this.ports[listener.name] = listener.port;
      },
    });
  }

  #accept(transport: Transport, context: NodeContext): void {
    if (!this.#acceptsConnections) return transport.destroy();
    this.counters.connectionsAccepted++;
    const connection = new Connection(transport, context);
    this.#connections.add(connection);
    transport.start(connection);
  }
}
