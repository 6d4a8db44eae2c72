/**
 * What travels beside the payload of a QoS 0 message, as NATS headers; a message without any is the bare payload. Property
 * blocks are base64: names and values come from clients and must not become header lines of their own.
 * Anybody in the NATS account may publish, so everything that arrives is checked like a client's packet.
 */
import type { MsgHdrs } from 'nats';
import type { Extras } from '../message.ts';
import { scanPublishProperties } from '../mqtt/properties.ts';
import { ownCopy } from '../own-memory.ts';
import { lastHeader } from './raw-message.ts';

/** MQTT 5 properties as in a PUBLISH, without their length, base64. */
export const PROPERTIES_HEADER = 'Mqtt-Properties';
/** `1` when the publisher set RETAIN. */
export const RETAIN_HEADER = 'Mqtt-Retain';
/** Hash of the publisher's client id; present while it has a No Local subscription. */
export const ORIGIN_HEADER = 'Mqtt-Origin';

/** `1` on the copy of a message that is in the log too: subscribers that read the log skip it. */
export const STORED_HEADER = 'Mqtt-Stored';
/** QoS of the publisher on stored messages; absent = 1. */
export const QOS_HEADER = 'Mqtt-QoS';

/** Status line, line ends and header names, rounded up. */
const FIXED_BYTES = 128;
const nothing = Buffer.alloc(0);

/** Upper bound for the bytes of {@link encodeExtras} on the wire. */
export function extrasBytes(extras: Extras): number {
  return FIXED_BYTES + Math.ceil(extras.properties.length / 3) * 4 + extras.origin.length;
}

/** `make`: {@link keptHeaders} for headers that many messages have. */
export function encodeExtras({ isStored, origin, properties, retain }: Extras, make = readyHeaders): MsgHdrs {
  let lines = isStored === true ? `${STORED_HEADER}: 1\r\n` : '';
  if (retain) lines += `${RETAIN_HEADER}: 1\r\n`;
  if (origin !== '') lines += `${ORIGIN_HEADER}: ${origin}\r\n`;
  if (properties.length > 0) lines += `${PROPERTIES_HEADER}: ${properties.toString('base64')}\r\n`;
  return make(lines);
}

/** What {@link readyHeaders} gives to the library, which only ever asks for the bytes. */
class ReadyHeaders {
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  encode(): Uint8Array {
    return this.#bytes;
  }
}

/** Header lines as bytes: the library would encode an object for each line. */
export function readyHeaders(lines: string): MsgHdrs {
  return new ReadyHeaders(bytesOf(lines)) as unknown as MsgHdrs; // publish() calls encode() and nothing else
}

/** The same for headers that are kept for many messages. */
export function keptHeaders(lines: string): MsgHdrs {
  return new ReadyHeaders(ownCopy(bytesOf(lines))) as unknown as MsgHdrs; // as above
}

function bytesOf(lines: string): Buffer {
  return Buffer.from(`NATS/1.0\r\n${lines}\r\n`, 'latin1');
}

/**
 * The extras in a header block (one character per byte), undefined when it has none of our headers.
 * @throws MqttError for properties that no PUBLISH may carry
 */
export function decodeExtras(block: string): Extras | undefined {
  const encoded = lastHeader(block, PROPERTIES_HEADER) ?? '';
  const retain = lastHeader(block, RETAIN_HEADER) === '1';
  const origin = lastHeader(block, ORIGIN_HEADER) ?? '';
  const stored = lastHeader(block, STORED_HEADER) === '1' ? { isStored: true as const } : {};
  if (encoded !== '') {
    const properties = Buffer.from(encoded, 'base64');
    const { forward } = scanPublishProperties(properties, 0, properties.length);
    return { properties: forward, retain, origin, ...stored };
  }
  if (!retain && origin === '' && stored.isStored === undefined) return undefined;
  return { properties: nothing, retain, origin, ...stored };
}
