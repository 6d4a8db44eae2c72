/** CONNECT: all flags with the payload they announce and with another, protocol names and levels, client ids, wills; what follows it. */
import { bytes, type Part, packet, property, props, str, u16 } from '../../unit/mqtt/bytes.ts';
import {
  accepted,
  answers,
  type Case,
  clientId,
  closed,
  connect,
  type Group,
  makeCase,
  notAccepted,
  publish,
  type Reaction,
  type Rule,
  refused,
  rule,
  type Version,
  versions,
} from './case.ts';

const all = Array.from({ length: 256 }, (_, i) => i);

/** The fields that these flags announce, in their order. [MQTT5 3.1.3-1] */
function payloadFor(version: Version, flags: number): Part[] {
  const will = [version === 5 ? props() : bytes(), str('will'), str('w')];
  return [
    str(clientId()),
    ...((flags & 4) === 0 ? [] : will),
    ...((flags & 0x80) === 0 ? [] : [str('user')]),
    ...((flags & 0x40) === 0 ? [] : [str('password')]),
  ];
}

/** MQTT 3.1 does not use bit 0, and disregards the flags of a will that is not there. */
function areLegal(version: Version, flags: number): boolean {
  if (version === 3) return areLegal(4, (flags & 4) === 0 ? flags & 0xc6 : flags & 0xfe);
  const willQos = (flags >> 3) & 3;
  if ((flags & 1) !== 0 || willQos === 3) return false;
  if ((flags & 4) === 0 && (flags & 0x38) !== 0) return false;
  return version === 5 || (flags & 0x40) === 0 || (flags & 0x80) !== 0;
}

/** The statement that these flags break, or obey. */
function flagRule(flags: number): Rule {
  if ((flags & 1) !== 0) return rule('3.1.2-3', '3.1.2-3');
  if ((flags & 4) === 0 && (flags & 0x18) !== 0) return rule('3.1.2-11', '3.1.2-11 3.1.2-13');
  if ((flags & 4) === 0 && (flags & 0x20) !== 0) return rule('3.1.2-13', '3.1.2-15');
  if ((flags & 0x18) === 0x18) return rule('3.1.2-12', '3.1.2-14');
  if ((flags & 0xc0) === 0x40) return rule('3.1.2-18 3.1.2-19', '3.1.2-22');
  return rule('3.1.2-16 3.1.2-17', '3.1.2-18 3.1.2-19');
}

function flagCases(version: Version): Case[] {
  return all.map((flags) =>
    makeCase(flagRule(flags), {
      name: `connect flags ${flags}`,
      version,
      before: [],
      bytes: connect(version, { flags, payload: payloadFor(version, flags) }),
      expect: areLegal(version, flags) ? accepted : notAccepted(version, 0x81),
    }),
  );
}

/** One field less than announced, and one more. [MQTT5 3.1.2-9] */
function mismatchCases(version: Version): Case[] {
  const legal = all.filter((flags) => areLegal(version, flags));
  const cited = rule('3.1.2-9 3.1.2-16 3.1.2-17 3.1.2-19', '3.1.2-9 3.1.2-18 3.1.2-19 3.1.2-21');
  return legal.flatMap((flags) => {
    const one = (name: string, payload: readonly Part[], expect = notAccepted(version, 0x81)): Case =>
      makeCase(cited, {
        name: `connect flags ${flags} and ${name}`,
        version,
        before: [],
        bytes: connect(version, { flags, payload }),
        expect,
      });
    const payload = payloadFor(version, flags);
    // In MQTT 3.1 the length goes before the flags for user name and password.
    const mayLack = version === 3 && (flags & 0xc0) !== 0;
    return [
      one('a field less', payload.slice(0, -1), mayLack ? accepted : undefined),
      one('a field more', [...payload, str('more')]),
    ];
  });
}

interface Name {
  readonly name: string | Buffer;
  readonly level: number;
  readonly expect: Reaction;
}

const unsupported = (code: string): Reaction => ({ packets: [`CONNACK ${code}`], end: 'closed' });

/** The refusal is one of MQTT 3 (0x01) below level 5 and for bridges, else of MQTT 5. [MQTT5 3.1.2-2] */
const names: readonly Name[] = [
  ...['mqtt', 'MQTT ', 'MQT', '', 'MQTTT', 'MQIsdP', 'HTTP', 'MQTT\0', 'MQIsdp\0'].flatMap((name) =>
    [3, 4, 5].map((level) => ({ name, level, expect: closed })),
  ),
  { name: Buffer.of(0x4d, 0x51, 0xc3, 0x28), level: 4, expect: closed },
  ...[0, 1, 2, 3, 0x80, 0x83, 0x84, 0x85, 0xff].map((level) => ({ name: 'MQTT', level, expect: unsupported('0x01') })),
  ...[6, 7, 0x7f].map((level) => ({ name: 'MQTT', level, expect: unsupported('0x84') })),
  ...[0, 2, 4, 0x83].map((level) => ({ name: 'MQIsdp', level, expect: unsupported('0x01') })),
];

const nameCases: readonly Case[] = names.map(({ expect, level, name }) =>
  makeCase(level === 5 ? rule('3.1.2-1 3.1.2-2') : rule('', '3.1.2-1 3.1.2-2'), {
    name: `protocol ${JSON.stringify(name.toString())} of level ${level}`,
    version: level === 5 ? 5 : 4,
    before: [],
    bytes: packet(0x10, str(name), level, 2, u16(60), level === 5 ? props() : bytes(), str(clientId())),
    expect,
  }),
);

function idCases(version: Version): Case[] {
  const refusal: Reaction = { packets: [`CONNACK ${version === 5 ? '0x85' : '0x02'}`], end: 'closed' };
  const one = (name: string, id: string, flags: number, expect: Reaction, cited: Rule): Case =>
    makeCase(cited, {
      name: `client id ${name}`,
      version,
      before: [],
      bytes: connect(version, { flags, payload: [str(id)] }),
      expect,
    });
  const empty = rule('3.1.3-6', '3.1.3-6 3.1.3-7 3.1.3-8');
  return [
    one('of 23 letters and digits', `v${version}ABCabc0123456789xyzXY`, 2, accepted, rule('3.1.3-5', '3.1.3-5')),
    one('of 1,024 bytes', `v${version}`.padEnd(1_024, 'x'), 2, accepted, rule('3.1.3-5', '3.1.3-5')),
    one('of 1,025 bytes', 'x'.repeat(1_025), 2, refusal, rule('3.1.3-8', '3.1.3-9')),
    one('of 65,535 bytes', 'x'.repeat(65_535), 2, refusal, rule('3.1.3-8', '3.1.3-9')),
    one('with other characters', `v${version} /+#$ä*>.`, 2, accepted, rule('3.1.3-5', '3.1.3-5')),
    // MQTT 3.1 has no empty client ids, MQTT 3.1.1 none that are to be remembered.
    one('that is empty, with a clean start', '', 2, version === 3 ? refusal : accepted, empty),
    one('that is empty, without', '', 0, version === 5 ? accepted : refusal, empty),
  ];
}

function willCases(version: Version): Case[] {
  const block = version === 5 ? props() : bytes();
  const topics: Array<[string, number]> = [
    ...['', 'a/+', 'a/#', '#', 'x'.repeat(65_535)].map((topic): [string, number] => [topic, 0x90]),
    ...['$SYS/x', '_INBOX/x'].map((topic): [string, number] => [topic, 0x87]),
    ['legal/ ', 0],
  ];
  return topics.map(([topic, code]) => {
    const told: Reaction = { packets: ['CONNACK 0x05'], end: 'closed' };
    const refusal = code === 0x87 && version !== 5 ? told : notAccepted(version, code);
    return makeCase(rule('3.1.3-11 4.7.0-1', '3.1.3-10 4.7.1-1'), {
      name: `will topic ${topic.slice(0, 20)}`,
      version,
      before: [],
      bytes: connect(version, { flags: 6, payload: [str(clientId()), block, str(topic), str('w')] }),
      expect: code === 0 ? accepted : refusal,
    });
  });
}

/** A client with a will whose topic is its own. */
function withWill(version: Version, topic: string): Buffer {
  const block = version === 5 ? props() : bytes();
  return connect(version, { flags: 6, payload: [str(clientId()), block, str(topic), str('w')] });
}

function goodbyeCases(version: Version): Case[] {
  const legal = publish(version, { topic: 'after-goodbye' });
  const one = (name: string, sent: Buffer, expect: Reaction, hasWill: boolean, cited: Rule): Case => {
    const topic = `goodbye/${version}/${name}`;
    return makeCase(cited, {
      name,
      version,
      before: [{ send: withWill(version, topic), packets: ['CONNACK 0x00'], waits: false }],
      bytes: bytes(sent, legal),
      expect,
      delivers: hasWill ? [{ topic, payload: 'w' }] : [],
    });
  };
  const ignored = rule('3.14.4-3', '3.14.4-2 3.14.4-3');
  const second = rule('3.1.0-2', '3.1.0-2');
  return [
    one('DISCONNECT, and a PUBLISH behind it', packet(0xe0), closed, false, ignored),
    one('a second CONNECT', connect(version), refused(version, 0x82), true, second),
    one('a second CONNECT that is malformed', packet(0x10), refused(version, 0x82), true, second),
    one('a malformed packet', packet(0x00), refused(version, 0x81), true, rule('3.1.2-8', '3.1.2-8')),
    one('DISCONNECT with wrong flags', packet(0xe1), refused(version, 0x81), true, rule('3.14.1-1', '3.14.1-1')),
  ];
}

const clientCodes = [0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99];

/** Only 0x00 discards the will. */
const disconnectCodes: readonly Case[] = all.flatMap((code) =>
  [bytes(), props(), props(property.reasonString('why'))]
    .slice(0, clientCodes.includes(code) ? 3 : 1)
    .map((block, form) => {
      const topic = `reason/${code}/${form}`;
      return makeCase(rule('3.14.2-1 3.14.4-3 3.1.2-8'), {
        name: `DISCONNECT with reason code ${code} in form ${form}`,
        version: 5,
        before: [{ send: withWill(5, topic), packets: ['CONNACK 0x00'], waits: false }],
        bytes: packet(0xe0, code, block),
        expect: clientCodes.includes(code) ? closed : refused(5, 0x82),
        delivers: code === 0 ? [] : [{ topic, payload: 'w' }],
      });
    }),
);

const authCodes: readonly Case[] = all.map((code) =>
  makeCase(rule('3.15.2-1 4.12.0-6'), {
    name: `AUTH with reason code ${code}`,
    version: 5,
    bytes: packet(0xf0, code, props(property.authenticationMethod('m'))),
    expect: refused(5, 0x82),
  }),
);

/** What comes behind CONNECT in its segment is handled after CONNACK, and not at all after a refusal. */
function pipelinedCases(version: Version): Case[] {
  const legal = publish(version, { topic: `pipelined/${version}` });
  return [
    makeCase(rule('3.1.4-5', '3.1.4-4'), {
      name: 'CONNECT, PUBLISH and PINGREQ in one segment',
      version,
      before: [],
      bytes: bytes(connect(version), legal, packet(0xc0)),
      expect: answers('CONNACK 0x00', 'PINGRESP'),
      delivers: [{ topic: `pipelined/${version}`, payload: 'p' }],
    }),
    makeCase(rule('3.1.4-6', '3.1.4-5'), {
      name: 'a CONNECT that is refused, and PUBLISH behind it',
      version,
      before: [],
      bytes: bytes(connect(version, { flags: 0x1e, payload: payloadFor(version, 0x1e) }), legal),
      expect: notAccepted(version, 0x81),
    }),
  ];
}

export const connects: readonly Group[] = [
  { title: 'all connect flags with their payload', cases: versions.flatMap(flagCases) },
  {
    title: 'connect flags with a field too few or too many',
    also: ['MQTT5 3.1.3-1', 'MQTT311 3.1.3-1'],
    cases: versions.flatMap(mismatchCases),
  },
  { title: 'protocol names and levels', cases: nameCases },
  { title: 'client ids', cases: versions.flatMap(idCases) },
  { title: 'will topics', cases: versions.flatMap(willCases) },
  { title: 'what ends a connection, and its will', cases: versions.flatMap(goodbyeCases) },
  { title: 'all reason codes of DISCONNECT', cases: disconnectCodes },
  { title: 'all reason codes of AUTH', cases: authCodes },
  { title: 'packets behind CONNECT', cases: versions.flatMap(pipelinedCases) },
];
