/** UTF-8 in every string of every packet: what section 1.5.4 forbids, and what it allows although it looks odd. */
import { badStrings, bytes, property, props, str } from '../../unit/mqtt/bytes.ts';
import { carrierOf, type Place } from './carriers.ts';
import {
  accepted,
  answers,
  type Case,
  clientId,
  connect,
  connected,
  type Delivered,
  type Group,
  makeCase,
  notAccepted,
  publish,
  type Reaction,
  refused,
  rule,
  type Step,
  silence,
  suback,
  subscribe,
  unsuback,
  unsubscribe,
  type Version,
  versions,
} from './case.ts';

interface Text {
  readonly what: string;
  readonly bytes: Buffer;
}

function text(what: string, encoded: string): Text {
  return { what, bytes: Buffer.from(encoded, 'hex') };
}

const bad: readonly Text[] = [
  ...badStrings,
  text('U+0000 in two bytes', 'c080'),
  text('U+0000 in three bytes', 'e08080'),
  text('an overlong slash in three bytes', 'e080af'),
  text('an overlong slash in four bytes', 'f08080af'),
  text('the last overlong of three bytes', 'e09fbf'),
  text('the last surrogate', 'edbfbf'),
  text('a pair of surrogates', 'eda080edb080'),
  text('a sequence of five bytes', 'f888808080'),
  text('byte FE', 'fe'),
  text('byte FF', '61ff'),
  text('a sequence of two cut off', '61c3'),
  text('a sequence of four cut off', 'f09f98'),
  text('a letter inside a sequence', 'e28261'),
  text('U+0000 alone', '00'),
];
/** For each property: one of every kind. */
const someBad = bad.filter((_, index) => index % 3 === 0);

/** Kept as they are: U+FEFF is no byte order mark here. [MQTT5 1.5.4-3] */
const good: readonly Text[] = [
  text('U+FEFF in front', 'efbbbf61'),
  text('U+FEFF alone', 'efbbbf'),
  text('U+FEFF inside', '61efbbbf62'),
  text('the non-character U+FFFE', 'efbfbe'),
  text('the non-character U+FDD0', 'efb790'),
  text('control characters', '01097f'),
  text('C1 control characters', 'c280c29f'),
  text('U+10FFFF', 'f48fbfbf'),
  text('U+D7FF and U+E000 beside the surrogates', 'ed9fbfee8080'),
  text('letters of one to four bytes', '41c3a4e282acf09f9880'),
];

const malformed = rule('1.5.4-1 1.5.4-2', '1.5.3-1 1.5.3-2');
const kept = rule('1.5.4-3', '1.5.3-3');

interface Field {
  readonly name: string;
  readonly version: Version;
  /** Ids beside those of section 1.5. */
  readonly five: string;
  readonly three: string;
  readonly before?: readonly Step[];
  readonly bytes: (content: Buffer) => Buffer;
  readonly fine: Reaction;
  readonly broken: Reaction;
  readonly delivers?: (content: Buffer) => Delivered[];
}

function fieldsOf(version: Version): Field[] {
  const one = (name: string, five: string, three: string): Pick<Field, 'name' | 'version' | 'five' | 'three'> => ({
    name: `${name}`,
    version,
    five,
    three,
  });
  const atConnect = { before: [], fine: accepted, broken: notAccepted(version, 0x81) };
  const block = version === 5 ? props() : bytes();
  const will = (content: Buffer): Buffer =>
    connect(version, { flags: 6, payload: [str(clientId()), block, str(bytes(Buffer.from('w'), content)), str('p')] });
  const broken = refused(version, 0x81);
  const quiet = (content: Buffer): Buffer => str(bytes(Buffer.from('quiet/'), content));
  return [
    {
      ...one('client id', '3.1.3-4', '3.1.3-4'),
      ...atConnect,
      bytes: (content) => connect(version, { payload: [str(bytes(Buffer.from(clientId()), content))] }),
    },
    { ...one('will topic', '3.1.3-11', '3.1.3-10'), ...atConnect, bytes: will },
    {
      ...one('user name', '3.1.3-12', '3.1.3-11'),
      ...atConnect,
      bytes: (content) => connect(version, { flags: 0x82, payload: [str(clientId()), str(content)] }),
    },
    {
      ...one('topic name', '3.3.2-1', '3.3.2-1'),
      bytes: (topic) => publish(version, { topic }),
      fine: silence,
      broken,
      delivers: (topic) => [{ topic: topic.toString(), payload: 'p' }],
    },
    {
      ...one('topic name at QoS 1', '3.3.2-1', '3.3.2-1'),
      bytes: (topic) => publish(version, { topic, flags: 2, id: 7 }),
      fine: answers('PUBACK 0007'),
      broken,
      delivers: (topic) => [{ topic: topic.toString(), payload: 'p' }],
    },
    {
      ...one('filter of SUBSCRIBE', '3.8.3-1', '3.8.3-1'),
      bytes: (content) => subscribe(version, [quiet(content), 0]),
      fine: answers(suback(version, 0)),
      broken,
    },
    {
      ...one('filter of UNSUBSCRIBE', '3.10.3-1', '3.10.3-1'),
      bytes: (content) => unsubscribe(version, [quiet(content)]),
      fine: answers(unsuback(version, 0x11)),
      broken,
    },
  ];
}

/** Two halves of a User Property, and the strings that some packets have as a property. */
const propertyFields: readonly Field[] = [
  ...(['CONNECT', 'will', 'PUBLISH', 'PUBACK', 'PUBREC', 'PUBREL'] as const).flatMap(userFields),
  ...(['PUBCOMP', 'SUBSCRIBE', 'UNSUBSCRIBE', 'DISCONNECT', 'AUTH'] as const).flatMap(userFields),
  ...(['PUBACK', 'PUBREC', 'PUBREL', 'PUBCOMP', 'DISCONNECT', 'AUTH'] as const).map((place) =>
    propertyField(place, 'Reason String', '', property.reasonString),
  ),
  propertyField('PUBLISH', 'Content Type', '3.3.2-19', property.contentType),
  propertyField('will', 'Content Type', '3.3.2-19', property.contentType),
  propertyField('PUBLISH', 'Response Topic', '3.3.2-13', property.responseTopic),
  propertyField('will', 'Response Topic', '3.3.2-13', property.responseTopic),
  {
    ...propertyField('CONNECT', 'Authentication Method', '', property.authenticationMethod),
    fine: notAccepted(5, 0x8c), // [MQTT5 4.12.0-1]
  },
  propertyField('AUTH', 'Authentication Method', '', property.authenticationMethod),
];

function userFields(place: Place): Field[] {
  return [
    propertyField(place, 'name of a User Property', '1.5.7-1', (content) => property.user(content, 'v')),
    propertyField(place, 'value of a User Property', '1.5.7-1', (content) => property.user('n', content)),
  ];
}

function propertyField(place: Place, name: string, five: string, make: (content: Buffer) => Buffer): Field {
  const { before, delivers, fine, packet, refuses } = carrierOf(place);
  return {
    name: `${name} of ${place}`,
    version: 5,
    five,
    three: '',
    before: before(),
    bytes: (content) => packet(props(make(content))),
    fine,
    broken: refuses(0x81),
    delivers: () => [...delivers],
  };
}

function caseOf(field: Field, { bytes: content, what }: Text, isGood: boolean): Case {
  const base = isGood ? kept : malformed;
  const { before, name, version } = field;
  // A CONNECT of its own for each.
  const steps = before === undefined || before.length > 0 ? [connected(version)] : [];
  return makeCase(rule(`${base.five} ${field.five}`, `${base.three} ${field.three}`), {
    name: `${what} in ${name}`,
    version,
    before: steps,
    bytes: field.bytes(content),
    expect: isGood ? field.fine : field.broken,
    delivers: isGood ? (field.delivers?.(content) ?? []) : [],
  });
}

function group(title: string, fields: readonly Field[], texts: readonly Text[], isGood: boolean): Group {
  return { title, cases: fields.flatMap((field) => texts.map((one) => caseOf(field, one, isGood))) };
}

export const strings: readonly Group[] = [
  group('strings that are not UTF-8 or contain U+0000', versions.flatMap(fieldsOf), bad, false),
  group('strings that are unusual and legal', versions.flatMap(fieldsOf), good, true),
  group('properties with strings that are not UTF-8 or contain U+0000', propertyFields, someBad, false),
  group('properties with strings that are unusual and legal', propertyFields, good.slice(0, 6), true),
];
