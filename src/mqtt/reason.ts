/**
 * Reason codes of MQTT 5 (section 2.4), the CONNACK return codes of MQTT 3.x, and the error that says which rule a
 * peer broke. Thrown anywhere below connection/, turned into a packet and a close in connection/connection.ts only.
 */

/** MQTT 5 reason codes that a server sends or understands. */
export const Reason = {
  success: 0x00,
  disconnectWithWill: 0x04,
  noSubscriptionExisted: 0x11,
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
  payloadFormatInvalid: 0x99,
  retainNotSupported: 0x9a,
  qosNotSupported: 0x9b,
} as const;

/** One of {@link Reason}. */
export type ReasonCode = (typeof Reason)[keyof typeof Reason];

/** The peer broke a rule of the protocol or is refused. */
export class MqttError extends Error {
  readonly reason: ReasonCode;

  constructor(reason: ReasonCode, text: string, options?: ErrorOptions) {
    super(text, options);
    this.name = 'MqttError';
    this.reason = reason;
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
  [Reason.badUserNameOrPassword, 0x04],
  [Reason.notAuthorized, 0x05],
]);

/** The CONNACK return code of MQTT 3.x that says the same, or undefined when none fits: then nothing is sent. [MQTT311 3.2.2-6] */
export function connackReturnCode(reason: ReasonCode): number | undefined {
  return connackReturnCodes.get(reason);
}

const connackReasons: ReadonlySet<ReasonCode> = new Set([
  Reason.success,
  Reason.unspecifiedError,
  Reason.malformedPacket,
  Reason.protocolError,
  Reason.implementationSpecificError,
  Reason.unsupportedProtocolVersion,
  Reason.clientIdentifierNotValid,
  Reason.badUserNameOrPassword,
  Reason.notAuthorized,
  Reason.serverUnavailable,
  Reason.serverBusy,
  Reason.badAuthenticationMethod,
  Reason.topicNameInvalid,
  Reason.packetTooLarge,
  Reason.quotaExceeded,
  Reason.payloadFormatInvalid,
  Reason.retainNotSupported,
  Reason.qosNotSupported,
]);

/** The reason code to put into a CONNACK of MQTT 5, which may carry listed ones only. [MQTT5 3.2.2-8] */
export function connackReason(reason: ReasonCode): ReasonCode {
  if (reason === Reason.serverShuttingDown) return Reason.serverUnavailable;
  return connackReasons.has(reason) ? reason : Reason.unspecifiedError;
}

/** Codes that a DISCONNECT may not carry, and what comes closest. */
const disconnectSubstitutes = new Map<ReasonCode, ReasonCode>([
  [Reason.noSubscriptionExisted, Reason.unspecifiedError],
  [Reason.unsupportedProtocolVersion, Reason.protocolError],
  [Reason.clientIdentifierNotValid, Reason.notAuthorized],
  [Reason.badUserNameOrPassword, Reason.notAuthorized],
  [Reason.badAuthenticationMethod, Reason.notAuthorized],
  [Reason.serverUnavailable, Reason.serverBusy],
  [Reason.packetIdentifierInUse, Reason.protocolError],
  [Reason.packetIdentifierNotFound, Reason.protocolError],
]);

/** The reason code to put into a DISCONNECT, which may carry listed ones only. [MQTT5 3.14.2-1] */
export function disconnectReason(reason: ReasonCode): ReasonCode {
  return disconnectSubstitutes.get(reason) ?? reason;
}
