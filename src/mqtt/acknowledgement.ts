/**
 * PUBACK, PUBREC, PUBREL and PUBCOMP both ways, without packet objects: they are as frequent as the messages they answer.
 * Called by connection/acknowledge.ts and those who answer a PUBLISH.
 */
import type { Framer } from './framing.ts';
import { PacketType, type ProtocolVersion } from './packet.ts';
import { checkProperties } from './properties.ts';
import { Reader } from './reader.ts';
import { listedReason, malformed, protocolError, Reason } from './reason.ts';

export type AcknowledgementType = 4 | 5 | 6 | 7;

/** What an acknowledgement of a client says; one object per {@link AcknowledgementReader}, valid until the next packet. */
export interface Acknowledgement {
  packetId: number;
  /** 0 for MQTT 3.x. */
  reason: number;
}

/** Codes of PUBACK and PUBREC. [MQTT5 3.4.2-1] [MQTT5 3.5.2-1] */
const publishCodes: ReadonlySet<number> = new Set([0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99]);
/** Codes of PUBREL and PUBCOMP. [MQTT5 3.6.2-1] [MQTT5 3.7.2-1] */
const releaseCodes: ReadonlySet<number> = new Set([Reason.success, Reason.packetIdentifierNotFound]);

/**
 * Reads the acknowledgement that `framer` stands on into `into`.
 * @throws MqttError 0x81 for wrong flags or lengths, 0x82 for packet id 0 or a reason code that this packet does not have
 */
export function readAcknowledgement(framer: Framer, version: ProtocolVersion, into: Acknowledgement): void {
  const { bodyStart, buffer, end, header } = framer;
  const type = header >> 4;
  // [MQTT5 3.6.1-1] [MQTT311 3.6.1-1] [MQTT5 2.1.3-1] [MQTT311 2.2.2-2]
  const flags = type === PacketType.pubrel && version === 3 ? header & 0b0111 : header & 0x0f; // MQTT 3.1 repeats it with DUP
  if (flags !== (type === PacketType.pubrel ? 2 : 0)) throw malformed('reserved flags of the fixed header');
  const length = end - bodyStart;
  if (length < 2 || (version !== 5 && length > 2)) throw malformed('length of an acknowledgement');
  into.packetId = (buffer[bodyStart] ?? 0) * 256 + (buffer[bodyStart + 1] ?? 0);
  into.reason = length > 2 ? (buffer[bodyStart + 2] ?? 0) : 0; // [MQTT5 §3.4.2.1] no code means success
  if (into.packetId === 0) throw protocolError('packet id 0');
  if (length > 2) checkDetails(framer, type, into.reason);
}

function checkDetails({ bodyStart, buffer, end }: Framer, type: number, reason: number): void {
  const codes = type === PacketType.puback || type === PacketType.pubrec ? publishCodes : releaseCodes;
  if (!codes.has(reason)) throw protocolError(`reason code ${reason} in packet type ${type}`);
  if (end - bodyStart === 3) return;
  const reader = new Reader(buffer.subarray(0, end), bodyStart + 3, end);
  checkProperties(reader, type as AcknowledgementType); // the dispatcher sends only these four here
  reader.expectEnd();
}

/** The packet; a reason code other than success exists in MQTT 5 only. */
export function encodeAcknowledgement(
  type: AcknowledgementType,
  packetId: number,
  version: ProtocolVersion,
  reason = 0,
): Buffer {
  const hasReason = version === 5 && reason !== 0;
  const packet = Buffer.allocUnsafe(hasReason ? 5 : 4);
  packet[0] = (type << 4) | (type === PacketType.pubrel ? 2 : 0);
  packet[1] = hasReason ? 3 : 2;
  packet.writeUInt16BE(packetId, 2);
  if (hasReason) packet[4] = listedReason(type, reason);
  return packet;
}
