/** PUBLISH: flags, packet ids, topic names, aliases, RETAIN; and what is never forwarded. */
import { bytes, packet, property, props, str, u16 } from '../../unit/mqtt/bytes.ts';
import {
  answers,
  type Case,
  connected,
  type Delivered,
  type Draft,
  type Group,
  makeCase,
  publish,
  type Reaction,
  type Rule,
  refused,
  rule,
  silence,
  type Version,
  versions,
} from './case.ts';

const sixteen = Array.from({ length: 16 }, (_, i) => i);

/** What acknowledges a PUBLISH with packet id 7. */
const acknowledged = [silence, answers('PUBACK 0007'), answers('PUBREC 0007')];

function flagCase(version: Version, flags: number): Case {
  const qos = (flags >> 1) & 3;
  const isDuplicate = (flags & 8) !== 0;
  // [MQTT5 3.3.1-4] [MQTT5 3.3.1-2]
  const isBad = qos === 3 || (qos === 0 && isDuplicate);
  const topic = `flags/${flags}`;
  return makeCase(rule(qos === 3 ? '3.3.1-4' : '3.3.1-2', qos === 3 ? '3.3.1-4' : '3.3.1-2'), {
    name: `PUBLISH with flags ${flags}`,
    version,
    bytes: publish(version, { flags, topic, id: qos === 0 ? undefined : 7 }),
    expect: isBad ? refused(version, 0x81) : (acknowledged[qos] ?? silence),
    delivers: isBad ? [] : [{ topic, payload: 'p' }],
  });
}

function idCases(version: Version): Case[] {
  const cited = rule('2.2.1-3', '2.3.1-1');
  return [2, 4].flatMap((flags) => [
    makeCase(cited, {
      name: `packet id 0 with flags ${flags}`,
      version,
      bytes: publish(version, { flags, id: 0 }),
      expect: refused(version, 0x82),
    }),
    makeCase(cited, {
      name: `packet id 65,535 with flags ${flags}`,
      version,
      bytes: publish(version, { flags, id: 65_535, topic: 'id' }),
      expect: answers(flags === 2 ? 'PUBACK ffff' : 'PUBREC ffff'),
      delivers: [{ topic: 'id', payload: 'p' }],
    }),
    makeCase(cited, {
      name: `no packet id with flags ${flags}`,
      version,
      bytes: packet(0x30 | flags, str('id')),
      expect: refused(version, 0x81),
    }),
  ]);
}

interface TopicCase {
  readonly name: string;
  readonly topic: string;
  /** 0 = legal. */
  readonly code: number;
  readonly cited: Rule;
}

const wildcard = rule('3.3.2-2 4.7.0-1', '3.3.2-2 4.7.1-1');
const exact = rule('4.7.3-4', '4.7.3-4');

const topics: readonly TopicCase[] = [
  ...['+', '#', 'a/+', 'a/#', '+/b', 'a+', 'a#b', '/+', '#/', 'a/+/b', '$share/g/+', '++'].map((topic) => ({
    name: `topic name ${topic}`,
    topic,
    code: 0x90,
    cited: wildcard,
  })),
  { name: 'no topic name', topic: '', code: 0x82, cited: rule('4.7.3-1', '4.7.3-1') },
  { name: 'a topic name of 65,535 bytes', topic: 'x'.repeat(65_535), code: 0x90, cited: rule('4.7.3-3', '4.7.3-3') },
  { name: 'a topic name of 257 levels', topic: 'x/'.repeat(256), code: 0x90, cited: rule('4.7.3-3', '4.7.3-3') },
  { name: 'a topic name of 256 levels', topic: `${'y/'.repeat(255)}y`, code: 0, cited: exact },
  { name: 'a topic name of 2,000 bytes', topic: 'y'.repeat(2_000), code: 0, cited: exact },
  ...['/', '//', 'a/', '/a', 'a//b', ' ', 'a b', 'A', 'a.b', '*', '>', '~', '%', 'share/g/x', '_INBOX2', 'e\u0301'].map(
    (topic) => ({ name: `topic name "${topic}"`, topic, code: 0, cited: exact }),
  ),
];

/** The same at each QoS, for the ways through the server differ. */
function topicCases(version: Version): Case[] {
  return topics.flatMap(({ cited, code, name, topic }) =>
    ([0, 1, 2] as const).map((qos) =>
      makeCase(cited, {
        name: `${name} at QoS ${qos}`,
        version,
        bytes: publish(version, { topic, flags: qos << 1, id: qos === 0 ? undefined : 7 }),
        expect: code === 0 ? (acknowledged[qos] ?? silence) : refused(version, code),
        delivers: code === 0 ? [{ topic, payload: 'p' }] : [],
      }),
    ),
  );
}

/** Topics of the server and of NATS: never forwarded; only MQTT 5 can be told, and only above QoS 0. [MQTT311 3.3.5-2] */
function walledCases(version: Version): Case[] {
  return ['$SYS/x', '$JS/x', '$share/g/x', '$g/n/x', '$', '_INBOX', '_INBOX/x'].flatMap((topic) =>
    ([0, 1, 2] as const).map((qos) =>
      makeCase(rule('', '3.3.5-2'), {
        name: `PUBLISH to ${topic} at QoS ${qos}`,
        version,
        bytes: publish(version, { topic, flags: qos << 1, id: qos === 0 ? undefined : 7 }),
        expect: walled(version, qos),
      }),
    ),
  );
}

function walled(version: Version, qos: 0 | 1 | 2): Reaction {
  if (qos === 0) return silence;
  return answers(`${qos === 1 ? 'PUBACK' : 'PUBREC'} 0007${version === 5 ? '87' : ''}`);
}

const alias = (value: number): Buffer => props(property.topicAlias(value));

function aliasCase(name: string, code: number, parts: readonly Buffer[], delivers: readonly Delivered[] = []): Case {
  const expect = code === 0 ? silence : refused(5, code);
  return makeCase(rule('3.3.2-12 3.2.2-17 3.3.2-8'), { name, version: 5, bytes: bytes(...parts), expect, delivers });
}

const set = publish(5, { topic: 'alias/a', properties: alias(1), payload: '1' });
const use = publish(5, { topic: '', properties: alias(1), payload: '2' });
const setAgain = publish(5, { topic: 'alias/b', properties: alias(1), payload: '3' });
const delivered = (topic: string, payload: string): Delivered => ({ topic, payload });

const aliases: readonly Case[] = [
  aliasCase('an alias and its use', 0, [set, use], [delivered('alias/a', '1'), delivered('alias/a', '2')]),
  aliasCase(
    'an alias set anew',
    0,
    [set, setAgain, use],
    [delivered('alias/a', '1'), delivered('alias/b', '3'), delivered('alias/b', '2')],
  ),
  aliasCase('an alias that was never set', 0x82, [use]),
  aliasCase(
    'another alias than the one that was set',
    0x82,
    [set, publish(5, { topic: '', properties: alias(2) })],
    [delivered('alias/a', '1')],
  ),
  aliasCase('alias 0 without topic', 0x94, [publish(5, { topic: '', properties: alias(0) })]),
  aliasCase('alias 33 of 32 without topic', 0x94, [publish(5, { topic: '', properties: alias(33) })]),
  aliasCase('an alias for a topic with a wildcard, used', 0x90, [
    publish(5, { topic: 'a/+', properties: alias(1) }),
    use,
  ]),
  aliasCase('an alias for a topic behind the walls, used', 0, [
    publish(5, { topic: '$SYS/x', properties: alias(1) }),
    use,
  ]),
  aliasCase('neither topic nor alias, but other properties', 0x82, [
    publish(5, { topic: '', properties: props(property.contentType('c')) }),
  ]),
];

function retainCases(version: Version): Case[] {
  return ([0, 1, 2] as const).flatMap((qos) =>
    ['kept', ''].map((payload) => {
      const topic = `retain/${version}/${qos}/${payload}`;
      return makeCase(payload === '' ? rule('3.3.1-6', '3.3.1-10') : rule(''), {
        name: `RETAIN at QoS ${qos} with ${payload === '' ? 'no payload' : 'a payload'}`,
        version,
        bytes: publish(version, { flags: (qos << 1) | 1, topic, payload, id: qos === 0 ? undefined : 7 }),
        expect: acknowledged[qos] ?? silence,
        delivers: [{ topic, payload }],
      });
    }),
  );
}

function illegalThenLegal(version: Version): Case {
  const legal = publish(version, { topic: 'after', payload: 'never' });
  return makeCase(rule('4.13.1-1', '4.8.0-1'), {
    name: 'a legal PUBLISH before an illegal one, and one behind it in the same segment',
    version,
    bytes: bytes(publish(version, { topic: 'ahead' }), publish(version, { topic: 'a/#' }), legal),
    expect: refused(version, 0x90),
    delivers: [{ topic: 'ahead', payload: 'p' }],
  });
}

/** A QoS 2 packet id is taken until PUBREL; QoS 1 may not use it meanwhile. */
function idInUse(version: Version): Case {
  const draft: Draft = {
    name: 'the packet id of an open QoS 2 exchange in a PUBLISH of QoS 1',
    version,
    before: [
      connected(version),
      { send: publish(version, { flags: 4, id: 7, topic: 'in-use' }), packets: ['PUBREC 0007'], waits: true },
    ],
    bytes: publish(version, { flags: 2, id: 7, topic: 'in-use' }),
    expect: version === 5 ? answers('PUBACK 000791') : refused(version, 0x91),
    delivers: [{ topic: 'in-use', payload: 'p' }],
  };
  return makeCase(rule('', '4.8.0-2'), draft);
}

/** PUBLISH of the same id before PUBREL: one message. */
function repeatedCase(version: Version): Case {
  const sent = { flags: 4, id: 7, topic: 'once' };
  return makeCase(rule('4.3.3-10 4.3.3-11', '4.3.3-2'), {
    name: 'a QoS 2 PUBLISH repeated with DUP, released, and released again',
    version,
    before: [connected(version), { send: publish(version, sent), packets: ['PUBREC 0007'], waits: true }],
    bytes: bytes(publish(version, { ...sent, flags: 12 }), packet(0x62, u16(7)), packet(0x62, u16(7))),
    expect: answers('PUBREC 0007', 'PUBCOMP 0007', `PUBCOMP 0007${version === 5 ? '92' : ''}`),
    delivers: [{ topic: 'once', payload: 'p' }],
  });
}

export const publishes: readonly Group[] = [
  {
    title: 'flags of PUBLISH',
    cases: versions.flatMap((version) => sixteen.map((flags) => flagCase(version, flags))),
  },
  { title: 'packet ids of PUBLISH', cases: versions.flatMap(idCases) },
  { title: 'topic names', cases: versions.flatMap(topicCases) },
  { title: 'topic names behind the walls', cases: versions.flatMap(walledCases) },
  { title: 'topic aliases', cases: aliases },
  { title: 'RETAIN', cases: versions.flatMap(retainCases) },
  {
    title: 'packet ids that are in use, and what stands around an illegal packet',
    cases: versions.flatMap((version) => [illegalThenLegal(version), idInUse(version), repeatedCase(version)]),
  },
];
