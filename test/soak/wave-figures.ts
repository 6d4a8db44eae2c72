/** What a wave of clients has left behind: at the edge, at NATS, and what is too much of it. */
import { readdirSync } from 'node:fs';
import type { InspectedHeap } from '../support/inspected-heap.ts';
import type { NatsServerProcess } from '../support/nats-server.ts';
import type { EdgeProcess } from '../support/node.ts';
import { poll } from '../support/poll.ts';

/** Gauges of the edge that are 0 when it has no client. */
const GAUGES = [
  'supermq_clients_connected',
  'supermq_connections_open',
  'supermq_subscriptions',
  'supermq_interests',
  'supermq_group_members',
  'supermq_groups',
  'supermq_sessions',
  'supermq_feeds',
  'supermq_wills_waiting',
] as const;

/** Keep alives and the delays of wills are over by then. */
const EMPTY_MILLISECONDS = 30_000;
/** Sessions have expired by then, and it is forgotten that they were there. */
const FORGOTTEN_MILLISECONDS = 120_000;
/** In the store of wills: that the node may have some, for as long as it lives. */
const MARKERS = 1;
/** What a wave may add for each of its connections before it is called a leak: a string, or an entry of a map, is more. */
const GROWTH_PER_CONNECTION = 64;
/** The first waves fill what is remembered within bounds. */
const WARM_WAVES = 2;

export type Gauges = Readonly<Record<(typeof GAUGES)[number], number>>;

/** What is left when a wave is over; bytes after a full collection. */
export interface WaveFloor {
  readonly heap: number;
  readonly external: number;
  readonly resident: number;
  /** Open files of the edge. */
  readonly files: number;
  /** Subscriptions of the edge at the nats-server. */
  readonly natsSubscriptions: number;
  /** Consumers of JetStream: those of groups outlive their members for a while. */
  readonly consumers: number;
  /** Messages in the streams, by their names, without the log's. */
  readonly stored: Readonly<Record<string, number>>;
}

interface StreamLine {
  readonly name: string;
  readonly state: { readonly messages: number; readonly consumer_count: number };
}

export interface Place {
  readonly edge: EdgeProcess;
  readonly nats: NatsServerProcess;
  readonly heap: InspectedHeap;
}

export async function gaugesOf(edge: EdgeProcess): Promise<Gauges> {
  const entries = GAUGES.map(async (name) => [name, await edge.metric(name)] as const);
  return Object.fromEntries(await Promise.all(entries)) as Gauges;
}

/** Resolves when the edge has nothing of any client any more; rejects with what is left. */
export function emptied({ edge }: Place): Promise<void> {
  return allZero('the edge has nothing of a wave any more', EMPTY_MILLISECONDS, () => gaugesOf(edge));
}

/** Resolves when no stream has anything of any client any more; rejects with what is left. */
export function forgotten({ nats }: Place): Promise<void> {
  return allZero('nothing of the clients is stored any more', FORGOTTEN_MILLISECONDS, async () => {
    const { KV_SMQ_SESSIONS: sessions = 0, KV_SMQ_WILLS: wills = 0 } = (await streamsOf(nats)).stored;
    return { sessions, wills: Math.max(0, wills - MARKERS) };
  });
}

async function allZero(
  what: string,
  timeoutMs: number,
  read: () => Promise<Readonly<Record<string, number>>>,
): Promise<void> {
  let left: Array<[string, number]> = [];
  const isEmpty = async (): Promise<boolean> => {
    left = Object.entries(await read()).filter(([, count]) => count !== 0);
    return left.length === 0;
  };
  await poll(isEmpty, { what, timeoutMs }).catch((cause: Error) => {
    throw new Error(`${cause.message}: ${JSON.stringify(Object.fromEntries(left))}`, { cause });
  });
}

export async function floorOf({ edge, heap, nats }: Place): Promise<WaveFloor> {
  return {
    ...(await heap.floor()),
    ...(await streamsOf(nats)),
    resident: edge.residentBytes(),
    files: readdirSync(`/proc/${edge.pid}/fd`).length,
    natsSubscriptions: await subscriptionsAt(nats),
  };
}

async function subscriptionsAt(nats: NatsServerProcess): Promise<number> {
  const response = await fetch(`${nats.monitorUrl}/connz?limit=1000`);
  const { connections } = (await response.json()) as { connections: Array<{ subscriptions: number }> }; // as nats-server documents it
  return connections.reduce((sum, { subscriptions }) => sum + subscriptions, 0);
}

async function streamsOf(nats: NatsServerProcess): Promise<Pick<WaveFloor, 'stored' | 'consumers'>> {
  const response = await fetch(`${nats.monitorUrl}/jsz?streams=true`);
  const answer = (await response.json()) as { account_details?: Array<{ stream_detail?: StreamLine[] }> }; // as nats-server documents it
  const streams = (answer.account_details ?? []).flatMap(({ stream_detail: lines = [] }) => lines);
  const kept = streams.filter(({ name }) => name !== 'SMQ_LOG');
  return {
    stored: Object.fromEntries(kept.map(({ name, state }) => [name, state.messages])),
    consumers: streams.reduce((sum, { state }) => sum + state.consumer_count, 0),
  };
}

/** What has grown from wave to wave, in words: the least of the second half of the waves against that of the first, without the first waves. */
export function growthOver(floors: readonly WaveFloor[], connections: number): string[] {
  const judged = floors.slice(WARM_WAVES);
  const half = judged.length >> 1;
  if (half === 0) return [];
  const grown = (read: (floor: WaveFloor) => number): number =>
    Math.min(...judged.slice(-half).map(read)) - Math.min(...judged.slice(0, half).map(read));
  const found: string[] = [];
  const waves = judged.length - half;
  const bytes = Math.round(grown(({ external, heap }) => heap + external) / waves / connections);
  if (bytes > GROWTH_PER_CONNECTION) found.push(`heap and buffers, by ${bytes} bytes for each connection`);
  for (const name of ['files', 'natsSubscriptions', 'consumers'] as const) {
    const count = grown((floor) => floor[name]);
    if (count > 0) found.push(`${name}, by ${count}`);
  }
  for (const name of Object.keys(judged[0]?.stored ?? {})) {
    // How many sessions of the last minute there still are depends on how long the waves took.
    const count = name === 'KV_SMQ_SESSIONS' ? 0 : grown(({ stored }) => stored[name] ?? 0);
    if (count > 0) found.push(`messages in ${name}, by ${count}`);
  }
  return found;
}
