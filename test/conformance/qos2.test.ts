/** QoS 2 both ways on an embedded node, and on one whose log and session store answer when a test says so. */
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

/** Of a client whose session stays. */
function durable(version: 4 | 5, clientId: string, properties: ConnectFields['properties'] = {}): ConnectFields {
  const kept = { version, clientId, clean: false };
  return version === 5 ? { ...kept, properties: { sessionExpiryInterval: 600, ...properties } } : kept;
}

/** Ends a durable session. */
async function forget(version: 4 | 5, clientId: string): Promise<void> {
  const client = await connect({ version, clientId, clean: true });
  await client.end();
}

for (const version of [3, 4, 5] as const) {
  test(`[MQTT5 4.3.3-1] [MQTT5 4.3.3-2] [MQTT5 4.3.3-3] [MQTT5 4.3.3-4] [MQTT5 4.3.3-11] [MQTT311 4.3.3-1] [MQTT311 4.3.3-2] [MQTT311 3.3.4-1] MQTT version ${version}: both handshakes, packet by packet`, async () => {
    const subscriber = await connect({ version });
    assert.deepEqual(await subscriber.subscribe({ topic: 'two/+', qos: 2 }), [2]);
    const publisher = await connect({ version });
    publisher.publish('two/a', 'x', { qos: 2, messageId: 65_535 });
    assert.equal(await publisher.nextAcknowledgement('pubrec', 65_535), 0);
    const message = await subscriber.next('publish');
    assert.deepEqual([message.payload.toString(), message.qos, message.dup], ['x', 2, false]);
    publisher.acknowledge('pubrel', 65_535);
    assert.equal(await publisher.nextAcknowledgement('pubcomp', 65_535), 0);
    const { messageId = 0 } = message;
    await subscriber.ping();
    assert.deepEqual(subscriber.received, [], 'no PUBREL before PUBREC');
    subscriber.acknowledge('pubrec', messageId);
    assert.equal(await subscriber.nextAcknowledgement('pubrel', messageId), 0);
    subscriber.acknowledge('pubcomp', messageId);
    await subscriber.ping();
    assert.deepEqual(subscriber.received, []);
    for (const client of [subscriber, publisher]) await client.end();
  });
}

test('[MQTT5 4.3.3-10] [MQTT5 4.3.3-12] [MQTT311 4.3.3-2] the same id before PUBREL: PUBREC again and one copy; after PUBREL a new message', async () => {
  for (const version of [4, 5] as const) {
    const subscriber = await connect({ version });
    await subscriber.subscribe({ topic: `once/${version}`, qos: 2 });
    subscriber.acknowledges = true;
    const publisher = await connect({ version });
    const publish = async (payload: string, dup: boolean): Promise<void> => {
      publisher.publish(`once/${version}`, payload, { qos: 2, messageId: 7, dup });
      assert.equal(await publisher.nextAcknowledgement('pubrec', 7), 0);
    };
    await publish('first', false);
    await publish('first', true);
    await publish('whatever the payload says', true);
    await publish('and without DUP', false);
    publisher.acknowledge('pubrel', 7);
    await publisher.nextAcknowledgement('pubcomp', 7);
    await publish('second', true);
    publisher.acknowledge('pubrel', 7);
    await publisher.nextAcknowledgement('pubcomp', 7);
    await publisher.publishAcknowledged(`once/${version}`, 'marker', 2);
    const payloads = (await subscriber.messages(3)).map(({ payload }) => payload);
    assert.deepEqual(payloads, ['first', 'second', 'marker']);
    await subscriber.ping();
    assert.deepEqual(subscriber.taken('publish'), []);
    for (const client of [subscriber, publisher]) await client.end();
  }
});

test('[MQTT5 4.3.3-10] [MQTT311 4.3.3-2] the same id on the next connection is the same message until PUBREL', async () => {
  for (const version of [4, 5] as const) {
    const clientId = `again-${version}`;
    const subscriber = await connect({ version });
    await subscriber.subscribe({ topic: `again/${version}`, qos: 2 });
    subscriber.acknowledges = true;
    let publisher = await connect(durable(version, clientId));
    publisher.publish(`again/${version}`, 'x', { qos: 2, messageId: 7 });
    await publisher.nextAcknowledgement('pubrec', 7);
    for (let round = 0; round < 3; round++) {
      await publisher.abort();
      publisher = await connect(durable(version, clientId));
      assert.equal(publisher.connack.sessionPresent, true);
      publisher.publish(`again/${version}`, 'x', { qos: 2, messageId: 7, dup: true });
      await publisher.nextAcknowledgement('pubrec', 7);
    }
    await publisher.abort();
    publisher = await connect(durable(version, clientId));
    publisher.acknowledge('pubrel', 7);
    assert.equal(await publisher.nextAcknowledgement('pubcomp', 7), 0);
    await publisher.publishAcknowledged(`again/${version}`, 'y', 2, { messageId: 7 });
    assert.deepEqual(
      (await subscriber.messages(2)).map(({ payload }) => payload),
      ['x', 'y'],
    );
    await subscriber.ping();
    assert.deepEqual(subscriber.taken('publish'), []);
    for (const client of [subscriber, publisher]) await client.end();
    await forget(version, clientId);
  }
});

test('[MQTT5 3.1.2-4] [MQTT311 3.1.2-6] Clean Start forgets the ids that were not released', async () => {
  for (const version of [4, 5] as const) {
    const clientId = `cleaned-${version}`;
    const subscriber = await connect({ version });
    await subscriber.subscribe({ topic: `cleaned/${version}`, qos: 2 });
    subscriber.acknowledges = true;
    const first = await connect(durable(version, clientId));
    first.publish(`cleaned/${version}`, '1', { qos: 2, messageId: 7 });
    await first.nextAcknowledgement('pubrec', 7);
    await first.abort();
    const second = await connect({ ...durable(version, clientId), clean: true });
    assert.equal(second.connack.sessionPresent, false);
    await second.publishAcknowledged(`cleaned/${version}`, '2', 2, { messageId: 7 });
    assert.deepEqual(
      (await subscriber.messages(2)).map(({ payload }) => payload),
      ['1', '2'],
    );
    for (const client of [subscriber, second]) await client.end();
    await forget(version, clientId);
  }
});

test('[MQTT5 §3.7.2.1] [MQTT311 §4.3.3] PUBREL for an unknown id gets PUBCOMP, in MQTT 5 with 0x92', async () => {
  for (const version of [3, 4, 5] as const) {
    const client = await connect({ version });
    client.acknowledge('pubrel', 321);
    assert.equal(await client.nextAcknowledgement('pubcomp', 321), version === 5 ? 0x92 : 0);
    await client.end();
  }
});

test('[MQTT5 §3.6.2.1] PUBREC for an unknown id gets PUBREL, in MQTT 5 with 0x92', async () => {
  for (const version of [4, 5] as const) {
    const client = await connect({ version });
    client.acknowledge('pubrec', 321);
    assert.equal(await client.nextAcknowledgement('pubrel', 321), version === 5 ? 0x92 : 0);
    client.acknowledge('pubcomp', 321, version === 5 ? 0x92 : 0);
    await client.ping();
    await client.end();
  }
});

test('[MQTT5 4.4.0-2] PUBREC with 0x80 and above ends the exchange: no PUBREL, the id is free, nothing comes again', async () => {
  const fields = durable(5, 'refusing-2', { receiveMaximum: 1 });
  const client = await connect(fields);
  await client.subscribe({ topic: 'refused2', qos: 2 });
  const publisher = await connect();
  await publisher.publishAll('refused2', [0, 1], 2);
  for (const code of [0x97, 0x83]) {
    const { messageId = 0 } = await client.next('publish');
    client.acknowledge('pubrec', messageId, code);
  }
  await client.ping();
  assert.deepEqual(client.taken('pubrel'), []);
  await client.abort();
  const again = await connect(fields);
  await publisher.publishAcknowledged('refused2', 'marker', 2);
  assert.deepEqual(await again.messages(1), [{ topic: 'refused2', payload: 'marker' }]);
  await Promise.all([again.end(0), publisher.end()]);
});

test('[MQTT5 4.6.0-4] [MQTT311 4.6.0-4] PUBRELs come in the order of the PUBRECs', async () => {
  for (const version of [4, 5] as const) {
    const client = await connect({ version });
    await client.subscribe({ topic: 'order', qos: 2 });
    const publisher = await connect();
    await publisher.publishAll('order', [0, 1, 2, 3, 4, 5, 6, 7], 2);
    const ids: number[] = [];
    for (let count = 0; count < 8; count++) ids.push((await client.next('publish')).messageId ?? 0);
    const shuffled = [3, 0, 7, 1, 6, 2, 5, 4].map((index) => ids[index] ?? 0);
    for (const id of shuffled) client.acknowledge('pubrec', id);
    await client.ping();
    assert.deepEqual(
      client.taken('pubrel').map(({ messageId }) => messageId),
      shuffled,
    );
    // A PUBREC that comes twice is answered twice.
    client.acknowledge('pubrec', ids[2] ?? 0);
    await client.nextAcknowledgement('pubrel', ids[2] ?? 0);
    for (const id of ids) client.acknowledge('pubcomp', id);
    await client.ping();
    assert.deepEqual(client.received, []);
    for (const each of [client, publisher]) await each.end();
  }
});

test('[MQTT5 4.4.0-1] [MQTT5 4.3.3-6] [MQTT311 4.4.0-1] on the next connection: PUBLISH with DUP before PUBREC, PUBREL after it and never PUBLISH again, all with their ids', async () => {
  for (const version of [4, 5] as const) {
    const clientId = `half-${version}`;
    const client = await connect(durable(version, clientId));
    await client.subscribe({ topic: 'half', qos: 2 });
    const publisher = await connect();
    await publisher.publishAll('half', [0, 1, 2, 3, 4, 5], 2);
    const ids: number[] = [];
    for (let count = 0; count < 6; count++) ids.push((await client.next('publish')).messageId ?? 0);
    // 0 is done, 1 and 3 are received, 2, 4 and 5 are not.
    for (const index of [1, 3, 0]) {
      client.acknowledge('pubrec', ids[index] ?? 0);
      await client.nextAcknowledgement('pubrel', ids[index] ?? 0);
    }
    client.acknowledge('pubcomp', ids[0] ?? 0);
    await client.ping();
    await client.abort();
    for (let round = 0; round < 2; round++) {
      const again = await connect(durable(version, clientId));
      await publisher.publishAcknowledged('half', `marker ${round}`, 2);
      await eventually(async () => {
        await again.ping();
        return again.received.some(
          (packet) => packet.cmd === 'publish' && packet.payload.toString() === `marker ${round}`,
        );
      });
      assert.deepEqual(
        again.received
          .slice(0, 5)
          .map((packet) =>
            packet.cmd === 'publish'
              ? [packet.payload.toString(), packet.dup, packet.messageId]
              : [packet.cmd, packet.messageId],
          ),
        [
          ['pubrel', ids[1]],
          ['2', true, ids[2]],
          ['pubrel', ids[3]],
          ['4', true, ids[4]],
          ['5', true, ids[5]],
        ],
        `round ${round}`,
      );
      if (round === 0) await again.abort();
      else await again.end();
    }
    await publisher.end();
    await forget(version, clientId);
  }
});

testEmbedded(
  '[MQTT5 4.3.3-13] [MQTT5 4.3.3-7] the handshakes end as ever when the message expires meanwhile',
  async () => {
    const wired = await startWiredNode();
    const subscriber = await RawClient.connect(wired.tcp, { version: 5 });
    await subscriber.subscribe({ topic: 'expires', qos: 2 });
    const publisher = await RawClient.connect(wired.tcp, { version: 5 });
    publisher.publish('expires', 'x', { qos: 2, messageId: 3, properties: { messageExpiryInterval: 1 } });
    await publisher.nextAcknowledgement('pubrec', 3);
    const { messageId = 0 } = await subscriber.next('publish');
    wired.log.time += 5_000;
    publisher.publish('expires', 'x', { qos: 2, messageId: 3, dup: true, properties: { messageExpiryInterval: 1 } });
    assert.equal(await publisher.nextAcknowledgement('pubrec', 3), 0);
    publisher.acknowledge('pubrel', 3);
    assert.equal(await publisher.nextAcknowledgement('pubcomp', 3), 0);
    subscriber.acknowledge('pubrec', messageId);
    assert.equal(await subscriber.nextAcknowledgement('pubrel', messageId), 0);
    subscriber.acknowledge('pubcomp', messageId);
    await subscriber.ping();
    for (const client of [subscriber, publisher]) await client.end();
    await wired.stop();
  },
);

testEmbedded(
  '[MQTT5 4.3.3-8] while the log has not answered, the same id again is neither answered nor stored twice',
  async () => {
    const wired = await startWiredNode();
    wired.log.holdsPublishes = true;
    const client = await RawClient.connect(wired.tcp, { version: 5 });
    for (let count = 0; count < 3; count++) client.publish('slow', 'x', { qos: 2, messageId: 1, dup: count > 0 });
    await client.ping();
    assert.deepEqual(client.received, []);
    assert.equal(wired.log.waiting.length, 1);
    wired.log.settleNext();
    await client.nextAcknowledgement('pubrec', 1);
    await client.ping();
    assert.deepEqual(client.received, [], 'one PUBREC');
    await client.end();
    await wired.stop();
  },
);

testEmbedded('PUBREL before PUBREC is a protocol error', async () => {
  const wired = await startWiredNode();
  wired.log.holdsPublishes = true;
  const client = await RawClient.connect(wired.tcp, { version: 5 });
  client.publish('slow', 'x', { qos: 2, messageId: 1 });
  client.acknowledge('pubrel', 1);
  assert.equal(await client.closingReason(), 0x82);
  await wired.stop();
});

testEmbedded(
  'a durable session writes down each step of QoS 2 before the packet that depends on it goes out',
  async () => {
    const wired = await startWiredNode();
    const fields: ConnectFields = { version: 5, clientId: 'careful', properties: { sessionExpiryInterval: 60 } };
    const client = await RawClient.connect(wired.tcp, fields);
    await client.subscribe({ topic: 'careful', qos: 2 });
    const publisher = await RawClient.connect(wired.tcp, { version: 5 });
    let release = (): void => {};
    const hold = (): void => {
      const gate = new Promise<void>((resolve) => {
        release = resolve;
      });
      wired.store.before = () => gate;
    };
    const nothingCame = async (what: string): Promise<void> => {
      await client.ping();
      assert.deepEqual(client.received, [], what);
    };
    hold();
    await publisher.publishAcknowledged('careful', 'x', 2);
    await nothingCame('no PUBLISH before its id is written');
    release();
    const { messageId = 0 } = await client.next('publish');
    hold();
    client.acknowledge('pubrec', messageId);
    await nothingCame('no PUBREL before PUBREC is written');
    release();
    await client.nextAcknowledgement('pubrel', messageId);
    hold();
    client.publish('other', 'y', { qos: 2, messageId: 50 });
    await nothingCame('no PUBREC before its id is written');
    assert.ok(
      wired.log.records.every(({ topic }) => topic.name !== 'other'),
      'and nothing in the log',
    );
    release();
    await client.nextAcknowledgement('pubrec', 50);
    hold();
    client.acknowledge('pubrel', 50);
    await nothingCame('no PUBCOMP before the release is written');
    release();
    await client.nextAcknowledgement('pubcomp', 50);
    for (const each of [client, publisher]) await each.end();
    await wired.stop();
  },
);

test('a durable client that publishes QoS 2 to itself does not wait for a tick', async () => {
  const client = await connect(durable(5, 'self'));
  await client.subscribe({ topic: 'self', qos: 2 });
  client.acknowledges = true;
  const started = performance.now();
  for (let count = 0; count < 20; count++) {
    await client.publishAcknowledged('self', String(count), 2);
    assert.equal((await client.messages(1))[0]?.payload, String(count));
  }
  assert.ok(performance.now() - started < 2_000, `${performance.now() - started} ms`);
  await client.end(0);
});
