/**
 * The rules that mqtt-packet does not check, on the raw bytes of every rare packet a client may send. Called by codec.ts
 * before mqtt-packet sees the packet; what passes here can be decoded without loss. Each function throws MqttError with
 * the reason code of MQTT 5, for all versions. Whether a topic filter makes sense is not decided here: that is
 * answered per filter in the SUBACK.
 */

import { PacketType, type ProtocolVersion } from './packet.ts';
import {
  checkProperties,
  findMaximumPacketSize,
  hasWildcard,
  noProperties,
  scanWillProperties,
  type WillProperties,
} from './properties.ts';
import { Reader } from './reader.ts';
import { AuthReason, MqttError, malformed, protocolError, Reason } from './reason.ts';

/** A CONNECT for a protocol version that is not spoken here; `level` decides in which form the refusal is sent. */
export class UnsupportedVersionError extends MqttError {
  readonly level: number;

  constructor(level: number) {
    super(Reason.unsupportedProtocolVersion, `protocol level ${level} is not supported`);
    this.name = 'UnsupportedVersionError';
    this.level = level;
  }
}

/** What validation of a CONNECT finds and mqtt-packet would lose. */
export interface ConnectOutline {
  readonly version: ProtocolVersion;
  readonly willProperties: WillProperties | undefined;
  /** Offset of the connect flags, and the flags that hold: MQTT 3.1 may announce what it leaves out, and has some that mean nothing. */
  readonly flagsOffset: number;
  readonly flags: number;
}

/**
 * The version a CONNECT asks for, so that the refusal of a malformed one can be sent in the form its client reads;
 * undefined if that cannot be told. Never throws.
 */
export function requestedVersion(frame: Buffer, bodyOffset: number): ProtocolVersion | undefined {
  try {
    return readVersion(new Reader(frame, bodyOffset, frame.length));
  } catch {
    // Whatever is wrong with the packet is reported by the caller, who has seen it before.
    return undefined;
  }
}

/** The Maximum Packet Size of a malformed CONNECT of MQTT 5, if what is wrong with it comes later. Never throws. */
export function requestedPacketSize(frame: Buffer, bodyOffset: number): number {
  try {
    const reader = new Reader(frame, bodyOffset, frame.length);
    if (readVersion(reader) !== 5) return Number.POSITIVE_INFINITY;
    reader.section(3); // flags and Keep Alive
    return findMaximumPacketSize(reader);
  } catch {
    // Reported by the caller, as above.
    return Number.POSITIVE_INFINITY;
  }
}

/** Checks a whole CONNECT. [MQTT5 3.1.4-1] [MQTT311 3.1.4-1] */
export function validateConnect(frame: Buffer, bodyOffset: number): ConnectOutline {
  checkHeaderFlags(frame, 0);
  const reader = new Reader(frame, bodyOffset, frame.length);
  const version = readVersion(reader);
  const flagsOffset = reader.position;
  let flags = reader.uint8();
  if (version === 3) flags = meaningfulFlags(flags);
  checkConnectFlags(flags, version);
  reader.uint16(); // Keep Alive
  if (version === 5) checkProperties(reader, PacketType.connect);
  // The fields that follow must be those announced, in this order. [MQTT5 3.1.3-1] [MQTT311 3.1.3-1]
  reader.skipString(); // client id [MQTT5 3.1.3-4] [MQTT311 3.1.3-4]
  const willProperties = (flags & connectFlag.will) !== 0 ? checkWill(reader, version) : undefined;
  // For the sake of MQTT 3.0 the length of an MQTT 3.1 packet goes before its flags (MQTT 3.1 section 3.1).
  if (version === 3 && reader.isAtEnd) flags &= ~(connectFlag.username | connectFlag.password);
  // [MQTT5 3.1.2-16] [MQTT5 3.1.2-17] [MQTT311 3.1.2-18] [MQTT311 3.1.2-19]
  if ((flags & connectFlag.username) !== 0) reader.skipString(); // [MQTT5 3.1.3-12] [MQTT311 3.1.3-11]
  if (version === 3 && reader.isAtEnd) flags &= ~connectFlag.password;
  // [MQTT5 3.1.2-18] [MQTT5 3.1.2-19] [MQTT311 3.1.2-20] [MQTT311 3.1.2-21]
  if ((flags & connectFlag.password) !== 0) reader.skipBinary();
  reader.expectEnd();
  return { version, willProperties, flagsOffset, flags };
}

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

const connectFlag = { reserved: 0x01, will: 0x04, willQos: 0x18, willRetain: 0x20, password: 0x40, username: 0x80 };

/** Reason codes of DISCONNECT that the specification gives to clients. */
const clientDisconnectCodes: ReadonlySet<number> = new Set([
  0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99,
]);

/** DUP, with which MQTT 3.1 (not its successors) repeats SUBSCRIBE, UNSUBSCRIBE and PUBREL. */
const duplicateFlag = 0x08;

/** Flags that are not those `expected`, which for these packets may have DUP in MQTT 3.1. [MQTT5 2.1.3-1] [MQTT311 2.2.2-1] [MQTT311 2.2.2-2] */
function checkHeaderFlags(frame: Buffer, expected: number, version?: ProtocolVersion): void {
  const flags = (frame[0] ?? 0) & (version === 3 ? ~duplicateFlag & 0x0f : 0x0f);
  if (flags !== expected) throw malformed('reserved flags of the fixed header');
}

/** [MQTT5 2.2.1-3] [MQTT311 2.3.1-1] */
function checkPacketId(reader: Reader): void {
  if (reader.uint16() === 0) throw protocolError('packet id 0');
}

function readVersion(reader: Reader): ProtocolVersion {
  const name = reader.string();
  // [MQTT5 3.1.2-1] [MQTT311 3.1.2-1]
  if (name !== 'MQTT' && name !== 'MQIsdp') throw new MqttError(Reason.unsupportedProtocolVersion, 'not MQTT');
  const level = reader.uint8();
  // Levels with the bit of mosquitto bridges (0x83, 0x84) are among those refused. [MQTT5 3.1.2-2] [MQTT311 3.1.2-2]
  if (name === 'MQIsdp') {
    if (level !== 3) throw new UnsupportedVersionError(level);
    return level;
  }
  if (level !== 4 && level !== 5) throw new UnsupportedVersionError(level);
  return level;
}

/** MQTT 3.1: bit 0 is unused, will flags count with a will only. A user name or password may be announced and missing. */
function meaningfulFlags(flags: number): number {
  const unused = (flags & connectFlag.will) === 0 ? connectFlag.willQos | connectFlag.willRetain : 0;
  return flags & ~(connectFlag.reserved | unused);
}

function checkConnectFlags(flags: number, version: ProtocolVersion): void {
  // [MQTT5 3.1.2-3] [MQTT311 3.1.2-3]
  if ((flags & connectFlag.reserved) !== 0) throw malformed('reserved connect flag');
  if ((flags & connectFlag.will) === 0) {
    // [MQTT5 3.1.2-11] [MQTT5 3.1.2-13] [MQTT311 3.1.2-11] [MQTT311 3.1.2-13] [MQTT311 3.1.2-15]
    if ((flags & (connectFlag.willQos | connectFlag.willRetain)) !== 0) throw malformed('will flags without a will');
  } else if ((flags & connectFlag.willQos) === connectFlag.willQos) {
    throw malformed('will QoS 3'); // [MQTT5 3.1.2-12] [MQTT311 3.1.2-14]
  }
  // MQTT 5 allows a password alone. [MQTT311 3.1.2-22] [MQTT5 §3.1.2.9]
  if (version !== 5 && (flags & connectFlag.password) !== 0 && (flags & connectFlag.username) === 0) {
    throw malformed('password without a user name');
  }
}

/** [MQTT5 3.1.2-9] [MQTT311 3.1.2-9] */
function checkWill(reader: Reader, version: ProtocolVersion): WillProperties {
  let properties = noWillProperties;
  if (version === 5) {
    const section = reader.section(reader.varint());
    properties = scanWillProperties(reader.buffer, section.position, section.end);
  }
  const length = reader.skipString(); // [MQTT5 3.1.3-11] [MQTT311 3.1.3-10]
  // [MQTT5 4.7.3-1] [MQTT311 4.7.3-1] [MQTT5 4.7.0-1] [MQTT311 4.7.1-1]
  if (length === 0) throw new MqttError(Reason.topicNameInvalid, 'will topic is empty');
  if (hasWildcard(reader.buffer, reader.position - length, reader.position)) {
    throw new MqttError(Reason.topicNameInvalid, 'will topic contains a wildcard');
  }
  reader.skipBinary(); // will payload
  return properties;
}

const noWillProperties: WillProperties = { delaySeconds: 0, forward: noProperties };

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
