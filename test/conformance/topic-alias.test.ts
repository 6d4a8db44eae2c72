/** Topic aliases on the way to subscribers, on an embedded node: live, retained and resumed messages of every QoS. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { IPublishPacket } from 'mqtt-packet';
import { startDeployment, testEmbedded } from '../support/deployment.ts';
import type { TestNode } from '../support/node.ts';
import { type ConnectFields, RawClient } from '../support/raw-client.ts';

let node: TestNode;
before(async () => {
  node = await startDeployment({ SUPERMQ_LIMITS_OUTBOUND_TOPIC_ALIAS_MAXIMUM: '5' });
});
after(() => node.stop());

/** A subscriber that takes so many aliases. */
function connect(topicAliasMaximum: number, fields: ConnectFields = {}, port = node.tcp): Promise<RawClient> {
  return RawClient.connect(port, { version: 5, ...fields, properties: { topicAliasMaximum, ...fields.properties } });
}

/** Topic as on the wire, alias (0 = none), payload. */
type Seen = readonly [topic: string, alias: number, payload: string];

function seen({ payload, properties, topic }: IPublishPacket): Seen {
  return [topic, properties?.topicAlias ?? 0, payload.toString()];
}

async function nextSeen(client: RawClient, count: number): Promise<Seen[]> {
  const all: Seen[] = [];
  while (all.length < count) all.push(seen(await client.next('publish')));
  return all;
}

for (const qos of [0, 1, 2] as const) {
  test(`[MQTT5 3.1.2-26] [MQTT5 §3.3.2.3.4] QoS ${qos}: a topic's first message sets an alias, the next ones carry it in the topic's place`, async () => {
    const subscriber = await connect(10);
    subscriber.acknowledges = true;
    const other = await RawClient.connect(node.tcp, { version: 5 });
    other.acknowledges = true;
    for (const client of [subscriber, other]) await client.subscribe({ topic: `live-${qos}/#`, qos });
    const publisher = await RawClient.connect(node.tcp, { version: 5 });
    const topics = ['one', 'two', 'one', 'two', 'one'].map((name) => `live-${qos}/${name}`);
    for (const [n, topic] of topics.entries()) {
      if (qos === 0) publisher.publish(topic, String(n));
      else await publisher.publishAcknowledged(topic, String(n), qos);
    }
    assert.deepEqual(await nextSeen(subscriber, 5), [
      [`live-${qos}/one`, 1, '0'],
      [`live-${qos}/two`, 2, '1'],
      ['', 1, '2'],
      ['', 2, '3'],
      ['', 1, '4'],
    ]);
    // Who shares the packets and asks for no alias gets none. [MQTT5 3.1.2-27]
    assert.deepEqual(
      await nextSeen(other, 5),
      topics.map((topic, n) => [topic, 0, String(n)]),
    );
    await Promise.all([subscriber.end(), other.end(), publisher.end()]);
  });
}

test('[MQTT5 3.3.2-11] a burst of many topics carries no alias above what the client takes, nor above our own limit', async () => {
  const publisher = await RawClient.connect(node.tcp, { version: 5 });
  const clients = [await connect(3), await connect(65_535)];
  for (const client of clients) await client.subscribe('burst/#');
  const topics = Array.from({ length: 300 }, (_, n) => `burst/topic-${n % 7}`);
  for (const [n, topic] of topics.entries()) publisher.publish(topic, String(n));
  for (const [index, client] of clients.entries()) {
    const known = new Map<number, string>();
    for (const [n, expected] of topics.entries()) {
      const [topic, alias, payload] = seen(await client.next('publish'));
      assert.ok(alias > 0 && alias <= (index === 0 ? 3 : 5), `alias ${alias}`);
      if (topic !== '') known.set(alias, topic);
      assert.deepEqual([known.get(alias), payload], [expected, String(n)]);
    }
  }
  await Promise.all([publisher.end(), ...clients.map((client) => client.end())]);
});

test('[MQTT5 §3.3.2.3.4] retained messages, groups and live ones share the aliases of a connection', async () => {
  const publisher = await RawClient.connect(node.tcp, { version: 5 });
  await publisher.publishAcknowledged('kept/one', 'r', 1, { retain: true });
  const subscriber = await connect(10);
  subscriber.acknowledges = true;
  await subscriber.subscribe({ topic: 'kept/#', qos: 1 });
  assert.deepEqual(await nextSeen(subscriber, 1), [['kept/one', 1, 'r']]);
  await publisher.publishAcknowledged('kept/one', 'live', 1);
  assert.deepEqual(await nextSeen(subscriber, 1), [['', 1, 'live']]);
  await subscriber.subscribe({ topic: 'kept/#', qos: 1 });
  assert.deepEqual(await nextSeen(subscriber, 1), [['', 1, 'r']]);
  await subscriber.subscribe({ topic: '$share/g/shared/#', qos: 1 });
  await publisher.publishAcknowledged('shared/one', 'g1', 1);
  publisher.publish('shared/one', 'g0');
  assert.deepEqual((await nextSeen(subscriber, 2)).sort(), [
    ['', 2, 'g0'],
    ['shared/one', 2, 'g1'],
  ]);
  await Promise.all([subscriber.end(), publisher.end()]);
});

test('[MQTT5 3.3.2-7] [MQTT5 4.4.0-1] what is sent again on a new connection has its topic: the old aliases are gone', async () => {
  const fields = { clientId: 'resumes', clean: false, properties: { sessionExpiryInterval: 60 } };
  const first = await connect(10, fields);
  await first.subscribe({ topic: 'again/#', qos: 1 });
  const publisher = await RawClient.connect(node.tcp, { version: 5 });
  for (const n of [0, 1, 2]) await publisher.publishAcknowledged('again/topic', String(n), 1);
  assert.deepEqual(await nextSeen(first, 3), [
    ['again/topic', 1, '0'],
    ['', 1, '1'],
    ['', 1, '2'],
  ]);
  await first.abort();
  const second = await connect(10, fields);
  const resent = [await second.next('publish'), await second.next('publish'), await second.next('publish')];
  assert.deepEqual(resent.map(seen), [
    ['again/topic', 1, '0'],
    ['', 1, '1'],
    ['', 1, '2'],
  ]);
  assert.deepEqual(
    resent.map(({ dup }) => dup),
    [true, true, true],
  );
  await second.abort();
  // This one takes no aliases any more.
  const third = await connect(0, fields);
  assert.deepEqual(await nextSeen(third, 3), [
    ['again/topic', 0, '0'],
    ['again/topic', 0, '1'],
    ['again/topic', 0, '2'],
  ]);
  await Promise.all([third.end(0), publisher.end()]);
});

testEmbedded('[MQTT5 3.3.2-7] a message that a slow client did not get has set no alias', async (t) => {
  const slow = await startDeployment({ SUPERMQ_LIMITS_MAX_OUTBOUND_BYTES_PER_CLIENT: '16384' });
  t.after(() => slow.stop());
  const subscriber = await connect(10, {}, slow.tcp);
  await subscriber.subscribe('slow/#');
  const publisher = await RawClient.connect(slow.tcp, { version: 5 });
  subscriber.socket.pause();
  const payload = 'x'.repeat(3_000);
  for (let n = 0; slow.counters.dropped.slowSubscriber === 0; n++) {
    publisher.publish('slow/filler', payload);
    await publisher.ping();
    assert.ok(n < 20_000, 'nothing was dropped');
  }
  publisher.publish('slow/new', payload);
  await publisher.ping();
  const before = slow.counters.dropped.slowSubscriber;
  assert.ok(before >= 2);
  subscriber.intercept = (packet) => packet.cmd === 'publish' && (packet as IPublishPacket).payload.length === 3_000;
  subscriber.socket.resume();
  await subscriber.ping();
  publisher.publish('slow/new', 'after');
  assert.deepEqual(await nextSeen(subscriber, 1), [['slow/new', 2, 'after']]);
  await Promise.all([subscriber.end(), publisher.end()]);
});

test('[MQTT5 3.1.2-24] a message that fits without an alias only, goes without', async () => {
  const topic = `tight/${'t'.repeat(30)}`;
  const payload = 'x'.repeat(20);
  const size = 2 + 2 + topic.length + 1 + payload.length;
  const clients = [
    await connect(10, { properties: { maximumPacketSize: size + 2 } }),
    await connect(10, { properties: { maximumPacketSize: size + 3 } }),
  ];
  for (const client of clients) await client.subscribe('tight/#');
  const publisher = await RawClient.connect(node.tcp, { version: 5 });
  for (const _ of [1, 2]) publisher.publish(topic, payload);
  const [tight, roomy] = await Promise.all(clients.map((client) => nextSeen(client, 2)));
  assert.deepEqual(tight, [
    [topic, 0, payload],
    [topic, 0, payload],
  ]);
  assert.deepEqual(roomy, [
    [topic, 1, payload],
    ['', 1, payload],
  ]);
  await Promise.all([...clients.map((client) => client.end()), publisher.end()]);
});

test('limits.outboundTopicAliasMaximum 0: no aliases, whatever the client takes', async (t) => {
  const without = await startDeployment({ SUPERMQ_LIMITS_OUTBOUND_TOPIC_ALIAS_MAXIMUM: '0' });
  t.after(() => without.stop());
  const subscriber = await connect(10, {}, without.tcp);
  await subscriber.subscribe('never/#');
  const publisher = await RawClient.connect(without.tcp, { version: 5 });
  for (const payload of ['1', '2']) publisher.publish('never/one', payload);
  assert.deepEqual(await nextSeen(subscriber, 2), [
    ['never/one', 0, '1'],
    ['never/one', 0, '2'],
  ]);
  await Promise.all([subscriber.end(), publisher.end()]);
});
