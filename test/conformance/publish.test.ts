/** PUBLISH in and out on an embedded node: properties end to end, aliases, limits, walls. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { Packet } from 'mqtt-packet';
import { startDeployment } from '../support/deployment.ts';
import type { TestNode } from '../support/node.ts';
import { RawClient, type Version } from '../support/raw-client.ts';

let node: TestNode;
before(async () => {
  node = await startDeployment({ SUPERMQ_LIMITS_MAX_PACKET_BYTES: '100000' });
});
after(() => node.stop());

/** Connects, sends one packet, and returns the reason code of the DISCONNECT that follows (undefined: closed without). */
async function reaction(version: Version, packet: Packet | Buffer): Promise<number | undefined> {
  const client = await RawClient.connect(node.tcp, { version });
  client.send(packet);
  await client.closed;
  const answer = client.received.find(({ cmd }) => cmd === 'disconnect');
  return answer?.cmd === 'disconnect' ? answer.reasonCode : undefined;
}

/** A PUBLISH from parts, legal or not. `properties` undefined = MQTT 3.x. */
function publishBytes(flags: number, topic: Buffer, properties: Buffer | undefined, payload = Buffer.alloc(0)): Buffer {
  const length = Buffer.from([topic.length >> 8, topic.length & 255]);
  const block = properties === undefined ? [] : [Buffer.from([properties.length]), properties];
  const body = Buffer.concat([length, topic, ...block, payload]);
  return Buffer.concat([Buffer.from([0x30 | flags, body.length]), body]);
}

const none = Buffer.alloc(0);
const topic = Buffer.from('t');

const malformedPublishes: Array<[title: string, bytes: Buffer, reason: number]> = [
  ['[MQTT5 3.3.1-4] QoS 3', publishBytes(6, topic, none), 0x81],
  ['[MQTT5 3.3.1-2] DUP with QoS 0', publishBytes(8, topic, none), 0x81],
  ['[MQTT5 3.3.2-1] topic that is not UTF-8', publishBytes(0, Buffer.from([0xc3, 0x28]), none), 0x81],
  ['[MQTT5 1.5.4-1] topic with a surrogate', publishBytes(0, Buffer.from([0xed, 0xa0, 0x80]), none), 0x81],
  ['[MQTT5 4.7.3-2] topic with U+0000', publishBytes(0, Buffer.from('a\0b'), none), 0x81],
  ['[MQTT5 3.3.2-2] topic with +', publishBytes(0, Buffer.from('a/+'), none), 0x90],
  ['[MQTT5 3.3.2-2] topic with #', publishBytes(0, Buffer.from('#'), none), 0x90],
  ['[MQTT5 §3.3.2.1] empty topic without alias', publishBytes(0, none, none), 0x82],
  ['no topic at all', Buffer.from([0x30, 0]), 0x81],
  ['topic that runs past the packet', Buffer.from([0x30, 3, 0, 9, 0x74]), 0x81],
  ['no property length', Buffer.from([0x30, 3, 0, 1, 0x74]), 0x81],
  ['properties that run past the packet', Buffer.from([0x30, 4, 0, 1, 0x74, 9]), 0x81],
  ['[MQTT5 3.3.2-8] topic alias 0', publishBytes(0, topic, Buffer.from([0x23, 0, 0])), 0x94],
  ['[MQTT5 3.2.2-17] topic alias above the maximum', publishBytes(0, topic, Buffer.from([0x23, 0, 33])), 0x94],
  ['[MQTT5 §3.3.2.3.4] [C] topic alias that was never set', publishBytes(0, none, Buffer.from([0x23, 0, 5])), 0x82],
  ['[MQTT5 3.3.4-6] subscription identifier', publishBytes(0, topic, Buffer.from([0x0b, 1])), 0x82],
  ['property that PUBLISH does not have', publishBytes(0, topic, Buffer.from([0x11, 0, 0, 0, 1])), 0x81],
  ['repeated property', publishBytes(0, topic, Buffer.from([0x01, 1, 0x01, 1])), 0x82],
  ['payload format 2', publishBytes(0, topic, Buffer.from([0x01, 2])), 0x82],
  ['[MQTT5 3.3.2-13] response topic that is not UTF-8', publishBytes(0, topic, Buffer.from([0x08, 0, 1, 0xff])), 0x81],
  ['[MQTT5 3.3.2-19] content type that is not UTF-8', publishBytes(0, topic, Buffer.from([0x03, 0, 1, 0xff])), 0x81],
  ['[MQTT5 3.3.2-14] response topic with a wildcard', publishBytes(0, topic, Buffer.from([0x08, 0, 1, 0x23])), 0x82],
  ['[MQTT5 1.5.5-1] five length bytes', Buffer.from([0x30, 0xff, 0xff, 0xff, 0xff, 0x01]), 0x81],
  ['[MQTT5 1.5.5-1] length in more bytes than needed', Buffer.from([0x30, 0x84, 0x00, 0, 1, 0x74, 0]), 0x81],
  ['packet that only a server sends', Buffer.from([0x20, 2, 0, 0]), 0x82],
  ['packet type 0', Buffer.from([0x00, 0]), 0x81],
  ['[MQTT5 2.2.1-3] QoS 1 with packet id 0', Buffer.from([0x32, 6, 0, 1, 0x74, 0, 0, 0]), 0x82],
  ['QoS 1 without packet id', Buffer.from([0x32, 3, 0, 1, 0x74]), 0x81],
  ['[MQTT5 3.4.2-1] PUBACK with a code that it does not have', Buffer.from([0x40, 3, 0, 1, 0x92]), 0x82],
  ['PUBACK with flags', Buffer.from([0x41, 2, 0, 1]), 0x81],
  ['PUBREL with wrong flags', Buffer.from([0x60, 2, 0, 1]), 0x81],
];

for (const [title, bytes, reason] of malformedPublishes) {
  test(`${title}: DISCONNECT 0x${reason.toString(16)}`, async () => {
    assert.equal(await reaction(5, bytes), reason);
  });
}

test('MQTT 3.1.1: the same breaches close without a packet', async () => {
  const cases = [
    publishBytes(6, topic, undefined),
    publishBytes(8, topic, undefined),
    publishBytes(0, none, undefined),
    publishBytes(0, Buffer.from('a/#'), undefined),
    publishBytes(0, Buffer.from([0xff]), undefined),
    Buffer.from([0xf0, 0]),
    Buffer.from([0x32, 5, 0, 1, 0x74, 0, 0]),
  ];
  for (const bytes of cases) assert.equal(await reaction(4, bytes), undefined);
});

test('[MQTT5 3.2.2-15] [C] a packet above Maximum Packet Size gets 0x95 as soon as its length is known', async () => {
  const client = await RawClient.connect(node.tcp, { version: 5 });
  assert.equal(client.connack.properties?.maximumPacketSize, 100_000);
  client.send(Buffer.from([0x30, 0xa1, 0x8d, 0x06])); // 100,001 bytes are announced, none of them sent
  await client.closed;
  assert.equal(client.received[0]?.cmd === 'disconnect' && client.received[0].reasonCode, 0x95);
});

test('a packet of exactly Maximum Packet Size is delivered whole, also byte by byte at its head', async () => {
  const subscriber = await RawClient.connect(node.tcp);
  await subscriber.subscribe('big');
  const publisher = await RawClient.connect(node.tcp);
  const payload = Buffer.alloc(100_000 - 4 - 5, 7);
  const body = Buffer.concat([Buffer.from([0, 3]), Buffer.from('big'), payload]);
  const packet = Buffer.concat([Buffer.from([0x30, 0x9c, 0x8d, 0x06]), body]);
  assert.equal(packet.length, 100_000);
  for (let i = 0; i < 12; i++) publisher.send(packet.subarray(i, i + 1));
  publisher.send(packet.subarray(12));
  const { payload: received } = await subscriber.next('publish');
  assert.ok(Buffer.from(received as Buffer).equals(payload));
  await Promise.all([subscriber.end(), publisher.end()]);
});

test('[MQTT5 3.3.2-4] to [MQTT5 3.3.2-20] properties arrive unaltered, user properties in order with duplicates', async () => {
  const subscriber = await RawClient.connect(node.tcp, { version: 5 });
  await subscriber.subscribe('props');
  const user = (name: string, value: string): number[] => [
    0x26,
    0,
    name.length,
    ...Buffer.from(name),
    0,
    value.length,
    ...Buffer.from(value),
  ];
  const block = Buffer.from([
    ...user('b', '1'),
    0x01,
    1,
    ...user('a', '2'),
    0x02,
    0,
    0,
    1,
    0,
    ...user('b', '3'),
    0x03,
    0,
    1,
    0x63,
    0x08,
    0,
    1,
    0x72,
    0x09,
    0,
    2,
    0,
    255,
    ...user('1', 'x'),
    ...user('b', '1'),
  ]);
  const raw: Buffer[] = [];
  subscriber.socket.on('data', (chunk) => raw.push(chunk));
  const publisher = await RawClient.connect(node.tcp, { version: 5 });
  publisher.send(publishBytes(0, Buffer.from('props'), block, Buffer.from('p')));
  const { properties } = await subscriber.next('publish');
  assert.equal(properties?.contentType, 'c');
  assert.equal(properties?.responseTopic, 'r');
  assert.ok(Buffer.concat(raw).includes(block), 'the property block is the same, byte for byte');
  await Promise.all([subscriber.end(), publisher.end()]);
});

test('[MQTT5 §4.1 versions] a 3.x subscriber gets a 5.0 message without properties, and the reverse', async () => {
  const [three, four, five] = [
    await RawClient.connect(node.tcp, { version: 3 }),
    await RawClient.connect(node.tcp),
    await RawClient.connect(node.tcp, { version: 5 }),
  ];
  for (const client of [three, four, five]) await client.subscribe('mixed/#');
  five.publish('mixed/5', 'five', { properties: { userProperties: { k: 'v' } } });
  three.publish('mixed/3', 'three');
  for (const client of [three, four, five]) {
    // Of two publishers, so in any order.
    const packets = [await client.next('publish'), await client.next('publish')];
    const [older, newer] = packets.sort((a, b) => a.topic.localeCompare(b.topic));
    assert.deepEqual([older?.topic, older?.payload.toString()], ['mixed/3', 'three']);
    assert.deepEqual([newer?.topic, newer?.payload.toString()], ['mixed/5', 'five']);
    assert.deepEqual({ ...older?.properties }, {});
    assert.equal(newer?.properties?.userProperties?.['k'], client === five ? 'v' : undefined);
  }
  await Promise.all([three.end(), four.end(), five.end()]);
});

test('[MQTT5 3.3.2-7] [MQTT5 3.3.2-12] [MQTT5 §3.3.2.3.4] [MQTT5 3.1.2-27] topic aliases: set, used, mapped anew, and never seen by a subscriber that wants none', async () => {
  const subscriber = await RawClient.connect(node.tcp, { version: 5, properties: { topicAliasMaximum: 0 } });
  await subscriber.subscribe('alias/#');
  const publisher = await RawClient.connect(node.tcp, { version: 5 });
  publisher.publish('alias/one', '1', { properties: { topicAlias: 1 } });
  publisher.publish('alias/two', '2', { properties: { topicAlias: 32, contentType: 'x' } });
  publisher.publish('', '3', { properties: { topicAlias: 1 } });
  publisher.publish('', '4', { properties: { topicAlias: 32 } });
  publisher.publish('alias/new', '5', { properties: { topicAlias: 1 } });
  publisher.publish('', '6', { properties: { topicAlias: 1 } });
  const topics: string[] = [];
  for (let i = 0; i < 6; i++) {
    const message = await subscriber.next('publish');
    topics.push(message.topic);
    assert.equal(message.properties?.topicAlias, undefined);
    if (i === 1) assert.equal(message.properties?.contentType, 'x');
  }
  assert.deepEqual(topics, ['alias/one', 'alias/two', 'alias/one', 'alias/two', 'alias/new', 'alias/new']);
  await Promise.all([subscriber.end(), publisher.end()]);
});

test('[MQTT5 3.3.2-7] [MQTT5 §3.3.2.3.4] [C] topic aliases end with their connection, also where the session goes on: 0x82, and nothing is forwarded', async () => {
  const subscriber = await RawClient.connect(node.tcp);
  await subscriber.subscribe('alias-end');
  const fields = {
    version: 5,
    clientId: 'alias-end',
    clean: false,
    properties: { sessionExpiryInterval: 60 },
  } as const;
  const first = await RawClient.connect(node.tcp, fields);
  first.publish('alias-end', '1', { properties: { topicAlias: 1 } });
  first.publish('', '2', { properties: { topicAlias: 1 } });
  assert.deepEqual(await subscriber.messages(2), [
    { topic: 'alias-end', payload: '1' },
    { topic: 'alias-end', payload: '2' },
  ]);
  await first.abort();
  const second = await RawClient.connect(node.tcp, fields);
  assert.equal(second.connack.sessionPresent, true);
  second.publish('', '3', { properties: { topicAlias: 1 } });
  assert.equal(await second.closingReason(), 0x82);
  const third = await RawClient.connect(node.tcp, fields);
  third.publish('alias-end', 'marker');
  assert.deepEqual(await subscriber.messages(1), [{ topic: 'alias-end', payload: 'marker' }]);
  await Promise.all([third.end(0), subscriber.end()]);
});

test('[MQTT5 §3.4.2.1 no-subscriber] a message that nobody is subscribed to is acknowledged with 0x00, not 0x10', async () => {
  const publisher = await RawClient.connect(node.tcp, { version: 5 });
  assert.equal(await publisher.publishAcknowledged('nobody/here', 'x', 1), 0);
  publisher.publish('nobody/here', 'x', { qos: 2, messageId: 9 });
  assert.equal(await publisher.nextAcknowledgement('pubrec', 9), 0);
  publisher.acknowledge('pubrel', 9);
  assert.equal(await publisher.nextAcknowledgement('pubcomp', 9), 0);
  await publisher.end();
});

test('[MQTT5 3.1.2-24] [MQTT5 3.1.2-25] a message too large for one client is left out for it alone', async () => {
  const small = await RawClient.connect(node.tcp, { version: 5, properties: { maximumPacketSize: 100 } });
  const large = await RawClient.connect(node.tcp, { version: 5 });
  for (const client of [small, large]) await client.subscribe('size');
  const publisher = await RawClient.connect(node.tcp);
  const before = node.counters.dropped.tooLargeForSubscriber;
  publisher.publish('size', 'before');
  publisher.publish('size', 'x'.repeat(200));
  publisher.publish('size', 'after');
  assert.deepEqual(
    (await large.messages(3)).map(({ payload }) => payload.length),
    [6, 200, 5],
  );
  assert.deepEqual(
    (await small.messages(2)).map(({ payload }) => payload),
    ['before', 'after'],
  );
  assert.equal(node.counters.dropped.tooLargeForSubscriber, before + 1);
  await Promise.all([small.end(), large.end(), publisher.end()]);
});

test('[MQTT5 §4.7.2] [MQTT5 §3.3.4] publishing behind the walls is dropped and counted, and the connection stays', async () => {
  const watcher = await RawClient.connect(node.tcp);
  await watcher.subscribe('#');
  const publisher = await RawClient.connect(node.tcp, { version: 5 });
  const before = node.counters.dropped.forbiddenTopic;
  for (const forbidden of ['$SYS/x', '$JS/API/STREAM/LIST', '_INBOX/x', '$x', '$g/a/b', '$share/a/b', '$SMQ/log/x'])
    publisher.publish(forbidden, 'no');
  publisher.publish('', 'no', { properties: { topicAlias: 3 }, topic: '$hidden' });
  publisher.publish('', 'no', { properties: { topicAlias: 3 } });
  publisher.publish('allowed', 'yes');
  assert.deepEqual(await watcher.messages(1), [{ topic: 'allowed', payload: 'yes' }]);
  assert.equal(node.counters.dropped.forbiddenTopic, before + 9);
  await publisher.ping();
  await Promise.all([watcher.end(), publisher.end()]);
});

test('[MQTT5 §4.7.3] [MQTT5 4.7.3-3] a topic of 65,535 bytes is refused with 0x90, and nobody else notices', async () => {
  const bystander = await RawClient.connect(node.tcp);
  await bystander.subscribe('still/here');
  const long = Buffer.alloc(65_535, 0x61);
  const body = Buffer.concat([Buffer.from([0xff, 0xff]), long, Buffer.from([0])]);
  const packet = Buffer.concat([Buffer.from([0x30, 0x82, 0x80, 0x04]), body]);
  assert.equal(await reaction(5, packet), 0x90);
  bystander.publish('still/here', 'yes');
  assert.equal((await bystander.messages(1))[0]?.payload, 'yes');
  await bystander.end();
});
