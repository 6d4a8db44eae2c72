/** QoS 1 both ways on an embedded node, and on one whose log answers when a test says so. */
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

/** Connects, sends bytes, and returns why the server has closed. */
async function reaction(version: 4 | 5, bytes: readonly number[]): Promise<number | undefined> {
  const client = await connect({ version });
  client.send(Buffer.from(bytes));
  return client.closingReason();
}

for (const version of [3, 4, 5] as const) {
  test(`[MQTT5 4.3.2-1] [MQTT5 4.3.2-2] [MQTT311 4.3.2-1] [MQTT5 3.3.4-1] [MQTT311 3.3.4-1] [MQTT5 3.3.1-3] [MQTT311 3.3.1-3] MQTT version ${version}: PUBLISH, PUBACK, and on to a subscriber with an id of its own`, async () => {
    const subscriber = await connect({ version });
    assert.deepEqual(await subscriber.subscribe({ topic: 'one/+', qos: 1 }), [1]);
    const publisher = await connect({ version });
    publisher.publish('one/a', 'x', { qos: 1, messageId: 4_711, dup: true });
    assert.equal(await publisher.nextAcknowledgement('puback', 4_711), 0);
    const message = await subscriber.next('publish');
    assert.deepEqual([message.topic, message.payload.toString(), message.qos], ['one/a', 'x', 1]);
    assert.equal(message.dup, false, 'DUP of the publisher does not travel');
    assert.ok((message.messageId ?? 0) > 0);
    subscriber.acknowledge('puback', message.messageId ?? 0);
    await subscriber.ping();
    for (const client of [subscriber, publisher]) await client.end();
  });
}

test('[MQTT5 3.8.4-8] [MQTT311 3.8.4-6] a message arrives with the lower of its QoS and the granted one: all nine combinations', async () => {
  for (const version of [4, 5] as const) {
    const subscriber = await connect({ version });
    subscriber.acknowledges = true;
    for (const granted of [0, 1, 2] as const)
      assert.deepEqual(await subscriber.subscribe({ topic: `nine/${version}/${granted}`, qos: granted }), [granted]);
    const publisher = await connect({ version });
    for (const granted of [0, 1, 2] as const) {
      publisher.publish(`nine/${version}/${granted}`, '0');
      for (const qos of [1, 2] as const)
        await publisher.publishAcknowledged(`nine/${version}/${granted}`, String(qos), qos);
    }
    const seen = new Set<string>();
    for (let count = 0; count < 9; count++) {
      const { messageId, payload, qos, topic } = await subscriber.next('publish');
      seen.add(`${payload.toString()} ${topic.at(-1)} ${qos}`);
      assert.equal(messageId === undefined, qos === 0, 'a packet id above QoS 0 only');
    }
    const expected = [0, 1, 2].flatMap((published) =>
      [0, 1, 2].map((granted) => `${published} ${granted} ${Math.min(published, granted)}`),
    );
    assert.deepEqual([...seen].sort(), expected.sort());
    for (const client of [subscriber, publisher]) await client.end();
  }
});

test('[MQTT5 4.3.2-5] [MQTT311 4.3.2-2] after PUBACK the same packet id is a new message, with DUP or without', async () => {
  for (const version of [4, 5] as const) {
    const subscriber = await connect({ version });
    await subscriber.subscribe({ topic: `again/${version}`, qos: 1 });
    const publisher = await connect({ version });
    for (const dup of [false, true, false, true])
      await publisher.publishAcknowledged(`again/${version}`, String(dup), 1, { messageId: 5, dup });
    const payloads = (await subscriber.messages(4)).map(({ payload }) => payload);
    assert.deepEqual(payloads, ['false', 'true', 'false', 'true']);
    for (const client of [subscriber, publisher]) await client.end();
  }
});

test('[MQTT5 3.3.1-4] [MQTT5 2.2.1-3] [MQTT5 3.3.1-2] QoS 3, packet id 0 and DUP with QoS 0 close the connection', async () => {
  assert.equal(await reaction(5, [0x36, 6, 0, 1, 0x74, 0, 1, 0]), 0x81);
  assert.equal(await reaction(5, [0x32, 6, 0, 1, 0x74, 0, 0, 0]), 0x82);
  assert.equal(await reaction(5, [0x34, 6, 0, 1, 0x74, 0, 0, 0]), 0x82);
  assert.equal(await reaction(5, [0x38, 4, 0, 1, 0x74, 0]), 0x81);
});

test('[MQTT311 3.3.1-4] [MQTT311 2.3.1-1] [MQTT311 3.3.1-2] MQTT 3.1.1: the same breaches close without a packet', async () => {
  for (const bytes of [
    [0x36, 5, 0, 1, 0x74, 0, 1],
    [0x32, 5, 0, 1, 0x74, 0, 0],
    [0x34, 5, 0, 1, 0x74, 0, 0],
    [0x38, 3, 0, 1, 0x74],
  ])
    assert.equal(await reaction(4, bytes), undefined);
});

test('[MQTT5 §3.4.2] [MQTT5 §3.5.2] [MQTT5 §3.6.2] [MQTT5 §3.7.2] [C] acknowledgements of two and three bytes and with properties are taken', async () => {
  const subscriber = await connect({ properties: { receiveMaximum: 1 } });
  await subscriber.subscribe({ topic: 'forms/#', qos: 2 });
  const publisher = await connect();
  const forms = (type: number, id: number): number[][] => [
    [type, 2, 0, id],
    [type, 3, 0, id, 0],
    [type, 4, 0, id, 0, 0],
    // Reason String "r", User Property a: b
    [type, 15, 0, id, 0, 11, 0x1f, 0, 1, 0x72, 0x26, 0, 1, 0x61, 0, 1, 0x62],
  ];
  for (let form = 0; form < 4; form++) {
    const send = (client: RawClient, type: number, id: number): void =>
      client.send(Buffer.from(forms(type, id)[form] ?? []));
    await publisher.publishAcknowledged('forms/1', String(form), 1);
    // With Receive Maximum 1 the next message comes only after this one is acknowledged.
    const one = await subscriber.next('publish');
    send(subscriber, 0x40, one.messageId ?? 0);
    publisher.publish('forms/2', String(form), { qos: 2, messageId: 200 });
    await publisher.nextAcknowledgement('pubrec', 200);
    send(publisher, 0x62, 200);
    await publisher.nextAcknowledgement('pubcomp', 200);
    const two = await subscriber.next('publish');
    send(subscriber, 0x50, two.messageId ?? 0);
    await subscriber.nextAcknowledgement('pubrel', two.messageId ?? 0);
    send(subscriber, 0x70, two.messageId ?? 0);
    assert.deepEqual([one.qos, two.qos, one.payload.toString()], [1, 2, String(form)]);
  }
  await subscriber.ping();
  for (const client of [subscriber, publisher]) await client.end();
});

const brokenAcknowledgements: Array<[title: string, bytes: number[], reason: number]> = [
  ['[MQTT5 3.6.1-1] [MQTT311 3.6.1-1] PUBREL without its flags', [0x60, 2, 0, 1], 0x81],
  ['[MQTT5 2.1.3-1] PUBACK with flags', [0x42, 2, 0, 1], 0x81],
  ['[MQTT5 2.1.3-1] PUBREC with flags', [0x51, 2, 0, 1], 0x81],
  ['[MQTT5 2.1.3-1] PUBCOMP with flags', [0x78, 2, 0, 1], 0x81],
  ['[MQTT5 3.4.2-1] PUBACK with a code of PUBREL', [0x40, 3, 0, 1, 0x92], 0x82],
  ['[MQTT5 3.5.2-1] PUBREC with a code that there is not', [0x50, 3, 0, 1, 0x01], 0x82],
  ['[MQTT5 3.6.2-1] PUBREL with a code of PUBACK', [0x62, 3, 0, 1, 0x97], 0x82],
  ['[MQTT5 3.7.2-1] PUBCOMP with a code of PUBACK', [0x70, 3, 0, 1, 0x10], 0x82],
  ['an acknowledgement of one byte', [0x40, 1, 0], 0x81],
  ['an acknowledgement with packet id 0', [0x40, 2, 0, 0], 0x82],
  ['properties that run past the packet', [0x40, 5, 0, 1, 0, 9, 0], 0x81],
  ['a property that PUBACK does not have', [0x40, 6, 0, 1, 0, 2, 0x01, 1], 0x81],
];
for (const [title, bytes, reason] of brokenAcknowledgements) {
  test(`${title}: DISCONNECT 0x${reason.toString(16)}`, async () => {
    assert.equal(await reaction(5, bytes), reason);
  });
}

test('MQTT 3.1.1: flags and lengths of acknowledgements are checked too', async () => {
  for (const bytes of [
    [0x60, 2, 0, 1],
    [0x41, 2, 0, 1],
    [0x40, 3, 0, 1, 0],
    [0x40, 1, 1],
    [0x40, 2, 0, 0],
  ])
    assert.equal(await reaction(4, bytes), undefined);
});

test('[MQTT5 §4.3] [C] PUBREC in an exchange of QoS 1 and PUBACK in one of QoS 2 are protocol errors', async () => {
  for (const version of [4, 5] as const) {
    for (const [qos, wrong] of [
      [1, 'pubrec'],
      [2, 'puback'],
      [1, 'pubcomp'],
      [2, 'pubcomp'],
    ] as const) {
      const client = await connect({ version });
      await client.subscribe({ topic: 'wrong', qos });
      await client.publishAcknowledged('wrong', 'x', qos);
      const { messageId = 0 } = await client.next('publish');
      client.acknowledge(wrong, messageId);
      assert.equal(await client.closingReason(), version === 5 ? 0x82 : undefined);
    }
  }
});

test('[MQTT5 4.4.0-2] PUBACK with 0x80 and above acknowledges: the id is free, nothing comes again', async () => {
  const fields = { clientId: 'refusing', clean: false, properties: { sessionExpiryInterval: 60, receiveMaximum: 1 } };
  const client = await connect(fields);
  await client.subscribe({ topic: 'refused', qos: 1 });
  const publisher = await connect();
  await publisher.publishAll('refused', [0, 1, 2], 1);
  for (const code of [0x80, 0x97, 0x10]) {
    const { messageId = 0 } = await client.next('publish');
    client.acknowledge('puback', messageId, code);
  }
  await client.ping();
  await client.abort();
  const again = await connect(fields);
  await publisher.publishAcknowledged('refused', 'marker', 1);
  assert.deepEqual(await again.messages(1), [{ topic: 'refused', payload: 'marker' }]);
  await again.end(0);
  await publisher.end();
});

test('an acknowledgement of a message that was never sent changes nothing', async () => {
  const client = await connect();
  client.acknowledge('puback', 999);
  client.acknowledge('pubcomp', 998);
  await client.ping();
  await client.end();
});

test('[MQTT5 2.2.1-4] [MQTT311 2.3.1-4] packet ids of 70,000 messages: never 0, never one in use, across the end of the numbers', async () => {
  const subscriber = await connect({ version: 4 });
  await subscriber.subscribe({ topic: 'ids', qos: 1 });
  const publisher = await connect({ version: 4 });
  const count = 70_000;
  const inUse = new Set<number>();
  const used = new Set<number>();
  let got = 0;
  let inOrder = true;
  subscriber.intercept = (packet) => {
    if (packet.cmd !== 'publish') return false;
    const { messageId = 0, payload } = packet;
    assert.ok(messageId > 0 && messageId <= 65_535 && !inUse.has(messageId), `id ${messageId}`);
    inOrder &&= Number(payload.toString()) === got++;
    used.add(messageId);
    inUse.add(messageId);
    // Some wait longer than others, and one for ever.
    if (got === 5) return true;
    const answer = (): void => {
      inUse.delete(messageId);
      subscriber.acknowledge('puback', messageId);
    };
    if (got % 7 === 0) setImmediate(answer);
    else answer();
    // The oldest unacknowledged message holds back what is more than 1,000 past it.
    if (got === 900) {
      inUse.delete(5);
      subscriber.acknowledge('puback', 5);
    }
    return true;
  };
  let acknowledged = 0;
  let sent = 0;
  publisher.intercept = (packet) => {
    if (packet.cmd !== 'puback') return false;
    acknowledged++;
    return true;
  };
  while (sent < count) {
    for (let burst = 0; burst < 50 && sent < count; burst++, sent++)
      publisher.publish('ids', String(sent), { qos: 1, messageId: publisher.nextPacketId() });
    while (acknowledged < sent - 100 || got < sent - 5_000) await new Promise((resolve) => setImmediate(resolve));
  }
  await eventually(() => got === count, '70,000 messages');
  assert.ok(inOrder);
  assert.ok(used.size > 60_000);
  for (const client of [subscriber, publisher]) await client.end();
});

test('[MQTT5 3.3.1-1] [MQTT311 3.3.1-1] [MQTT5 4.4.0-1] no message is sent again while its connection lasts; on the next one with DUP', async () => {
  for (const version of [4, 5] as const) {
    const fields = {
      version,
      clientId: `patient-${version}`,
      clean: false,
      ...(version === 5 ? { properties: { sessionExpiryInterval: 60 } } : {}),
    };
    const client = await connect(fields);
    await client.subscribe({ topic: 'patient', qos: 2 });
    const publisher = await connect();
    await publisher.publishAcknowledged('patient', '1', 1);
    await publisher.publishAcknowledged('patient', '2', 2);
    const first = [await client.next('publish'), await client.next('publish')];
    // Three sweeps of sessions and feeds, which is when something could be sent again.
    const end = performance.now() + 3_500;
    await eventually(async () => {
      await client.ping();
      return performance.now() > end;
    });
    assert.deepEqual(client.taken('publish'), []);
    await client.abort();
    const again = await connect(fields);
    const second = [await again.next('publish'), await again.next('publish')];
    assert.deepEqual(
      second.map(({ dup, messageId }) => [dup, messageId]),
      first.map(({ messageId }) => [true, messageId]),
    );
    for (const { dup } of first) assert.equal(dup, false);
    await again.end(version === 5 ? 0 : undefined);
    await (await connect({ ...fields, clean: true })).end();
    await publisher.end();
  }
});

testEmbedded(
  '[MQTT5 4.3.2-4] [MQTT5 4.3.3-8] [MQTT5 4.6.0-2] [MQTT5 4.6.0-3] [MQTT311 4.3.2-2] [MQTT311 4.6.0-2] [MQTT311 4.6.0-3] PUBACK and PUBREC come when the log has stored, never before, and in the order of the messages',
  async () => {
    const wired = await startWiredNode();
    wired.log.holdsPublishes = true;
    for (const version of [4, 5] as const) {
      const client = await RawClient.connect(wired.tcp, { version });
      const qosOf = (id: number): 1 | 2 => (id % 2 === 0 ? 2 : 1);
      for (let id = 1; id <= 10; id++) client.publish('held', String(id), { qos: qosOf(id), messageId: id });
      await client.ping();
      assert.deepEqual(client.received, [], 'the log has not answered');
      // From the last to the second: the first one holds up all of them.
      for (const message of [...wired.log.waiting].reverse()) {
        if (message.payload.toString() !== '1') wired.log.settle(message, 'stored');
      }
      await client.ping();
      assert.deepEqual(client.received, [], 'the first one is not stored');
      const [oldest] = wired.log.waiting.splice(0);
      assert.ok(oldest !== undefined);
      wired.log.settle(oldest, 'stored');
      await client.ping();
      assert.deepEqual(
        client.received.map(({ cmd, messageId }) => [cmd, messageId]),
        Array.from({ length: 10 }, (_, index) => [qosOf(index + 1) === 1 ? 'puback' : 'pubrec', index + 1]),
      );
      await client.abort();
    }
    await wired.stop();
  },
);

testEmbedded(
  '[MQTT5 3.4.2-1] [MQTT5 4.3.3-9] [MQTT311 4.8.0-2] [MQTT5 §4.13.2] a message that the log refuses: 0x97 or 0x83 and the id is free; MQTT 3.1.1 is closed',
  async () => {
    const wired = await startWiredNode();
    wired.log.holdsPublishes = true;
    const five = await RawClient.connect(wired.tcp, { version: 5 });
    for (const [qos, answer] of [
      [1, 'puback'],
      [2, 'pubrec'],
    ] as const) {
      for (const [outcome, code] of [
        ['full', 0x97],
        ['tooLarge', 0x97],
        ['refused', 0x83],
        ['stored', 0],
      ] as const) {
        five.publish('full', outcome, { qos, messageId: 9 });
        await eventually(() => wired.log.waiting.length > 0);
        wired.log.settleNext(outcome);
        assert.equal(await five.nextAcknowledgement(answer, 9), code, outcome);
      }
    }
    const four = await RawClient.connect(wired.tcp, { version: 4 });
    four.publish('full', 'x', { qos: 1, messageId: 1 });
    await eventually(() => wired.log.waiting.length > 0);
    wired.log.settleNext('full');
    await four.closed;
    assert.deepEqual(four.received, []);
    await five.end();
    await wired.stop();
  },
);

test('[MQTT5 §3.3.4] [MQTT311 3.3.5-2] a topic behind the walls is refused with 0x87 in its turn; MQTT 3.1.1 gets the usual answer; nobody gets the message', async () => {
  const watcher = await connect();
  await watcher.subscribe({ topic: '#', qos: 2 });
  watcher.acknowledges = true;
  for (const version of [4, 5] as const) {
    const publisher = await connect({ version });
    for (const qos of [1, 2] as const)
      assert.equal(await publisher.publishAcknowledged('$SYS/x', 'no', qos), version === 5 ? 0x87 : 0);
    await publisher.publishAcknowledged('allowed', 'marker', 1);
    assert.deepEqual(await watcher.messages(1), [{ topic: 'allowed', payload: 'marker' }]);
    await publisher.end();
  }
  await watcher.end();
});

test('[MQTT5 §4.1 versions] 3.x and 5.0 clients get stored messages of each other, properties only where there are any', async () => {
  const clients = [await connect({ version: 3 }), await connect({ version: 4 }), await connect({ version: 5 })];
  for (const client of clients) {
    await client.subscribe({ topic: 'mix', qos: 1 });
    client.acknowledges = true;
  }
  const [three, , five] = clients;
  await five?.publishAcknowledged('mix', 'five', 1, { properties: { contentType: 'c' } });
  await three?.publishAcknowledged('mix', 'three', 1);
  for (const client of clients) {
    const [first, second] = [await client.next('publish'), await client.next('publish')];
    assert.deepEqual([first.payload.toString(), second.payload.toString()], ['five', 'three']);
    assert.equal(first.properties?.contentType, client.version === 5 ? 'c' : undefined);
  }
  for (const client of clients) await client.end();
});
