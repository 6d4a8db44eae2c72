/**
 * Reason codes of MQTT 5 (section 2.4), which packet may carry which, the CONNACK return codes of MQTT 3.x, and the error
 * that says which rule a peer broke. Thrown anywhere below connection/, turned into a packet and a close in
 * connection/connection.ts only.
 */
import { PacketType } from './packet.ts';

/** MQTT 5 reason codes that a server sends or understands. */
export const Reason = {
  success: 0x00,
  grantedQoS1: 0x01,
  grantedQoS2: 0x02,
  disconnectWithWill: 0x04,
  noMatchingSubscribers: 0x10,
  noSubscriptionExisted: 0x11,
  continueAuthentication: 0x18,
  unspecifiedError: 0x80,
  malformedPacket: 0x81,
  protocolError: 0x82,
  implementationSpecificError: 0x83,
  unsupportedProtocolVersion: 0x84,
  clientIdentifierNotValid: 0x85,
  badUserNameOrPassword: 0x86,
  notAuthorized: 0x87,
  serverUnavailable: 0x88,
  serverBusy: 0x89,
  banned: 0x8a,
  serverShuttingDown: 0x8b,
  badAuthenticationMethod: 0x8c,
  keepAliveTimeout: 0x8d,
  sessionTakenOver: 0x8e,
  topicFilterInvalid: 0x8f,
  topicNameInvalid: 0x90,
  packetIdentifierInUse: 0x91,
  packetIdentifierNotFound: 0x92,
  receiveMaximumExceeded: 0x93,
  topicAliasInvalid: 0x94,
  packetTooLarge: 0x95,
  messageRateTooHigh: 0x96,
  quotaExceeded: 0x97,
  administrativeAction: 0x98,
  payloadFormatInvalid: 0x99,
  retainNotSupported: 0x9a,
  qosNotSupported: 0x9b,
  useAnotherServer: 0x9c,
  serverMoved: 0x9d,
  sharedSubscriptionsNotSupported: 0x9e,
  connectionRateExceeded: 0x9f,
  maximumConnectTime: 0xa0,
  subscriptionIdentifiersNotSupported: 0xa1,
  wildcardSubscriptionsNotSupported: 0xa2,
} as const;

/** One of {@link Reason}. */
export type ReasonCode = (typeof Reason)[keyof typeof Reason];

/** Reason codes of AUTH. [MQTT5 3.15.2-1] */
export const AuthReason = { success: 0x00, continue: 0x18, again: 0x19 } as const;

/** One of {@link AuthReason}. */
export type AuthReasonCode = (typeof AuthReason)[keyof typeof AuthReason];

/** The peer broke a rule of the protocol or is refused. */
export class MqttError extends Error {
  readonly reason: ReasonCode;

  constructor(reason: ReasonCode, text: string, options?: ErrorOptions) {
    super(text, options);
    this.name = 'MqttError';
    this.reason = reason;
  }
}

/** The client is to use another server (0x9C for now, 0x9D for good). MQTT5 section 4.11 */
export class RedirectError extends MqttError {
  /** Servers as `host[:port]`, separated by spaces. */
  readonly serverReference: string;

  constructor(reason: typeof Reason.useAnotherServer | typeof Reason.serverMoved, serverReference: string) {
    super(reason, 'this server is shutting down');
    this.name = 'RedirectError';
    this.serverReference = serverReference;
  }
}

/** Shorthand for the most common breach: bytes that cannot be read as the packet they claim to be. */
export function malformed(text: string): MqttError {
  return new MqttError(Reason.malformedPacket, text);
}

/** Shorthand for a packet that can be read but is not allowed here or with these values. */
export function protocolError(text: string): MqttError {
  return new MqttError(Reason.protocolError, text);
}

const texts = new Map<ReasonCode, string>([
  [Reason.notAuthorized, 'not authorized'],
  [Reason.topicFilterInvalid, 'topic filter is not valid'],
  [Reason.topicNameInvalid, 'topic name is not valid'],
  [Reason.packetIdentifierInUse, 'packet id is in use'],
  [Reason.packetIdentifierNotFound, 'packet id is not known'],
  [Reason.quotaExceeded, 'quota exceeded'],
]);

/** What an acknowledgement says beside its code, where the place that refuses knows no better. */
export function reasonText(reason: ReasonCode): string {
  return texts.get(reason) ?? 'refused';
}

const connackReturnCodes = new Map<ReasonCode, number>([
  [Reason.unsupportedProtocolVersion, 0x01],
  [Reason.clientIdentifierNotValid, 0x02],
  [Reason.serverUnavailable, 0x03],
  [Reason.serverBusy, 0x03],
  [Reason.serverShuttingDown, 0x03],
  [Reason.quotaExceeded, 0x03],
  [Reason.connectionRateExceeded, 0x03],
  [Reason.useAnotherServer, 0x03],
  [Reason.serverMoved, 0x03],
  [Reason.badUserNameOrPassword, 0x04],
  [Reason.notAuthorized, 0x05],
  [Reason.banned, 0x05],
]);

/** The CONNACK return code of MQTT 3.x that says the same, or undefined when none fits: then nothing is sent. [MQTT311 3.2.2-6] */
export function connackReturnCode(reason: ReasonCode): number | undefined {
  return connackReturnCodes.get(reason);
}

/** Codes that PUBACK and PUBREC share. MQTT5 sections 3.4.2.1, 3.5.2.1 */
const ofPublish = [0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
/** Codes that PUBREL and PUBCOMP share. MQTT5 sections 3.6.2.1, 3.7.2.1 */
const ofRelease = [0x00, 0x92];

/** The reason codes that a server may send, by packet type. */
const listed: Readonly<Record<number, ReadonlySet<number>>> = {
  [PacketType.connack]: new Set([
    0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95, 0x97, 0x99, 0x9a, 0x9b,
    0x9c, 0x9d, 0x9f,
  ]), // [MQTT5 3.2.2-8]
  [PacketType.puback]: new Set(ofPublish), // [MQTT5 3.4.2-1]
  [PacketType.pubrec]: new Set(ofPublish), // [MQTT5 3.5.2-1]
  [PacketType.pubrel]: new Set(ofRelease), // [MQTT5 3.6.2-1]
  [PacketType.pubcomp]: new Set(ofRelease), // [MQTT5 3.7.2-1]
  [PacketType.suback]: new Set([0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2]), // [MQTT5 3.9.3-2]
  [PacketType.unsuback]: new Set([0x00, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91]), // [MQTT5 3.11.3-2]
  [PacketType.disconnect]: new Set([
    0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8b, 0x8d, 0x8e, 0x8f, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99,
    0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2,
  ]), // [MQTT5 3.14.2-1]
  [PacketType.auth]: new Set([0x00, 0x18]), // [MQTT5 3.15.2-1]
};

/** What comes closest to a code in packets that do not have it. */
const substitutes = new Map<number, ReasonCode>([
  [Reason.unsupportedProtocolVersion, Reason.protocolError],
  [Reason.clientIdentifierNotValid, Reason.notAuthorized],
  [Reason.badUserNameOrPassword, Reason.notAuthorized],
  [Reason.badAuthenticationMethod, Reason.notAuthorized],
  [Reason.banned, Reason.notAuthorized],
  [Reason.administrativeAction, Reason.notAuthorized],
  [Reason.serverUnavailable, Reason.serverBusy],
  [Reason.serverShuttingDown, Reason.serverUnavailable],
  [Reason.messageRateTooHigh, Reason.quotaExceeded],
  [Reason.packetIdentifierInUse, Reason.protocolError],
  [Reason.packetIdentifierNotFound, Reason.protocolError],
  [Reason.topicNameInvalid, Reason.topicFilterInvalid],
]);

/**
 * The reason code to put into a packet of `type`, which may carry listed ones only: `reason`, or what comes closest.
 * @throws Error for a failure in a packet that has no word for any: PUBREL, PUBCOMP and AUTH
 */
export function listedReason(type: number, reason: number): number {
  const codes = listed[type];
  if (codes === undefined) throw new Error(`packet type ${type} has no reason code`);
  if (codes.has(reason)) return reason;
  const closest = substitutes.get(reason);
  if (closest !== undefined && codes.has(closest)) return closest;
  if (codes.has(Reason.unspecifiedError)) return Reason.unspecifiedError;
  throw new Error(`packet type ${type} cannot say ${reason}`);
}

/** The reason code to put into a CONNACK of MQTT 5. [MQTT5 3.2.2-8] */
export function connackReason(reason: ReasonCode): number {
  return listedReason(PacketType.connack, reason);
}

/** The reason code to put into a DISCONNECT. [MQTT5 3.14.2-1] */
export function disconnectReason(reason: ReasonCode): number {
  return listedReason(PacketType.disconnect, reason);
}
