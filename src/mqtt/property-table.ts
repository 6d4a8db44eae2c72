/**
 * The table of MQTT 5 properties (specification table 2-4): identifier, type, where a client may use each, whether it
 * may repeat, what is illegal. Data only; properties.ts applies it. Two-valued bytes need no entry of their own.
 */

import { PacketType } from './packet.ts';
import { Reason, type ReasonCode } from './reason.ts';

/** Where a block of properties stands: in a packet, by type, or in front of a will. */
export type PropertyPlace = (typeof PacketType)[keyof typeof PacketType] | 'will';

/** How the value of a property is encoded. All properties of type byte are two-valued. */
export type PropertyType = 'byte' | 'uint16' | 'uint32' | 'varint' | 'string' | 'pair' | 'binary';

interface PropertyRow {
  readonly id: number;
  readonly name: string;
  readonly type: PropertyType;
  /** Packets that may carry it, whoever sends them; see `serverOnlyIn`. */
  readonly allowedIn: readonly PropertyPlace[];
  /** The packet in which only a server may send it, although clients send this packet too. */
  readonly serverOnlyIn?: PropertyPlace;
  readonly repeats?: true;
  /** The reason code if 0 is not allowed. */
  readonly zeroIs?: ReasonCode;
}

const { connect, connack, publish, puback, pubrec, pubrel, pubcomp } = PacketType;
const { subscribe, suback, unsubscribe, unsuback, disconnect, auth } = PacketType;
const acks: readonly PropertyPlace[] = [puback, pubrec, pubrel, pubcomp, suback, unsuback];

const rows = [
  { id: 1, name: 'payloadFormatIndicator', type: 'byte', allowedIn: [publish, 'will'] },
  { id: 2, name: 'messageExpiryInterval', type: 'uint32', allowedIn: [publish, 'will'] },
  { id: 3, name: 'contentType', type: 'string', allowedIn: [publish, 'will'] },
  { id: 8, name: 'responseTopic', type: 'string', allowedIn: [publish, 'will'] },
  { id: 9, name: 'correlationData', type: 'binary', allowedIn: [publish, 'will'] },
  {
    id: 11,
    name: 'subscriptionIdentifier',
    type: 'varint',
    allowedIn: [subscribe],
    serverOnlyIn: publish, // [MQTT5 3.3.4-6]
    zeroIs: Reason.protocolError, // [MQTT5 §3.8.2.1.2]
  },
  { id: 17, name: 'sessionExpiryInterval', type: 'uint32', allowedIn: [connect, connack, disconnect] },
  { id: 18, name: 'assignedClientIdentifier', type: 'string', allowedIn: [connack] },
  { id: 19, name: 'serverKeepAlive', type: 'uint16', allowedIn: [connack] },
  { id: 21, name: 'authenticationMethod', type: 'string', allowedIn: [connect, connack, auth] },
  { id: 22, name: 'authenticationData', type: 'binary', allowedIn: [connect, connack, auth] },
  { id: 23, name: 'requestProblemInformation', type: 'byte', allowedIn: [connect] },
  { id: 24, name: 'willDelayInterval', type: 'uint32', allowedIn: ['will'] },
  { id: 25, name: 'requestResponseInformation', type: 'byte', allowedIn: [connect] },
  { id: 26, name: 'responseInformation', type: 'string', allowedIn: [connack] },
  { id: 28, name: 'serverReference', type: 'string', allowedIn: [connack], serverOnlyIn: disconnect },
  { id: 31, name: 'reasonString', type: 'string', allowedIn: [connack, ...acks, disconnect, auth] },
  {
    id: 33,
    name: 'receiveMaximum',
    type: 'uint16',
    allowedIn: [connect, connack],
    zeroIs: Reason.protocolError, // [MQTT5 §3.1.2.11.3]
  },
  { id: 34, name: 'topicAliasMaximum', type: 'uint16', allowedIn: [connect, connack] },
  {
    id: 35,
    name: 'topicAlias',
    type: 'uint16',
    allowedIn: [publish],
    zeroIs: Reason.topicAliasInvalid, // [MQTT5 3.3.2-8]
  },
  { id: 36, name: 'maximumQoS', type: 'byte', allowedIn: [connack] },
  { id: 37, name: 'retainAvailable', type: 'byte', allowedIn: [connack] },
  {
    id: 38,
    name: 'userProperty',
    type: 'pair',
    allowedIn: [connect, 'will', connack, publish, ...acks, subscribe, unsubscribe, disconnect, auth],
    repeats: true,
  },
  {
    id: 39,
    name: 'maximumPacketSize',
    type: 'uint32',
    allowedIn: [connect, connack],
    zeroIs: Reason.protocolError, // [MQTT5 §3.1.2.11.4]
  },
  { id: 40, name: 'wildcardSubscriptionAvailable', type: 'byte', allowedIn: [connack] },
  { id: 41, name: 'subscriptionIdentifierAvailable', type: 'byte', allowedIn: [connack] },
  { id: 42, name: 'sharedSubscriptionAvailable', type: 'byte', allowedIn: [connack] },
] as const satisfies readonly PropertyRow[];

/** Names of all properties, as in the specification. */
export type PropertyName = (typeof rows)[number]['name'];

/** One row of the table. */
export interface PropertyDefinition {
  readonly id: number;
  readonly name: PropertyName;
  readonly type: PropertyType;
  readonly allowedIn: readonly PropertyPlace[];
  readonly serverOnlyIn: PropertyPlace | undefined;
  readonly repeats: boolean;
  readonly zeroIs: ReasonCode | undefined;
  /** One bit per property, to remember cheaply which were seen. */
  readonly bit: number;
}

/** All properties, in the order of their identifiers. */
export const properties: readonly PropertyDefinition[] = rows.map(
  (row: PropertyRow & { name: PropertyName }, index) => ({
    id: row.id,
    name: row.name,
    type: row.type,
    allowedIn: row.allowedIn,
    serverOnlyIn: row.serverOnlyIn,
    repeats: row.repeats ?? false,
    zeroIs: row.zeroIs,
    bit: 1 << index,
  }),
);

/** All properties by identifier. */
export const propertiesById: readonly (PropertyDefinition | undefined)[] = Array.from(
  { length: Math.max(...properties.map((definition) => definition.id)) + 1 },
  (_, id) => properties.find((definition) => definition.id === id),
);
