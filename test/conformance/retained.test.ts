/** Retained messages on an embedded node: what is kept, who gets it, how it looks. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { IPublishPacket, ISubackPacket } from 'mqtt-packet';
import { startDeployment, testEmbedded } from '../support/deployment.ts';
import type { TestNode } from '../support/node.ts';
import { type ConnectFields, RawClient } from '../support/raw-client.ts';
import { ShiftedClock } from '../support/shifted-clock.ts';

const clock = new ShiftedClock();
let node: TestNode;
before(async () => {
  node = await startDeployment({}, clock);
});
after(() => node.stop());

async function connect(fields: ConnectFields = {}): ReturnType<typeof RawClient.connect> {
  const client = await RawClient.connect(node.tcp, { version: 5, ...fields });
  client.acknowledges = true;
  return client;
}

/** Publishes a retained message and waits until it is in its place. */
async function retain(topic: string, payload: string, fields: Partial<IPublishPacket> = {}): Promise<void> {
  const publisher = await connect();
  const { qos = 1 } = fields;
  if (qos === 0) publisher.publish(topic, payload, { ...fields, retain: true });
  else assert.equal(await publisher.publishAcknowledged(topic, payload, qos, { ...fields, retain: true }), 0);
  await publisher.ping();
  await publisher.end();
}

/** All retained messages of a filter, as a fresh client gets them: those before one that is retained and asked for later. */
async function retained(filter: string, fields: ConnectFields = {}, qos: 0 | 1 | 2 = 0): Promise<IPublishPacket[]> {
  const client = await connect(fields);
  const marker = `marker/${Math.random()}`;
  await client.subscribe({ topic: filter, qos });
  // Not a live message: nothing holds it up until the store has been read.
  await retain(marker, 'end');
  await client.subscribe(marker);
  const messages: IPublishPacket[] = [];
  for (;;) {
    const message = await client.next('publish');
    if (message.topic === marker) break;
    messages.push(message);
  }
  await retain(marker, '');
  await client.end();
  return messages;
}

const texts = (messages: readonly IPublishPacket[]): string[] =>
  messages.map(({ payload, topic }) => `${topic}=${payload.toString()}`).sort();

for (const version of [3, 4, 5] as const) {
  for (const qos of [0, 1, 2] as const) {
    test(`[MQTT5 3.3.1-5] [MQTT311 3.3.1-5] [MQTT5 3.3.1-9] [MQTT311 3.3.1-6] [MQTT311 3.3.1-8] MQTT version ${version}, QoS ${qos}: the last retained message comes to a new subscription, with RETAIN 1`, async () => {
      const topic = `keep/${version}/${qos}`;
      await retain(topic, 'first', { qos });
      await retain(topic, 'last', { qos });
      const messages = await retained(topic, { version }, 2);
      assert.deepEqual(texts(messages), [`${topic}=last`]);
      assert.deepEqual([messages[0]?.retain, messages[0]?.qos, messages[0]?.dup], [true, qos, false]);
    });
  }
}

test('[MQTT311 3.3.1-7] [MQTT5 3.3.1-5] a retained message of QoS 0 takes the place of one of QoS 1 or 2, and the other way round', async () => {
  for (const version of [4, 5] as const) {
    for (const qos of [1, 2] as const) {
      const topic = `replaced/${version}/${qos}`;
      const publisher = await connect({ version });
      const watcher = await connect();
      await watcher.subscribe({ topic, qos: 0, rh: 2 });
      for (const [step, level] of [qos, 0, qos, 0].entries()) {
        if (level === 0) publisher.publish(topic, String(step), { retain: true });
        else await publisher.publishAcknowledged(topic, String(step), qos, { retain: true });
        assert.equal((await watcher.next('publish')).payload.toString(), String(step));
        const [message, ...others] = await retained(topic, { version }, 2);
        assert.deepEqual([message?.payload.toString(), message?.qos, others], [String(step), level, []]);
      }
      for (const client of [publisher, watcher]) await client.end();
    }
  }
});

test('[MQTT5 3.8.4-8] [MQTT311 3.8.4-6] a retained message comes with the lower of its QoS and the granted one: all nine', async () => {
  for (const stored of [0, 1, 2] as const) {
    await retain(`nine/${stored}`, 'x', { qos: stored });
    for (const granted of [0, 1, 2] as const) {
      const [message] = await retained(`nine/${stored}`, {}, granted);
      assert.equal(message?.qos, Math.min(stored, granted), `${stored} ${granted}`);
    }
  }
});

test('[MQTT5 3.3.1-6] [MQTT5 3.3.1-7] [MQTT311 3.3.1-10] [MQTT311 3.3.1-11] an empty payload with RETAIN is delivered, removes what was kept, and is not kept itself', async () => {
  for (const qos of [0, 1, 2] as const) {
    await retain(`gone/${qos}`, 'x', { qos });
    const subscriber = await connect();
    await subscriber.subscribe(`gone/${qos}`);
    assert.equal((await subscriber.next('publish')).payload.toString(), 'x');
    await retain(`gone/${qos}`, '', { qos });
    const message = await subscriber.next('publish');
    assert.deepEqual([message.payload.length, message.retain], [0, false]);
    assert.deepEqual(await retained(`gone/${qos}`), []);
    await subscriber.end();
  }
});

test('[MQTT5 3.3.1-8] [MQTT311 3.3.1-12] a message without RETAIN keeps, replaces and removes nothing', async () => {
  await retain('steady', 'kept');
  const publisher = await connect();
  await publisher.publishAcknowledged('steady', 'passing', 1);
  publisher.publish('steady', '');
  await publisher.ping();
  assert.deepEqual(texts(await retained('steady')), ['steady=kept']);
  publisher.publish('steady/not', 'passing');
  await publisher.ping();
  assert.deepEqual(await retained('steady/not'), []);
  await publisher.end();
});

test('[MQTT5 3.3.1-12] [MQTT311 3.3.1-9] [MQTT5 3.3.1-13] a subscription that exists gets RETAIN 0, and as published where it asks for that', async () => {
  for (const qos of [0, 1, 2] as const) {
    const plain = await connect();
    const asPublished = await connect();
    await plain.subscribe({ topic: `live/${qos}`, qos });
    await asPublished.subscribe({ topic: `live/${qos}`, qos, rap: true });
    await retain(`live/${qos}`, 'x', { qos });
    assert.equal((await plain.next('publish')).retain, false);
    assert.equal((await asPublished.next('publish')).retain, true);
    await plain.end();
    await asPublished.end();
  }
});

test('[MQTT5 3.3.1-9] [MQTT5 3.3.1-10] [MQTT5 3.3.1-11] [MQTT5 3.8.4-4] [MQTT311 3.8.4-3] Retain Handling: 0 always, 1 for a new subscription, 2 never', async () => {
  await retain('handling', 'x');
  for (const [rh, first, again] of [
    [0, 1, 1],
    [1, 1, 0],
    [2, 0, 0],
  ] as const) {
    const client = await connect();
    for (const expected of [first, again]) {
      await client.subscribe({ topic: 'handling', qos: 1, rh });
      const marker = `handled/${rh}/${expected}`;
      await retain(marker, 'end');
      await client.subscribe(marker);
      const seen: string[] = [];
      while (seen.at(-1) !== marker) seen.push((await client.next('publish')).topic);
      assert.equal(seen.length - 1, expected, `Retain Handling ${rh}`);
    }
    await client.end();
  }
});

test('[MQTT5 3.3.1-10] Retain Handling 1: a subscription of a resumed session exists already', async () => {
  await retain('resumed', 'x');
  const fields = { clientId: 'retain-resumed', clean: false, properties: { sessionExpiryInterval: 60 } };
  const first = await connect(fields);
  await first.subscribe({ topic: 'resumed', qos: 1, rh: 1 });
  assert.equal((await first.next('publish')).topic, 'resumed');
  await first.end();
  const second = await connect(fields);
  assert.equal(second.connack.sessionPresent, true);
  await second.subscribe({ topic: 'resumed', qos: 1, rh: 1 });
  const other = await connect();
  await other.publishAcknowledged('resumed', 'live', 1);
  const message = await second.next('publish');
  assert.deepEqual([message.payload.toString(), message.retain], ['live', false]);
  for (const client of [second, other]) await client.end(0);
});

test('[MQTT5 §4.8.2 no-retained] a shared subscription gets no retained messages', async () => {
  await retain('shared/x', 'x');
  assert.deepEqual(await retained('$share/group/shared/+'), []);
  assert.deepEqual(await retained('$g/group/shared/+'), []);
});

test('[MQTT5 §4.7.1.2] [MQTT5 §4.7.1.3] filters: what matches comes, each topic once, and nothing else', async () => {
  for (const topic of ['f/a', 'f/b', 'f/a/c', 'f', 'g/a', '/f', 'f/']) await retain(topic, 'x');
  assert.deepEqual(texts(await retained('f/+')), ['f/=x', 'f/a=x', 'f/b=x']);
  assert.deepEqual(texts(await retained('f/#')), ['f/=x', 'f/a/c=x', 'f/a=x', 'f/b=x', 'f=x']);
  assert.deepEqual(texts(await retained('+/a')), ['f/a=x', 'g/a=x']);
  assert.deepEqual(texts(await retained('+/f')), ['/f=x']);
});

test('[MQTT5 3.3.2-4] [MQTT5 3.3.2-17] [MQTT5 3.3.2-18] [MQTT5 3.3.2-20] [MQTT5 3.3.2-15] properties are kept, user properties in their order and with their duplicates', async () => {
  const userProperties = { b: ['2', '1'], a: '3' };
  const properties = {
    payloadFormatIndicator: true,
    contentType: 'text/plain',
    responseTopic: 'answers/here',
    correlationData: Buffer.from([0, 1, 255]),
    userProperties,
  };
  for (const qos of [0, 1, 2] as const) {
    await retain(`properties/${qos}`, 'x', { qos, properties });
    const [message] = await retained(`properties/${qos}`, {}, 2);
    assert.deepEqual(structuredClone(message?.properties), structuredClone(properties));
    const [old] = await retained(`properties/${qos}`, { version: 4 }, 2);
    assert.equal(old?.properties, undefined);
  }
});

testEmbedded(
  '[MQTT5 3.3.2-5] [MQTT5 3.3.2-6] a retained message expires, and shows what is left of its interval',
  async () => {
    await retain('expires', 'x', { properties: { messageExpiryInterval: 100 } });
    clock.pass(40);
    const [message] = await retained('expires', {}, 1);
    assert.equal(message?.properties?.messageExpiryInterval, 60);
    clock.pass(60);
    assert.deepEqual(await retained('expires'), []);
  },
);

test('a subscription identifier comes with retained messages too [MQTT5 3.3.4-3]', async () => {
  await retain('identified', 'x');
  const client = await connect();
  await client.subscribeWith({ subscriptionIdentifier: 77 }, { topic: 'identified', qos: 1 });
  assert.equal((await client.next('publish')).properties?.subscriptionIdentifier, 77);
  await client.end();
});

test('[MQTT5 3.8.3-3] No Local: what the client itself has retained does not come back', async () => {
  const client = await connect({ clientId: 'own-retained' });
  client.publish('own/mine', 'x', { retain: true, qos: 1, messageId: 9 });
  await client.nextAcknowledgement('puback', 9);
  await retain('own/other', 'y');
  await client.subscribe({ topic: 'own/+', nl: true, qos: 1 });
  assert.equal((await client.next('publish')).topic, 'own/other');
  await client.ping();
  assert.deepEqual(client.taken('publish'), []);
  await client.end();
});

test('QoS 0 with RETAIN, and SUBSCRIBE right behind it: found', async () => {
  for (let round = 0; round < 50; round++) {
    const client = await connect();
    client.publish(`right-behind/${round}`, String(round), { retain: true });
    client.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: `right-behind/${round}`, qos: 0 }] });
    assert.equal((await client.next('publish')).payload.toString(), String(round));
    await client.end();
  }
});

test('[MQTT5 4.6.0-6] [MQTT311 4.6.0-6] QoS 0 on one topic, with and without RETAIN: in order', async () => {
  const subscriber = await connect();
  await subscriber.subscribe('ordered/+');
  const publisher = await connect();
  publisher.socket.cork();
  for (let index = 0; index < 300; index++)
    publisher.publish(`ordered/${index % 3}`, String(index), { retain: index % 5 === 0 });
  publisher.socket.uncork();
  const last = new Map<string, number>();
  for (let count = 0; count < 300; count++) {
    const { payload, topic } = await subscriber.next('publish');
    assert.ok(
      Number(payload.toString()) > (last.get(topic) ?? -1),
      `${topic}: ${payload.toString()} after ${last.get(topic)}`,
    );
    last.set(topic, Number(payload.toString()));
  }
  for (const client of [subscriber, publisher]) await client.end();
});

test('more than a page, with a small Receive Maximum: everything comes once, what is published meanwhile behind it', async () => {
  const publisher = await connect();
  const COUNT = 700;
  for (let index = 0; index < COUNT; index++) publisher.publish(`many/${index}`, 'old', { retain: true });
  await publisher.publishAcknowledged('many/last', 'old', 1);
  const client = await connect({ properties: { receiveMaximum: 3 } });
  await client.subscribe({ topic: 'many/#', qos: 1 });
  await publisher.publishAcknowledged('many/0', 'new', 1);

  const seen = new Map<string, string[]>();
  let count = 0;
  while (count < COUNT + 1) {
    const { payload, retain: isRetained, topic } = await client.next('publish');
    seen.set(topic, [...(seen.get(topic) ?? []), `${payload.toString()} ${isRetained}`]);
    count++;
  }
  assert.deepEqual(seen.get('many/0'), ['old true', 'new false']);
  for (let index = 1; index < COUNT; index++) assert.deepEqual(seen.get(`many/${index}`), ['old true']);
  for (const one of [client, publisher]) await one.end();
});

test('[MQTT5 3.8.4-3] [MQTT311 3.8.4-3] the same filter again while its retained messages are on their way: live messages come, whatever the second one asks for', async () => {
  await retain('twice/kept', 'kept');
  const publisher = await connect();
  for (const [qos, rh] of [
    [1, 2],
    [1, 0],
    [0, 2],
    [0, 1],
    [2, 1],
  ] as const) {
    const client = await connect({ clientId: `twice-${qos}-${rh}`, properties: { sessionExpiryInterval: 60 } });
    const again = { topic: 'twice/+', qos, rh };
    client.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'twice/+', qos: 1, rh: 0 }] });
    client.send({ cmd: 'subscribe', messageId: 2, subscriptions: [again] });
    await client.nextMatching((packet): packet is ISubackPacket => packet.cmd === 'suback' && packet.messageId === 2);
    await publisher.publishAcknowledged('twice/live', `${qos} ${rh}`, 1);
    for (;;) {
      const { payload, topic } = await client.next('publish');
      if (topic === 'twice/live' && payload.toString() === `${qos} ${rh}`) break;
    }
    await client.end(0);
  }
  await publisher.end();
});

test('UNSUBSCRIBE ends it, and the connection goes on', async () => {
  const client = await connect({ properties: { receiveMaximum: 1 } });
  client.acknowledges = false;
  for (let index = 0; index < 20; index++) await retain(`leave/${index}`, 'x');
  await client.subscribe({ topic: 'leave/#', qos: 1 });
  const { messageId = 0 } = await client.next('publish');
  await client.unsubscribe('leave/#');
  client.acknowledge('puback', messageId);
  await client.ping();
  assert.deepEqual(client.taken('publish'), []);
  await client.end();
});

test('[MQTT5 3.1.2-14] [MQTT5 3.1.2-15] [MQTT311 3.1.2-16] [MQTT311 3.1.2-17] a will with Will Retain is kept, one without is not', async () => {
  for (const isRetained of [true, false]) {
    for (const qos of [0, 1, 2] as const) {
      const topic = `wills/${isRetained}/${qos}`;
      const watcher = await connect();
      await watcher.subscribe(topic);
      const client = await connect({ will: { topic, payload: Buffer.from('gone'), qos, retain: isRetained } });
      await client.abort();
      await watcher.next('publish');
      assert.deepEqual(texts(await retained(topic)), isRetained ? [`${topic}=gone`] : []);
      await watcher.end();
    }
  }
});
