/**
 * What connected clients and stored sessions are to NATS: subscriptions and memory of each server of a cluster of three, memory of the node, and
 * bytes stored. The node is connected to the first server; what the others have is what routes tell them.
 *
 *   npm run bench:interest -- [clients]
 */
import { setTimeout as pause } from 'node:timers/promises';
import { startNatsCluster } from '../support/nats-cluster.ts';
import type { NatsServerProcess } from '../support/nats-server.ts';
import { EdgeProcess } from '../support/node.ts';
import { machine } from './circumstances.ts';
import { loadGenerator, runLoad } from './load-generator.ts';
import { residentMegabytes } from './process-figures.ts';

const clients = Number(process.argv[2] ?? 5_000);
const HOLD_SECONDS = 8;
/** Within the time that the connections are held; 5,000 take two seconds or three. */
const CONNECTED_MILLISECONDS = 8_000;

const cases: Readonly<Record<string, readonly string[]>> = {
  'clients, connected': ['conns', '-n', String(clients), '--pending', '50', '--hold', String(HOLD_SECONDS)],
  'clients, each with a filter of its own': [
    'conns',
    '--subscribe',
    '-n',
    String(clients),
    '--pending',
    '50',
    '--hold',
    String(HOLD_SECONDS),
  ],
  'sessions of absent clients, one filter each': ['session', '-n', String(clients), '--count', '1', '--keep'],
};

/** `/jsz?streams=true` as far as it is read. */
interface Jsz {
  readonly account_details?: readonly {
    readonly stream_detail?: readonly { readonly name: string; readonly state: { readonly bytes: number } }[];
  }[];
}

interface State {
  readonly subscriptions: readonly number[];
  readonly natsMegabytes: readonly number[];
  readonly edgeMegabytes: number;
  /** One replica's. */
  readonly sessionBytes: number;
}

async function ask<T>({ monitorUrl }: NatsServerProcess, path: string): Promise<T> {
  return (await (await fetch(monitorUrl + path)).json()) as T; // decoded border: nats-server's own JSON
}

async function sessionBytes(server: NatsServerProcess): Promise<number> {
  const { account_details: accounts = [] } = await ask<Jsz>(server, '/jsz?streams=true');
  const streams = accounts.flatMap(({ stream_detail: details = [] }) => details);
  return streams.find(({ name }) => name === 'KV_SMQ_SESSIONS')?.state.bytes ?? 0;
}

async function stateOf(servers: readonly NatsServerProcess[], edge: EdgeProcess): Promise<State> {
  const varz = await Promise.all(servers.map((server) => ask<{ readonly subscriptions: number }>(server, '/varz')));
  const [first] = servers;
  return {
    subscriptions: varz.map(({ subscriptions }) => subscriptions),
    natsMegabytes: servers.map(({ pid }) => residentMegabytes(pid)),
    edgeMegabytes: residentMegabytes(edge.pid),
    sessionBytes: first === undefined ? 0 : await sessionBytes(first),
  };
}

/** Growth for each client, of the first server and of the others. */
function row(name: string, before: State, after: State): string {
  const grown = (key: 'subscriptions' | 'natsMegabytes', server: number): number =>
    ((after[key][server] ?? 0) - (before[key][server] ?? 0)) / clients;
  const bytes = (megabytes: number): string => String(Math.round(megabytes * 1024 * 1024));
  const cells = [
    grown('subscriptions', 0).toFixed(2),
    grown('subscriptions', 1).toFixed(2),
    bytes(grown('natsMegabytes', 0)),
    bytes(grown('natsMegabytes', 1)),
    bytes((after.edgeMegabytes - before.edgeMegabytes) / clients),
    String(Math.round((after.sessionBytes - before.sessionBytes) / clients)),
  ];
  return `| ${clients} ${name} | ${cells.join(' | ')} |`;
}

/** Bytes stored alone: memory and subscriptions of clients that have just gone are still there. */
function sessionRow(name: string, before: State, after: State): string {
  return `| ${clients} ${name} | | | | | | ${Math.round((after.sessionBytes - before.sessionBytes) / clients)} |`;
}

/** Fresh processes for each case: memory that was freed before would be used again. */
async function measure(name: string, args: readonly string[], generator: string): Promise<string> {
  await using cluster = await startNatsCluster();
  const edge = await EdgeProcess.start({ SUPERMQ_NATS_SERVERS: cluster.urls[0] ?? '', SUPERMQ_NATS_REPLICAS: '3' });
  const before = await stateOf(cluster.servers, edge);
  const running = runLoad(generator, [...args, '-h', `127.0.0.1:${edge.tcp}`]);
  // Sessions count once they are stored, connections while they are held.
  await (args[0] === 'session' ? running : pause(CONNECTED_MILLISECONDS));
  const after = await stateOf(cluster.servers, edge);
  const { error } = await running;
  await edge.stop();
  if (error === undefined && args[0] === 'session') return sessionRow(name, before, after);
  return error === undefined ? row(name, before, after) : `| ${name} | ${error} | | | | | |`;
}

const generator = await loadGenerator();
const head = [
  'each',
  'subscriptions, its server',
  'other servers',
  'NATS bytes, its server',
  'other servers',
  'node bytes',
  'bytes stored',
];
const rows = [`| ${head.join(' | ')} |`, `|---|${'---:|'.repeat(head.length - 1)}`];
for (const [name, args] of Object.entries(cases)) rows.push(await measure(name, args, generator));
process.stdout.write(
  `${rows.join('\n')}\n\n${new Date().toISOString().slice(0, 10)}, \`npm run bench:interest -- ${clients}\`. ${machine()}.\n`,
);
process.exit(0);
