/** A cluster of edge nodes that grows and shrinks while its first nodes go on; each node has clients of its own, with subscriptions that nobody publishes to. */
import type { NatsServerProcess } from '../support/nats-server.ts';
import type { EdgeProcess } from '../support/node.ts';
import { poll } from '../support/poll.ts';
import { OTHER_CORE, PinnedProcess } from './pinned-process.ts';
import { count, startNode, startServers } from './scaling-deployment.ts';
import type { Counters } from './scaling-figures.ts';

/** Of each node, one filter each, with QoS 1: known to NATS by two subscriptions for each and one for its client id. */
export const CLIENTS_EACH = 250;
/** Longer than any run: they stay until they are ended. */
const HELD_SECONDS = '3600';
const MOST_NODES = 8;
const CONNECTED_MILLISECONDS = 20_000;

interface Member {
  readonly edge: EdgeProcess;
  readonly clients: PinnedProcess;
}

export class FurtherNodesCluster {
  readonly #servers: readonly NatsServerProcess[];
  readonly #generator: string;
  readonly #members: Member[] = [];

  private constructor(servers: readonly NatsServerProcess[], generator: string) {
    this.#servers = servers;
    this.#generator = generator;
    // Each node is ended with this process.
    process.setMaxListeners(process.getMaxListeners() + MOST_NODES);
  }

  static async start(natsServers: number, generator: string): Promise<FurtherNodesCluster> {
    return new FurtherNodesCluster(await startServers(natsServers), generator);
  }

  /** Starts or ends nodes until there are so many; those that came last go first. */
  async resize(nodes: number): Promise<void> {
    // One after the other: the first creates the streams.
    while (this.#members.length < nodes) await this.#add();
    for (const member of this.#members.splice(nodes)) await end(member);
  }

  /** host:port of the node. */
  endpoint(index: number): string {
    return `127.0.0.1:${this.#members[index]?.edge.tcp}`;
  }

  /** Totals of the first `active` nodes, and of all NATS servers. */
  counters(active: number): Promise<Counters> {
    return count(
      this.#servers,
      this.#members.slice(0, active).map(({ edge }) => edge),
    );
  }

  async stop(): Promise<void> {
    await this.resize(0);
    await Promise.all(this.#servers.map((server) => server.stop()));
  }

  async #add(): Promise<void> {
    const index = this.#members.length;
    const edge = await startNode(this.#servers, index);
    const own = ['--topic', `own${index}`, '--prefix', `own${index}-`, '-h', `127.0.0.1:${edge.tcp}`];
    const held = ['-q', '1', '--subscribe', '--hold', HELD_SECONDS, '--max-secs', HELD_SECONDS];
    const args = ['conns', '-n', String(CLIENTS_EACH), ...own, ...held];
    this.#members.push({ edge, clients: new PinnedProcess(OTHER_CORE, this.#generator, args) });
    await poll(async () => (await edge.metric('supermq_subscriptions')) === CLIENTS_EACH, {
      what: `the clients of node ${index}`,
      timeoutMs: CONNECTED_MILLISECONDS,
    });
  }
}

async function end({ edge, clients }: Member): Promise<void> {
  await clients.kill();
  await edge.stop();
}
