/** Packet ids: when one is free again, what happens to one that is used twice, and that both sides count for themselves. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startDeployment } from '../support/deployment.ts';
import type { TestNode } from '../support/node.ts';
import { type ConnectFields, RawClient, type Version } from '../support/raw-client.ts';
import { bytes, packet, props, str, u16 } from '../unit/mqtt/bytes.ts';

let node: TestNode;
before(async () => {
  node = await startDeployment();
});
after(() => node.stop());

function durable(version: Version, clientId: string): ConnectFields {
  const fields = { version, clientId, clean: false };
  return version === 5 ? { ...fields, properties: { sessionExpiryInterval: 60 } } : fields;
}

test('[MQTT5 §2.2.1] [MQTT311 2.3.1-3] [MQTT5 2.2.1-4] [MQTT311 2.3.1-4] an id is in use until PUBACK, PUBCOMP or a PUBREC that refuses, also on the next connection', async () => {
  for (const version of [4, 5] as const) {
    const topic = `free/${version}`;
    const fields = durable(version, `free-${version}`);
    const publisher = await RawClient.connect(node.tcp, { version });
    const first = await RawClient.connect(node.tcp, fields);
    await first.subscribe({ topic, qos: 2 });
    await publisher.publishAcknowledged(topic, 'once', 1);
    await publisher.publishAll(topic, ['received', 'refused'], 2);
    const ids: number[] = [];
    for (let count = 0; count < 3; count++) ids.push((await first.next('publish')).messageId ?? 0);
    const [once = 0, received = 0, third = 0] = ids;
    first.acknowledge('pubrec', received);
    await first.nextAcknowledgement('pubrel', received);
    // MQTT 3.1.1 cannot refuse: there the third exchange ends with PUBCOMP.
    first.acknowledge('pubrec', third, version === 5 ? 0x80 : 0);
    if (version === 4) {
      await first.nextAcknowledgement('pubrel', third);
      first.acknowledge('pubcomp', third);
    }
    await first.ping();
    await first.abort();
    const again = await RawClient.connect(node.tcp, fields);
    assert.equal((await again.next('publish')).messageId, once, 'still in use');
    await again.nextAcknowledgement('pubrel', received);
    const given = async (count: number): Promise<number[]> => {
      const next: number[] = [];
      while (next.length < count) next.push((await again.next('publish')).messageId ?? 0);
      return next;
    };
    await publisher.publishAll(topic, [1, 2, 3, 4, 5], 1);
    const whileInUse = await given(5);
    assert.ok(!whileInUse.includes(once) && !whileInUse.includes(received), `${whileInUse} and ${ids}`);
    assert.equal(new Set(whileInUse).size, 5);
    assert.ok(whileInUse.includes(third), 'the one that is free is used');
    for (const id of whileInUse) again.acknowledge('puback', id);
    again.acknowledge('puback', once);
    again.acknowledge('pubcomp', received);
    await again.ping();
    await again.abort();
    const last = await RawClient.connect(node.tcp, fields);
    await publisher.publishAll(topic, [6, 7], 1);
    const afterwards = [(await last.next('publish')).messageId, (await last.next('publish')).messageId];
    assert.deepEqual(afterwards.toSorted(), [once, received].toSorted(), 'free again');
    await Promise.all([last.end(0), publisher.end()]);
  }
});

test('[MQTT5 2.2.1-4] [MQTT311 2.3.1-4] client and server may use the same id at the same time, for all kinds of exchanges', async () => {
  for (const version of [4, 5] as const) {
    const client = await RawClient.connect(node.tcp, { version });
    const topic = `same/${version}`;
    await client.subscribe({ topic, qos: 2 });
    client.publish(topic, 'a', { qos: 2, messageId: 1 });
    await client.nextAcknowledgement('pubrec', 1);
    client.acknowledge('pubrel', 1);
    await client.nextAcknowledgement('pubcomp', 1);
    const { messageId: id = 0 } = await client.next('publish');
    // The server's exchange `id` is open; the client begins one of its own with that number.
    client.publish('elsewhere', 'b', { qos: 2, messageId: id });
    await client.nextAcknowledgement('pubrec', id);
    client.acknowledge('pubrec', id);
    await client.nextAcknowledgement('pubrel', id);
    client.acknowledge('pubrel', id);
    await client.nextAcknowledgement('pubcomp', id);
    client.acknowledge('pubcomp', id);
    await client.ping();
    assert.deepEqual(client.received, []);
    await client.end();
  }
});

test('[MQTT5 §3.4.2.1 id-in-use] [C] PUBLISH with QoS 1 and the id of an open exchange of QoS 2: PUBACK 0x91, MQTT 3.1.1 is closed, nobody gets it', async () => {
  for (const version of [4, 5] as const) {
    const topic = `in-use/${version}`;
    const watcher = await RawClient.connect(node.tcp);
    await watcher.subscribe(topic);
    const client = await RawClient.connect(node.tcp, { version });
    client.publish(topic, 'first', { qos: 2, messageId: 9 });
    await client.nextAcknowledgement('pubrec', 9);
    client.publish(topic, 'twice', { qos: 1, messageId: 9 });
    if (version === 5) {
      assert.equal(await client.nextAcknowledgement('puback', 9), 0x91);
      client.acknowledge('pubrel', 9);
      assert.equal(await client.nextAcknowledgement('pubcomp', 9), 0, 'the open exchange goes on');
      assert.equal(await client.publishAcknowledged(topic, 'again', 1, { messageId: 9 }), 0);
    } else {
      assert.equal(await client.closingReason(), undefined);
      assert.deepEqual(client.received, []);
      const other = await RawClient.connect(node.tcp, { version });
      await other.publishAcknowledged(topic, 'again', 1);
      await other.end();
    }
    assert.deepEqual(
      (await watcher.messages(2)).map(({ payload }) => payload),
      ['first', 'again'],
    );
    await Promise.all([client.end(), watcher.end()]);
  }
});

test('[MQTT5 §3.9.3 id-in-use] [C] SUBSCRIBE and UNSUBSCRIBE with the id of a SUBSCRIBE without SUBACK: 0x91 for each filter, 0x80 in MQTT 3.1.1; nothing is subscribed', async () => {
  for (const version of [4, 5] as const) {
    const none = version === 5 ? props() : bytes();
    const subscribe = (...filters: string[]): Buffer =>
      packet(0x82, u16(5), none, ...filters.flatMap((filter) => [str(filter), 0]));
    const client = await RawClient.connect(node.tcp, { version });
    const unsubscribe = packet(0xa2, u16(5), none, str('kept'), str('b'));
    client.send(bytes(subscribe('kept'), subscribe('a', 'b'), version === 5 ? unsubscribe : bytes()));
    const inUse = version === 5 ? 0x91 : 0x80;
    assert.deepEqual((await client.next('suback')).granted, [inUse, inUse]);
    if (version === 5) assert.deepEqual((await client.next('unsuback')).granted, [inUse, inUse]);
    assert.deepEqual((await client.next('suback')).granted, [0]);
    for (const topic of ['a', 'b', 'kept']) client.publish(topic, 'x');
    assert.deepEqual(await client.messages(1), [{ topic: 'kept', payload: 'x' }]);
    client.send(subscribe('a'));
    assert.deepEqual((await client.next('suback')).granted, [0], 'the id is free behind its SUBACK');
    await client.end();
  }
});
