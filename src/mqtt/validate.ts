/**
 * The rules that mqtt-packet does not check, on the raw bytes of every rare packet a client may send but CONNECT (connect.ts). Called by
 * codec.ts before mqtt-packet sees the packet; what passes here can be decoded without loss. Each function throws MqttError with
 * the reason code of MQTT 5, for all versions. Whether a topic filter makes sense is not decided here: that is
 * answered per filter in the SUBACK.
 */

import { PacketType, type ProtocolVersion } from './packet.ts';
import { checkProperties } from './properties.ts';
import { Reader } from './reader.ts';
import { AuthReason, malformed, protocolError } from './reason.ts';

/** Checks a whole SUBSCRIBE. */
export function validateSubscribe(version: ProtocolVersion, frame: Buffer, bodyOffset: number): void {
  checkHeaderFlags(frame, 0b0010, version); // [MQTT5 3.8.1-1] [MQTT311 3.8.1-1]
  const reader = new Reader(frame, bodyOffset, frame.length);
  checkPacketId(reader);
  if (version === 5) checkProperties(reader, PacketType.subscribe);
  // [MQTT5 3.8.3-2] [MQTT311 3.8.3-3]
  if (reader.isAtEnd) throw protocolError('SUBSCRIBE without a topic filter');
  while (!reader.isAtEnd) {
    const filter = readFilter(reader);
    checkSubscriptionOptions(reader.uint8(), version, filter);
  }
}

/** Checks a whole UNSUBSCRIBE. */
export function validateUnsubscribe(version: ProtocolVersion, frame: Buffer, bodyOffset: number): void {
  checkHeaderFlags(frame, 0b0010, version); // [MQTT5 3.10.1-1] [MQTT311 3.10.1-1]
  const reader = new Reader(frame, bodyOffset, frame.length);
  checkPacketId(reader);
  if (version === 5) checkProperties(reader, PacketType.unsubscribe);
  // [MQTT5 3.10.3-2] [MQTT311 3.10.3-2]
  if (reader.isAtEnd) throw protocolError('UNSUBSCRIBE without a topic filter');
  while (!reader.isAtEnd) readFilter(reader);
}

/** Checks a whole DISCONNECT. */
export function validateDisconnect(version: ProtocolVersion, frame: Buffer, bodyOffset: number): void {
  checkHeaderFlags(frame, 0); // [MQTT5 3.14.1-1] [MQTT311 3.14.1-1]
  const reader = new Reader(frame, bodyOffset, frame.length);
  // Both the reason code and the properties may be absent. [MQTT5 §3.14.2]
  if (version === 5 && !reader.isAtEnd) {
    const code = reader.uint8();
    // [MQTT5 3.14.2-1]
    if (!clientDisconnectCodes.has(code)) throw protocolError(`DISCONNECT with reason code ${code} from a client`);
    if (!reader.isAtEnd) checkProperties(reader, PacketType.disconnect);
  }
  reader.expectEnd();
}

/** Checks a whole AUTH. */
export function validateAuth(version: ProtocolVersion, frame: Buffer, bodyOffset: number): void {
  if (version !== 5) throw malformed('packet type 15 exists in MQTT 5 only'); // [MQTT311 §2.2.1]
  checkHeaderFlags(frame, 0); // [MQTT5 3.15.1-1]
  const reader = new Reader(frame, bodyOffset, frame.length);
  const code = reader.isAtEnd ? AuthReason.success : reader.uint8();
  // Success is the server's to send. [MQTT5 3.15.2-1]
  if (code !== AuthReason.continue && code !== AuthReason.again)
    throw protocolError(`AUTH with reason code ${code} from a client`);
  const { hasAuthenticationMethod } = checkProperties(reader, PacketType.auth);
  if (!hasAuthenticationMethod) throw protocolError('AUTH without a method'); // [MQTT5 §3.15.2.2.2]
  reader.expectEnd();
}

/** Checks a whole PINGREQ: it has no body. [MQTT5 §3.12] [MQTT311 §3.12] */
export function validatePingreq(frame: Buffer, bodyOffset: number): void {
  checkHeaderFlags(frame, 0);
  new Reader(frame, bodyOffset, frame.length).expectEnd();
}

/** Reason codes of DISCONNECT that the specification gives to clients. */
const clientDisconnectCodes: ReadonlySet<number> = new Set([
  0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99,
]);

/** DUP, with which MQTT 3.1 (not its successors) repeats SUBSCRIBE, UNSUBSCRIBE and PUBREL. */
const duplicateFlag = 0x08;

/** Flags that are not those `expected`, which for these packets may have DUP in MQTT 3.1. [MQTT5 2.1.3-1] [MQTT311 2.2.2-1] [MQTT311 2.2.2-2] */
export function checkHeaderFlags(frame: Buffer, expected: number, version?: ProtocolVersion): void {
  const flags = (frame[0] ?? 0) & (version === 3 ? ~duplicateFlag & 0x0f : 0x0f);
  if (flags !== expected) throw malformed('reserved flags of the fixed header');
}

/** [MQTT5 2.2.1-3] [MQTT311 2.3.1-1] */
function checkPacketId(reader: Reader): void {
  if (reader.uint16() === 0) throw protocolError('packet id 0');
}

/** [MQTT5 3.8.3-1] [MQTT311 3.8.3-1] [MQTT5 3.10.3-1] [MQTT311 3.10.3-1] */
function readFilter(reader: Reader): string {
  const filter = reader.string();
  if (filter === '') throw malformed('topic filter is empty'); // [MQTT5 4.7.3-1] [MQTT311 4.7.3-1]
  return filter;
}

function checkSubscriptionOptions(options: number, version: ProtocolVersion, filter: string): void {
  const reserved = version === 5 ? 0b1100_0000 : 0b1111_1100;
  // [MQTT5 3.8.3-5] [MQTT311 3.8.3-4]
  if ((options & reserved) !== 0) throw malformed('reserved bits of the subscription options');
  // [MQTT311 3.8.3-4] [MQTT5 §3.8.3.1]
  if ((options & 0b11) === 3) throw version === 5 ? protocolError('QoS 3') : malformed('QoS 3');
  if (version !== 5) return;
  if ((options & 0b11_0000) === 0b11_0000) throw protocolError('Retain Handling 3'); // [MQTT5 §3.8.3.1]
  // [MQTT5 3.8.3-4]
  const isNoLocal = (options & 0b100) !== 0;
  if (isNoLocal && (filter.startsWith('$share/') || filter.startsWith('$g/'))) {
    throw protocolError('No Local on a shared subscription');
  }
}
