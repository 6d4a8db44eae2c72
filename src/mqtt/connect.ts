/**
 * CONNECT, read from its raw bytes in one pass: every rule that does not depend on state, with the reason code of MQTT 5 for all versions.
 * Each client sends one, so it is read here and not by mqtt-packet. Nothing that comes out shares memory with what went in.
 */

import { findMaximumPacketSize, noConnectProperties, scanConnectProperties } from './connect-properties.ts';
import { type ConnectPacket, PacketType, type ProtocolVersion, type QoS, type WillDefinition } from './packet.ts';
import { noProperties, scanWillProperties, type WillProperties } from './properties.ts';
import { Reader } from './reader.ts';
import { MqttError, malformed, protocolError, Reason } from './reason.ts';
import { hasWildcard } from './topic.ts';
import { checkHeaderFlags } from './validate.ts';

/** Session Expiry Interval that means never. */
const NEVER_EXPIRES = 0xffffffff;

/** A CONNECT for a protocol version that is not spoken here; `level` decides in which form the refusal is sent. */
export class UnsupportedVersionError extends MqttError {
  readonly level: number;

  constructor(level: number) {
    super(Reason.unsupportedProtocolVersion, `protocol level ${level} is not supported`);
    this.name = 'UnsupportedVersionError';
    this.level = level;
  }
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

/**
 * Decodes the first packet of a connection. `frame` is exactly one packet, `bodyOffset` where its fixed header ends. [MQTT5 3.1.4-1] [MQTT311 3.1.4-1]
 * @throws UnsupportedVersionError for a protocol level that is not spoken here, MqttError for any other breach
 */
export function decodeConnect(frame: Buffer, bodyOffset: number): ConnectPacket {
  // [MQTT5 3.1.0-1] [MQTT311 3.1.0-1]
  if ((frame[0] ?? 0) >> 4 !== PacketType.connect) throw protocolError('the first packet is not a CONNECT');
  checkHeaderFlags(frame, 0);
  const reader = new Reader(frame, bodyOffset, frame.length);
  const version = readVersion(reader);
  const flags = readFlags(reader, version);
  const keepAliveSeconds = reader.uint16();
  const properties = version === 5 ? scanConnectProperties(reader) : noConnectProperties;
  // The fields that follow must be those announced, in this order. [MQTT5 3.1.3-1] [MQTT311 3.1.3-1]
  const clientId = reader.string(); // [MQTT5 3.1.3-4] [MQTT311 3.1.3-4]
  const will = (flags & connectFlag.will) === 0 ? undefined : readWill(reader, version, flags);
  const { password, username } = readCredentials(reader, version, flags);
  reader.expectEnd();
  const cleanStart = (flags & connectFlag.cleanStart) !== 0;
  return {
    cmd: 'connect',
    version,
    clientId,
    cleanStart,
    keepAliveSeconds,
    username,
    password,
    will,
    // [MQTT5 §3.1.2.11.2] [MQTT311 3.1.2-6]
    sessionExpirySeconds: version === 5 || cleanStart ? properties.sessionExpirySeconds : NEVER_EXPIRES,
    receiveMaximum: properties.receiveMaximum,
    maximumPacketSize: properties.maximumPacketSize,
    topicAliasMaximum: properties.topicAliasMaximum,
    requestResponseInformation: properties.requestResponseInformation,
    requestProblemInformation: properties.requestProblemInformation,
    authenticationMethod: properties.authenticationMethod,
    authenticationData: properties.authenticationData,
  };
}

const connectFlag = {
  reserved: 0x01,
  cleanStart: 0x02,
  will: 0x04,
  willQos: 0x18,
  willRetain: 0x20,
  password: 0x40,
  username: 0x80,
};

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

function readFlags(reader: Reader, version: ProtocolVersion): number {
  const flags = reader.uint8();
  const meaningful = version === 3 ? meaningfulFlags(flags) : flags;
  checkConnectFlags(meaningful, version);
  return meaningful;
}

/** MQTT 3.1 may announce what it leaves out: for the sake of MQTT 3.0 its length goes before its flags (MQTT 3.1 section 3.1). */
function readCredentials(
  reader: Reader,
  version: ProtocolVersion,
  flags: number,
): { readonly username: string | undefined; readonly password: Buffer | undefined } {
  const isThere = (flag: number): boolean => (flags & flag) !== 0 && !(version === 3 && reader.isAtEnd);
  // [MQTT5 3.1.2-16] [MQTT5 3.1.2-17] [MQTT311 3.1.2-18] [MQTT311 3.1.2-19] [MQTT5 3.1.3-12] [MQTT311 3.1.3-11]
  const username = isThere(connectFlag.username) ? reader.string() : undefined;
  // [MQTT5 3.1.2-18] [MQTT5 3.1.2-19] [MQTT311 3.1.2-20] [MQTT311 3.1.2-21]
  const password = isThere(connectFlag.password) ? reader.binary() : undefined;
  return { username, password };
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

/** [MQTT5 3.1.2-7] [MQTT5 3.1.2-9] [MQTT311 3.1.2-9] */
function readWill(reader: Reader, version: ProtocolVersion, flags: number): WillDefinition {
  const properties = version === 5 ? readWillProperties(reader) : noWillProperties;
  const topic = reader.string(); // [MQTT5 3.1.3-11] [MQTT311 3.1.3-10]
  // [MQTT5 4.7.3-1] [MQTT311 4.7.3-1] [MQTT5 4.7.0-1] [MQTT311 4.7.1-1]
  if (topic === '') throw new MqttError(Reason.topicNameInvalid, 'will topic is empty');
  if (hasWildcard(topic)) throw new MqttError(Reason.topicNameInvalid, 'will topic contains a wildcard');
  const { delaySeconds, forward } = properties;
  const retain = (flags & connectFlag.willRetain) !== 0;
  return { topic, payload: reader.binary(), qos: qosOf(flags), retain, delaySeconds, properties: forward };
}

function qosOf(flags: number): QoS {
  const qos = (flags & connectFlag.willQos) >> 3;
  return qos === 1 || qos === 2 ? qos : 0;
}

function readWillProperties(reader: Reader): WillProperties {
  const { end, position } = reader.section(reader.varint());
  return scanWillProperties(reader.buffer, position, end);
}

const noWillProperties: WillProperties = { delaySeconds: 0, forward: noProperties };
