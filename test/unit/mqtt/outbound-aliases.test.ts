/** mqtt/outbound-aliases.ts: packets that went through it say the same to a client that knows its aliases. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import mqttPacket, { type IPublishPacket } from 'mqtt-packet';
import { OutboundAliases } from '../../../src/mqtt/outbound-aliases.ts';
import { encodeSubscriptionIdentifiers, PublishEncoder } from '../../../src/mqtt/publish.ts';
import { packet, props, str, u16 } from './bytes.ts';

interface Message {
  readonly topic: string;
  readonly payload: Buffer;
  /** Encoded properties. */
  readonly properties: Buffer;
  readonly identifiers?: readonly number[];
  readonly qos: 0 | 1 | 2;
  readonly packetId: number;
  readonly retain: boolean;
  readonly isDuplicate: boolean;
}

const encoder = new PublishEncoder();

function encode({ isDuplicate, packetId, payload, properties, qos, retain, topic, identifiers = [] }: Message): Buffer {
  const variant = {
    hasProperties: true,
    identifiers: encodeSubscriptionIdentifiers(identifiers),
    retainAsPublished: true,
  };
  const message = { topic: { name: topic, encoded: str(topic) }, payload, extras: { properties, retain, origin: '' } };
  if (qos > 0) return encoder.encodeAcknowledged({ qos: qos === 2 ? 2 : 1, packetId, isDuplicate }, variant, message);
  const bytes = Buffer.alloc(encoder.begin(variant, message.topic, payload, message.extras));
  encoder.write(bytes, 0);
  return bytes;
}

function plain(topic: string, payload = 'x'): Message {
  const nothing = Buffer.alloc(0);
  return {
    topic,
    payload: Buffer.from(payload),
    properties: nothing,
    qos: 0,
    packetId: 0,
    retain: false,
    isDuplicate: false,
  };
}

/** The other end: keeps the rules of aliases and puts topics back. */
class Receiver {
  readonly aliases = new Map<number, string>();
  readonly sizes: number[] = [];
  /** Alias of each packet, and whether the topic came with it. */
  readonly seen: Array<[alias: number, hasTopic: boolean]> = [];

  take(bytes: Buffer): IPublishPacket[] {
    const packets: IPublishPacket[] = [];
    const parser = mqttPacket.parser({ protocolVersion: 5 });
    parser.on('error', (error) => assert.fail(error));
    parser.on('packet', (read) => packets.push(read as IPublishPacket));
    assert.equal(parser.parse(bytes), 0, 'bytes are left over');
    return packets.map((read) => this.#resolve(read));
  }

  #resolve(read: IPublishPacket): IPublishPacket {
    this.sizes.push((read.length ?? 0) + 1 + varintWidth(read.length ?? 0));
    const { topicAlias, ...properties } = read.properties ?? {};
    this.seen.push([topicAlias ?? 0, read.topic !== '']);
    if (topicAlias === undefined) return comparable(read);
    assert.notEqual(topicAlias, 0);
    if (read.topic !== '') this.aliases.set(topicAlias, read.topic);
    const topic = this.aliases.get(topicAlias);
    assert.ok(topic !== undefined, `alias ${topicAlias} names nothing`);
    return comparable({ ...read, topic, properties });
  }
}

function varintWidth(value: number): number {
  return value < 128 ? 1 : value < 16_384 ? 2 : value < 2_097_152 ? 3 : 4;
}

/** Without what the rewriting may change. */
function comparable({ cmd, dup, messageId, payload, properties, qos, retain, topic }: IPublishPacket): IPublishPacket {
  const hasProperties = Object.keys(properties ?? {}).length > 0;
  const packet = { cmd, dup, payload, qos, retain, topic } as IPublishPacket;
  return {
    ...packet,
    ...(messageId === undefined ? {} : { messageId }),
    ...(hasProperties ? { properties } : {}),
  } as IPublishPacket;
}

const topics = fc.oneof(
  fc.constantFrom('a', 'ab/c', 'abc/d', 'abcd/e', 'plant/hall-1/temperature', 'plant/hall-2/temperature', 'ä/ö/ü/€'),
  fc.string({ minLength: 1, maxLength: 12 }).filter((topic) => !/[+#\0]/.test(topic)),
  fc.constantFrom(117, 120, 125, 200, 16_370).map((length) => 't'.repeat(length)),
);

/** Blocks of properties around the lengths at which the number of length bytes grows. */
const blocks = fc.oneof(
  fc.constant(Buffer.alloc(0)),
  fc
    .constantFrom(0, 1, 100, 115, 116, 117, 118, 119, 120, 16_370, 16_374, 16_376)
    .map((n) => Buffer.concat([Buffer.from([3]), str('c'.repeat(n))])),
);

const messages: fc.Arbitrary<Message> = fc
  .record({
    topic: topics,
    payload: fc.oneof(
      fc.uint8Array({ maxLength: 40 }),
      fc.constantFrom(80, 100, 118, 120, 122, 125).map((n) => new Uint8Array(n)),
    ),
    properties: blocks,
    identifiers: fc.constantFrom([], [1], [300, 7]),
    qos: fc.constantFrom(0 as const, 1 as const, 2 as const),
    packetId: fc.integer({ min: 1, max: 65_535 }),
    retain: fc.boolean(),
    isDuplicate: fc.boolean(),
  })
  .map((message) => ({ ...message, payload: Buffer.from(message.payload) }));

describe('outbound aliases', () => {
  test('[MQTT5 3.1.2-26] [MQTT5 3.3.2-11] [MQTT5 3.1.2-24] any runs of packets come back as they were, within the limits of the client', () => {
    const runs = fc.array(fc.array(messages, { minLength: 1, maxLength: 8 }), { maxLength: 12 });
    const limits = fc.constantFrom(150, 250, 20_000, Number.POSITIVE_INFINITY);
    fc.assert(
      fc.property(runs, fc.integer({ min: 1, max: 4 }), limits, (all, maximum, maximumPacketSize) => {
        const aliases = new OutboundAliases(maximum, maximumPacketSize);
        const receiver = new Receiver();
        for (const run of all) {
          const packets = run.map(encode).filter(({ length }) => length <= maximumPacketSize);
          const original = Buffer.concat(packets);
          const before = Buffer.from(original);
          const rewritten = aliases.rewrite(original, packets.length);
          assert.deepEqual(original, before, 'others have the same bytes');
          assert.deepEqual(receiver.take(rewritten), new Receiver().take(original));
        }
        for (const size of receiver.sizes) assert.ok(size <= maximumPacketSize);
        for (const [alias] of receiver.seen) assert.ok(alias <= maximum);
      }),
      { numRuns: 500 },
    );
  });

  test('[MQTT5 §3.3.2.3.4] the first message of a topic sets its alias, the next ones carry it alone', () => {
    const aliases = new OutboundAliases(10, Number.POSITIVE_INFINITY);
    const alias = [0x23, 0, 1];
    const original = encode(plain('sensor/1'));
    assert.deepEqual(aliases.rewrite(original, 1), packet(0x30, str('sensor/1'), props(alias), str('x').subarray(2)));
    assert.deepEqual(aliases.rewrite(original, 1), packet(0x30, str(''), props(alias), 0x78));
    const once = encode({ ...plain('sensor/1'), qos: 2, packetId: 0x1234 });
    assert.deepEqual(aliases.rewrite(once, 1), packet(0x34, str(''), u16(0x1234), props(alias), 0x78));
  });

  test('[MQTT5 §3.3.2.3.4] with all aliases in use the topic used least recently gives its own up', () => {
    const aliases = new OutboundAliases(2, Number.POSITIVE_INFINITY);
    const receiver = new Receiver();
    for (const topic of ['topic/a', 'topic/b', 'topic/a', 'topic/c', 'topic/a', 'topic/b', 'topic/c'])
      receiver.take(aliases.rewrite(encode(plain(topic)), 1));
    assert.deepEqual(receiver.seen, [
      [1, true],
      [2, true],
      [1, false],
      [2, true],
      [1, false],
      [2, true],
      [1, true],
    ]);
  });

  test('a topic that is no longer than the alias goes out as it is, in the same memory', () => {
    const aliases = new OutboundAliases(2, Number.POSITIVE_INFINITY);
    const short = Buffer.concat([encode(plain('a/b')), encode(plain('abcd'))]);
    assert.equal(aliases.rewrite(short, 2), short);
    const long = encode(plain('abcde'));
    assert.equal(aliases.rewrite(long, 1).length, long.length + 3);
    assert.equal(aliases.rewrite(long, 1).length, long.length - 2);
  });

  test('a large packet stays in the memory that all subscribers share', () => {
    const aliases = new OutboundAliases(2, Number.POSITIVE_INFINITY);
    const large = encode(plain('sensor/1', 'x'.repeat(20_000)));
    assert.equal(aliases.rewrite(large, 1), large);
  });

  test('[MQTT5 3.1.2-24] a packet that fits only without the alias goes without, and sets none', () => {
    const original = encode(plain('sensor/1'));
    const tight = new OutboundAliases(2, original.length + 2);
    for (const _ of [1, 2]) assert.equal(tight.rewrite(original, 1), original);
    const roomy = new OutboundAliases(2, original.length + 3);
    assert.equal(roomy.rewrite(original, 1).length, original.length + 3);
  });
});
