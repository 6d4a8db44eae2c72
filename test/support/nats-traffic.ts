/** Messages and payload bytes that each connection of a nats-server has sent and received, from the server's own count. */
import type { NatsServerProcess } from './nats-process.ts';

/** In: from the connection to NATS; out: from NATS to the connection. Bytes are payloads and headers, without subjects. */
export interface NatsTraffic {
  readonly inMessages: number;
  readonly outMessages: number;
  readonly inBytes: number;
  readonly outBytes: number;
}

interface ConnectionLine {
  readonly name: string;
  readonly in_msgs: number;
  readonly out_msgs: number;
  readonly in_bytes: number;
  readonly out_bytes: number;
}

/** By connection name: a node's messages go over `<node id>`, its publishes to the log over `<node id> control`. */
export async function natsTraffic(nats: NatsServerProcess): Promise<ReadonlyMap<string, NatsTraffic>> {
  const response = await fetch(`${nats.monitorUrl}/connz?limit=1000`);
  const { connections } = (await response.json()) as { connections: ConnectionLine[] }; // as nats-server documents it
  const traffic = connections.map((line): [string, NatsTraffic] => [
    line.name,
    { inMessages: line.in_msgs, outMessages: line.out_msgs, inBytes: line.in_bytes, outBytes: line.out_bytes },
  ]);
  return new Map(traffic);
}

/** What has come since `before`. */
export function since(before: NatsTraffic | undefined, after: NatsTraffic | undefined): NatsTraffic {
  if (before === undefined || after === undefined) throw new Error('no such connection');
  return {
    inMessages: after.inMessages - before.inMessages,
    outMessages: after.outMessages - before.outMessages,
    inBytes: after.inBytes - before.inBytes,
    outBytes: after.outBytes - before.outBytes,
  };
}
