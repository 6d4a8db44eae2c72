/** PUBACK, PUBREC, PUBREL, PUBCOMP: reason codes, forms, and packets that do not belong to the exchange that is open. */
import { bytes, packet, property, props, str, u16 } from '../../unit/mqtt/bytes.ts';
import {
  answers,
  type Case,
  connected,
  type Group,
  makeCase,
  publish,
  type Reaction,
  refused,
  rule,
  type Step,
  silence,
  standards,
  suback,
  subscribe,
  unknownId,
  type Version,
  versions,
} from './case.ts';

const all = Array.from({ length: 256 }, (_, i) => i);

interface Kind {
  readonly name: string;
  readonly header: number;
  /** Its statement on reason codes, and the codes of the table there. */
  readonly five: string;
  readonly codes: readonly number[];
  /** With a packet id that is not known. */
  readonly answer: (version: Version, code: number) => Reaction;
}

const publishCodes = [0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
const releaseCodes = [0x00, 0x92];

const kinds: readonly Kind[] = [
  { name: 'PUBACK', header: 0x40, five: '3.4.2-1', codes: publishCodes, answer: () => silence },
  {
    name: 'PUBREC',
    header: 0x50,
    five: '3.5.2-1',
    codes: publishCodes,
    // A PUBREC that ends the exchange is not answered. [MQTT5 4.3.3-4]
    answer: (version, code) => (code >= 0x80 ? silence : answers(unknownId(version, 'PUBREL'))),
  },
  {
    name: 'PUBREL',
    header: 0x62,
    five: '3.6.2-1',
    codes: releaseCodes,
    answer: (version) => answers(unknownId(version, 'PUBCOMP')),
  },
  { name: 'PUBCOMP', header: 0x70, five: '3.7.2-1', codes: releaseCodes, answer: () => silence },
];

function codeCase({ answer, codes, five, header, name }: Kind, code: number, hasProperties: boolean): Case {
  return makeCase(rule(five), {
    name: `${name} with reason code ${code}${hasProperties ? ' and properties' : ''}`,
    version: 5,
    bytes: packet(header, u16(7), code, hasProperties ? props(property.reasonString('why')) : bytes()),
    expect: codes.includes(code) ? answer(5, code) : refused(5, 0x82),
  });
}

function formCases(version: Version, { answer, header, name }: Kind): Case[] {
  const cited = rule('2.2.1-5', '2.3.1-6');
  const one = (what: string, body: Buffer, expect: Reaction): Case =>
    makeCase(cited, { name: `${name} ${what}`, version, bytes: packet(header, body), expect });
  const isFive = version === 5;
  return [
    one('without a body', bytes(), refused(version, 0x81)),
    one('with half a packet id', bytes(0), refused(version, 0x81)),
    one('with packet id 0', u16(0), refused(version, 0x82)),
    one('in its short form', u16(7), answer(version, 0)),
    one('with a third byte', bytes(u16(7), 0), isFive ? answer(5, 0) : refused(version, 0x81)),
    one('with a fourth byte', bytes(u16(7), 0, 0), isFive ? answer(5, 0) : refused(version, 0x81)),
    one('with a fifth byte', bytes(u16(7), 0, 0, 0), refused(version, 0x81)),
    ...(isFive ? [one('with packet id 0 and properties', bytes(u16(0), 0, 0), refused(5, 0x82))] : []),
  ];
}

let topics = 0;

/** A client that has a PUBLISH of its own back, with packet id 1 and not acknowledged yet. */
function received(version: Version, qos: 1 | 2): { steps: Step[]; topic: string } {
  const topic = `own/${++topics}`;
  const body = bytes(str(topic), u16(1), version === 5 ? props() : bytes(), Buffer.from('p'));
  const acknowledgement = qos === 1 ? 'PUBACK 0009' : 'PUBREC 0009';
  const steps = [
    connected(version),
    { send: subscribe(version, [str(topic), qos]), packets: [suback(version, qos)], waits: true },
    {
      send: publish(version, { topic, flags: qos << 1, id: 9 }),
      packets: [acknowledgement, `PUBLISH ${qos << 1} ${body.toString('hex')}`],
      waits: true,
    },
  ];
  return { steps, topic };
}

type Exchange = readonly [name: string, qos: 1 | 2, bytes: Buffer, expect: (version: Version) => Reaction];

const puback = packet(0x40, u16(1));
const pubrec = packet(0x50, u16(1));
const pubcomp = packet(0x70, u16(1));
const outOfPlace = (version: Version): Reaction => refused(version, 0x82);

/** [MQTT5 §4.3] */
const exchanges: readonly Exchange[] = [
  ['PUBACK at QoS 1', 1, puback, () => silence],
  ['PUBACK at QoS 1, twice', 1, bytes(puback, puback), () => silence],
  ['PUBREC at QoS 1', 1, pubrec, outOfPlace],
  ['PUBCOMP at QoS 1', 1, pubcomp, outOfPlace],
  ['PUBACK at QoS 2', 2, puback, outOfPlace],
  ['PUBCOMP before PUBREC at QoS 2', 2, pubcomp, outOfPlace],
  ['PUBREC at QoS 2', 2, pubrec, () => answers('PUBREL 0001')],
];

const refusals: readonly Exchange[] = [
  ['PUBACK 0x80 at QoS 1', 1, packet(0x40, u16(1), 0x80), () => silence],
  ['PUBREC 0x97 at QoS 2', 2, packet(0x50, u16(1), 0x97), () => silence],
  ['PUBREC 0x97 at QoS 2 and PUBACK', 2, bytes(packet(0x50, u16(1), 0x97), puback), () => silence],
  ['PUBREC 0x80 at QoS 1', 1, packet(0x50, u16(1), 0x80), outOfPlace],
];

function exchangeCase(version: Version, [name, qos, sent, expect]: Exchange): Case {
  const { steps, topic } = received(version, qos);
  const expected = expect(version);
  const fits = refusals.some(([known]) => known === name) ? rule('4.4.0-2') : rule('4.3.3-4', '4.3.3-1');
  return makeCase(expected.end === 'open' ? fits : rule('4.13.1-1', '4.8.0-1'), {
    name,
    version,
    before: steps,
    bytes: sent,
    expect: expected,
    delivers: [{ topic, payload: 'p' }],
  });
}

/** The whole handshake, and a PUBACK where PUBCOMP should be. */
function finishedCases(version: Version): Case[] {
  return ([pubcomp, puback] as const).map((last) => {
    const { steps, topic } = received(version, 2);
    return makeCase(rule('4.3.3-4 4.3.3-5', '4.3.3-1'), {
      name: last === pubcomp ? 'the whole handshake of QoS 2' : 'PUBACK in place of PUBCOMP',
      version,
      before: [...steps, { send: pubrec, packets: ['PUBREL 0001'], waits: true }],
      bytes: last,
      expect: last === pubcomp ? silence : outOfPlace(version),
      delivers: [{ topic, payload: 'p' }],
    });
  });
}

export const acknowledgements: readonly Group[] = [
  ...kinds.map((kind) => ({
    title: `all reason codes of ${kind.name}`,
    cases: [...all.map((code) => codeCase(kind, code, false)), ...kind.codes.map((code) => codeCase(kind, code, true))],
  })),
  {
    title: 'forms of acknowledgements',
    cases: versions.flatMap((version) => kinds.flatMap((kind) => formCases(version, kind))),
  },
  {
    title: 'acknowledgements that fit the exchange, and others',
    cases: [
      ...standards.flatMap((version) => exchanges.map((exchange) => exchangeCase(version, exchange))),
      ...refusals.map((exchange) => exchangeCase(5, exchange)),
      ...standards.flatMap(finishedCases),
    ],
  },
];
