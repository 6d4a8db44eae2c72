/** Nodes for tests of groups: a nats-server, edge processes with short leases, members that acknowledge when a test says so. */
import { type ConsumerInfo, connect as connectNats, type JetStreamManager, type NatsConnection } from 'nats';
import { type NatsServerProcess, startNatsServer } from './nats-server.ts';
import { EdgeProcess } from './node.ts';
import { poll } from './poll.ts';
import { publishNumbers, SessionClient, type SessionConnect } from './session-client.ts';

const LEASE_SECONDS = 5;
export const LOG_STREAM = 'SMQ_LOG';
/** How long a message stays with a node that says nothing. */
export const ACK_WAIT_MILLISECONDS = 2 * LEASE_SECONDS * 1000;
export const RETENTION_SECONDS = 15;

export class GroupNodes {
  readonly nats: NatsServerProcess;
  readonly edges: readonly EdgeProcess[];
  /** A NATS application. */
  readonly application: NatsConnection;
  readonly manager: JetStreamManager;
  #serial = 0;

  private constructor(
    nats: NatsServerProcess,
    edges: readonly EdgeProcess[],
    application: NatsConnection,
    manager: JetStreamManager,
  ) {
    this.nats = nats;
    this.edges = edges;
    this.application = application;
    this.manager = manager;
  }

  /** Two nodes. */
  static async start(): Promise<GroupNodes> {
    const nats = await startNatsServer();
    const env = {
      SUPERMQ_NATS_SERVERS: nats.url,
      SUPERMQ_LEASE_SECONDS: String(LEASE_SECONDS),
      SUPERMQ_GROUPS_RETENTION_SECONDS: String(RETENTION_SECONDS),
    };
    const edges = await Promise.all([0, 1].map(() => EdgeProcess.start(env)));
    const application = await connectNats({ servers: nats.url, maxReconnectAttempts: -1, reconnectTimeWait: 100 });
    return new GroupNodes(nats, edges, application, await application.jetstreamManager());
  }

  async stop(): Promise<void> {
    await this.application.close();
    await Promise.all(this.edges.map((edge) => edge.stop()));
    await this.nats.stop();
  }

  portOf(index: number): number {
    return this.edges[index]?.tcp ?? 0;
  }

  connect(index: number, fields: SessionConnect = {}): Promise<SessionClient> {
    return SessionClient.connect(this.portOf(index), `client-${++this.#serial}`, fields);
  }

  /** A member that acknowledges nothing by itself. */
  async join(index: number, filter: string, qos: 1 | 2, fields: SessionConnect = {}): Promise<SessionClient> {
    const member = await this.connect(index, fields);
    member.acknowledges = () => false;
    await member.subscribe(filter, qos);
    return member;
  }

  /** Publishes the numbers `from` … `to - 1` through a node. */
  async publish(topic: string, numbers: { from?: number; to: number; qos?: 1 | 2; node?: number }): Promise<void> {
    const { node = 0, ...rest } = numbers;
    const publisher = await this.connect(node, { expiry: 0 });
    await publishNumbers(publisher, { topic, ...rest });
    await publisher.leave();
  }

  /** The consumer of a group, as NATS tools find it: by its description. */
  async consumerOf(description: string): Promise<ConsumerInfo | undefined> {
    for await (const info of this.manager.consumers.list(LOG_STREAM))
      if (info.config.description === description) return info;
    return undefined;
  }
}

/** Waits for what only time brings: the end of an ack wait or of a retention. */
export function elapsed(milliseconds: number): Promise<void> {
  const start = performance.now();
  const check = async (): Promise<boolean> => performance.now() - start > milliseconds;
  return poll(check, { what: 'time', timeoutMs: milliseconds + 5_000 });
}
