/** SUBSCRIBE and UNSUBSCRIBE: options, filters, the two spellings of groups, packet ids, identifiers. */
import { bytes, packet, property, props, str, u16 } from '../../unit/mqtt/bytes.ts';
import {
  answers,
  type Case,
  connected,
  type Group,
  makeCase,
  type Reaction,
  refused,
  rule,
  suback,
  subscribe,
  unsuback,
  unsubscribe,
  type Version,
  versions,
} from './case.ts';

const all = Array.from({ length: 256 }, (_, i) => i);

function optionReaction(version: Version, options: number): Reaction {
  const reserved = version === 5 ? 0xc0 : 0xfc;
  if ((options & reserved) !== 0) return refused(version, 0x81); // [MQTT5 3.8.3-5]
  // [MQTT5 §3.8.3.1]: QoS 3 and Retain Handling 3 are protocol errors
  if ((options & 3) === 3 || (options & 0x30) === 0x30) return refused(version, 0x82);
  return answers(suback(version, options & 3));
}

function optionCase(version: Version, options: number): Case {
  return makeCase(rule('3.8.3-5', '3.8.3-4'), {
    name: `subscription options ${options}`,
    version,
    bytes: subscribe(version, [str('quiet'), options]),
    expect: optionReaction(version, options),
  });
}

interface FilterCase {
  readonly filter: string;
  /** Code in SUBACK; MQTT 3.x has one for all failures. */
  readonly code: number;
  readonly five: string;
  readonly three: string;
  /** Options of SUBSCRIBE. */
  readonly options?: number;
}

const hash = { five: '4.7.1-1', three: '4.7.1-2' };
const plus = { five: '4.7.1-2', three: '4.7.1-3' };
const group = { five: '4.8.2-1 4.8.2-2', three: '3.8.4-5' };
const exact = { five: '4.7.3-4', three: '4.7.3-4' };
const length = { five: '4.7.3-3', three: '4.7.3-3' };

const filters: readonly FilterCase[] = [
  ...['quiet/#/x', 'quiet#', 'quiet/a#', '##', '#/quiet', 'quiet/##', 'quiet/#a', '/#/', '+/#/a'].map((filter) => ({
    filter,
    code: 0x8f,
    ...hash,
  })),
  ...['quiet/a+', 'quiet/+a', '++', 'quiet/++', 'a+/quiet', '+a/#'].map((filter) => ({ filter, code: 0x8f, ...plus })),
  ...['quiet/#', 'quiet/+/#', '/quiet/#'].map((filter) => ({ filter, code: 0, ...hash })),
  ...['quiet/+', 'quiet/+/+', '+/quiet/x', 'quiet/+/a'].map((filter) => ({ filter, code: 0, ...plus })),
  ...['quiet ', ' quiet', 'quiet//', '/quiet/', 'quiet.*', 'quiet/>', 'quiet/%'].map((filter) => ({
    filter,
    code: 0,
    ...exact,
  })),
  ...['$share', '$share/', '$share/g', '$share/g/', '$share//quiet', '$share/+/quiet', '$share/#/quiet'].map(
    (filter) => ({ filter, code: 0x8f, ...group }),
  ),
  ...['$share/a+/quiet', '$share/a#/quiet', '$share/g/quiet/#/x', '$share/g/a+', '$share/g/$share/h/quiet'].map(
    (filter) => ({ filter, code: 0x8f, ...group }),
  ),
  ...['$g', '$g/', '$g/n', '$g/n/', '$g//quiet', '$g/#/quiet', '$g/tencharsxx/quiet', '$g/n/$g/m/quiet'].map(
    (filter) => ({ filter, code: 0x8f, ...group }),
  ),
  ...['$share/g/$g/h/quiet', '$g/n/$share/m/quiet', '$g/n/quiet/a#'].map((filter) => ({
    filter,
    code: 0x8f,
    ...group,
  })),
  ...['$share/g/quiet', '$share/a b/quiet/+', '$share/g//', '$g/n/quiet', '$g/ninechars/quiet/#'].map((filter) => ({
    filter,
    code: 0,
    ...group,
  })),
  ...['$JS/#', '$KV/x', '$', '$x', '_INBOX/#', '$share/g/$JS/x', '$Share/g/x'].map((filter) => ({
    filter,
    code: 0x87,
    five: '3.9.3-2',
    three: '3.9.3-2',
  })),
  { filter: '$SYS/#', code: 0, ...exact },
  { filter: 'q'.repeat(65_535), code: 0x97, ...length },
  { filter: 'q/'.repeat(256), code: 0x97, ...length },
  { filter: 'q'.repeat(2_000), code: 0, ...length },
];

function filterCases(version: Version): Case[] {
  return filters.flatMap(({ code, filter, five, options = 0, three }) => {
    const shown = filter.length > 40 ? `of ${filter.length} characters` : filter;
    const failure = version === 5 ? code : Math.min(code, 0x80);
    // Ill-formed in UNSUBSCRIBE as in SUBSCRIBE; whatever else is not subscribed to. [MQTT5 3.11.3-2]
    const gone = code === 0x8f ? 0x8f : 0x11;
    return [
      makeCase(rule(`${five} 3.8.4-6`, `${three} 3.8.4-5`), {
        name: `SUBSCRIBE to filter ${shown}`,
        version,
        bytes: subscribe(version, [str(filter), options]),
        expect: answers(suback(version, failure)),
      }),
      makeCase(rule(`${five} 3.11.3-1`, three), {
        name: `UNSUBSCRIBE from filter ${shown}`,
        version,
        bytes: unsubscribe(version, [str(filter)]),
        expect: answers(unsuback(version, gone)),
      }),
    ];
  });
}

function manyCases(version: Version): Case[] {
  const failure = version === 5 ? 0x8f : 0x80;
  const filtersAndOptions = [str('quiet/a'), 2, str('quiet/#/x'), 1, str('quiet/b'), 1];
  return [
    makeCase(rule('3.8.4-6 3.9.3-1', '3.8.4-5 3.9.3-1'), {
      name: 'a filter that is wrong among others',
      version,
      bytes: subscribe(version, filtersAndOptions),
      expect: answers(suback(version, 2, failure, 1)),
    }),
    makeCase(rule('3.10.4-1 3.11.3-1', '3.10.4-1'), {
      name: 'UNSUBSCRIBE from one that is there and one that is not',
      version,
      // Until SUBACK has come its packet id is in use.
      before: [
        connected(version),
        { send: subscribe(version, [str('quiet/a'), 0]), packets: [suback(version, 0)], waits: true },
      ],
      bytes: unsubscribe(version, [str('quiet/a'), str('quiet/A')]),
      expect: answers(unsuback(version, 0, 0x11)),
    }),
  ];
}

function formCases(version: Version): Case[] {
  const block = version === 5 ? props() : bytes();
  const kinds: Array<[string, number, number, Buffer]> = [
    ['SUBSCRIBE', 0x82, 0, bytes(str('quiet'), 0)],
    ['UNSUBSCRIBE', 0xa2, 1, bytes(str('quiet'))],
  ];
  return kinds.flatMap(([name, header, isUnsubscribe, filter]) => {
    const none = rule(isUnsubscribe ? '3.10.3-2' : '3.8.3-2', isUnsubscribe ? '3.10.3-2' : '3.8.3-3');
    const one = (what: string, code: number, content: Buffer, cited = none): Case =>
      makeCase(cited, {
        name: `${name} ${what}`,
        version,
        bytes: packet(header, content),
        expect: refused(version, code),
      });
    return [
      one('with packet id 0', 0x82, bytes(u16(0), block, filter), rule('2.2.1-3', '2.3.1-1')),
      one('without a filter', 0x82, bytes(u16(7), block)),
      one(
        'with an empty filter',
        0x81,
        bytes(u16(7), block, str(''), isUnsubscribe ? bytes() : 0),
        rule('4.7.3-1', '4.7.3-1'),
      ),
      one(
        'with an empty filter behind another',
        0x81,
        bytes(u16(7), block, filter, u16(0), isUnsubscribe ? bytes() : 0),
      ),
      one('with a filter that runs past the end', 0x81, bytes(u16(7), block, u16(200), Buffer.from('quiet'))),
    ];
  });
}

/** [MQTT5 3.8.3-4] */
const noLocal: readonly Case[] = ['$share/g/quiet', '$g/n/quiet', '$share/g/', 'quiet'].map((filter) =>
  makeCase(rule('3.8.3-4'), {
    name: `No Local on ${filter}`,
    version: 5,
    bytes: subscribe(5, [str(filter), 4]),
    expect: filter === 'quiet' ? answers(suback(5, 0)) : refused(5, 0x82),
  }),
);

const identifier = property.subscriptionIdentifier;

const identifiers: readonly Case[] = [
  ...[1, 127, 128, 16_383, 2_097_152, 268_435_455].map((value) => ({ value, expect: answers(suback(5, 0)) })),
  { value: 0, expect: refused(5, 0x82) },
].map(({ expect, value }) =>
  makeCase(value === 0 ? rule('4.13.1-1') : rule('3.8.4-1'), {
    name: `Subscription Identifier ${value}`,
    version: 5,
    bytes: subscribe(5, [str('quiet'), 0], props(identifier(value))),
    expect,
  }),
);

const repeatedIdentifier = makeCase(rule('4.13.1-1'), {
  name: 'two Subscription Identifiers in one SUBSCRIBE',
  version: 5,
  bytes: subscribe(5, [str('quiet'), 0], props(identifier(1), identifier(2))),
  expect: refused(5, 0x82),
});

export const subscriptions: readonly Group[] = [
  {
    title: 'all values of the subscription options',
    cases: versions.flatMap((version) => all.map((options) => optionCase(version, options))),
  },
  { title: 'topic filters', cases: versions.flatMap(filterCases) },
  { title: 'several filters in one packet', cases: versions.flatMap(manyCases) },
  { title: 'forms of SUBSCRIBE and UNSUBSCRIBE', cases: versions.flatMap(formCases) },
  { title: 'No Local on groups', cases: noLocal },
  { title: 'Subscription Identifiers', also: ['MQTT5 §3.8.2.1.2'], cases: [...identifiers, repeatedIdentifier] },
];
