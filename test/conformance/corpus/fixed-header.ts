/** Fixed headers: flags of every packet type, types that no client sends, Remaining Length in all forms. */
import { bytes, packet, props, str, u16 } from '../../unit/mqtt/bytes.ts';
import {
  accepted,
  answers,
  type Case,
  clientId,
  closed,
  connect,
  connected,
  type Group,
  makeCase,
  notAccepted,
  protocol,
  publish,
  type Reaction,
  refused,
  rule,
  silence,
  suback,
  subscribe,
  unknownId,
  unsuback,
  unsubscribe,
  type Version,
  versions,
} from './case.ts';

const reservedFlags = rule('2.1.3-1', '2.2.2-1 2.2.2-2');

const flagRules = new Map([
  [6, rule('2.1.3-1 3.6.1-1', '2.2.2-2 3.6.1-1')],
  [8, rule('2.1.3-1 3.8.1-1', '2.2.2-2 3.8.1-1')],
  [10, rule('2.1.3-1 3.10.1-1', '2.2.2-2 3.10.1-1')],
  [14, rule('2.1.3-1 3.14.1-1', '2.2.2-2 3.14.1-1')],
  [15, rule('2.1.3-1 3.15.1-1', '2.2.2-2')],
]);

/** A packet of each type with its right flags; what follows is right for it. */
function body(type: number, version: Version): Buffer {
  const block = version === 5 ? props() : bytes();
  switch (type) {
    case 8:
      return bytes(u16(7), block, str('quiet'), 0);
    case 10:
      return bytes(u16(7), block, str('quiet'));
    case 15:
      return bytes(0x18, props(21, str('m')));
    default:
      return type >= 4 && type <= 7 ? u16(7) : bytes();
  }
}

function answerTo(type: number, version: Version): Reaction {
  switch (type) {
    case 5:
      return answers(unknownId(version, 'PUBREL'));
    case 6:
      return answers(unknownId(version, 'PUBCOMP'));
    case 8:
      return answers(suback(version, 0));
    case 10:
      return answers(unsuback(version, 0x11));
    case 14:
      return closed;
    default: // PUBACK, PUBCOMP; PINGREQ is answered
      return type === 12 ? answers('PINGRESP') : silence;
  }
}

/** MQTT 3.1 repeats these with DUP and has no reserved flags for it. */
const repeatedIn31 = [6, 8, 10];

function reactionTo(type: number, flags: number, version: Version): Reaction {
  if (type === 0 || (type === 15 && version !== 5)) return refused(version, 0x81);
  // Not a client's to send, or not again; AUTH without a method in CONNECT.
  if ([1, 2, 9, 11, 13].includes(type)) return refused(version, 0x82);
  const right = [6, 8, 10].includes(type) ? 2 : 0;
  const isRight = flags === right || (version === 3 && repeatedIn31.includes(type) && flags === (right | 8));
  if (!isRight) return refused(version, 0x81);
  return type === 15 ? refused(version, 0x82) : answerTo(type, version);
}

function flagCase(type: number, flags: number, version: Version): Case {
  return makeCase(flagRules.get(type) ?? reservedFlags, {
    name: `type ${type} with flags ${flags}`,
    version,
    bytes: packet((type << 4) | flags, body(type, version)),
    expect: reactionTo(type, flags, version),
  });
}

const sixteen = Array.from({ length: 16 }, (_, i) => i);

const flags: Group = {
  title: 'flags of the fixed header, all values for all types but PUBLISH',
  also: ['MQTT5 §2.1.2', 'MQTT311 §2.2.1', 'MQTT5 §3', 'MQTT311 §3'],
  cases: versions.flatMap((version) =>
    sixteen.filter((type) => type !== 3).flatMap((type) => sixteen.map((value) => flagCase(type, value, version))),
  ),
};

const connectFlags: Group = {
  title: 'flags of the fixed header of CONNECT',
  cases: versions.flatMap((version) =>
    sixteen.map((value) =>
      makeCase(reservedFlags, {
        name: `flags ${value}`,
        version,
        before: [],
        bytes: connect(version, { header: 0x10 | value }),
        expect: value === 0 ? accepted : notAccepted(version, 0x81),
      }),
    ),
  ),
};

/** [MQTT5 3.1.0-1] */
const first: Group = {
  title: 'anything but CONNECT as the first packet',
  cases: versions.flatMap((version) =>
    sixteen
      .filter((type) => type !== 1)
      .map((type) =>
        makeCase(rule('3.1.0-1', '3.1.0-1'), {
          name: `type ${type}`,
          version,
          before: [],
          bytes: bytes(
            type === 3
              ? publish(version, {})
              : packet((type << 4) | ([6, 8, 10].includes(type) ? 2 : 0), body(type, version)),
            connect(version),
          ),
          expect: closed,
        }),
      ),
  ),
};

/** A packet whose Remaining Length is written in `length` bytes. */
function padded(whole: Buffer, length: number): Buffer {
  let bodyStart = 1;
  while ((whole[bodyStart] ?? 0) >= 128) bodyStart++;
  const field = [...whole.subarray(1, bodyStart + 1)];
  while (field.length < length) {
    field.push(0);
    field[field.length - 2] = (field.at(-2) ?? 0) | 128;
  }
  return bytes(whole.subarray(0, 1), field, whole.subarray(bodyStart + 1));
}

/** The fewest bytes are a rule of MQTT 5 only; five are too many for all. */
function lengthCases(version: Version): Case[] {
  const minimal = rule('1.5.5-1');
  return [2, 3, 4, 5].flatMap((length) => {
    const isFine = version !== 5 && length < 5;
    const after = (name: string, whole: Buffer, expect: Reaction): Case =>
      makeCase(minimal, {
        name: `${name}, length in ${length} bytes`,
        version,
        bytes: padded(whole, length),
        expect: isFine ? expect : refused(version, 0x81),
      });
    const delivers = isFine ? [{ topic: 'padded', payload: String(length) }] : [];
    const sent = publish(version, { topic: 'padded', payload: String(length) });
    return [
      after('PINGREQ', packet(0xc0), answers('PINGRESP')),
      { ...after('PUBLISH', sent, silence), delivers },
      after('PUBACK', packet(0x40, u16(7)), silence),
      after('SUBSCRIBE', subscribe(version, [str('quiet'), 0]), answers(suback(version, 0))),
      after('UNSUBSCRIBE', unsubscribe(version, [str('quiet')]), answers(unsuback(version, 0x11))),
      after('DISCONNECT', packet(0xe0), closed),
      makeCase(minimal, {
        name: `CONNECT, length in ${length} bytes`,
        version,
        before: [],
        bytes: padded(connect(version), length),
        expect: isFine ? accepted : length === 5 ? closed : notAccepted(version, 0x81),
      }),
    ];
  });
}

/** Claims above the limit of 1 MiB are answered as soon as they are read; nobody waits for so many bytes. */
function hugeCases(version: Version): Case[] {
  const claims = [bytes(0xff, 0xff, 0xff, 0x7f), bytes(0x80, 0x80, 0x80, 0x01), bytes(0x81, 0x80, 0x40)];
  const tooLarge = rule('3.2.2-15');
  return claims.flatMap((claim) => [
    ...[0x30, 0x82, 0x40, 0xc0].map((header) =>
      makeCase(tooLarge, {
        name: `packet ${header >> 4} of claimed length ${claim.toString('hex')}`,
        version,
        bytes: bytes(header, claim),
        expect: refused(version, 0x95),
      }),
    ),
    makeCase(tooLarge, {
      name: `CONNECT of claimed length ${claim.toString('hex')}`,
      version,
      before: [],
      bytes: bytes(0x10, claim, protocol(version)),
      expect: closed,
    }),
  ]);
}

/** Long but legal. */
function longCases(version: Version): Case[] {
  return [127, 128, 16_383, 16_384, 100_000].map((size) => {
    const payload = 'x'.repeat(size - 2 - 4 - (version === 5 ? 1 : 0));
    return makeCase(rule('1.5.5-1'), {
      name: `PUBLISH with Remaining Length ${size}`,
      version,
      before: [connected(version, { payload: [str(clientId())] })],
      bytes: publish(version, { topic: 'long', payload }),
      expect: silence,
      delivers: [{ topic: 'long', payload }],
    });
  });
}

export const fixedHeader: readonly Group[] = [
  flags,
  connectFlags,
  first,
  { title: 'Remaining Length in more bytes than needed', cases: versions.flatMap(lengthCases) },
  { title: 'claims of huge packets', cases: versions.flatMap(hugeCases) },
  { title: 'Remaining Length at its limits', cases: versions.flatMap(longCases) },
];
