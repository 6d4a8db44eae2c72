/**
 * The Reason String of MQTT 5, for every packet that we send and that may have one. Called by codec.ts (CONNACK, DISCONNECT) and by
 * connection/sender.ts (acknowledgements, to clients that want to know). It never makes a packet larger than its client takes.
 */
import { PacketType } from './packet.ts';
import { varintLength, writeVarint } from './properties.ts';

const REASON_STRING = 0x1f;
const LONGEST_TEXT = 0xffff;

/** By packet type: bytes between the fixed header and the length of the properties. */
const bytesBefore: ReadonlyMap<number, number> = new Map([
  [PacketType.connack, 2],
  [PacketType.puback, 3],
  [PacketType.pubrec, 3],
  [PacketType.pubrel, 3],
  [PacketType.pubcomp, 3],
  [PacketType.suback, 2],
  [PacketType.unsuback, 2],
  [PacketType.disconnect, 1],
  [PacketType.auth, 1],
]);

/**
 * The packet of MQTT 5 with `text` as its Reason String, before its other properties; the packet as it is where that would be larger
 * than `maximumPacketSize`, in bytes. It has a reason code, if its type has one, and no Reason String yet.
 * [MQTT5 3.2.2-19] [MQTT5 3.4.2-2] [MQTT5 3.5.2-2] [MQTT5 3.6.2-2] [MQTT5 3.7.2-2] [MQTT5 3.9.2-1] [MQTT5 3.11.2-1] [MQTT5 3.14.2-3]
 */
export function explain(packet: Buffer, text: string, maximumPacketSize: number): Buffer {
  const before = bytesBefore.get((packet[0] ?? 0) >> 4);
  const textLength = Buffer.byteLength(text);
  if (before === undefined || textLength === 0 || textLength > LONGEST_TEXT) return packet;
  const { next: bodyStart } = varintAt(packet, 1);
  const lengthAt = bodyStart + before;
  // Without any properties the length may be left out. [MQTT5 §3.4.2.2.1]
  const { next: propertiesStart, value } =
    lengthAt < packet.length ? varintAt(packet, lengthAt) : { next: lengthAt, value: 0 };
  const propertyLength = value + 3 + textLength;
  const remaining = before + varintLength(propertyLength) + propertyLength + packet.length - propertiesStart - value;
  const size = 1 + varintLength(remaining) + remaining;
  if (size > maximumPacketSize) return packet;
  const explained = Buffer.allocUnsafe(size);
  explained[0] = packet[0] ?? 0;
  let position = writeVarint(explained, 1, remaining);
  position += packet.copy(explained, position, bodyStart, lengthAt);
  position = writeVarint(explained, position, propertyLength);
  explained[position] = REASON_STRING;
  position = explained.writeUInt16BE(textLength, position + 1);
  position += explained.write(text, position);
  packet.copy(explained, position, propertiesStart);
  return explained;
}

/** A variable byte integer of ours, and the position behind it. */
function varintAt(buffer: Buffer, position: number): { readonly value: number; readonly next: number } {
  let value = 0;
  for (let shift = 0; ; shift += 7) {
    const byte = buffer[position++] ?? 0;
    value |= (byte & 127) << shift;
    if (byte < 128) return { value, next: position };
  }
}
