/**
 * A cluster of real nats-servers for tests, on loopback: routes formed and, with JetStream, a meta leader elected before a
 * test sees it.
 */
import { type NatsServerProcess, startNatsServer } from './nats-server.ts';
import { poll } from './poll.ts';
import { freePort } from './ports.ts';

const FORMED_MILLISECONDS = 60_000;
const HTTP_MILLISECONDS = 2_000;

export interface NatsClusterOptions {
  /** Default true. */
  readonly jetstream?: boolean;
  /** Appended to every member's configuration file. */
  readonly extraConfig?: string;
  /** Port by which member `from` reaches the route port of member `to`: a proxy that the test cuts. Default the route port. */
  readonly routeVia?: (from: number, to: number, routePort: number) => Promise<number>;
}

export interface NatsCluster {
  readonly servers: readonly NatsServerProcess[];
  /** Client URLs, in the order of `servers`. */
  readonly urls: readonly string[];
  /** Resolves once all running members know each other and, with JetStream, follow one leader and are healthy. */
  formed(): Promise<void>;
  /** The member that leads JetStream's meta group; throws when there is none. */
  metaLeader(): Promise<NatsServerProcess>;
  /** Stops every member and removes what it stored. */
  stop(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** The parts of nats-server's `/routez` and `/jsz` that are read here. */
interface Routez {
  readonly routes?: readonly { readonly remote_id: string }[];
}
interface Jsz {
  readonly meta_cluster?: { readonly leader?: string; readonly cluster_size: number };
}

/** Starts `count` nats-servers that form one cluster; resolves once it is formed. */
export async function startNatsCluster(count = 3, options: NatsClusterOptions = {}): Promise<NatsCluster> {
  const { jetstream = true, extraConfig = '', routeVia } = options;
  const routePorts = await Promise.all(Array.from({ length: count }, freePort));
  const routesOf = (from: number): Promise<number[]> =>
    Promise.all(
      routePorts.map((port, to) => (routeVia === undefined || from === to ? port : routeVia(from, to, port))),
    );
  const starting = routePorts.map(async (port, index) => {
    // Members tell each other how they are reached: past no proxy.
    const cluster = { name: 'test', port, routePorts: await routesOf(index), isHidden: routeVia !== undefined };
    return startNatsServer({ jetstream, extraConfig, name: memberName(index), cluster });
  });
  const results = await Promise.allSettled(starting);
  const servers = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
  const cluster = clusterOf(servers, jetstream);
  try {
    await Promise.all(starting);
    await cluster.formed();
    return cluster;
  } catch (cause) {
    await cluster.stop();
    throw cause;
  }
}

function memberName(index: number): string {
  return `nats-${index + 1}`;
}

function clusterOf(servers: readonly NatsServerProcess[], jetstream: boolean): NatsCluster {
  const stop = async (): Promise<void> => {
    await Promise.all(servers.map((server) => server.stop()));
  };
  return {
    servers,
    urls: servers.map(({ url }) => url),
    formed: () => poll(() => isFormed(servers, jetstream), { what: 'NATS cluster', timeoutMs: FORMED_MILLISECONDS }),
    metaLeader: () => findMetaLeader(servers),
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

async function isFormed(servers: readonly NatsServerProcess[], jetstream: boolean): Promise<boolean> {
  const running = servers.filter(({ isRunning }) => isRunning);
  const names = servers.flatMap(({ isRunning }, index) => (isRunning ? [memberName(index)] : []));
  const routed = await Promise.all(running.map((server) => knowsOthers(server, running.length - 1)));
  if (routed.includes(false)) return false;
  if (!jetstream) return true;
  const leaders = await Promise.all(running.map((server) => leaderSeenBy(server, servers.length)));
  const [leader] = leaders;
  // After the leader was killed, the others go on naming it until they have elected another one.
  if (leader === undefined || !names.includes(leader) || leaders.some((other) => other !== leader)) return false;
  const healthy = await Promise.all(running.map((server) => ask(server, '/healthz')));
  return !healthy.includes(undefined);
}

/** Routes are pooled, several to each neighbour: neighbours are counted, not routes. */
async function knowsOthers(server: NatsServerProcess, others: number): Promise<boolean> {
  const routez = (await ask(server, '/routez')) as Routez | undefined; // decoded border: nats-server's own JSON
  return new Set(routez?.routes?.map(({ remote_id }) => remote_id)).size === others;
}

async function leaderSeenBy(server: NatsServerProcess, members: number): Promise<string | undefined> {
  const jsz = (await ask(server, '/jsz')) as Jsz | undefined; // decoded border: nats-server's own JSON
  const meta = jsz?.meta_cluster;
  return meta?.cluster_size === members ? meta.leader : undefined;
}

async function findMetaLeader(servers: readonly NatsServerProcess[]): Promise<NatsServerProcess> {
  for (const server of servers) {
    if (!server.isRunning) continue;
    const leader = await leaderSeenBy(server, servers.length);
    const found = servers.find((_, index) => memberName(index) === leader);
    if (found?.isRunning) return found;
  }
  throw new Error('The NATS cluster has no meta leader');
}

/** The JSON a member answers on its monitoring port; undefined when it does not answer or answers with an error. */
async function ask(server: NatsServerProcess, path: string): Promise<unknown> {
  try {
    const response = await fetch(server.monitorUrl + path, { signal: AbortSignal.timeout(HTTP_MILLISECONDS) });
    const body: unknown = await response.json();
    return response.ok ? body : undefined;
  } catch {
    // Not up yet, or frozen by the test: the caller asks again.
    return undefined;
  }
}
