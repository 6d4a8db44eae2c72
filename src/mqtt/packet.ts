/**
 * Control packets that are rare enough to be objects, as a discriminated union on `cmd`. PUBLISH and its
 * acknowledgements never become objects: see publish.ts. Absent MQTT 5 fields hold the default of the specification.
 */

/** 3 = MQTT 3.1, 4 = MQTT 3.1.1, 5 = MQTT 5.0. */
export type ProtocolVersion = 3 | 4 | 5;

export type QoS = 0 | 1 | 2;

/** First nibble of the fixed header. */
export const PacketType = {
  connect: 1,
  connack: 2,
  publish: 3,
  puback: 4,
  pubrec: 5,
  pubrel: 6,
  pubcomp: 7,
  subscribe: 8,
  suback: 9,
  unsubscribe: 10,
  unsuback: 11,
  pingreq: 12,
  pingresp: 13,
  disconnect: 14,
  auth: 15,
} as const;

export interface WillDefinition {
  readonly topic: string;
  /** Own copy, free to keep. */
  readonly payload: Buffer;
  readonly qos: QoS;
  readonly retain: boolean;
  readonly delaySeconds: number;
  /** Forwardable properties as an encoded block (own copy, Will Delay taken out), user properties in their order. */
  readonly properties: Buffer;
}

export interface ConnectPacket {
  readonly cmd: 'connect';
  readonly version: ProtocolVersion;
  /** Empty when the client asks for an assigned one. */
  readonly clientId: string;
  /** Clean Start of MQTT 5, Clean Session of MQTT 3.x. */
  readonly cleanStart: boolean;
  /** 0 = never times out. */
  readonly keepAliveSeconds: number;
  readonly username: string | undefined;
  readonly password: Buffer | undefined;
  readonly will: WillDefinition | undefined;
  /** 0xFFFFFFFF = never expires; MQTT 3.x without Clean Session counts as that. */
  readonly sessionExpirySeconds: number;
  readonly receiveMaximum: number;
  /** Bytes; Infinity when the client states none. */
  readonly maximumPacketSize: number;
  readonly topicAliasMaximum: number;
  readonly requestResponseInformation: boolean;
  readonly requestProblemInformation: boolean;
  readonly authenticationMethod: string | undefined;
  readonly authenticationData: Buffer | undefined;
}

export interface SubscriptionRequest {
  readonly filter: string;
  readonly qos: QoS;
  readonly noLocal: boolean;
  readonly retainAsPublished: boolean;
  readonly retainHandling: 0 | 1 | 2;
}

export interface SubscribePacket {
  readonly cmd: 'subscribe';
  readonly packetId: number;
  /** 0 = none. */
  readonly subscriptionIdentifier: number;
  readonly requests: readonly SubscriptionRequest[];
}

export interface UnsubscribePacket {
  readonly cmd: 'unsubscribe';
  readonly packetId: number;
  readonly filters: readonly string[];
}

export interface DisconnectPacket {
  readonly cmd: 'disconnect';
  readonly reasonCode: number;
  readonly sessionExpirySeconds: number | undefined;
}

export interface AuthPacket {
  readonly cmd: 'auth';
  readonly reasonCode: number;
  readonly authenticationMethod: string | undefined;
  readonly authenticationData: Buffer | undefined;
}

export interface PingreqPacket {
  readonly cmd: 'pingreq';
}

/** What codec.ts decodes for a client after CONNECT. */
export type ClientPacket = SubscribePacket | UnsubscribePacket | DisconnectPacket | AuthPacket | PingreqPacket;

/** Success CONNACK; absent fields are left to the defaults of the specification. MQTT 3.x uses sessionPresent only. */
export interface ConnackOptions {
  readonly sessionPresent: boolean;
  readonly sessionExpirySeconds?: number;
  readonly receiveMaximum?: number;
  readonly maximumQoS?: 0 | 1;
  readonly retainAvailable?: boolean;
  readonly maximumPacketSize?: number;
  readonly assignedClientId?: string;
  readonly topicAliasMaximum?: number;
  readonly serverKeepAliveSeconds?: number;
  readonly wildcardSubscriptionAvailable?: boolean;
  readonly subscriptionIdentifiersAvailable?: boolean;
  readonly sharedSubscriptionAvailable?: boolean;
  readonly responseInformation?: string;
  readonly authenticationMethod?: string;
  readonly authenticationData?: Buffer;
}
