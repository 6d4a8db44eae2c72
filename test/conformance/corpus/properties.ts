/** Properties of MQTT 5: each in each packet, repeated, unknown, with illegal values, and blocks with wrong lengths. */
import { bytes, property, props, str, u16, u32, varint } from '../../unit/mqtt/bytes.ts';
import { type Carrier, carriers, type Place } from './carriers.ts';
import { type Case, type Group, makeCase, notAccepted, type Reaction, type Rule, rule } from './case.ts';

interface Row {
  readonly id: number;
  readonly name: string;
  readonly value: Buffer;
  readonly in: readonly Place[];
}

const acks = ['PUBACK', 'PUBREC', 'PUBREL', 'PUBCOMP'] as const;
const message = ['PUBLISH', 'will'] as const;

/** Table 2-4 of the standard as far as clients are concerned: where each may stand, with a legal value. */
const rows: readonly Row[] = [
  { id: 1, name: 'Payload Format Indicator', value: bytes(1), in: message },
  { id: 2, name: 'Message Expiry Interval', value: u32(60), in: message },
  { id: 3, name: 'Content Type', value: str('ct'), in: message },
  { id: 8, name: 'Response Topic', value: str('r'), in: message },
  { id: 9, name: 'Correlation Data', value: str(Buffer.of(0, 255)), in: message },
  { id: 11, name: 'Subscription Identifier', value: varint(268_435_455), in: ['SUBSCRIBE'] },
  { id: 17, name: 'Session Expiry Interval', value: u32(0), in: ['CONNECT', 'DISCONNECT'] },
  { id: 18, name: 'Assigned Client Identifier', value: str('id'), in: [] },
  { id: 19, name: 'Server Keep Alive', value: u16(1), in: [] },
  { id: 21, name: 'Authentication Method', value: str('m'), in: ['CONNECT', 'AUTH'] },
  { id: 22, name: 'Authentication Data', value: str('d'), in: ['CONNECT', 'AUTH'] },
  { id: 23, name: 'Request Problem Information', value: bytes(1), in: ['CONNECT'] },
  { id: 24, name: 'Will Delay Interval', value: u32(1), in: ['will'] },
  { id: 25, name: 'Request Response Information', value: bytes(1), in: ['CONNECT'] },
  { id: 26, name: 'Response Information', value: str('r'), in: [] },
  { id: 28, name: 'Server Reference', value: str('s'), in: [] },
  { id: 31, name: 'Reason String', value: str('r'), in: [...acks, 'DISCONNECT', 'AUTH'] },
  { id: 33, name: 'Receive Maximum', value: u16(1), in: ['CONNECT'] },
  { id: 34, name: 'Topic Alias Maximum', value: u16(0), in: ['CONNECT'] },
  { id: 35, name: 'Topic Alias', value: u16(1), in: ['PUBLISH'] },
  { id: 36, name: 'Maximum QoS', value: bytes(1), in: [] },
  { id: 37, name: 'Retain Available', value: bytes(1), in: [] },
  { id: 38, name: 'User Property', value: bytes(str('n'), str('v')), in: carriers.map(({ place }) => place) },
  { id: 39, name: 'Maximum Packet Size', value: u32(1_000), in: ['CONNECT'] },
  { id: 40, name: 'Wildcard Subscription Available', value: bytes(1), in: [] },
  { id: 41, name: 'Subscription Identifiers Available', value: bytes(1), in: [] },
  { id: 42, name: 'Shared Subscription Available', value: bytes(1), in: [] },
];

/** What section 2.2.2 says of properties has no numbers; that the connection is closed has one. */
const anyRule = rule('4.13.1-1');
const legal = rule('');

function caseIn(
  carrier: Carrier,
  name: string,
  block: Buffer,
  expect: Reaction,
  cited: Rule = expect === carrier.fine ? legal : anyRule,
): Case {
  const delivers = expect === carrier.fine ? carrier.delivers : [];
  const before = carrier.before();
  return makeCase(cited, {
    name: `${carrier.place}: ${name}`,
    version: 5,
    before,
    bytes: carrier.packet(block),
    expect,
    delivers,
  });
}

function placed({ id, in: places, name, value }: Row, carrier: Carrier): Case {
  const { fine, place, refuses } = carrier;
  const block = props(id, value);
  // A client may not send what only the server may, in a packet that both send. [MQTT5 3.3.4-6]
  if (id === 11 && place === 'PUBLISH') return caseIn(carrier, name, block, refuses(0x82), rule('3.3.4-6'));
  if (id === 28 && place === 'DISCONNECT') return caseIn(carrier, name, block, refuses(0x82));
  if (!places.includes(place)) return caseIn(carrier, name, block, refuses(0x81));
  // No method is supported [MQTT5 4.12.0-1]; data needs one.
  if (id === 21 && place === 'CONNECT') return caseIn(carrier, name, block, notAccepted(5, 0x8c), rule('4.12.0-1'));
  if (id === 22) return caseIn(carrier, name, block, refuses(0x82));
  return caseIn(carrier, name, block, fine);
}

function twice({ id, name, value }: Row, carrier: Carrier): Case {
  const block = props(id, value, id, value);
  return caseIn(carrier, `${name} twice`, block, id === 38 ? carrier.fine : carrier.refuses(0x82));
}

/** Identifiers that no property has, and one in two bytes. */
const unknownIds = [0, 4, 5, 6, 7, 10, 12, 16, 20, 27, 29, 30, 32, 43, 127, 128, 16_384];

function unknown(carrier: Carrier): Case[] {
  return unknownIds.map((id) => caseIn(carrier, `unknown ${id}`, props(varint(id), 1), carrier.refuses(0x81)));
}

function lengths(carrier: Carrier): Case[] {
  const { fine, refuses } = carrier;
  const user = property.user('n', 'v');
  const one = (name: string, block: Buffer): Case =>
    caseIn(carrier, name, block, refuses(0x81), rule('1.5.5-1 4.13.1-1'));
  return [
    caseIn(carrier, 'one property', props(user), fine),
    caseIn(carrier, 'two hundred properties', props(...Array.from({ length: 200 }, () => user)), fine),
    one('property length of five bytes', bytes(0x87, 0x80, 0x80, 0x80, 0x00, user)),
    one('property length in two bytes', bytes(0x87, 0x00, user)),
    one('property length 0 in two bytes', bytes(0x80, 0x00)),
    one('property length above the packet', bytes(0xff, 0x7f, user)),
    one('property length of 256 MiB', bytes(0xff, 0xff, 0xff, 0x7f, user)),
    one('property length one byte short', bytes(user.length - 1, user)),
    one('identifier in two bytes', props(0xa6, 0x00, str('n'), str('v'))),
    one('identifier without value', props(38)),
    one('string runs past the block', props(38, str('n'), u16(2), 0x76)),
    one('string of 65,535 claimed bytes', props(38, u16(0xffff), 0x76)),
  ];
}

type Value = readonly [place: Place, name: string, code: number, property: Buffer];

const values: readonly Value[] = [
  ...([2, 127, 255] as const).flatMap((value): Value[] => [
    ['PUBLISH', `Payload Format Indicator ${value}`, 0x82, property.payloadFormat(value)],
    ['will', `Payload Format Indicator ${value}`, 0x82, property.payloadFormat(value)],
    ['CONNECT', `Request Problem Information ${value}`, 0x82, property.requestProblemInformation(value)],
    ['CONNECT', `Request Response Information ${value}`, 0x82, property.requestResponseInformation(value)],
  ]),
  ['CONNECT', 'Receive Maximum 0', 0x82, property.receiveMaximum(0)],
  ['CONNECT', 'Maximum Packet Size 0', 0x82, property.maximumPacketSize(0)],
  ['CONNECT', 'data without method', 0x82, property.authenticationData('d')],
  ['SUBSCRIBE', 'Subscription Identifier 0', 0x82, property.subscriptionIdentifier(0)],
  ['SUBSCRIBE', 'Subscription Identifier of five bytes', 0x81, bytes(11, 0x80, 0x80, 0x80, 0x80, 0x01)],
  ['SUBSCRIBE', 'Subscription Identifier longer than needed', 0x81, bytes(11, 0x81, 0x00)],
  ['SUBSCRIBE', 'Subscription Identifier cut off', 0x81, bytes(11, 0x81)],
  ['SUBSCRIBE', 'Subscription Identifier 1', 0, property.subscriptionIdentifier(1)],
  ['PUBLISH', 'Topic Alias 0', 0x94, property.topicAlias(0)],
  ['PUBLISH', 'Topic Alias above the maximum', 0x94, property.topicAlias(33)],
  ['PUBLISH', 'Topic Alias at the maximum', 0, property.topicAlias(32)],
  ['PUBLISH', 'Topic Alias 65,535', 0x94, property.topicAlias(65_535)],
  ...(['PUBLISH', 'will'] as const).flatMap((place): Value[] => [
    [place, 'empty Response Topic', 0x82, property.responseTopic('')],
    [place, 'Response Topic +', 0x82, property.responseTopic('a/+')],
    [place, 'Response Topic #', 0x82, property.responseTopic('#')],
    [place, 'empty Content Type', 0, property.contentType('')],
    [place, 'empty Correlation Data', 0, property.correlationData('')],
    [place, 'Message Expiry Interval of its maximum', 0, property.messageExpiry(0xffff_ffff)],
  ]),
  ['DISCONNECT', 'Session Expiry Interval after 0 in CONNECT', 0x82, property.sessionExpiry(1)],
  ['CONNECT', 'Session Expiry Interval of its maximum', 0, property.sessionExpiry(0xffff_ffff)],
];

const valueRules = new Map([
  ['Topic Alias 0', '3.3.2-8'],
  ['Topic Alias above the maximum', '3.2.2-17'],
  ['Topic Alias 65,535', '3.2.2-17'],
  ['Topic Alias at the maximum', '3.3.2-12'],
  ['Response Topic +', '3.3.2-14'],
  ['Response Topic #', '3.3.2-14'],
  ['Subscription Identifier longer than needed', '1.5.5-1'],
]);

function valueCase([place, name, code, content]: Value): Case[] {
  return carriers
    .filter((carrier) => carrier.place === place)
    .map((carrier) => {
      const cited = rule(valueRules.get(name) ?? '4.13.1-1');
      return caseIn(carrier, name, props(content), code === 0 ? carrier.fine : carrier.refuses(code), cited);
    });
}

/** Values cut off by the end of their block. */
function cutValues(carrier: Carrier): Case[] {
  return rows
    .filter((row) => row.in.includes(carrier.place) && row.id !== 38)
    .map(({ id, name, value }) =>
      caseIn(carrier, `${name} cut off`, props(id, value.subarray(0, -1)), carrier.refuses(0x81)),
    );
}

/** AUTH ends with 0x82 whatever its properties are, unless they are malformed: nothing to see there. */
const others = carriers.filter(({ place }) => place !== 'AUTH');

export const propertyGroups: readonly Group[] = [
  {
    title: 'each property in each packet',
    also: ['MQTT5 §2.2.2.2 misplaced'],
    cases: carriers.flatMap((carrier) => rows.map((row) => placed(row, carrier))),
  },
  {
    title: 'properties twice',
    also: ['MQTT5 §2.2.2.2 misplaced'],
    cases: others.flatMap((carrier) =>
      rows.filter((row) => row.in.includes(carrier.place)).map((row) => twice(row, carrier)),
    ),
  },
  { title: 'unknown properties', also: ['MQTT5 §2.2.2.2 misplaced'], cases: carriers.flatMap(unknown) },
  { title: 'lengths of property blocks', also: ['MQTT5 §2.2.2.1'], cases: carriers.flatMap(lengths) },
  {
    title: 'values of properties',
    also: ['MQTT5 3.1.2-24', 'MQTT5 §3.1.2.11', 'MQTT5 §3.1.2.11.3', 'MQTT5 §3.3.2.3.2', 'MQTT5 §3.8.2.1.2'],
    cases: values.flatMap(valueCase),
  },
  { title: 'property values cut off', also: ['MQTT5 §2.2.2.1'], cases: carriers.flatMap(cutValues) },
];
