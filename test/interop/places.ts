/** The deployments that the scenarios run in; `entrance` is what clients of one scenario connect to. */
import { type Balancer, startBalancer } from '../support/balancer.ts';
import { startNatsServer } from '../support/nats-server.ts';
import { EdgeProcess, startNode } from '../support/node.ts';
import type { Transport } from './clients/client.ts';

export interface Entrance {
  readonly ports: Readonly<Record<Transport, number>>;
  close(): Promise<void>;
}

export interface Place {
  entrance(): Promise<Entrance>;
  stop(): Promise<void>;
}

export async function embedded(): Promise<Place> {
  const node = await startNode();
  return { entrance: async () => open(node), stop: () => node.stop() };
}

export function oneNode(): Promise<Place> {
  return nodes(1);
}

export function threeNodes(): Promise<Place> {
  return nodes(3);
}

/** Processes that share a NATS server. */
async function nodes(count: number): Promise<Place> {
  const nats = await startNatsServer();
  const env = { SUPERMQ_NATS_SERVERS: nats.url };
  const edges = await Promise.all(Array.from({ length: count }, () => EdgeProcess.start(env)));
  const [first] = edges;
  if (first === undefined) throw new Error('no node');
  let entrances = 0;
  return {
    entrance: async () => (count === 1 ? open(first) : balanced(edges, entrances++)),
    stop: async () => {
      await Promise.all(edges.map((edge) => edge.stop()));
      await nats.stop();
    },
  };
}

function open({ tcp, ws }: { readonly tcp: number; readonly ws: number }): Entrance {
  return { ports: { tcp, ws }, close: async () => {} };
}

/** Balancers of its own for each scenario: the connections of others do not come between, so that its next one is on the next node. */
async function balanced(edges: readonly EdgeProcess[], first: number): Promise<Entrance> {
  const inTurn = edges.map((_, index) => edges[(first + index) % edges.length] ?? edges[0]);
  const both: Balancer[] = [];
  for (const transport of ['tcp', 'ws'] as const)
    both.push(await startBalancer(inTurn.map((edge) => edge?.[transport] ?? 0)));
  const [tcp = 0, ws = 0] = both.map((balancer) => balancer.port);
  return {
    ports: { tcp, ws },
    close: async () => {
      await Promise.all(both.map((balancer) => balancer.stop()));
    },
  };
}
