/** A node without JetStream: QoS 0 only, and everybody is told. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startDeployment } from '../support/deployment.ts';
import type { TestNode } from '../support/node.ts';
import { connectPacket, RawClient } from '../support/raw-client.ts';

let node: TestNode;
before(async () => {
  node = await startDeployment({ SUPERMQ_NATS_JETSTREAM: 'off' });
});
after(() => node.stop());

async function reaction(version: 4 | 5, packet: Buffer): Promise<number | undefined> {
  const client = await RawClient.connect(node.tcp, { version });
  client.send(packet);
  await client.closed;
  const answer = client.received.find(({ cmd }) => cmd === 'disconnect');
  return answer?.cmd === 'disconnect' ? answer.reasonCode : undefined;
}

test('[MQTT5 3.2.2-9] CONNACK says what is not offered: QoS above 0, retained messages, sessions', async () => {
  const client = await RawClient.connect(node.tcp, { version: 5, properties: { sessionExpiryInterval: 3600 } });
  const { properties } = client.connack;
  assert.equal(properties?.maximumQoS, 0);
  assert.equal(properties?.retainAvailable, false);
  assert.equal(properties?.sessionExpiryInterval, 0);
  assert.equal(properties?.receiveMaximum, undefined);
  await client.end();
});

test('[MQTT5 3.2.2-10] SUBSCRIBE with QoS 1 and 2 is accepted and granted as 0', async () => {
  for (const version of [3, 4, 5] as const) {
    const client = await RawClient.connect(node.tcp, { version });
    const messageId = client.nextPacketId();
    const subscriptions = [
      { topic: 'a', qos: 2 as const },
      { topic: 'b', qos: 1 as const },
    ];
    client.send({ cmd: 'subscribe', messageId, subscriptions });
    assert.deepEqual((await client.next('suback')).granted, [0, 0]);
    client.publish('a', 'x');
    assert.equal((await client.next('publish')).qos, 0);
    await client.end();
  }
});

test('[MQTT5 3.2.2-11] PUBLISH above Maximum QoS: 0x9B; MQTT 3.1.1 is closed, never acknowledged', async () => {
  assert.equal(await reaction(5, Buffer.from([0x32, 6, 0, 1, 0x74, 0, 1, 0])), 0x9b);
  assert.equal(await reaction(4, Buffer.from([0x32, 5, 0, 1, 0x74, 0, 1])), undefined);
});

test('[MQTT5 3.2.2-12] a will above Maximum QoS gets 0x9B', async () => {
  const client = await RawClient.open(node.tcp, 5);
  client.send(connectPacket({ version: 5, will: { topic: 'w', payload: Buffer.from('x'), qos: 1, retain: false } }));
  const connack = await client.next('connack');
  assert.equal(connack.reasonCode, 0x9b);
});

test('an acknowledgement for nothing is a protocol error in MQTT 5', async () => {
  assert.equal(await reaction(5, Buffer.from([0x40, 2, 0, 1])), 0x82);
});

test('[MQTT311 3.2.2-2] CleanSession 0 finds no session', async () => {
  for (let i = 0; i < 2; i++) {
    const client = await RawClient.connect(node.tcp, { clientId: 'again', clean: false });
    assert.equal(client.connack.sessionPresent, false);
    await client.end();
  }
});

test('[MQTT5 3.2.2-14] [MQTT5 3.2.2-13] RETAIN and Will Retain where retained messages are not offered: 0x9A', async () => {
  assert.equal(await reaction(5, Buffer.from([0x31, 4, 0, 1, 0x74, 0])), 0x9a);
  const client = await RawClient.open(node.tcp, 5);
  client.send(connectPacket({ version: 5, will: { topic: 'w', payload: Buffer.from('x'), qos: 0, retain: true } }));
  assert.equal((await client.next('connack')).reasonCode, 0x9a);
});

test('MQTT 3.1.1 messages with RETAIN are delivered, RETAIN as published only where asked for, and counted', async () => {
  const plain = await RawClient.connect(node.tcp, { version: 5 });
  const asPublished = await RawClient.connect(node.tcp, { version: 5 });
  await plain.subscribe('rap');
  await asPublished.subscribe({ topic: 'rap', rap: true });
  const publisher = await RawClient.connect(node.tcp);
  const before = node.counters.retainIgnored;
  publisher.publish('rap', 'x', { retain: true });
  assert.equal((await plain.next('publish')).retain, false);
  assert.equal((await asPublished.next('publish')).retain, true);
  assert.equal(node.counters.retainIgnored, before + 1);
  const late = await RawClient.connect(node.tcp);
  await late.subscribe('rap');
  publisher.publish('rap', 'y');
  assert.deepEqual(await late.messages(1), [{ topic: 'rap', payload: 'y' }]);
  for (const client of [plain, asPublished, publisher, late]) await client.end();
});
