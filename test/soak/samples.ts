/** Legal packets of all types and versions that a client may send, as the fuzzers start from: random, but the same for the same seed. */

import type { Random } from '../support/random.ts';
import { bytes, type Part, packet, property, props, str, u16 } from '../unit/mqtt/bytes.ts';

export type Version = 3 | 4 | 5;

export interface Sample {
  readonly version: Version;
  readonly bytes: Buffer;
}

const levels = ['a', 'sensor', '', 'ä', '\u{1f600}', 'x.y', ' ', '\ufeff', 'e\u0301', '*', '>', '0'];
const filters = ['a/#', '+', '+/+', 'a/+/b', '#', '$share/g/a/#', '$g/n/a', '$SYS/#', 'sensor/+'];

/** `count` legal packets of each version. */
export function makeSamples(random: Random, count: number): Sample[] {
  const samples: Sample[] = [];
  for (const version of [3, 4, 5] as const) {
    for (let i = 0; i < count; i++)
      samples.push({ version, bytes: makeSample(random, version, kinds[i % kinds.length]) });
  }
  return samples;
}

/** A legal CONNECT with this client id, for streams that should get further than that. */
export function makeConnect(random: Random, version: Version, id: string): Buffer {
  const name = bytes(str(version === 3 ? 'MQIsdp' : 'MQTT'), version);
  const willFlags = random.chance(0.4) ? 4 | (random.below(3) << 3) | (random.chance(0.2) ? 0x20 : 0) : 0;
  const [hasUser, hasPassword] = [random.chance(0.4), random.chance(0.5)];
  const flags = 2 | willFlags | (hasUser ? 0x80 : 0) | (hasUser && hasPassword ? 0x40 : 0);
  const will = [block(random, version, willProperties), str(`will/${topic(random)}`), str(text(random))];
  const head = [name, flags, u16(random.below(65_536)), block(random, version, connectProperties)];
  return packet(
    0x10,
    ...head,
    str(id),
    ...(willFlags === 0 ? [] : will),
    ...(hasUser ? [str(text(random))] : []),
    ...(hasUser && hasPassword ? [str(random.bytes(random.below(9)))] : []),
  );
}

const kinds = [
  'publish',
  'publish',
  'publish',
  'ack',
  'subscribe',
  'connect',
  'unsubscribe',
  'disconnect',
  'ack',
] as const;

function makeSample(random: Random, version: Version, kind: (typeof kinds)[number] = 'publish'): Buffer {
  switch (kind) {
    case 'publish':
      return makePublish(random, version);
    case 'ack':
      return makeAcknowledgement(random, version);
    case 'subscribe':
      return packet(
        0x82,
        u16(1 + random.below(65_535)),
        block(random, version, subscribeProperties),
        ...requests(random, version),
      );
    case 'unsubscribe':
      return packet(0xa2, u16(1 + random.below(65_535)), block(random, version, userProperties), ...names(random));
    case 'connect':
      return makeConnect(random, version, `fuzz-${random.below(1_000)}`);
    case 'disconnect':
      return makeGoodbye(random, version);
  }
}

function makePublish(random: Random, version: Version): Buffer {
  const qos = random.below(3);
  const flags = (qos << 1) | (random.chance(0.1) ? 1 : 0) | (qos > 0 && random.chance(0.2) ? 8 : 0);
  const id = qos === 0 ? bytes() : u16(1 + random.below(65_535));
  const payload = random.bytes(random.below(random.chance(0.05) ? 2_000 : 40));
  return packet(0x30 | flags, str(topic(random)), id, block(random, version, publishProperties), payload);
}

function makeAcknowledgement(random: Random, version: Version): Buffer {
  const [header, codes] = random.pick<readonly [number, readonly number[]]>([
    [0x40, [0, 0x10, 0x80, 0x97]],
    [0x50, [0, 0x10, 0x87, 0x99]],
    [0x62, [0, 0x92]],
    [0x70, [0, 0x92]],
  ]);
  const id = u16(1 + random.below(65_535));
  if (version !== 5 || random.chance(0.3)) return packet(header, id);
  return packet(header, id, random.pick(codes), ...(random.chance(0.4) ? [] : [block(random, 5, reasonProperties)]));
}

/** PINGREQ, DISCONNECT, and AUTH where there is one. */
function makeGoodbye(random: Random, version: Version): Buffer {
  const kind = random.below(version === 5 ? 4 : 2);
  if (kind === 0) return packet(0xc0);
  if (kind === 1) return packet(0xe0);
  if (kind === 2) return packet(0xe0, random.pick([0, 4, 0x80, 0x98]), block(random, 5, disconnectProperties));
  return packet(
    0xf0,
    random.pick([0x18, 0x19]),
    props(property.authenticationMethod('m'), property.authenticationData('d')),
  );
}

function requests(random: Random, version: Version): Part[] {
  return Array.from({ length: 1 + random.below(3) }, () => {
    const filter = random.chance(0.5) ? random.pick(filters) : topic(random);
    const options = version === 5 ? (random.chance(0.5) ? 8 : 0) | (random.below(3) << 4) : 0;
    return bytes(str(filter), random.below(3) | options);
  });
}

function names(random: Random): Part[] {
  return Array.from({ length: 1 + random.below(3) }, () => str(random.pick(filters)));
}

function topic(random: Random): string {
  const first = random.pick(['a', 'sensor', 'fuzz']);
  return [first, ...Array.from({ length: random.below(4) }, () => random.pick(levels))].join('/');
}

function text(random: Random): string {
  return random.pick(['', 'text', 'ä\u{1f600}', '\ufeffx', '__proto__', '1', 'a'.repeat(130)]);
}

type Maker = (random: Random) => Buffer;

const user: Maker = (random) => property.user(text(random), text(random));
const userProperties: readonly Maker[] = [user];
const reasonProperties: readonly Maker[] = [(random) => property.reasonString(text(random))];
const disconnectProperties: readonly Maker[] = [
  (random) => property.sessionExpiry(random.below(99)),
  ...reasonProperties,
];
const subscribeProperties: readonly Maker[] = [
  (random) => property.subscriptionIdentifier(1 + random.below(268_435_455)),
];
const messageProperties: readonly Maker[] = [
  (random) => property.payloadFormat(random.below(2)),
  (random) => property.messageExpiry(random.below(1_000)),
  (random) => property.contentType(text(random)),
  (random) => property.responseTopic(topic(random)),
  (random) => property.correlationData(random.bytes(random.below(20))),
];
const publishProperties: readonly Maker[] = [
  ...messageProperties,
  (random) => property.topicAlias(1 + random.below(32)),
];
const willProperties: readonly Maker[] = [...messageProperties, (random) => property.willDelay(random.below(3))];
const connectProperties: readonly Maker[] = [
  (random) => property.sessionExpiry(random.below(3)),
  (random) => property.receiveMaximum(1 + random.below(65_535)),
  (random) => property.topicAliasMaximum(random.below(65_536)),
  (random) => property.maximumPacketSize(200 + random.below(100_000)),
  (random) => property.requestProblemInformation(random.below(2)),
  (random) => property.requestResponseInformation(random.below(2)),
];

/** Some of the properties, each at most once, and user properties anywhere between them; nothing for MQTT 3.x. */
function block(random: Random, version: Version, makers: readonly Maker[]): Buffer {
  if (version !== 5) return bytes();
  if (random.chance(0.3)) return props();
  const parts = makers.filter(() => random.chance(0.5)).map((make) => make(random));
  while (random.chance(0.4)) parts.splice(random.below(parts.length + 1), 0, user(random));
  return props(...parts);
}
