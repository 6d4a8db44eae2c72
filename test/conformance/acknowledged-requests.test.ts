/** SUBACK and UNSUBACK: one for each request, with its packet id and a code for each filter, when the request is in effect. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { ISubackPacket, IUnsubackPacket, Packet } from 'mqtt-packet';
import { startDeployment } from '../support/deployment.ts';
import type { TestNode } from '../support/node.ts';
import { RawClient, type Version } from '../support/raw-client.ts';

let node: TestNode;
before(async () => {
  node = await startDeployment();
});
after(() => node.stop());

const versions = [3, 4, 5] as const;
const ids = [1, 255, 256, 65_535, 7, 7];

function connect(version: Version): ReturnType<typeof RawClient.connect> {
  return RawClient.connect(node.tcp, { version });
}

async function subscribe(
  client: RawClient,
  messageId: number,
  ...filters: Array<[string, 0 | 1 | 2]>
): Promise<ISubackPacket> {
  const subscriptions = filters.map(([topic, qos]) => ({ topic, qos }));
  client.send({ cmd: 'subscribe', messageId, subscriptions } as Packet);
  return client.next('suback');
}

function unsubscribe(client: RawClient, messageId: number, ...unsubscriptions: string[]): Promise<IUnsubackPacket> {
  client.send({ cmd: 'unsubscribe', messageId, unsubscriptions });
  return client.next('unsuback');
}

test('[MQTT5 3.8.4-1] [MQTT5 3.8.4-2] [MQTT311 3.8.4-1] [MQTT311 3.8.4-2] [MQTT5 2.2.1-6] [MQTT311 2.3.1-7] each SUBSCRIBE gets one SUBACK with its packet id, also when nothing is granted', async () => {
  for (const version of versions) {
    const client = await connect(version);
    const refused = version === 5 ? 0x8f : 0x80;
    for (const id of ids) {
      const granted = await subscribe(client, id, [`suback/${id}`, 1]);
      assert.deepEqual([granted.messageId, granted.granted], [id, [1]]);
      const none = await subscribe(client, id, ['a#', 1], ['b+', 0]);
      assert.deepEqual([none.messageId, none.granted], [id, [refused, refused]]);
    }
    // Several under way at once.
    for (const id of [40, 41, 42])
      client.send({ cmd: 'subscribe', messageId: id, subscriptions: [{ topic: `suback/${id}`, qos: 2 }] });
    const answered = [await client.next('suback'), await client.next('suback'), await client.next('suback')];
    assert.deepEqual(answered.map(({ messageId }) => messageId).sort(), [40, 41, 42]);
    await client.ping();
    assert.deepEqual(client.received, [], 'one each');
    await client.end();
  }
});

test('[MQTT5 3.8.4-5] [MQTT311 3.8.4-4] [MQTT5 3.8.4-6] [MQTT311 3.8.4-5] [MQTT5 3.8.4-7] [MQTT5 3.9.3-1] [MQTT5 3.9.3-2] [MQTT311 3.9.3-1] [MQTT311 3.9.3-2] many filters are so many SUBSCRIBEs in this order, with one SUBACK: a code for each, the last one of a filter holds', async () => {
  for (const version of versions) {
    const [client, publisher] = [await connect(version), await connect(version)];
    const topic = `sequence/${version}`;
    const suback = await subscribe(
      client,
      9,
      [topic, 2],
      ['sequence/#/x', 2],
      [topic, 0],
      ['$SYS', 2],
      ['$x', 0],
      [topic, 1],
    );
    assert.deepEqual(suback.granted, version === 5 ? [2, 0x8f, 0, 2, 0x87, 1] : [2, 0x80, 0, 2, 0x80, 1]);
    await publisher.publishAcknowledged(topic, 'x', 2);
    await publisher.publishAcknowledged(topic, 'marker', 2);
    for (const payload of ['x', 'marker']) {
      const message = await client.next('publish');
      assert.deepEqual([message.payload.toString(), message.qos], [payload, 1]);
      client.acknowledge('puback', message.messageId ?? 0);
    }
    await client.ping();
    assert.deepEqual(client.received, [], 'one SUBACK');
    for (const one of [client, publisher]) await one.end();
  }
});

test('[MQTT5 §3.8.4] what is published anywhere after SUBACK arrives, of every QoS', async () => {
  const publishers = [await connect(5), await connect(4), await connect(5)];
  for (let round = 0; round < 20; round++) {
    const client = await connect(round % 2 === 0 ? 4 : 5);
    client.acknowledges = true;
    const topic = `at-once/${round}`;
    const filters = [
      [topic, 2],
      [`+/${round}`, 1],
      [`at-once/${round}/#`, 0],
    ] as const;
    await subscribe(client, 1, [...(filters[round % 3] ?? filters[0])]);
    // QoS 0 on its way at once, from every node.
    for (const publisher of publishers) publisher.publish(topic, '0');
    await Promise.all(
      publishers.flatMap((publisher) =>
        [1, 2].map((qos) => publisher.publishAcknowledged(topic, String(qos), qos === 1 ? 1 : 2)),
      ),
    );
    const payloads = (await client.messages(9)).map(({ payload }) => payload).sort();
    assert.deepEqual(payloads, ['0', '0', '0', '1', '1', '1', '2', '2', '2']);
    await client.end();
  }
  for (const publisher of publishers) await publisher.end();
});

test('[MQTT5 3.10.4-4] [MQTT5 3.10.4-5] [MQTT311 3.10.4-4] [MQTT311 3.10.4-5] [MQTT5 2.2.1-6] [MQTT311 2.3.1-7] [MQTT5 3.11.3-2] [MQTT311 §3.11] each UNSUBSCRIBE gets one UNSUBACK with its packet id, also when nothing matched; codes in MQTT 5 only', async () => {
  for (const version of versions) {
    const client = await connect(version);
    const bytes: Buffer[] = [];
    client.socket.on('data', (chunk) => bytes.push(chunk));
    for (const id of ids) {
      const topic = `unsuback/${id}`;
      await subscribe(client, 1, [topic, 1]);
      bytes.length = 0;
      for (const code of [0, 0x11]) {
        const unsuback = await unsubscribe(client, id, topic);
        assert.equal(unsuback.messageId, id);
        const fields = version === 5 ? [4, id >> 8, id & 255, 0, code] : [2, id >> 8, id & 255];
        assert.deepEqual(Buffer.concat(bytes.splice(0)), Buffer.from([0xb0, ...fields]));
      }
    }
    await client.ping();
    assert.deepEqual(client.received, [], 'one each');
    await client.end();
  }
});

test('[MQTT5 3.10.4-1] [MQTT311 3.10.4-1] [MQTT5 3.10.4-6] [MQTT311 3.10.4-6] [MQTT5 3.11.3-1] many filters are so many UNSUBSCRIBEs in this order, with one UNSUBACK; each deletes the filter of the same characters and no other', async () => {
  for (const version of versions) {
    // A group outlives its last member for a while, so each version has groups of its own.
    const [g, h] = [`g${version}`, `h${version}`];
    const kept = ['u/a/#', 'U/a', '/u/a', 'u/a/', `$share/${g}/u/a`, `$g/${h}/u/a`, `$share/${g}/u/\u0061\u0301`];
    const removed = ['u/a', 'u/+', `$share/${h}/u/a`, 'u/\u00e1'];
    const [client, publisher] = [await connect(version), await connect(version)];
    await subscribe(client, 1, ...[...kept, ...removed].map((filter): [string, 0 | 1 | 2] => [filter, 1]));
    // `$g/h` and `$share/h` are one group and still two texts.
    const unsuback = await unsubscribe(client, 3, 'u/A', 'u/#', ...removed, 'u/a', 'a');
    const codes = [0x11, 0x11, ...removed.map(() => 0), 0x11, 0x11];
    if (version === 5) assert.deepEqual(unsuback.granted, codes);
    const left = await unsubscribe(client, 4, ...kept, ...removed);
    if (version === 5) assert.deepEqual(left.granted, [...kept.map(() => 0), ...removed.map(() => 0x11)]);
    await subscribe(client, 5, ['u/end', 1]);
    for (const topic of ['u/a', 'u/x', 'u/\u00e1', 'u/a/b', 'U/a', 'u/end'])
      await publisher.publishAcknowledged(topic, '', 1);
    assert.equal((await client.next('publish')).topic, 'u/end');
    for (const one of [client, publisher]) await one.end();
  }
});

test('[MQTT5 3.10.4-1] [MQTT311 3.10.4-1] the group subscription of a filter and the ordinary one: UNSUBSCRIBE of one leaves the other', async () => {
  for (const version of [4, 5] as const) {
    const [client, publisher] = [await connect(version), await connect(version)];
    client.acknowledges = true;
    for (const [gone, stays] of [
      ['pair', `$share/first-${version}/pair`],
      [`$share/second-${version}/pair`, 'pair'],
    ] as const) {
      await subscribe(client, 1, [gone, 1], [stays, 1]);
      await unsubscribe(client, 2, gone);
      await publisher.publishAcknowledged('pair', gone, 1);
      assert.equal((await client.next('publish')).payload.toString(), gone);
      await unsubscribe(client, 3, stays);
      await subscribe(client, 4, ['end', 1]);
      await publisher.publishAcknowledged('pair', 'nobody', 1);
      await publisher.publishAcknowledged('end', 'end', 1);
      assert.equal((await client.next('publish')).topic, 'end');
    }
    for (const one of [client, publisher]) await one.end();
  }
});
