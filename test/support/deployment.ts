/**
 * What the conformance tests run against: each of their files runs once for every deployment below, which the runner names in the
 * environment. A test that needs what only one of them has says so with {@link testEmbedded}.
 */
import { type TestContext, test } from 'node:test';
import { type Clock, systemClock } from '../../src/clock.ts';
import type { Counters } from '../../src/counters.ts';
import { type Balancer, startBalancer } from './balancer.ts';
import { startNatsServer } from './nats-server.ts';
import { startNode, type TestNode } from './node.ts';

/** embedded: one node, no NATS; nats: one node and a nats-server; three-nodes: each connection lands on another of three nodes. */
export type DeploymentKind = 'embedded' | 'nats' | 'three-nodes';

export const deploymentKinds: readonly DeploymentKind[] = ['embedded', 'nats', 'three-nodes'];

/** The variable that names the deployment to the process of a test file. */
export const DEPLOYMENT_VARIABLE = 'SUPERMQ_TEST_DEPLOYMENT';

export const deployment: DeploymentKind =
  deploymentKinds.find((kind) => kind === process.env[DEPLOYMENT_VARIABLE]) ?? 'embedded';

/** A test that drives the clock, or holds parts in its hand that only the embedded backplane has. */
export function testEmbedded(title: string, run: (t: TestContext) => Promise<void> | void): void {
  if (deployment === 'embedded') test(title, run);
}

/** A test of what a node does by itself: a limit of its own, for example. */
export function testOneNode(title: string, run: (t: TestContext) => Promise<void> | void): void {
  if (deployment !== 'three-nodes') test(title, run);
}

/** A test of what only different nodes can show. */
export function testThreeNodes(title: string, run: (t: TestContext) => Promise<void> | void): void {
  if (deployment === 'three-nodes') test(title, run);
}

export interface Deployment extends TestNode {
  /** The sum of a metric over all nodes; labels as written in `name`. A node that does not have it counts as 0. */
  metric(name: string): Promise<number>;
}

/** Starts the deployment of this run; `env` configures every node. `clock` may be put forward in embedded only. */
export async function startDeployment(
  env: Record<string, string> = {},
  clock: Clock = systemClock,
): Promise<Deployment> {
  if (deployment === 'embedded') {
    const node = await startNode(env, clock);
    return { ...node, metric: (name) => sumOfMetric(name, [node]) };
  }
  const nats = await startNatsServer();
  const count = deployment === 'nats' ? 1 : 3;
  const start = (): Promise<TestNode> => startNode({ ...env, SUPERMQ_NATS_SERVERS: nats.url }, clock);
  const nodes = await Promise.all(Array.from({ length: count }, start));
  const [first] = nodes;
  if (first === undefined) throw new Error('a deployment has nodes');
  const balancers = nodes.length === 1 ? undefined : await balance(nodes);
  const stop = async (): Promise<void> => {
    await Promise.all(nodes.map((node) => node.stop()));
    await Promise.all(balancers === undefined ? [] : [balancers.tcp.stop(), balancers.ws.stop()]);
    await nats.stop();
  };
  return {
    ports: first.ports,
    counters: nodes.length === 1 ? first.counters : summed(nodes.map(({ counters }) => counters)),
    tcp: balancers?.tcp.port ?? first.tcp,
    ws: balancers?.ws.port ?? first.ws,
    http: first.http,
    metric: (name) => sumOfMetric(name, nodes),
    stop,
  };
}

async function sumOfMetric(name: string, nodes: readonly TestNode[]): Promise<number> {
  let sum = 0;
  for (const { http } of nodes) {
    const text = await (await fetch(`http://127.0.0.1:${http}/metrics`)).text();
    const line = text.split('\n').find((candidate) => candidate.startsWith(`${name} `));
    sum += Number(line?.slice(name.length + 1) ?? 0);
  }
  return sum;
}

async function balance(nodes: readonly TestNode[]): Promise<{ tcp: Balancer; ws: Balancer }> {
  return {
    tcp: await startBalancer(nodes.map(({ tcp }) => tcp)),
    ws: await startBalancer(nodes.map(({ ws }) => ws)),
  };
}

/** A view on the counters of all nodes that shows their sums. */
function summed(counters: readonly Counters[]): Counters {
  return sumOf(counters) as Counters; // each leaf of Counters is a number
}

function sumOf(trees: readonly object[]): object {
  return new Proxy(trees[0] ?? {}, {
    get(_, key) {
      const values: unknown[] = trees.map((tree) => Reflect.get(tree, key));
      if (typeof values[0] === 'object') return sumOf(values as object[]); // alike in all nodes
      return values.reduce((sum: number, value) => sum + Number(value), 0);
    },
  });
}
