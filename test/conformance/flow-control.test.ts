/** Receive Maximum both ways and Maximum Packet Size of a client, on an embedded node. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startDeployment, testEmbedded } from '../support/deployment.ts';
import { eventually } from '../support/eventually.ts';
import type { TestNode } from '../support/node.ts';
import { type ConnectFields, RawClient } from '../support/raw-client.ts';
import { startWiredNode } from '../support/wired-node.ts';

let node: TestNode;
before(async () => {
  node = await startDeployment();
});
after(() => node.stop());

function connect(fields: ConnectFields = {}): ReturnType<typeof RawClient.connect> {
  return RawClient.connect(node.tcp, { version: 5, ...fields });
}

function numbers(count: number, from = 0): number[] {
  return Array.from({ length: count }, (_, index) => from + index);
}

for (const receiveMaximum of [1, 5]) {
  test(`[MQTT5 3.3.4-9] [MQTT5 3.3.4-10] [MQTT5 4.9.0-1] [MQTT5 4.9.0-2] [MQTT5 4.9.0-3] [MQTT5 §4.9 quota-back] [MQTT5 3.12.4-1] Receive Maximum ${receiveMaximum}: no more at once, and everything else still flows`, async () => {
    const subscriber = await connect({ properties: { receiveMaximum } });
    await subscriber.subscribe({ topic: 'window/+', qos: 2 }, 'free');
    const publisher = await connect();
    await publisher.publishAll('window/1', numbers(10), 1);
    await publisher.publishAll('window/2', numbers(10), 2);
    const open: Array<{ qos: number; id: number }> = [];
    let got = 0;
    const take = async (): Promise<void> => {
      await subscriber.ping();
      for (const { messageId = 0, qos } of subscriber.taken('publish')) {
        open.push({ qos, id: messageId });
        got++;
      }
      assert.ok(open.length <= receiveMaximum, `${open.length} at once`);
    };
    await take();
    assert.equal(open.length, receiveMaximum, 'the window is used');
    publisher.publish('free', 'QoS 0');
    publisher.publish('window/1', 'QoS 0');
    assert.deepEqual(
      (await subscriber.messages(2)).map(({ payload }) => payload),
      ['QoS 0', 'QoS 0'],
    );
    await subscriber.subscribe('more');
    await subscriber.publishAcknowledged('elsewhere', 'x', 2);
    while (got < 20 || open.length > 0) {
      const oldest = open.shift();
      assert.ok(oldest !== undefined, `stuck after ${got}`);
      const { id, qos } = oldest;
      if (qos === 1) {
        subscriber.acknowledge('puback', id);
      } else {
        // PUBREC gives no place back, PUBCOMP does.
        subscriber.acknowledge('pubrec', id);
        await subscriber.nextAcknowledgement('pubrel', id);
        open.unshift(oldest);
        await take();
        open.shift();
        subscriber.acknowledge('pubcomp', id);
      }
      await take();
    }
    for (const client of [subscriber, publisher]) await client.end();
  });
}

test('[MQTT5 §4.9 quota-back] PUBREC with 0x80 and above gives its place back', async () => {
  const subscriber = await connect({ properties: { receiveMaximum: 1 } });
  await subscriber.subscribe({ topic: 'back', qos: 2 });
  const publisher = await connect();
  await publisher.publishAll('back', numbers(3), 2);
  for (let count = 0; count < 3; count++) {
    const { messageId = 0, payload } = await subscriber.next('publish');
    assert.equal(payload.toString(), String(count));
    subscriber.acknowledge('pubrec', messageId, 0x80);
  }
  for (const client of [subscriber, publisher]) await client.end();
});

test('[MQTT5 §4.9 quota-back] acknowledgements of nothing, and packets of other kinds, give no place', async () => {
  const subscriber = await connect({ properties: { receiveMaximum: 1 } });
  await subscriber.subscribe({ topic: 'no-place', qos: 2 });
  const publisher = await connect();
  await publisher.publishAll('no-place', numbers(4), 2);
  const first = await subscriber.next('publish');
  for (const cmd of ['puback', 'pubcomp'] as const) subscriber.acknowledge(cmd, 60_000);
  subscriber.acknowledge('pubrec', 60_000);
  await subscriber.nextAcknowledgement('pubrel', 60_000);
  subscriber.acknowledge('pubcomp', 60_000);
  subscriber.acknowledge('pubrel', 60_001);
  await subscriber.nextAcknowledgement('pubcomp', 60_001);
  await subscriber.subscribe('no-place/other');
  await subscriber.publishAcknowledged('elsewhere', 'x', 1);
  subscriber.publish('no-place/other', 'QoS 0');
  assert.equal((await subscriber.next('publish')).payload.toString(), 'QoS 0');
  await subscriber.ping();
  assert.deepEqual(subscriber.taken('publish'), []);
  // And the initial quota is never exceeded by what came too often.
  subscriber.acknowledge('pubrec', first.messageId ?? 0, 0x80);
  const second = await subscriber.next('publish');
  await subscriber.ping();
  assert.deepEqual([second.payload.toString(), subscriber.taken('publish')], ['1', []]);
  for (const client of [subscriber, publisher]) await client.end();
});

test('[MQTT5 §4.9 pubrel] [MQTT5 3.3.4-10] [MQTT5 4.9.0-3] PUBREL takes no place: a smaller Receive Maximum than before delays none that is owed, and PUBLISH keeps to it', async () => {
  const fields = { clientId: 'owed', clean: false, properties: { sessionExpiryInterval: 60 } };
  const first = await connect(fields);
  await first.subscribe({ topic: 'owed', qos: 2 });
  const publisher = await connect();
  await publisher.publishAll('owed', numbers(8), 2);
  const ids: number[] = [];
  for (let count = 0; count < 8; count++) ids.push((await first.next('publish')).messageId ?? 0);
  // Between them and at the end are some that are not received yet.
  const owed = [0, 2, 3, 5, 6].map((index) => ids[index] ?? 0);
  for (const id of owed) {
    first.acknowledge('pubrec', id);
    await first.nextAcknowledgement('pubrel', id);
  }
  await first.abort();
  const again = await connect({ ...fields, properties: { ...fields.properties, receiveMaximum: 1 } });
  for (const id of owed) assert.equal(await again.nextAcknowledgement('pubrel', id), 0);
  await again.ping();
  assert.ok(again.received.length <= 1, 'no more than one PUBLISH');
  for (const id of owed) again.acknowledge('pubcomp', id);
  again.acknowledges = true;
  assert.deepEqual(
    (await again.messages(3)).map(({ payload }) => payload),
    ['1', '4', '7'],
  );
  await publisher.publishAcknowledged('owed', 'new', 2);
  assert.deepEqual(await again.messages(1), [{ topic: 'owed', payload: 'new' }]);
  for (const client of [again, publisher]) await client.end(0);
});

test('[MQTT5 §3.1.2.11.3] without a Receive Maximum a client gets as many as the node allows, in MQTT 3.1.1 too', async () => {
  const small = await startDeployment({ SUPERMQ_LIMITS_MAX_IN_FLIGHT_PER_CLIENT: '7' });
  for (const version of [4, 5] as const) {
    const subscriber = await RawClient.connect(small.tcp, { version });
    await subscriber.subscribe({ topic: 'limit', qos: 1 });
    const publisher = await RawClient.connect(small.tcp, { version });
    await publisher.publishAll('limit', numbers(20), 1);
    await subscriber.ping();
    assert.equal(subscriber.received.length, 7);
    for (const client of [subscriber, publisher]) await client.end();
  }
  await small.stop();
});

test('[MQTT5 §3.2.2.3.3] [MQTT5 §4.9 receive-maximum] [C] Receive Maximum of the server is announced, kept to, and 0x93 is beyond it', async () => {
  const strict = await startDeployment({ SUPERMQ_LIMITS_RECEIVE_MAXIMUM: '20' });
  const client = await RawClient.connect(strict.tcp, { version: 5 });
  assert.equal(client.connack.properties?.receiveMaximum, 20);
  for (let id = 1; id <= 20; id++) client.publish('many', 'x', { qos: 2, messageId: id });
  for (let id = 1; id <= 20; id++) await client.nextAcknowledgement('pubrec', id);
  // Full: an id that is open may come again, and a free place may be used again.
  client.publish('many', 'x', { qos: 2, messageId: 20, dup: true });
  await client.nextAcknowledgement('pubrec', 20);
  client.acknowledge('pubrel', 20);
  await client.nextAcknowledgement('pubcomp', 20);
  client.publish('many', 'x', { qos: 2, messageId: 21 });
  await client.nextAcknowledgement('pubrec', 21);
  client.publish('many', 'x', { qos: 2, messageId: 22 });
  assert.equal(await client.closingReason(), 0x93);
  await strict.stop();
});

test('[MQTT5 §3.2.2.3.3] [MQTT5 §4.9 receive-maximum] [C] the usual Receive Maximum is 100, and the 101st message is too many', async () => {
  const client = await connect();
  assert.equal(client.connack.properties?.receiveMaximum, 100);
  for (let id = 1; id <= 101; id++) client.publish('many', 'x', { qos: 2, messageId: id });
  assert.equal(await client.closingReason(), 0x93);
});

testEmbedded('MQTT5 section 4.9: messages of QoS 1 count beside those of QoS 2 that are not released', async () => {
  const wired = await startWiredNode({ receiveMaximum: 5 });
  const client = await RawClient.connect(wired.tcp, { version: 5 });
  for (let id = 1; id <= 4; id++) client.publish('mixed', 'x', { qos: 2, messageId: id });
  for (let id = 1; id <= 4; id++) await client.nextAcknowledgement('pubrec', id);
  // One place is left, over and over.
  for (let count = 0; count < 10; count++) await client.publishAcknowledged('mixed', 'x', 1);
  wired.log.holdsPublishes = true;
  client.publish('mixed', 'x', { qos: 1, messageId: 100 });
  await client.ping();
  client.publish('mixed', 'x', { qos: 1, messageId: 101 });
  assert.equal(await client.closingReason(), 0x93);
  await wired.stop();
});

test('MQTT5 section 4.9: the quota begins anew with each connection, whatever an earlier one has left open', async () => {
  const strict = await startDeployment({ SUPERMQ_LIMITS_RECEIVE_MAXIMUM: '5' });
  const fields: ConnectFields = {
    version: 5,
    clientId: 'anew',
    clean: false,
    properties: { sessionExpiryInterval: 60 },
  };
  const first = await RawClient.connect(strict.tcp, fields);
  for (const id of numbers(5, 1)) first.publish('anew', 'x', { qos: 2, messageId: id });
  for (const id of numbers(5, 1)) await first.nextAcknowledgement('pubrec', id);
  await first.end();
  const second = await RawClient.connect(strict.tcp, fields);
  for (const id of numbers(5, 11)) second.publish('anew', 'x', { qos: 2, messageId: id });
  for (const id of numbers(5, 11)) await second.nextAcknowledgement('pubrec', id);
  for (const id of [...numbers(5, 1), ...numbers(5, 11)]) {
    second.acknowledge('pubrel', id);
    assert.equal(await second.nextAcknowledgement('pubcomp', id), 0);
  }
  for (const id of numbers(6, 21)) second.publish('anew', 'x', { qos: 2, messageId: id });
  assert.equal(await second.closingReason(), 0x93);
  await strict.stop();
});

testEmbedded(
  '[MQTT5 3.12.4-1] [MQTT311 3.12.4-1] PINGREQ is answered while the log is slow; MQTT 3.1.1 is not read beyond the maximum, and loses nothing',
  async () => {
    const wired = await startWiredNode({ receiveMaximum: 10 });
    wired.log.holdsPublishes = true;
    const client = await RawClient.connect(wired.tcp, { version: 4 });
    for (let id = 1; id <= 9; id++) client.publish('slow', String(id), { qos: 1, messageId: id });
    await client.ping();
    assert.equal(wired.log.waiting.length, 9);
    for (let id = 10; id <= 60; id++) {
      client.publish('slow', String(id), { qos: 1, messageId: id });
      // Each in a packet of the network of its own.
      await new Promise((resolve) => setImmediate(resolve));
    }
    await eventually(() => {
      while (wired.log.waiting.length > 0) wired.log.settleNext();
      return client.received.length === 60;
    }, 'every PUBACK');
    assert.deepEqual(
      client.taken('puback').map(({ messageId }) => messageId),
      numbers(60, 1),
    );
    assert.deepEqual(
      wired.log.records.map(({ payload }) => payload.toString()),
      numbers(60, 1).map(String),
    );
    await client.end();
    await wired.stop();
  },
);

test('[MQTT5 3.1.2-24] [MQTT5 3.1.2-25] stored messages that are too large for a client count as delivered: 300 of them take no place and no id', async () => {
  for (const qos of [1, 2] as const) {
    const topic = `large/${qos}`;
    const small = await connect({ properties: { maximumPacketSize: 100 } });
    const large = await connect();
    for (const client of [small, large]) await client.subscribe({ topic, qos });
    large.acknowledges = true;
    const publisher = await connect();
    const before = node.counters.dropped.tooLargeForSubscriber;
    for (let count = 0; count < 300; count++) {
      await publisher.publishAcknowledged(topic, 'x'.repeat(200), qos);
      if (count % 100 !== 99) continue;
      await publisher.publishAcknowledged(topic, `after ${count}`, qos);
      assert.equal((await small.messages(1))[0]?.payload, `after ${count}`);
    }
    assert.equal(node.counters.dropped.tooLargeForSubscriber, before + 300);
    assert.equal((await large.messages(303)).filter(({ payload }) => payload.length === 200).length, 300);
    for (const client of [small, large, publisher]) await client.end();
  }
});

test('[MQTT5 3.1.2-25] messages that are too large are passed over in a backlog too', async () => {
  const fields: ConnectFields = {
    clientId: 'backlog',
    clean: false,
    properties: { sessionExpiryInterval: 60, maximumPacketSize: 100, receiveMaximum: 10 },
  };
  const first = await connect(fields);
  await first.subscribe({ topic: 'backlog', qos: 1 });
  await first.end();
  const publisher = await connect();
  for (let count = 0; count < 300; count++)
    await publisher.publishAcknowledged('backlog', count % 10 === 0 ? String(count) : 'x'.repeat(200), 1);
  const again = await connect(fields);
  again.acknowledges = true;
  assert.deepEqual(
    (await again.messages(30)).map(({ payload }) => Number(payload)),
    numbers(30).map((index) => index * 10),
  );
  await publisher.publishAcknowledged('backlog', 'live', 1);
  assert.equal((await again.messages(1))[0]?.payload, 'live');
  await Promise.all([again.end(0), publisher.end()]);
});

test('a client that reads slowly keeps its stored messages: all come, in order, once', async () => {
  const tight = await startDeployment({ SUPERMQ_LIMITS_MAX_OUTBOUND_BYTES_PER_CLIENT: '16384' });
  const subscriber = await RawClient.connect(tight.tcp, { version: 5 });
  await subscriber.subscribe({ topic: 'stalled', qos: 1 });
  subscriber.acknowledges = true;
  subscriber.socket.pause();
  const publisher = await RawClient.connect(tight.tcp, { version: 5 });
  const padding = 'x'.repeat(20_000);
  for (let count = 0; count < 1_000; count++) await publisher.publishAcknowledged('stalled', `${count} ${padding}`, 1);
  subscriber.socket.resume();
  const got = await subscriber.messages(1_000);
  assert.deepEqual(
    got.map(({ payload }) => Number(payload.split(' ')[0])),
    numbers(1_000),
  );
  for (const client of [subscriber, publisher]) await client.end();
  await tight.stop();
});

test('a client that works on most of its window for long gets something for each place that is free, from the log too', async () => {
  const fields: ConnectFields = {
    clientId: 'workers',
    clean: false,
    properties: { sessionExpiryInterval: 60, receiveMaximum: 10 },
  };
  const first = await connect(fields);
  await first.subscribe({ topic: 'work', qos: 1 });
  await first.end();
  const publisher = await connect();
  await publisher.publishAll('work', numbers(30), 1);
  const worker = await connect(fields);
  const ids: number[] = [];
  for (let count = 0; count < 10; count++) ids.push((await worker.next('publish')).messageId ?? 0);
  // Nine are long work.
  let free = ids[9] ?? 0;
  for (let count = 10; count < 13; count++) {
    worker.acknowledge('puback', free);
    const message = await worker.next('publish');
    assert.equal(message.payload.toString(), String(count));
    free = message.messageId ?? 0;
  }
  await Promise.all([worker.end(0), publisher.end()]);
});
