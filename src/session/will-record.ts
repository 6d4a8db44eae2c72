/**
 * A will as it lies in the store: one line of JSON, readable with NATS tools, and behind it the payload as it is. Written and read by
 * wills.ts and will-handover.ts.
 */
import type { QoS } from '../mqtt/packet.ts';

/** Somebody publishes the will. Whoever finds this and no owner behind it does the same again, under the same message id. */
export interface WillClaim {
  /** Incarnation of the node. */
  readonly by: string;
  /** Position of the log, and its time (milliseconds since the epoch), before the publication: where to look for it. */
  readonly position: number;
  readonly at: number;
}

export interface WillRecord {
  /** Random: the message id of its publication, and what tells it from another will of the same client. */
  readonly id: string;
  readonly topic: string;
  readonly payload: Buffer;
  /** Encoded, Will Delay Interval taken out. */
  readonly properties: Buffer;
  readonly qos: QoS;
  readonly retain: boolean;
  readonly delaySeconds: number;
  /** Session Expiry Interval as granted with the CONNECT; a session that ends publishes the will. */
  readonly sessionExpirySeconds: number;
  /** Milliseconds since the epoch, by the log's clock; undefined: the connection has not ended, as far as anybody has said. */
  readonly dueAt: number | undefined;
  readonly claim: WillClaim | undefined;
}

const VERSION = 1;
const LINE_FEED = 0x0a;

export function encodeWill({ payload, properties, ...rest }: WillRecord): Buffer {
  const line = JSON.stringify({ version: VERSION, ...rest, properties: properties.toString('base64') });
  return Buffer.concat([Buffer.from(`${line}\n`), payload]);
}

interface Encoded extends Omit<WillRecord, 'payload' | 'properties'> {
  readonly version: number;
  readonly properties: string;
}

/** @throws Error for a record that a newer version has written or that is none */
export function decodeWill(bytes: Buffer): WillRecord {
  const end = bytes.indexOf(LINE_FEED);
  const { version, ...encoded } = JSON.parse(bytes.toString('utf8', 0, end)) as Encoded; // decoded border: only encodeWill writes here
  if (version !== VERSION) throw new Error(`will record of version ${version}, ${VERSION} is known`);
  return {
    ...encoded,
    // JSON leaves out what is undefined.
    dueAt: encoded.dueAt,
    claim: encoded.claim,
    properties: Buffer.from(encoded.properties, 'base64'),
    payload: bytes.subarray(end + 1),
  };
}

/** Milliseconds from the end of the connection until the will is due: the delay, or the end of the session before it. MQTT5 section 3.1.3.2.2 */
export function delayOf({ delaySeconds, sessionExpirySeconds }: WillRecord): number {
  return Math.min(delaySeconds, sessionExpirySeconds) * 1000;
}
