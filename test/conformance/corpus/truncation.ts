/**
 * Rich samples of every packet cut off at every byte: the packet is whole, its Remaining Length true, but what it should hold is not there.
 * Each sample says at which lengths it is legal all the same. And one byte too many at the end of each.
 */
import { bytes, packet, property, props, str, u16 } from '../../unit/mqtt/bytes.ts';
import {
  accepted,
  answers,
  type Case,
  clientId,
  closed,
  type Delivered,
  type Group,
  makeCase,
  notAccepted,
  protocol,
  type Reaction,
  refused,
  rule,
  silence,
  standards,
  suback,
  unknownId,
  unsuback,
  type Version,
} from './case.ts';

interface Sample {
  readonly name: string;
  readonly version: Version;
  readonly header: number;
  readonly body: Buffer;
  /** Reactions at lengths where it differs from malformed, the full length included. */
  readonly at: ReadonlyMap<number, Reaction>;
  /** PUBLISH: where the payload starts, to be delivered as far as it is there. */
  readonly payloadStart?: number;
}

const user = property.user('name', 'value');

function publishSample(version: Version, qos: 0 | 1 | 2): Sample {
  const block = props(property.payloadFormat(1), property.contentType('ct'), property.responseTopic('r'), user);
  const head = [str(`cut-${qos}`), qos === 0 ? bytes() : u16(7), version === 5 ? block : bytes()];
  const payloadStart = bytes(...head).length;
  const body = bytes(...head, Buffer.from('payload'));
  const answer = [silence, answers('PUBACK 0007'), answers('PUBREC 0007')][qos] ?? silence;
  const at = new Map(Array.from({ length: 8 }, (_, i) => [payloadStart + i, answer] as const));
  return { name: `PUBLISH of QoS ${qos}`, version, header: 0x30 | (qos << 1), body, at, payloadStart };
}

function subscribeSample(version: Version): Sample {
  const head = bytes(u16(7), version === 5 ? props(property.subscriptionIdentifier(300), user) : bytes());
  const one = bytes(head, str('quiet/a'), 1);
  const body = bytes(one, str('quiet/b'), 2);
  const at = new Map([
    [head.length, refused(version, 0x82)], // [MQTT5 3.8.3-2]
    [one.length, answers(suback(version, 1))],
    [body.length, answers(suback(version, 1, 2))],
  ]);
  return { name: 'SUBSCRIBE', version, header: 0x82, body, at };
}

function unsubscribeSample(version: Version): Sample {
  const head = bytes(u16(7), version === 5 ? props(user, user) : bytes());
  const one = bytes(head, str('quiet/a'));
  const body = bytes(one, str('quiet/b'));
  const at = new Map([
    [head.length, refused(version, 0x82)], // [MQTT5 3.10.3-2]
    [one.length, answers(unsuback(version, 0x11))],
    [body.length, answers(unsuback(version, 0x11, 0x11))],
  ]);
  return { name: 'UNSUBSCRIBE', version, header: 0xa2, body, at };
}

/** [MQTT5 §3.4.2.1] without code and without properties */
function acknowledgementSamples(version: Version): Sample[] {
  const kinds: Array<[string, number, Reaction]> = [
    ['PUBACK', 0x40, silence],
    ['PUBREC', 0x50, answers(unknownId(version, 'PUBREL'))],
    ['PUBREL', 0x62, answers(unknownId(version, 'PUBCOMP'))],
    ['PUBCOMP', 0x70, silence],
  ];
  return kinds.map(([name, header, reaction]) => {
    const body = bytes(u16(7), version === 5 ? bytes(0, props(property.reasonString('why'), user)) : bytes());
    const lengths = version === 5 ? [2, 3, body.length] : [2];
    return { name, version, header, body, at: new Map(lengths.map((length) => [length, reaction])) };
  });
}

function disconnectSample(): Sample {
  const body = bytes(0, props(property.sessionExpiry(0), property.reasonString('bye'), user));
  const at = new Map([0, 1, body.length].map((length) => [length, closed]));
  return { name: 'DISCONNECT', version: 5, header: 0xe0, body, at };
}

/** Well formed at length 0 (Success, which is the server's) and in full (no method in CONNECT). */
function authSample(): Sample {
  const body = bytes(0x18, props(property.authenticationMethod('m'), property.authenticationData('d'), user));
  const at = new Map([0, body.length].map((length) => [length, refused(5, 0x82)]));
  return { name: 'AUTH', version: 5, header: 0xf0, body, at };
}

function connectSample(version: Version): Sample {
  const block = props(property.sessionExpiry(0), property.receiveMaximum(9), property.topicAliasMaximum(3), user);
  const willBlock = props(property.willDelay(1), property.contentType('ct'), user);
  const isFive = version === 5;
  const will = [isFive ? willBlock : bytes(), str('will'), str('w')];
  const head = [protocol(version), 0xf6, u16(60), isFive ? block : bytes()];
  const body = bytes(...head, str(clientId()), ...will, str('user'), str('password'));
  const versionEnd = protocol(version).length;
  const at = new Map(Array.from({ length: versionEnd }, (_, length) => [length, closed]));
  return { name: 'CONNECT', version, header: 0x10, body, at: at.set(body.length, accepted) };
}

function cutCases(sample: Sample): Case[] {
  const { at, body, header, name, payloadStart = Number.POSITIVE_INFINITY, version } = sample;
  const isConnect = header === 0x10;
  return Array.from({ length: body.length + 1 }, (_, length) => {
    const delivers: Delivered[] =
      length < payloadStart
        ? []
        : [{ topic: `cut-${name.at(-1)}`, payload: body.toString('utf8', payloadStart, length) }];
    return makeCase(rule('4.13.1-1', '4.8.0-1'), {
      name: `${name}, ${length} of ${body.length} bytes`,
      version,
      ...(isConnect ? { before: [] } : {}),
      bytes: packet(header, body.subarray(0, length)),
      expect: at.get(length) ?? (isConnect ? notAccepted(version, 0x81) : refused(version, 0x81)),
      delivers,
    });
  });
}

function trailingCase({ body, header, name, version }: Sample): Case {
  const isConnect = header === 0x10;
  return makeCase(rule('4.13.1-1', '4.8.0-1'), {
    name: `${name} and a byte behind it`,
    version,
    ...(isConnect ? { before: [] } : {}),
    bytes: packet(header, body, 0),
    expect: isConnect ? notAccepted(version, 0x81) : refused(version, 0x81),
  });
}

function samplesOf(version: Version): Sample[] {
  const both = [connectSample(version), subscribeSample(version), unsubscribeSample(version)];
  const acknowledgements = acknowledgementSamples(version);
  return [...both, ...acknowledgements, ...(version === 5 ? [disconnectSample(), authSample()] : [])];
}

const publishes = standards.flatMap((version) => ([0, 1, 2] as const).map((qos) => publishSample(version, qos)));

export const truncation: readonly Group[] = [
  {
    title: 'packets cut off at every byte',
    also: ['MQTT5 §1.2'],
    cases: standards.flatMap(samplesOf).flatMap(cutCases),
  },
  { title: 'PUBLISH cut off at every byte', also: ['MQTT5 §1.2'], cases: publishes.flatMap(cutCases) },
  {
    title: 'a byte behind the last field',
    also: ['MQTT5 §1.2'],
    cases: standards.flatMap(samplesOf).map(trailingCase),
  },
  {
    title: 'bodies where none may be',
    cases: standards.flatMap((version) => [
      makeCase(rule('4.13.1-1', '4.8.0-1'), {
        name: 'PINGREQ with a body',
        version,
        bytes: packet(0xc0, 0),
        expect: refused(version, 0x81),
      }),
      ...(version === 5 ? [] : [1, 2, 3].map((length) => disconnectWithBody(version, length))),
    ]),
  },
];

function disconnectWithBody(version: Version, length: number): Case {
  return makeCase(rule('', '4.8.0-1'), {
    name: `DISCONNECT with a body of ${length}`,
    version,
    bytes: packet(0xe0, Buffer.alloc(length)),
    expect: closed,
  });
}
