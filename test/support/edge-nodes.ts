/** Several nodes on one nats-server of their own, for cluster tests: processes that can be killed and have another one take their place. */
import assert from 'node:assert/strict';
import { type NatsServerProcess, startNatsServer } from './nats-server.ts';
import { EdgeProcess } from './node.ts';

/** A node on these NATS servers. */
export function startEdge(servers: string, env: Record<string, string> = {}): Promise<EdgeProcess> {
  return EdgeProcess.start({ SUPERMQ_NATS_SERVERS: servers, ...env });
}

export class EdgeNodes {
  readonly nats: NatsServerProcess;
  readonly edges: EdgeProcess[];
  readonly #env: Record<string, string>;

  private constructor(nats: NatsServerProcess, edges: EdgeProcess[], env: Record<string, string>) {
    this.nats = nats;
    this.edges = edges;
    this.#env = env;
  }

  static async start(count: number, env: Record<string, string> = {}): Promise<EdgeNodes> {
    const nats = await startNatsServer();
    const edges = await Promise.all(Array.from({ length: count }, () => startEdge(nats.url, env)));
    return new EdgeNodes(nats, edges, env);
  }

  async stop(): Promise<void> {
    await Promise.all(this.edges.map((edge) => edge.stop()));
    await this.nats.stop();
  }

  get ports(): number[] {
    return this.edges.map(({ tcp }) => tcp);
  }

  portOf(index: number): number {
    return this.edge(index).tcp;
  }

  edge(index: number): EdgeProcess {
    const edge = this.edges[index];
    assert.ok(edge !== undefined, `no node ${index}`);
    return edge;
  }

  /** Starts a node in the place of one that was killed. */
  async renew(index: number): Promise<void> {
    this.edges[index] = await startEdge(this.nats.url, this.#env);
  }
}
