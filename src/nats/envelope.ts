/**
 * What travels beside the payload of a QoS 0 message, as NATS headers; a message without any is the bare payload. Property
 * blocks are base64: names and values come from clients and must not become header lines of their own.
 * Anybody in the NATS account may publish, so everything that arrives is checked like a client's packet.
 */
import { headers, type MsgHdrs } from 'nats';
import type { Extras } from '../message.ts';
import { scanPublishProperties } from '../mqtt/properties.ts';

/** MQTT 5 properties as in a PUBLISH, without their length, base64. */
export const PROPERTIES_HEADER = 'Mqtt-Properties';
/** `1` when the publisher set RETAIN. */
export const RETAIN_HEADER = 'Mqtt-Retain';
/** Hash of the publisher's client id; present while it has a No Local subscription. */
export const ORIGIN_HEADER = 'Mqtt-Origin';

/** Status line, line ends and header names, rounded up. */
const FIXED_BYTES = 128;
const nothing = Buffer.alloc(0);

/** Upper bound for the bytes of {@link encodeExtras} on the wire. */
export function extrasBytes(extras: Extras): number {
  return FIXED_BYTES + Math.ceil(extras.properties.length / 3) * 4 + extras.origin.length;
}

export function encodeExtras(extras: Extras): MsgHdrs {
  const encoded = headers();
  if (extras.properties.length > 0) encoded.set(PROPERTIES_HEADER, extras.properties.toString('base64'));
  if (extras.retain) encoded.set(RETAIN_HEADER, '1');
  if (extras.origin !== '') encoded.set(ORIGIN_HEADER, extras.origin);
  return encoded;
}

/**
 * The extras of a message, undefined when it has none of our headers.
 * @throws MqttError for properties that no PUBLISH may carry
 */
export function decodeExtras(received: MsgHdrs): Extras | undefined {
  const block = received.get(PROPERTIES_HEADER);
  const retain = received.get(RETAIN_HEADER) === '1';
  const origin = received.get(ORIGIN_HEADER);
  if (block === '' && !retain && origin === '') return undefined;
  if (block === '') return { properties: nothing, retain, origin };
  const properties = Buffer.from(block, 'base64');
  return { properties: scanPublishProperties(properties, 0, properties.length).forward, retain, origin };
}
