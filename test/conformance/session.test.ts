/** Sessions that outlive their connection, on an embedded node whose clock can be put forward. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startDeployment, testEmbedded } from '../support/deployment.ts';
import { eventually } from '../support/eventually.ts';
import type { TestNode } from '../support/node.ts';
import { type ConnectFields, connectPacket, RawClient, type Version } from '../support/raw-client.ts';
import { ShiftedClock } from '../support/shifted-clock.ts';

const NEVER = 0xffff_ffff;

const clock = new ShiftedClock();
let node: TestNode;
before(async () => {
  node = await startDeployment({ SUPERMQ_LIMITS_MAX_SESSION_EXPIRY_SECONDS: String(NEVER) }, clock);
});
after(() => node.stop());

type Connected = Awaited<ReturnType<typeof RawClient.connect>>;

function connect(fields: ConnectFields = {}): Promise<Connected> {
  return RawClient.connect(node.tcp, { version: 5, keepalive: 0, ...fields });
}

let serial = 0;

/** What connects one client again and again with a session that stays. */
function durable(version: Version, properties: ConnectFields['properties'] = {}): ConnectFields {
  const kept = { version, clientId: `durable-${++serial}`, clean: false };
  return version === 5 ? { ...kept, properties: { sessionExpiryInterval: 600, ...properties } } : kept;
}

async function isPresent(fields: ConnectFields): Promise<boolean> {
  const client = await connect(fields);
  await client.end();
  return client.connack.sessionPresent;
}

/** The payloads of everything that comes before `marker`, which is published to `topic` now. */
async function upTo(marker: string, topic: string, subscriber: RawClient, publisher: RawClient): Promise<string[]> {
  await publisher.publishAcknowledged(topic, marker, 1);
  const payloads: string[] = [];
  for (;;) {
    const { payload } = await subscriber.next('publish');
    if (payload.toString() === marker) return payloads;
    payloads.push(payload.toString());
  }
}

test('[MQTT5 3.1.2-4] [MQTT5 3.1.2-5] [MQTT5 3.1.2-6] [MQTT311 3.1.2-4] [MQTT311 3.1.2-6] [MQTT5 3.1.4-4] [MQTT311 3.1.4-3] [MQTT5 3.2.2-2] [MQTT5 3.2.2-3] [MQTT311 3.2.2-1] [MQTT311 3.2.2-2] [MQTT311 3.2.2-3] Session Present in all four cases', async () => {
  for (const version of [4, 5] as const) {
    const fields = durable(version);
    assert.equal(await isPresent(fields), false, 'none, not clean');
    assert.equal(await isPresent(fields), true, 'one, not clean');
    assert.equal(await isPresent({ ...fields, clean: true }), false, 'one, clean');
    assert.equal(await isPresent({ ...fields, clean: true }), false, 'clean again');
    // A clean CONNECT of MQTT 5 with an expiry leaves a session; one of MQTT 3.1.1 leaves none.
    assert.equal(await isPresent(fields), version === 5);
  }
});

test('[MQTT311 3.2.2-4] [MQTT5 3.2.2-6] a refused CONNECT has Session Present 0, although there is a session', async () => {
  const fields = durable(5);
  await isPresent(fields);
  const refused = await connect({ ...fields, properties: { ...fields.properties, authenticationMethod: 'x' } });
  assert.equal(refused.connack.reasonCode, 0x8c);
  assert.equal(refused.connack.sessionPresent, false);
  await refused.closed;
  assert.equal(await isPresent(fields), true);
});

test('[MQTT5 3.1.2-4] [MQTT311 3.1.2-6] [MQTT5 3.1.4-4] [MQTT311 3.1.4-3] Clean Start discards subscriptions, what waits and what is in flight', async () => {
  for (const version of [4, 5] as const) {
    const fields = durable(version);
    const publisher = await connect();
    const first = await connect(fields);
    await first.subscribe({ topic: `clean/${version}`, qos: 1 });
    await publisher.publishAcknowledged(`clean/${version}`, 'in flight', 1);
    await first.next('publish');
    await first.end();
    await publisher.publishAcknowledged(`clean/${version}`, 'waits', 1);
    const second = await connect({ ...fields, clean: true });
    assert.equal(second.connack.sessionPresent, false);
    await publisher.publishAcknowledged(`clean/${version}`, 'no subscription', 1);
    await second.subscribe({ topic: `clean/${version}`, qos: 1 });
    assert.deepEqual(await upTo('marker', `clean/${version}`, second, publisher), []);
    await second.end(version === 5 ? 0 : undefined);
    // What a session with CleanSession 1 had is of no use to a later one. [MQTT311 3.1.2-6]
    const third = await connect(fields);
    assert.equal(third.connack.sessionPresent, false);
    await publisher.publishAcknowledged(`clean/${version}`, 'no subscription', 1);
    await third.ping();
    assert.deepEqual(third.taken('publish'), []);
    for (const client of [third, publisher]) await client.end();
  }
});

test('[MQTT5 4.5.0-1] [MQTT5 4.6.0-5] [MQTT311 4.5.0-1] [MQTT5 3.1.2-5] [MQTT311 3.1.2-4] [MQTT311 3.1.2-5] [MQTT311 4.6.0-5] what came meanwhile is delivered first, in order, and what comes live after it', async () => {
  for (const version of [3, 4, 5] as const) {
    for (const qos of [1, 2] as const) {
      const topic = `queue/${version}/${qos}`;
      const fields = durable(version);
      const publisher = await connect();
      const first = await connect(fields);
      await first.subscribe({ topic: `queue/${version}/+`, qos });
      await first.end();
      await publisher.publishAll(
        topic,
        Array.from({ length: 300 }, (_, index) => index),
        qos,
      );
      const again = await connect(fields);
      assert.equal(again.connack.sessionPresent, version !== 3, 'in MQTT 3.1 the byte is reserved');
      again.acknowledges = true;
      await publisher.publishAll(
        topic,
        Array.from({ length: 100 }, (_, index) => 300 + index),
        qos,
      );
      const messages = await again.messages(400);
      assert.deepEqual(
        messages.map(({ payload }) => Number(payload)),
        Array.from({ length: 400 }, (_, index) => index),
      );
      assert.deepEqual(await upTo('marker', topic, again, publisher), [], 'none twice');
      for (const client of [again, publisher]) await client.end();
    }
  }
});

test('QoS 0 messages and QoS 0 subscriptions: nothing is kept for an absent client, and it gets both again when it is back', async () => {
  for (const version of [4, 5] as const) {
    const topic = `absent/${version}`;
    const fields = durable(version);
    const publisher = await connect();
    const first = await connect(fields);
    await first.subscribe({ topic: `${topic}/one`, qos: 1 }, { topic: `${topic}/zero`, qos: 0 });
    await first.end();
    publisher.publish(`${topic}/one`, 'zero to one');
    publisher.publish(`${topic}/zero`, 'zero to zero');
    await publisher.publishAcknowledged(`${topic}/zero`, 'one to zero', 1);
    await publisher.publishAcknowledged(`${topic}/one`, 'one to one', 1);
    const again = await connect(fields);
    again.acknowledges = true;
    assert.deepEqual(await upTo('marker', `${topic}/one`, again, publisher), ['one to one']);
    publisher.publish(`${topic}/one`, 'live zero to one');
    publisher.publish(`${topic}/zero`, 'live zero to zero');
    await publisher.publishAcknowledged(`${topic}/zero`, 'live one to zero', 1);
    const live = await upTo('marker 2', `${topic}/one`, again, publisher);
    assert.deepEqual(live.sort(), ['live one to zero', 'live zero to one', 'live zero to zero']);
    for (const client of [again, publisher]) await client.end();
  }
});

test('[MQTT5 3.3.1-1] [MQTT311 3.3.1-1] [MQTT5 4.3.2-3] [MQTT5 4.4.0-1] [MQTT5 4.6.0-1] [MQTT311 4.3.2-1] [MQTT311 4.4.0-1] [MQTT311 4.6.0-1] what was in flight comes again with DUP, its id and in its order, before everything new', async () => {
  for (const version of [4, 5] as const) {
    const topic = `flight/${version}`;
    const fields = durable(version);
    const publisher = await connect();
    const first = await connect(fields);
    await first.subscribe({ topic, qos: 1 });
    await publisher.publishAll(topic, [0, 1, 2, 3, 4, 5], 1);
    const ids: number[] = [];
    for (let count = 0; count < 6; count++) ids.push((await first.next('publish')).messageId ?? 0);
    // Out of order, and with holes.
    for (const index of [4, 1]) first.acknowledge('puback', ids[index] ?? 0);
    await first.end();
    await publisher.publishAll(topic, [6, 7], 1);
    const again = await connect(fields);
    const seen: Array<[string, boolean, number | undefined]> = [];
    for (let count = 0; count < 6; count++) {
      const { dup, messageId, payload } = await again.next('publish');
      seen.push([payload.toString(), dup, dup ? messageId : undefined]);
    }
    assert.deepEqual(seen, [
      ['0', true, ids[0]],
      ['2', true, ids[2]],
      ['3', true, ids[3]],
      ['5', true, ids[5]],
      ['6', false, undefined],
      ['7', false, undefined],
    ]);
    for (const client of [again, publisher]) await client.end();
  }
});

test('[MQTT5 3.3.4-9] a Receive Maximum that is smaller than before holds for what comes again too', async () => {
  const fields = durable(5, { receiveMaximum: 10 });
  const publisher = await connect();
  const first = await connect(fields);
  await first.subscribe({ topic: 'smaller', qos: 2 });
  await publisher.publishAll('smaller', [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], 2);
  await first.messages(10);
  await first.abort();
  const again = await connect({ ...fields, properties: { sessionExpiryInterval: 600, receiveMaximum: 3 } });
  const seen: string[] = [];
  const open: number[] = [];
  while (seen.length < 12) {
    const { messageId = 0, payload } = await again.next('publish');
    seen.push(payload.toString());
    open.push(messageId);
    if (open.length < 3) continue;
    await again.ping();
    assert.deepEqual(again.received, [], 'three at once');
    const id = open.shift() ?? 0;
    again.acknowledge('pubrec', id);
    await again.nextAcknowledgement('pubrel', id);
    again.acknowledge('pubcomp', id);
  }
  assert.deepEqual(
    seen,
    Array.from({ length: 12 }, (_, index) => String(index)),
  );
  await Promise.all([again.end(0), publisher.end()]);
});

test('[MQTT5 3.1.2-24] what was in flight and is too large for the new connection is given up, the rest comes', async () => {
  const fields = durable(5);
  const publisher = await connect();
  const first = await connect(fields);
  await first.subscribe({ topic: 'shrunk', qos: 1 });
  await publisher.publishAll('shrunk', ['small', 'x'.repeat(500), 'last'], 1);
  await first.messages(3);
  await first.abort();
  const again = await connect({ ...fields, properties: { ...fields.properties, maximumPacketSize: 100 } });
  assert.deepEqual(
    (await again.messages(2)).map(({ payload }) => payload),
    ['small', 'last'],
  );
  await Promise.all([again.end(0), publisher.end()]);
});

test('[MQTT5 3.10.4-1] [MQTT5 3.10.4-2] [MQTT5 3.10.4-3] [MQTT311 3.10.4-2] [MQTT311 3.10.4-3] after UNSUBSCRIBE nothing new comes, and what was begun is finished, also over a resume', async () => {
  for (const version of [4, 5] as const) {
    const topic = `gone/${version}`;
    const fields = durable(version);
    const publisher = await connect();
    const first = await connect(fields);
    await first.subscribe({ topic, qos: 2 }, { topic: `${topic}/marker`, qos: 1 });
    await publisher.publishAll(topic, ['begun 0', 'begun 1'], 2);
    const ids = [(await first.next('publish')).messageId ?? 0, (await first.next('publish')).messageId ?? 0];
    await first.unsubscribe(topic);
    await publisher.publishAcknowledged(topic, 'new', 2);
    first.acknowledge('pubrec', ids[0] ?? 0);
    await first.nextAcknowledgement('pubrel', ids[0] ?? 0);
    first.acknowledge('pubcomp', ids[0] ?? 0);
    await first.ping();
    assert.deepEqual(first.taken('publish'), []);
    await first.abort();
    await publisher.publishAcknowledged(topic, 'newer', 2);
    const again = await connect(fields);
    const resent = await again.next('publish');
    assert.deepEqual(
      [resent.payload.toString(), resent.dup, resent.qos, resent.messageId],
      ['begun 1', true, 2, ids[1]],
    );
    again.acknowledge('pubrec', resent.messageId ?? 0);
    await again.nextAcknowledgement('pubrel', resent.messageId ?? 0);
    again.acknowledge('pubcomp', resent.messageId ?? 0);
    assert.deepEqual(await upTo('marker', `${topic}/marker`, again, publisher), []);
    for (const client of [again, publisher]) await client.end();
  }
});

test('[MQTT5 §4.1 session-state] subscriptions come back with QoS, options and identifiers', async () => {
  const fields = durable(5);
  const other = await connect();
  const first = await connect(fields);
  await first.subscribeWith({ subscriptionIdentifier: 77 }, { topic: 'options/+', qos: 1, nl: true, rap: true });
  await first.subscribeWith({ subscriptionIdentifier: 268_435_455 }, { topic: 'options/a', qos: 2, nl: true });
  await first.subscribe({ topic: 'options/zero', qos: 0, nl: true });
  await first.end();
  await other.publishAcknowledged('options/a', 'while away', 2, { properties: { contentType: 'c' } });
  const again = await connect(fields);
  again.acknowledges = true;
  await again.publishAcknowledged('options/a', 'own', 2);
  await again.publishAcknowledged('options/zero', 'own', 2);
  again.publish('options/a', 'own');
  await other.publishAcknowledged('options/b', 'live', 2);
  const a = await again.next('publish');
  assert.equal(a.payload.toString(), 'while away');
  assert.equal(a.qos, 2);
  assert.deepEqual([a.properties?.subscriptionIdentifier ?? []].flat().sort(), [268_435_455, 77]);
  const b = await again.next('publish');
  assert.deepEqual([b.payload.toString(), b.qos, b.properties?.subscriptionIdentifier], ['live', 1, 77]);
  await Promise.all([again.end(0), other.end()]);
});

test('[MQTT5 3.3.4-3] what comes again carries the identifiers of its subscriptions', async () => {
  // The first message of a log, and the subscriptions from before it.
  const fresh = await startDeployment();
  const fields = { ...durable(5), version: 5 as const };
  const first = await RawClient.connect(fresh.tcp, fields);
  await first.subscribeWith({ subscriptionIdentifier: 5 }, { topic: 'ids/a', qos: 1 });
  await first.publishAcknowledged('ids/a', 'x', 1);
  const message = await first.next('publish');
  await first.subscribeWith({ subscriptionIdentifier: 6 }, { topic: 'ids/b', qos: 1 });
  await first.abort();
  const again = await RawClient.connect(fresh.tcp, fields);
  const resent = await again.next('publish');
  assert.equal(message.properties?.subscriptionIdentifier, 5);
  assert.deepEqual([resent.dup, resent.properties?.subscriptionIdentifier], [true, 5]);
  await again.end(0);
  await fresh.stop();
});

testEmbedded(
  '[MQTT5 3.1.2-23] [MQTT5 4.1.0-2] a session without an expiry ends with its connection, one with an expiry when it has passed since the close',
  async () => {
    const none = { ...durable(5), properties: {} };
    assert.equal(await isPresent(none), false);
    assert.equal(await isPresent(none), false, 'an absent interval is 0');
    const ten = durable(5, { sessionExpiryInterval: 10 });
    const client = await connect(ten);
    clock.pass(60);
    await client.end();
    clock.pass(9);
    assert.equal(await isPresent(ten), true, 'counted from the close, not from CONNECT');
    clock.pass(9);
    assert.equal(await isPresent(ten), true, 'and from the last one');
    clock.pass(11);
    assert.equal(await isPresent(ten), false, 'over');
  },
);

testEmbedded(
  '[MQTT5 §3.1.2.11.2] [MQTT5 3.1.2-23] 0xFFFFFFFF never ends, and MQTT 3.1.1 with CleanSession 0 neither',
  async () => {
    const five = durable(5, { sessionExpiryInterval: NEVER });
    const four = durable(4);
    for (const fields of [five, four]) await isPresent(fields);
    clock.pass(100 * 365 * 86_400);
    for (const fields of [five, four]) assert.equal(await isPresent(fields), true);
  },
);

testEmbedded('[MQTT5 §3.1.2.11.2] CONNECT replaces the expiry of the session that it resumes', async () => {
  const long = durable(5, { sessionExpiryInterval: 1_000 });
  await isPresent(long);
  const short = { ...long, properties: { sessionExpiryInterval: 5 } };
  assert.equal(await isPresent(short), true);
  clock.pass(6);
  assert.equal(await isPresent(long), false);
  const zero = { ...long, properties: { sessionExpiryInterval: 0 } };
  assert.equal(await isPresent(zero), true);
  assert.equal(await isPresent(long), false);
});

testEmbedded('[MQTT5 §3.14.2.2.2] DISCONNECT changes the expiry, up, down and to 0', async () => {
  const fields = durable(5, { sessionExpiryInterval: 10 });
  const leave = async (seconds: number): Promise<void> => {
    const client = await connect(fields);
    await client.end(seconds);
  };
  await leave(100);
  clock.pass(90);
  assert.equal(await isPresent(fields), true, 'longer');
  await leave(3);
  clock.pass(4);
  assert.equal(await isPresent(fields), false, 'shorter');
  await leave(0);
  assert.equal(await isPresent(fields), false, '0');
  const client = await connect(fields);
  await client.end();
  clock.pass(9);
  assert.equal(await isPresent(fields), true, 'none stated');
});

test('[MQTT5 §3.14.2.2.2] [C] from 0 to anything else is 0x82, and no session stays', async () => {
  const fields = { ...durable(5), properties: { sessionExpiryInterval: 0 } };
  const client = await connect(fields);
  client.send({ cmd: 'disconnect', reasonCode: 0, properties: { sessionExpiryInterval: 10 } });
  assert.equal(await client.closingReason(), 0x82);
  assert.equal(await isPresent(fields), false);
});

testEmbedded('[MQTT5 §3.14.2.2.2] DISCONNECT with 0xFFFFFFFF: for ever, or as long as the limit allows', async () => {
  const shifted = new ShiftedClock();
  const strict = await startDeployment({ SUPERMQ_LIMITS_MAX_SESSION_EXPIRY_SECONDS: '20' }, shifted);
  for (const [on, time, isKept] of [
    [node, clock, true],
    [strict, shifted, false],
  ] as const) {
    const fields = durable(5, { sessionExpiryInterval: 5 });
    const leave = async (seconds: number): Promise<boolean> => {
      const client = await RawClient.connect(on.tcp, { keepalive: 0, ...fields });
      await client.end(seconds);
      return client.connack.sessionPresent;
    };
    await leave(NEVER);
    time.pass(19);
    assert.equal(await leave(NEVER), true);
    time.pass(21);
    assert.equal(await leave(0), isKept);
  }
  await strict.stop();
});

testEmbedded('[MQTT5 §3.2.2.3.2] an expiry above the limit is replaced, and CONNACK says so', async () => {
  const shifted = new ShiftedClock();
  const strict = await startDeployment({ SUPERMQ_LIMITS_MAX_SESSION_EXPIRY_SECONDS: '20' }, shifted);
  const present = async (fields: ConnectFields): Promise<boolean> => {
    const client = await RawClient.connect(strict.tcp, { keepalive: 0, ...fields });
    await client.end();
    return client.connack.sessionPresent;
  };
  for (const asked of [21, NEVER, 20, 5]) {
    const client = await RawClient.connect(strict.tcp, durable(5, { sessionExpiryInterval: asked }));
    assert.equal(client.connack.properties?.sessionExpiryInterval, asked > 20 ? 20 : undefined);
    await client.end(0);
  }
  const five = durable(5, { sessionExpiryInterval: 1_000 });
  const four = durable(4);
  for (const fields of [five, four]) {
    await present(fields);
    shifted.pass(19);
    assert.equal(await present(fields), true);
    shifted.pass(21);
    assert.equal(await present(fields), false);
  }
  const changing = await RawClient.connect(strict.tcp, five);
  await changing.end(1_000_000);
  shifted.pass(21);
  assert.equal(await present(five), false, 'the limit holds for DISCONNECT too');
  await strict.stop();
});

test('[MQTT5 4.1.0-1] [MQTT311 4.1.0-1] a takeover and a broken rule leave the session as it was', async () => {
  const fields = durable(5);
  const publisher = await connect();
  const first = await connect(fields);
  await first.subscribe({ topic: 'kept', qos: 1 });
  const second = await connect(fields);
  assert.equal(await first.closingReason(), 0x8e);
  assert.equal(second.connack.sessionPresent, true);
  await publisher.publishAcknowledged('kept', '1', 1);
  assert.equal((await second.messages(1))[0]?.payload, '1');
  second.send(Buffer.from([0xff, 0]));
  await second.closed;
  await publisher.publishAcknowledged('kept', '2', 1);
  const third = await connect(fields);
  assert.deepEqual(
    (await third.messages(2)).map(({ payload }) => payload),
    ['1', '2'],
  );
  await Promise.all([third.end(0), publisher.end()]);
});

test('a session is found by a client of another version', async () => {
  const five = durable(5);
  const publisher = await connect();
  const first = await connect(five);
  await first.subscribeWith({ subscriptionIdentifier: 3 }, { topic: 'versions', qos: 1 });
  await first.end();
  await publisher.publishAcknowledged('versions', 'x', 1, { properties: { contentType: 'c' } });
  const four = await connect({ version: 4, clientId: five.clientId ?? '', clean: false });
  assert.equal(four.connack.sessionPresent, true);
  const message = await four.next('publish');
  assert.deepEqual([message.payload.toString(), message.properties], ['x', undefined]);
  await four.abort();
  const again = await connect(five);
  const resent = await again.next('publish');
  assert.deepEqual(
    [resent.dup, resent.properties?.contentType, resent.properties?.subscriptionIdentifier],
    [true, 'c', 3],
  );
  await Promise.all([again.end(0), publisher.end()]);
});

testEmbedded(
  '[MQTT5 3.3.2-5] [MQTT5 3.3.2-6] a message that expired meanwhile is not delivered, the others carry what remains',
  async () => {
    for (const qos of [0, 1, 2] as const) {
      const topic = `expiry/${qos}`;
      const fields = durable(5);
      const publisher = await connect();
      const first = await connect(fields);
      await first.subscribe({ topic, qos: qos === 0 ? 1 : qos });
      await first.end();
      const publish = (payload: string, messageExpiryInterval?: number): Promise<number> =>
        publisher.publishAcknowledged(topic, payload, qos === 0 ? 1 : qos, {
          properties: {
            contentType: 'before',
            ...(messageExpiryInterval === undefined ? {} : { messageExpiryInterval }),
            userProperties: { after: 'x' },
          },
        });
      await publish('short', 1);
      await publish('long', 100);
      await publish('for ever');
      await publish('also short', 2);
      clock.pass(2.2);
      const before = node.counters.dropped.expired;
      const again = await connect(fields);
      const [long, forever] = [await again.next('publish'), await again.next('publish')];
      assert.deepEqual([long.payload.toString(), forever.payload.toString()], ['long', 'for ever']);
      const remaining = long.properties?.messageExpiryInterval ?? 0;
      assert.ok(remaining === 98 || remaining === 97, `${remaining}`);
      assert.deepEqual(
        [long.properties?.contentType, { ...long.properties?.userProperties }],
        ['before', { after: 'x' }],
      );
      assert.equal(forever.properties?.messageExpiryInterval, undefined);
      again.acknowledges = true;
      assert.deepEqual(await upTo('marker', topic, again, publisher), []);
      assert.equal(node.counters.dropped.expired, before + 2);
      await Promise.all([again.end(0), publisher.end()]);
    }
  },
);

testEmbedded('[MQTT5 4.3.3-7] what was sent once does not expire', async () => {
  const fields = durable(5);
  const publisher = await connect();
  const first = await connect(fields);
  await first.subscribe({ topic: 'sent', qos: 2 });
  await publisher.publishAcknowledged('sent', 'x', 2, { properties: { messageExpiryInterval: 1 } });
  await first.next('publish');
  await first.abort();
  clock.pass(10);
  const again = await connect(fields);
  const resent = await again.next('publish');
  assert.deepEqual([resent.payload.toString(), resent.dup], ['x', true]);
  await Promise.all([again.end(0), publisher.end()]);
});

test('[MQTT5 3.3.2-4] [MQTT5 3.3.2-15] [MQTT5 3.3.2-16] [MQTT5 3.3.2-17] [MQTT5 3.3.2-18] [MQTT5 3.3.2-20] properties pass the log unaltered, user properties in order with duplicates', async () => {
  const fields = durable(5);
  const first = await connect(fields);
  await first.subscribe({ topic: 'props', qos: 2 });
  await first.end();
  const text = (value: string): number[] => [0, value.length, ...Buffer.from(value)];
  const user = (name: string, value: string): number[] => [0x26, ...text(name), ...text(value)];
  const block = Buffer.from([
    ...user('b', '1'),
    0x01,
    1,
    ...user('a', '2'),
    ...user('b', '3'),
    0x03,
    ...text('type'),
    0x08,
    ...text('reply/to'),
    ...user('10', 'x'),
    0x09,
    0,
    3,
    0,
    255,
    0,
    ...user('b', '1'),
    ...user('', ''),
  ]);
  const body = Buffer.concat([Buffer.from([...text('props'), 0, 9, block.length]), block, Buffer.from('p')]);
  const publisher = await connect();
  publisher.send(Buffer.concat([Buffer.from([0x34, body.length]), body]));
  await publisher.nextAcknowledgement('pubrec', 9);
  const again = await RawClient.open(node.tcp, 5);
  const raw: Buffer[] = [];
  again.socket.on('data', (chunk) => raw.push(chunk));
  again.send(connectPacket({ keepalive: 0, ...fields }));
  const { properties } = await again.next('publish');
  assert.ok(Buffer.concat(raw).includes(Buffer.concat([Buffer.from([block.length]), block, Buffer.from('p')])));
  assert.equal(properties?.responseTopic, 'reply/to');
  await Promise.all([again.end(0), publisher.end()]);
});

test('[MQTT5 3.8.3-3] No Local with stored messages: own ones do not come back, live, while away or after a resume', async () => {
  const fields = durable(5);
  const other = await connect();
  const own = await connect(fields);
  await own.subscribe({ topic: 'local/+', qos: 2, nl: true });
  for (const qos of [1, 2] as const) await own.publishAcknowledged('local/a', 'own', qos);
  await other.publishAcknowledged('local/a', 'other', 1);
  assert.equal((await own.messages(1))[0]?.payload, 'other');
  // A second filter without the option brings them, once.
  await own.subscribe({ topic: 'local/a', qos: 1 });
  await own.publishAcknowledged('local/a', 'own by the second filter', 2);
  const second = await own.next('publish');
  assert.deepEqual([second.payload.toString(), second.qos], ['own by the second filter', 1]);
  await own.unsubscribe('local/a');
  own.acknowledges = true;
  assert.deepEqual(await upTo('marker', 'local/b', own, other), []);
  await own.end();
  const again = await connect(fields);
  again.acknowledges = true;
  await again.publishAcknowledged('local/a', 'own', 1);
  again.publish('local/a', 'own');
  const seen = await upTo('marker 2', 'local/b', again, other);
  assert.ok(!seen.includes('own'), seen.join());
  await Promise.all([again.end(0), other.end()]);
});

test('[MQTT5 3.3.1-12] [MQTT5 3.3.1-13] [MQTT311 3.3.1-9] RETAIN of a stored message: 0, and as published with Retain As Published', async () => {
  const subscriber = await connect();
  await subscriber.subscribe({ topic: 'rap/0', qos: 1 }, { topic: 'rap/1', qos: 1, rap: true });
  const old = await connect({ version: 4 });
  await old.subscribe({ topic: 'rap/+', qos: 1 });
  for (const client of [subscriber, old]) client.acknowledges = true;
  // Only MQTT 3.1.1 may set the flag here: Retain Available is 0.
  const publisher = await connect({ version: 4 });
  for (const topic of ['rap/0', 'rap/1'])
    for (const retain of [false, true]) await publisher.publishAcknowledged(topic, String(retain), 1, { retain });
  const seen = new Set<string>();
  for (let count = 0; count < 4; count++) {
    const { payload, retain, topic } = await subscriber.next('publish');
    seen.add(`${topic} ${payload.toString()} ${retain}`);
    assert.equal((await old.next('publish')).retain, false);
  }
  assert.deepEqual([...seen].sort(), ['rap/0 false false', 'rap/0 true false', 'rap/1 false false', 'rap/1 true true']);
  for (const client of [subscriber, old, publisher]) await client.end();
});

test('[MQTT5 3.3.4-2] [MQTT5 3.3.4-3] [MQTT5 3.3.4-4] [MQTT311 3.3.5-1] overlapping filters: one copy at the highest granted QoS with all identifiers', async () => {
  for (const version of [4, 5] as const) {
    const subscriber = await connect({ version });
    const filters: Array<[number, string, 0 | 1 | 2]> = [
      [1, 'over/#', 0],
      [200, 'over/+', 2],
      [70_000, 'over/a', 1],
      [9, '+/b', 1],
    ];
    for (const [subscriptionIdentifier, topic, qos] of filters) {
      if (version === 5) await subscriber.subscribeWith({ subscriptionIdentifier }, { topic, qos });
      else await subscriber.subscribe({ topic, qos });
    }
    subscriber.acknowledges = true;
    const publisher = await connect();
    const cases: Array<[topic: string, qos: 1 | 2, received: number, ids: number[]]> = [
      ['over/a', 2, 2, [1, 200, 70_000]],
      ['over/a', 1, 1, [1, 200, 70_000]],
      ['over/b', 2, 2, [1, 200, 9]],
      ['over/x/y', 2, 0, [1]],
      ['other/b', 2, 1, [9]],
    ];
    for (const [topic, qos, received, ids] of cases) {
      await publisher.publishAcknowledged(topic, 'x', qos);
      const message = await subscriber.next('publish');
      const found = [message.properties?.subscriptionIdentifier ?? []].flat();
      assert.deepEqual([message.topic, message.qos], [topic, received]);
      assert.deepEqual(found.sort(), version === 5 ? [...ids].sort() : []);
    }
    await subscriber.ping();
    assert.deepEqual(subscriber.taken('publish'), [], 'no second copies');
    for (const client of [subscriber, publisher]) await client.end();
  }
});

test('stored messages reach QoS 0 subscriptions once: of a client with none above, of one with others, and of one that overlaps', async () => {
  for (const version of [4, 5] as const) {
    const zero = await connect({ version });
    await zero.subscribe('zero/#');
    const both = await connect({ version });
    await both.subscribe('zero/a', { topic: 'zero/b', qos: 1 });
    const over = await connect({ version });
    await over.subscribe('zero/#', { topic: 'zero/+', qos: 1 }, 'zero/a');
    const clients = [zero, both, over];
    for (const client of clients) client.acknowledges = true;
    const publisher = await connect();
    for (let round = 0; round < 20; round++) {
      await publisher.publishAcknowledged('zero/a', String(round), 2);
      await publisher.publishAcknowledged('zero/b', String(round), 1);
      publisher.publish('zero/a', `${round} QoS 0`);
    }
    const expected = (topic: string): string[] => Array.from({ length: 20 }, (_, round) => `${topic} ${round}`);
    const expectedZero = expected('zero/a').map((text) => `${text} QoS 0`);
    for (const client of clients) {
      const texts = (await client.messages(60)).map(({ payload, topic }) => `${topic} ${payload}`);
      assert.deepEqual(texts.sort(), [...expected('zero/a'), ...expected('zero/b'), ...expectedZero].sort());
      await client.ping();
      assert.deepEqual(client.taken('publish'), []);
    }
    for (const client of [...clients, publisher]) await client.end();
  }
});

test('[MQTT5 3.8.4-3] [MQTT311 3.8.4-3] the same filter with another QoS: up and down, in a session that stays and in one that does not', async () => {
  for (const version of [4, 5] as const) {
    for (const clean of [true, false]) {
      const client = await connect({ ...durable(version), clean, ...(clean ? { properties: {} } : {}) });
      client.acknowledges = true;
      const publisher = await connect();
      const topic = `updown/${version}/${clean}`;
      for (const qos of [0, 1, 2, 0, 2, 1] as const) {
        assert.deepEqual(await client.subscribe({ topic, qos }), [qos]);
        await publisher.publishAcknowledged(topic, `stored for ${qos}`, 2);
        publisher.publish(topic, `not stored for ${qos}`);
        const seen = [await client.next('publish'), await client.next('publish')];
        assert.deepEqual(seen.map((message) => `${message.payload.toString()} ${message.qos}`).sort(), [
          `not stored for ${qos} 0`,
          `stored for ${qos} ${qos}`,
        ]);
      }
      await client.ping();
      assert.deepEqual(client.taken('publish'), []);
      await client.end(version === 5 && !clean ? 0 : undefined);
      await publisher.end();
    }
  }
});

test('a new subscription gets nothing from before it, and a group and an ordinary subscription give it twice', async () => {
  const client = await connect(durable(5));
  const publisher = await connect();
  await publisher.publishAll('late/a', ['before'], 1);
  assert.deepEqual(
    await client.subscribe({ topic: 'late/+', qos: 1 }, { topic: '$share/g/late/group', qos: 2 }),
    [1, 2],
  );
  client.acknowledges = true;
  await publisher.publishAcknowledged('late/a', 'after', 1);
  assert.equal((await client.messages(1))[0]?.payload, 'after');
  await publisher.publishAcknowledged('late/group', 'both', 2);
  const seen = [(await client.next('publish')).qos, (await client.next('publish')).qos];
  assert.deepEqual(seen.sort(), [1, 2]);
  await client.ping();
  assert.deepEqual(client.taken('publish'), []);
  await Promise.all([client.end(0), publisher.end()]);
});

test('subscriptions beyond what a record can hold are refused with 0x97, those before stay', async () => {
  const fields = durable(5);
  const client = await connect(fields);
  const long = 'x'.repeat(2_900);
  let granted = 0;
  for (let count = 0; count < 1_000; count++) {
    const [code] = await client.subscribe({ topic: `${long}/${count}`, qos: 1 });
    if (code === 1) granted++;
    else {
      assert.equal(code, 0x97);
      break;
    }
  }
  assert.ok(granted > 100 && granted < 1_000, `${granted} granted`);
  await client.end();
  const again = await connect(fields);
  assert.equal(again.connack.sessionPresent, true);
  await again.publishAcknowledged(`${long}/${granted - 1}`, 'x', 1);
  assert.equal((await again.messages(1))[0]?.payload, 'x');
  await again.end(0);
});

test('a stopping node writes its sessions down before it goes: nobody loses the place', async () => {
  const leaving = await startDeployment();
  const client = await RawClient.connect(leaving.tcp, durable(5));
  await client.subscribe({ topic: 'x', qos: 1 });
  await leaving.stop();
  assert.equal(await client.closingReason(), 0x8b);
  await eventually(() => client.isClosed);
});
