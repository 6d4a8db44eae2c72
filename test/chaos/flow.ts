/**
 * A numbered flow from one client to another across edge nodes, with real MQTT.js clients that connect again to the next node when
 * theirs goes: what arrived, in which order, how often. Used by test/cluster and by the chaos command.
 */
import mqtt, { type MqttClient } from 'mqtt';
import { poll } from '../support/poll.ts';

export interface FlowOptions {
  readonly qos: 1 | 2;
  readonly count: number;
  /** MQTT ports of the nodes, in the order in which the publisher tries them; the subscriber begins with the last. */
  readonly ports: readonly number[];
  /** Topics the numbers are spread over; order is checked per topic. */
  readonly topics?: number;
  /** Called when so many messages were received, once each: where nodes are killed. */
  readonly at?: ReadonlyMap<number, () => Promise<void>>;
  readonly timeoutMs?: number;
  /** Messages that may wait for their acknowledgement. */
  readonly window?: number;
  /** Bytes behind each number. Default 0. */
  readonly padding?: number;
}

export interface FlowResult {
  /** Numbers that never came although they were acknowledged. */
  readonly lost: number[];
  /** How many came more than once. */
  readonly repeated: number;
  /** First deliveries that came after a later one of their topic. */
  readonly misordered: number;
  readonly received: number;
  /** Times that the two clients lost their connection. */
  readonly disconnects: number;
  readonly seconds: number;
}

const PACKET_IDENTIFIER_NOT_FOUND = 0x92;
let flows = 0;

/** Publishes `count` messages and resolves when each was acknowledged and received, or nothing more comes. */
export async function runFlow(options: FlowOptions): Promise<FlowResult> {
  const { count, padding = 0, ports, qos, timeoutMs = 60_000, topics = 4, window = 50 } = options;
  const name = `flow-${process.pid}-${++flows}`;
  const subscriber = await connect(`${name}-sub`, [...ports].reverse());
  const seen = new Map<number, number>();
  const latest = new Map<string, number>();
  let misordered = 0;
  const due = new Map(options.at ?? []);
  const running: Promise<void>[] = [];
  subscriber.on('message', (topic, payload) => {
    const number = Number.parseInt(payload.toString('utf8', 0, 16), 10);
    const times = (seen.get(number) ?? 0) + 1;
    seen.set(number, times);
    if (times === 1) {
      if (number < (latest.get(topic) ?? -1)) misordered++;
      latest.set(topic, Math.max(number, latest.get(topic) ?? -1));
    }
    const task = due.get(seen.size);
    due.delete(seen.size);
    if (task !== undefined) running.push(task());
  });
  await subscriber.subscribeAsync(`${name}/#`, { qos });
  const publisher = await connect(`${name}-pub`, ports);
  let disconnects = 0;
  for (const client of [subscriber, publisher]) client.on('close', () => disconnects++);
  const started = performance.now();
  await publishAll(publisher, { count, padding, qos, topicOf: (number) => `${name}/${number % topics}`, window });
  await poll(async () => seen.size >= count, { what: `${count} messages (${seen.size})`, timeoutMs }).catch(() => {});
  await Promise.all(running);
  const seconds = (performance.now() - started) / 1000;
  const lostConnections = disconnects;
  await Promise.all([subscriber.endAsync(true), publisher.endAsync(true)]);
  const lost = Array.from({ length: count }, (_, number) => number).filter((number) => !seen.has(number));
  const repeated = [...seen.values()].filter((times) => times > 1).length;
  return { lost, repeated, misordered, disconnects: lostConnections, received: seen.size, seconds };
}

async function publishAll(
  client: MqttClient,
  flow: { count: number; padding: number; qos: 1 | 2; window: number; topicOf: (number: number) => string },
): Promise<void> {
  let next = 0;
  const tail = flow.padding === 0 ? '' : ` ${'x'.repeat(flow.padding)}`;
  const worker = async (): Promise<void> => {
    while (next < flow.count) {
      const number = next++;
      await client.publishAsync(flow.topicOf(number), String(number) + tail, { qos: flow.qos }).catch(acceptKnown);
    }
  };
  await Promise.all(Array.from({ length: flow.window }, worker));
}

/** A client that tries the nodes in turn until one serves it, and keeps its session over all of them. */
async function connect(clientId: string, ports: readonly number[]): Promise<MqttClient> {
  const client = mqtt.connect({
    servers: ports.map((port) => ({ host: '127.0.0.1', port, protocol: 'mqtt' as const })),
    clientId,
    clean: false,
    protocolVersion: 5,
    properties: { sessionExpiryInterval: 600 },
    reconnectPeriod: 50,
    // MQTT.js gives up for good on a refused CONNECT otherwise; a node that looks for NATS refuses with 0x88.
    reconnectOnConnackError: true,
    connectTimeout: 5_000,
    keepalive: 5,
  });
  client.on('error', () => {
    // A node that is gone: the client tries the next one.
  });
  await new Promise<void>((resolve) => client.once('connect', () => resolve()));
  return client;
}

/** PUBCOMP 0x92 answers a PUBREL that a node before had answered already: no error during recovery (MQTT 5 section 3.7.2.1), but one to MQTT.js. */
function acceptKnown(error: unknown): void {
  if ((error as { code?: unknown }).code !== PACKET_IDENTIFIER_NOT_FOUND) throw error; // MQTT.js's error has a code
}
