/**
 * Bytes to packets and back for all but CONNECT (connect.ts), PUBLISH and its acknowledgements; the only file that knows mqtt-packet. Input
 * is one whole packet per call, as framing.ts cuts them; it is validated before it is decoded, so a packet that comes
 * out keeps all rules that do not depend on state. Nothing that comes out shares memory with what went in.
 */

import {
  generate,
  type IConnackPacket,
  type IDisconnectPacket,
  parser as openParser,
  type Packet,
  type Parser,
  writeToStream,
} from 'mqtt-packet';
import { explain } from './explain.ts';
import type {
  AuthPacket,
  ClientPacket,
  ConnackOptions,
  DisconnectPacket,
  SubscribePacket,
  SubscriptionRequest,
  UnsubscribePacket,
} from './packet.ts';
import { PacketType, type ProtocolVersion } from './packet.ts';
import { varintLength } from './properties.ts';
import {
  type AuthReasonCode,
  connackReason,
  connackReturnCode,
  disconnectReason,
  listedReason,
  MqttError,
  malformed,
  protocolError,
  Reason,
  type ReasonCode,
} from './reason.ts';
import {
  validateAuth,
  validateDisconnect,
  validatePingreq,
  validateSubscribe,
  validateUnsubscribe,
} from './validate.ts';

// Saves mqtt-packet from making 65,536 buffers, one per 16-bit number, with the first packet it writes.
writeToStream.cacheNumbers = false;

/** PINGRESP, the same for all. */
export const pingresp: Buffer = Buffer.from([PacketType.pingresp << 4, 0]);

/** CONNACK of MQTT 3.x with success, without and with a session present. */
const connackAccepted: Buffer = Buffer.from([PacketType.connack << 4, 2, 0, 0]);
const connackSessionPresent: Buffer = Buffer.from([PacketType.connack << 4, 2, 1, 0]);

/**
 * Decodes a later packet of a client, unless it is a PUBLISH or an acknowledgement of one. `frame` is exactly one
 * packet, `bodyOffset` where its fixed header ends.
 */
export function decodeClientPacket(version: ProtocolVersion, frame: Buffer, bodyOffset: number): ClientPacket {
  const type = packetType(frame);
  switch (type) {
    case PacketType.subscribe:
      validateSubscribe(version, frame, bodyOffset);
      return subscribePacket(version, frame);
    case PacketType.unsubscribe:
      validateUnsubscribe(version, frame, bodyOffset);
      return unsubscribePacket(version, frame);
    case PacketType.pingreq:
      validatePingreq(frame, bodyOffset);
      return { cmd: 'pingreq' };
    case PacketType.disconnect:
      validateDisconnect(version, frame, bodyOffset);
      return disconnectPacket(version, frame);
    case PacketType.auth:
      validateAuth(version, frame, bodyOffset);
      return authPacket(version, frame);
    case 0: // [MQTT5 §2.1.2] [MQTT311 §2.2.1]
      throw malformed('packet type 0');
    default: // CONNACK, SUBACK, UNSUBACK, PINGRESP are the server's; the rest does not come here. [MQTT5 §3]
      throw protocolError(`packet type ${type} from a client`);
  }
}

/** CONNACK that accepts a client; Response Information is left out where it would exceed `maximumPacketSize`. [MQTT5 3.1.4-5] [MQTT311 3.1.4-4] */
export function encodeConnack(
  version: ProtocolVersion,
  options: ConnackOptions,
  maximumPacketSize = Number.POSITIVE_INFINITY,
): Buffer {
  const { sessionPresent } = options;
  // In MQTT 3.1 that byte is reserved.
  if (version !== 5) return sessionPresent && version === 4 ? connackSessionPresent : connackAccepted;
  const { responseInformation, ...needed } = connackProperties(options);
  const encode = (properties: IConnackPacket['properties']): Buffer =>
    generate({ cmd: 'connack', reasonCode: 0, sessionPresent, properties } as IConnackPacket, version5);
  const connack = responseInformation === undefined ? undefined : encode({ ...needed, responseInformation });
  return connack !== undefined && connack.length <= maximumPacketSize ? connack : encode(needed);
}

/**
 * CONNACK that refuses a client of `version`; undefined if MQTT 3.x has no return code for it, or if it exceeds `maximumPacketSize`
 * (bytes) [MQTT5 3.1.2-24]: then the connection is closed without. Reason string and server reference are left out where the packet
 * would exceed it.
 */
export function encodeConnackRefusal(
  version: number,
  reason: ReasonCode,
  reasonString = '',
  maximumPacketSize = Number.POSITIVE_INFINITY,
  serverReference = '',
): Buffer | undefined {
  const sessionPresent = false; // [MQTT5 3.2.2-6] [MQTT311 3.2.2-4]
  if (version !== 5) {
    const returnCode = connackReturnCode(reason);
    if (returnCode === undefined) return undefined; // [MQTT311 3.2.2-6]
    return generate({ cmd: 'connack', returnCode, sessionPresent }, { protocolVersion: version });
  }
  const connack: IConnackPacket = { cmd: 'connack', reasonCode: connackReason(reason), sessionPresent };
  const packet = generateReferring(connack, serverReference, maximumPacketSize);
  return packet.length <= maximumPacketSize ? explain(packet, reasonString, maximumPacketSize) : undefined;
}

/**
 * CONNACK for a client that asked for an unknown protocol level, in the form it most likely reads. Levels from 0x80
 * are those of mosquitto bridges, which speak MQTT 3.x and try again without that bit. [MQTT5 3.1.2-2] [MQTT311 3.1.2-2]
 */
export function encodeUnsupportedVersion(level: number): Buffer {
  const sessionPresent = false;
  const reasonCode = Reason.unsupportedProtocolVersion;
  if (level < 5 || level >= 0x80) return generate({ cmd: 'connack', returnCode: 1, sessionPresent }, version311);
  return generate({ cmd: 'connack', reasonCode, sessionPresent }, version5);
}

/** SUBACK with one code per filter; MQTT 3.x knows one code for all failures. [MQTT5 3.9.3-1] [MQTT5 3.9.3-2] [MQTT311 3.9.3-2] */
export function encodeSuback(version: ProtocolVersion, packetId: number, codes: readonly number[]): Buffer {
  // MQTT 3.1 has no code for a failure; 0x80 is what its servers send, and a grant would be a lie.
  const granted = codes.map((code) => (version === 5 ? listedReason(PacketType.suback, code) : Math.min(code, 0x80)));
  return generate({ cmd: 'suback', messageId: packetId, granted }, { protocolVersion: version });
}

/** Bytes of a SUBACK or UNSUBACK of MQTT 5 with so many codes and no properties. */
export function subackLength(codes: number): number {
  const remaining = 3 + codes;
  return 1 + varintLength(remaining) + remaining;
}

/** UNSUBACK with one code per filter, which MQTT 3.x leaves out. [MQTT5 3.11.3-1] [MQTT311 3.10.4-5] */
export function encodeUnsuback(version: ProtocolVersion, packetId: number, codes: readonly number[]): Buffer {
  const granted = codes.map((code) => listedReason(PacketType.unsuback, code)); // [MQTT5 3.11.3-2]
  return generate({ cmd: 'unsuback', messageId: packetId, granted }, { protocolVersion: version });
}

/** DISCONNECT of MQTT 5; reason string and server reference are left out where the packet would exceed `maximumPacketSize` (bytes). */
export function encodeDisconnect(
  reason: ReasonCode,
  reasonString = '',
  maximumPacketSize = Number.POSITIVE_INFINITY,
  serverReference = '',
): Buffer {
  const disconnect: IDisconnectPacket = { cmd: 'disconnect', reasonCode: disconnectReason(reason) };
  return explain(generateReferring(disconnect, serverReference, maximumPacketSize), reasonString, maximumPacketSize);
}

/** AUTH. It never has a reason string or user properties, so none has to be left out for want of room. [MQTT5 3.15.2-2] [MQTT5 3.15.2-3] */
export function encodeAuth(reasonCode: AuthReasonCode, method: string, data: Buffer | undefined): Buffer {
  const properties = { authenticationMethod: method, ...(data === undefined ? {} : { authenticationData: data }) };
  return generate({ cmd: 'auth', reasonCode, properties }, version5);
}

const version311 = { protocolVersion: 4 };
const version5 = { protocolVersion: 5 };

/** A parser of mqtt-packet as a function. It is replaced after an error, which leaves it in an unknown state. */
class PacketParser {
  readonly #version: ProtocolVersion;
  #parser: Parser | undefined;
  #packet: Packet | undefined;
  #error: unknown;

  constructor(version: ProtocolVersion) {
    this.#version = version;
  }

  parse<C extends Packet['cmd']>(frame: Buffer, cmd: C): Extract<Packet, { cmd: C }> {
    this.#packet = undefined;
    this.#error = undefined;
    this.#parser ??= this.#open();
    try {
      // What is left over would become part of the next packet, of another client.
      if (this.#parser.parse(frame) !== 0) this.#error ??= new Error('more than one packet');
    } catch (error) {
      this.#error = error;
    }
    const packet: Packet | undefined = this.#packet;
    this.#packet = undefined;
    if (this.#error === undefined && isPacket(packet, cmd)) return packet;
    this.#parser = undefined;
    throw new MqttError(Reason.malformedPacket, `cannot decode ${cmd}`, { cause: this.#error });
  }

  #open(): Parser {
    const parser = openParser({ protocolVersion: this.#version });
    parser.on('packet', (packet) => {
      this.#packet = packet;
    });
    parser.on('error', (error) => {
      this.#error = error;
    });
    return parser;
  }
}

/** One parser per version, shared by all connections: packets come whole, so nothing is left in it between calls. */
const parsers: Readonly<Record<ProtocolVersion, PacketParser>> = {
  3: new PacketParser(3),
  4: new PacketParser(4),
  5: new PacketParser(5),
};

function isPacket<C extends Packet['cmd']>(packet: Packet | undefined, cmd: C): packet is Extract<Packet, { cmd: C }> {
  return packet?.cmd === cmd;
}

/** First bytes as mqtt-packet wants them: it knows nothing of MQTT 3.1's DUP there. */
const subscribeHeader = 0x82;
const unsubscribeHeader = 0xa2;

/** The frame with another byte at `offset`: itself, if that is the same. */
function withByte(frame: Buffer, offset: number, byte: number): Buffer {
  if (frame[offset] === byte) return frame;
  const changed = Buffer.from(frame);
  changed[offset] = byte;
  return changed;
}

function packetType(frame: Buffer): number {
  return (frame[0] ?? 0) >> 4;
}

function copyOf(bytes: Buffer | undefined): Buffer | undefined {
  return bytes === undefined ? undefined : Buffer.from(bytes);
}

function subscribePacket(version: ProtocolVersion, frame: Buffer): SubscribePacket {
  const packet = parsers[version].parse(withByte(frame, 0, subscribeHeader), 'subscribe');
  return {
    cmd: 'subscribe',
    packetId: packet.messageId ?? 0,
    subscriptionIdentifier: packet.properties?.subscriptionIdentifier ?? 0,
    requests: packet.subscriptions.map(
      ({ topic, qos, nl = false, rap = false, rh = 0 }): SubscriptionRequest => ({
        filter: topic,
        qos,
        noLocal: nl,
        retainAsPublished: rap,
        retainHandling: rh === 1 || rh === 2 ? rh : 0,
      }),
    ),
  };
}

function unsubscribePacket(version: ProtocolVersion, frame: Buffer): UnsubscribePacket {
  const packet = parsers[version].parse(withByte(frame, 0, unsubscribeHeader), 'unsubscribe');
  return { cmd: 'unsubscribe', packetId: packet.messageId ?? 0, filters: packet.unsubscriptions };
}

function disconnectPacket(version: ProtocolVersion, frame: Buffer): DisconnectPacket {
  const packet = parsers[version].parse(frame, 'disconnect');
  return {
    cmd: 'disconnect',
    reasonCode: packet.reasonCode ?? Reason.success,
    sessionExpirySeconds: packet.properties?.sessionExpiryInterval,
  };
}

function authPacket(version: ProtocolVersion, frame: Buffer): AuthPacket {
  const packet = parsers[version].parse(frame, 'auth');
  return {
    cmd: 'auth',
    reasonCode: packet.reasonCode,
    authenticationMethod: packet.properties?.authenticationMethod,
    authenticationData: copyOf(packet.properties?.authenticationData),
  };
}

function connackProperties(options: ConnackOptions): NonNullable<IConnackPacket['properties']> {
  const { sessionPresent: _, sessionExpirySeconds, assignedClientId, serverKeepAliveSeconds, ...others } = options;
  const properties: NonNullable<IConnackPacket['properties']> = others;
  if (sessionExpirySeconds !== undefined) properties.sessionExpiryInterval = sessionExpirySeconds;
  if (assignedClientId !== undefined) properties.assignedClientIdentifier = assignedClientId;
  if (serverKeepAliveSeconds !== undefined) properties.serverKeepAlive = serverKeepAliveSeconds;
  return properties;
}

/** The packet with the server reference, or without one that does not fit. The reference is worth more than a reason string. */
function generateReferring(
  packet: IConnackPacket | IDisconnectPacket,
  serverReference: string,
  maximumPacketSize: number,
): Buffer {
  if (serverReference !== '' && Buffer.byteLength(serverReference) <= 0xffff) {
    const referring = generate({ ...packet, properties: { serverReference } }, version5);
    if (referring.length <= maximumPacketSize) return referring;
  }
  return generate(packet, version5);
}
