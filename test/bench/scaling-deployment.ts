/** Edge nodes on one nats-server or on a cluster of three, and what all of them count: CPU time, messages, bytes. For scaling.ts. */
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { get, type IncomingMessage } from 'node:http';
import { text } from 'node:stream/consumers';
import { startNatsCluster } from '../support/nats-cluster.ts';
import { type NatsServerProcess, startNatsServer } from '../support/nats-server.ts';
import { EdgeProcess } from '../support/node.ts';
import { BROKER_CORE, OTHER_CORE } from './pinned-process.ts';
import { residentMegabytes } from './process-figures.ts';
import type { Counters } from './scaling-figures.ts';

export interface Deployment {
  /** host:port of each node. */
  readonly endpoints: readonly string[];
  counters(): Promise<Counters>;
  /** NATS subscriptions of all servers. */
  subscriptions(): Promise<number>;
  /** Mean resident memory of a node, in MB. */
  residentMegabytes(): number;
  stop(): Promise<void>;
}

/** The fields of `/varz` and `/jsz` that are read. `client` leaves out what came or went by routes. */
interface Varz {
  readonly in_msgs: number;
  readonly in_client_msgs: number;
  readonly in_client_bytes: number;
  readonly out_client_msgs: number;
  readonly out_client_bytes: number;
  readonly subscriptions: number;
}
interface Jsz {
  readonly messages: number;
  readonly bytes: number;
}

/** Nodes take the NATS servers in turn; a cluster of three keeps three replicas. Nodes on core 0, NATS on core 1. */
export async function startDeployment(natsServers: number, nodes: number): Promise<Deployment> {
  const servers = await startServers(natsServers);
  // Each node is ended with this process.
  process.setMaxListeners(process.getMaxListeners() + nodes);
  const edges: EdgeProcess[] = [];
  // One after the other: the first creates the streams.
  for (let n = 0; n < nodes; n++) edges.push(await startNode(servers, n));
  return {
    endpoints: edges.map(({ tcp }) => `127.0.0.1:${tcp}`),
    counters: () => count(servers, edges),
    subscriptions: async () => sum((await Promise.all(servers.map(varz))).map(({ subscriptions }) => subscriptions)),
    residentMegabytes: () => sum(edges.map(({ pid }) => residentMegabytes(pid))) / nodes,
    stop: async () => {
      await Promise.all(edges.map((edge) => edge.stop()));
      await Promise.all(servers.map((server) => server.stop()));
    },
  };
}

/** One, or a cluster. */
export async function startServers(natsServers: number): Promise<readonly NatsServerProcess[]> {
  const servers = natsServers === 1 ? [await startNatsServer()] : (await startNatsCluster(natsServers)).servers;
  for (const { pid } of servers) pin(pid, OTHER_CORE);
  return servers;
}

export async function startNode(servers: readonly NatsServerProcess[], index: number): Promise<EdgeProcess> {
  const edge = await EdgeProcess.start({
    SUPERMQ_NATS_SERVERS: servers[index % servers.length]?.url ?? '',
    SUPERMQ_NATS_REPLICAS: String(servers.length),
  });
  pin(edge.pid, BROKER_CORE);
  return edge;
}

/** All threads that there are; threads to come inherit it. */
function pin(pid: number, core: number): void {
  const { status, stderr } = spawnSync('taskset', ['-a', '-c', '-p', String(core), String(pid)], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`taskset: ${stderr}`);
}

/** Totals of these servers and nodes, all at the same time: what is asked later would have counted more. */
export async function count(servers: readonly NatsServerProcess[], edges: readonly EdgeProcess[]): Promise<Counters> {
  const edgeCpu = sum(edges.map(({ pid }) => cpuMicroseconds(pid)));
  const natsCpu = sum(servers.map(({ pid }) => cpuMicroseconds(pid)));
  const seconds = performance.now() / 1000;
  const [all, stored, texts] = await Promise.all([
    Promise.all(servers.map(varz)),
    Promise.all(servers.map((server) => ask<Jsz>(server, '/jsz'))),
    Promise.all(edges.map(({ http }) => textOf(`http://127.0.0.1:${http}/metrics`))),
  ]);
  return {
    seconds,
    edgeCpu,
    natsCpu,
    published: sum(texts.map((one) => metric(one, 'supermq_messages_received_total'))),
    delivered: sum(texts.map((one) => metric(one, 'supermq_messages_delivered_total'))),
    natsIn: sum(all.map((one) => one.in_client_msgs)),
    natsOut: sum(all.map((one) => one.out_client_msgs)),
    natsInBytes: sum(all.map((one) => one.in_client_bytes)),
    natsOutBytes: sum(all.map((one) => one.out_client_bytes)),
    routed: sum(all.map((one) => one.in_msgs - one.in_client_msgs)),
    storedBytes: sum(stored.map(({ bytes }) => bytes)),
  };
}

/** In microseconds, from the scheduler: hundredths of a second, as in process-figures.ts, are too coarse for eight idle nodes. */
function cpuMicroseconds(pid: number): number {
  const threads = readdirSync(`/proc/${pid}/task`);
  return (
    sum(threads.map((thread) => Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0]))) /
    1000
  );
}

function metric(metrics: string, name: string): number {
  return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(metrics)?.[1] ?? 0);
}

function varz(server: NatsServerProcess): Promise<Varz> {
  return ask<Varz>(server, '/varz');
}

async function ask<T>(server: NatsServerProcess, path: string): Promise<T> {
  return JSON.parse(await textOf(server.monitorUrl + path)) as T; // decoded border: nats-server's own JSON
}

/** On a connection of its own: one that was kept from the last time may be closed by the other side just now. */
async function textOf(url: string): Promise<string> {
  const request = get(url, { agent: false });
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  return text(response);
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
