/** Shared subscriptions with QoS 1 and 2 on an embedded node. test/cluster/group-flow.test.ts has them over nodes that die. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { IPublishPacket } from 'mqtt-packet';
import { type Deployment, startDeployment, testOneNode } from '../support/deployment.ts';
import { eventually } from '../support/eventually.ts';
import { type ConnectFields, RawClient } from '../support/raw-client.ts';

let node: Deployment;
let count = 0;

before(async () => {
  node = await startDeployment({ SUPERMQ_LIMITS_MAX_GROUPS: '8' });
});
after(() => node.stop());

type Client = Awaited<ReturnType<typeof RawClient.connect>>;

function connect(fields: ConnectFields = {}): Promise<Client> {
  return RawClient.connect(node.tcp, { version: 5, ...fields });
}

/** A client whose session outlives its connection. */
function durable(receiveMaximum = 65_535): ConnectFields {
  const properties = { sessionExpiryInterval: 600, receiveMaximum };
  return { version: 5, clean: false, clientId: `group-${++count}`, properties };
}

function payloads(packets: readonly IPublishPacket[]): string[] {
  return packets.map(({ payload }) => payload.toString()).sort();
}

/** `count` messages have come to the clients, taken together: what is published is acknowledged before it is handed out. */
function haveCome(count: number, ...clients: RawClient[]): Promise<void> {
  const received = (): number =>
    clients.reduce((sum, client) => sum + client.received.filter(({ cmd }) => cmd === 'publish').length, 0);
  return eventually(() => received() >= count);
}

/** What has come to the clients, and what is on its way to them. */
async function takenBy(...clients: RawClient[]): Promise<IPublishPacket[]> {
  for (let round = 0; round < 3; round++) for (const client of clients) await client.ping();
  return clients.flatMap((client) => client.taken('publish'));
}

function numbers(from: number, to: number): string[] {
  return Array.from({ length: to - from }, (_, index) => String(from + index)).sort();
}

test('[MQTT5 §4.8.2 one-member] [MQTT5 4.8.2-3] each message goes to one member, at the lower one of its own QoS and the granted one, whatever the others have', async () => {
  const members = await Promise.all([0, 1, 2].map(() => connect()));
  const publisher = await connect();
  for (const [qos, member] of members.entries()) {
    member.acknowledges = true;
    const granted = await member.subscribe({ topic: '$share/mixed/mix/+', qos: qos as 0 | 1 | 2 });
    assert.deepEqual(granted, [qos]);
  }
  for (const published of [1, 2] as const) {
    await publisher.publishAll('mix/x', numbers(0, 60), published);
    await haveCome(60, ...members);
    const taken = await Promise.all(members.map((member) => takenBy(member)));
    assert.deepEqual(payloads(taken.flat()), numbers(0, 60));
    for (const [granted, packets] of taken.entries()) {
      assert.ok(packets.length >= 10, `${packets.length} of a fair 20`);
      for (const { dup, qos } of packets)
        assert.deepEqual({ dup, qos }, { dup: false, qos: Math.min(granted, published) });
    }
  }
  for (let number = 0; number < 60; number++) publisher.publish('mix/x', String(number));
  await haveCome(60, ...members);
  const plain = await takenBy(...members);
  assert.deepEqual(payloads(plain), numbers(0, 60));
  assert.ok(plain.every(({ qos }) => qos === 0));
  for (const client of [...members, publisher]) await client.end();
});

test('[MQTT5 §4.8.2 handed-on] QoS 1: what a member has not acknowledged goes to another one when its connection ends, and not before', async () => {
  const [holder, other, publisher] = [await connect(durable()), await connect(), await connect()];
  await holder.subscribe({ topic: '$share/hand/on', qos: 1 });
  await publisher.publishAll('on', numbers(0, 5), 1);
  await haveCome(5, holder);
  assert.equal((await takenBy(holder)).length, 5);
  other.acknowledges = true;
  await other.subscribe({ topic: '$g/hand/on', qos: 1 });
  assert.deepEqual(await takenBy(other), []);
  await holder.abort();
  await haveCome(5, other);
  const taken = await takenBy(other);
  assert.deepEqual(payloads(taken), numbers(0, 5));
  assert.ok(taken.every(({ dup }) => !dup));
  await Promise.all([other.end(), publisher.end()]);
});

test('[MQTT5 4.8.2-4] [MQTT5 4.8.2-5] QoS 2: what was sent to a member is finished with it when it is back, and goes to nobody else', async () => {
  const fields = durable();
  const [holder, other, publisher] = [await connect(fields), await connect(), await connect()];
  await holder.subscribe({ topic: '$share/once/two', qos: 2 });
  await publisher.publishAll('two', ['a', 'b'], 2);
  await haveCome(2, holder);
  const [first, second] = holder.taken('publish');
  assert.ok(first !== undefined && second !== undefined);
  holder.acknowledge('pubrec', first.messageId ?? 0);
  await holder.next('pubrel');
  other.acknowledges = true;
  await other.subscribe({ topic: '$share/once/two', qos: 2 });
  await holder.abort();
  await eventually(async () => (await node.metric('supermq_clients_connected')) === 2);
  await publisher.publishAll('two', ['c'], 2);
  await haveCome(1, other);
  assert.deepEqual(payloads(await takenBy(other)), ['c']);
  const back = await connect(fields);
  assert.equal(back.connack.sessionPresent, true);
  assert.equal((await back.next('pubrel')).messageId, first.messageId);
  const again = await back.next('publish');
  assert.deepEqual(
    { dup: again.dup, id: again.messageId, payload: again.payload.toString() },
    { dup: true, id: second.messageId, payload: second.payload.toString() },
  );
  back.acknowledge('pubcomp', first.messageId ?? 0);
  back.acknowledge('pubrec', second.messageId ?? 0);
  await back.next('pubrel');
  back.acknowledge('pubcomp', second.messageId ?? 0);
  await back.ping();
  await back.abort();
  const third = await connect(fields);
  assert.deepEqual(await takenBy(third, other), []);
  assert.deepEqual(third.taken('pubrel'), []);
  await Promise.all([third.end(0), other.end(), publisher.end()]);
});

test('[MQTT5 4.8.2-5] QoS 2: a session that ends takes the messages that were sent to it along', async () => {
  const [holder, publisher] = [await connect(), await connect()];
  await holder.subscribe({ topic: '$share/end/two', qos: 2 });
  await publisher.publishAll('two', ['x'], 2);
  await holder.next('publish');
  await holder.abort();
  const other = await connect();
  await other.subscribe({ topic: '$share/end/two', qos: 2 });
  await publisher.publishAll('two', ['twin'], 2);
  await haveCome(1, other);
  assert.deepEqual(payloads(await takenBy(other)), ['twin']);
  await Promise.all([other.end(), publisher.end()]);
});

test('[MQTT5 4.8.2-6] PUBACK and PUBREC with an error are acknowledgements: no other member gets the message', async () => {
  const [first, publisher] = [await connect(), await connect()];
  await first.subscribe({ topic: '$share/error/e', qos: 2 });
  for (const qos of [1, 2] as const) {
    await publisher.publishAll('e', ['x'], qos);
    const { messageId = 0 } = await first.next('publish');
    first.acknowledge(qos === 1 ? 'puback' : 'pubrec', messageId, 0x83);
  }
  await first.ping();
  await first.abort();
  const other = await connect();
  await other.subscribe({ topic: '$share/error/e', qos: 2 });
  await publisher.publishAll('e', ['twin'], 1);
  assert.equal((await other.next('publish')).payload.toString(), 'twin');
  assert.deepEqual(await takenBy(other), []);
  await Promise.all([other.end(), publisher.end()]);
});

test('[MQTT5 3.10.4-3] UNSUBSCRIBE: what was sent is finished, the rest goes to the others', async () => {
  const [leaver, other, publisher] = [await connect(durable(2)), await connect(), await connect()];
  await leaver.subscribe({ topic: '$share/un/u', qos: 1 });
  await publisher.publishAll('u', numbers(0, 6), 1);
  await haveCome(2, leaver);
  const sent = await takenBy(leaver);
  assert.equal(sent.length, 2, 'Receive Maximum');
  await other.subscribe({ topic: '$share/un/u', qos: 1 });
  other.acknowledges = true;
  await leaver.unsubscribe('$share/un/u');
  await haveCome(4, other);
  for (const { messageId = 0 } of sent) leaver.acknowledge('puback', messageId);
  await leaver.ping();
  await leaver.end();
  assert.deepEqual(payloads([...sent, ...(await takenBy(other))]), numbers(0, 6));
  await Promise.all([other.end(), publisher.end()]);
});

test('[MQTT5 4.9.0-2] a member gets no more than its Receive Maximum and the others get the rest', async () => {
  const [slow, publisher] = [await connect(durable(3)), await connect()];
  const fast = await connect();
  fast.acknowledges = true;
  for (const member of [slow, fast]) await member.subscribe({ topic: '$share/slow/s', qos: 1 });
  await publisher.publishAll('s', numbers(0, 200), 1);
  await haveCome(190, fast);
  await haveCome(3, slow);
  assert.equal((await takenBy(slow)).length, 3);
  await slow.end(0);
  await haveCome(200, fast);
  assert.deepEqual(payloads(await takenBy(fast)), numbers(0, 200));
  await Promise.all([fast.end(), publisher.end()]);
});

test('a member that is away gets nothing: it is a member again when it is back', async () => {
  const fields = durable();
  const away = await connect(fields);
  const stays = await connect();
  const publisher = await connect();
  stays.acknowledges = true;
  for (const member of [away, stays]) await member.subscribe({ topic: '$share/away/w', qos: 1 });
  await away.end();
  await publisher.publishAll('w', numbers(0, 20), 1);
  await haveCome(20, stays);
  await stays.end();
  const back = await connect(fields);
  back.acknowledges = true;
  await publisher.publishAll('w', numbers(20, 40), 1);
  await haveCome(20, back);
  assert.deepEqual(payloads(await takenBy(back)), numbers(20, 40));
  await Promise.all([back.end(0), publisher.end()]);
});

test('[MQTT5 §4.8.2 one-member] [MQTT5 3.3.4-5] a group and an ordinary subscription of one client: each gives the message with its own identifier, each is acknowledged by itself', async () => {
  const fields = durable();
  const client = await connect(fields);
  const publisher = await connect();
  await client.subscribeWith({ subscriptionIdentifier: 1 }, { topic: '$share/both/b', qos: 2 });
  await client.subscribeWith({ subscriptionIdentifier: 2 }, { topic: 'b', qos: 2 });
  await publisher.publishAll('b', ['x'], 2);
  await haveCome(2, client);
  const [one, two] = client.taken('publish');
  assert.notEqual(one?.messageId, two?.messageId);
  assert.deepEqual([one, two].map((copy) => copy?.properties?.subscriptionIdentifier).sort(), [1, 2]);
  client.acknowledge('pubrec', one?.messageId ?? 0);
  await client.next('pubrel');
  client.acknowledge('pubcomp', one?.messageId ?? 0);
  await client.ping();
  await client.abort();
  const back = await connect(fields);
  const again = await back.next('publish');
  assert.deepEqual([again.dup, again.messageId], [true, two?.messageId]);
  assert.deepEqual(await takenBy(back), []);
  await Promise.all([back.end(0), publisher.end()]);
});

test('subscription identifier and Retain As Published of the group subscription; an expired message reaches nobody', async () => {
  const [member, publisher] = [await connect({ properties: { receiveMaximum: 1 } }), await connect()];
  await member.subscribeWith({ subscriptionIdentifier: 77 }, { topic: '$share/opt/o', qos: 1 });
  await publisher.publishAcknowledged('o', 'x', 1, { properties: { userProperties: { a: 'b' } } });
  const packet = await member.next('publish');
  assert.equal(packet.properties?.subscriptionIdentifier, 77);
  assert.equal(packet.properties?.userProperties?.['a'], 'b');
  const dropped = node.counters.dropped.expired;
  await publisher.publishAcknowledged('o', 'short', 1, { properties: { messageExpiryInterval: 1 } });
  await publisher.publishAcknowledged('o', 'long', 1, { properties: { messageExpiryInterval: 100 } });
  const stored = performance.now();
  await eventually(() => performance.now() - stored > 1_100);
  member.acknowledge('puback', packet.messageId ?? 0);
  const next = await member.next('publish');
  assert.equal(next.payload.toString(), 'long');
  assert.ok((next.properties?.messageExpiryInterval ?? 0) < 100);
  assert.equal(node.counters.dropped.expired, dropped + 1);
  await Promise.all([member.end(), publisher.end()]);
});

test("[MQTT5 3.1.2-25] a message above a member's Maximum Packet Size counts as delivered", async () => {
  const [member, publisher] = [await connect({ properties: { maximumPacketSize: 100 } }), await connect()];
  await member.subscribe({ topic: '$share/large/l', qos: 2 });
  const dropped = node.counters.dropped.tooLargeForSubscriber;
  await publisher.publishAll('l', ['x'.repeat(200), 'small'], 2);
  assert.equal((await member.next('publish')).payload.toString(), 'small');
  assert.equal(node.counters.dropped.tooLargeForSubscriber, dropped + 1);
  await Promise.all([member.end(), publisher.end()]);
});

testOneNode(
  'one group more than limits.maxGroups is refused with 0x97, another member of a known one is not',
  async () => {
    await eventually(async () => (await node.metric('supermq_groups')) === 0);
    const [client, other] = [await connect(), await connect()];
    const filters = Array.from({ length: 9 }, (_, index) => ({ topic: `$share/cap/cap/${index}`, qos: 1 as const }));
    assert.deepEqual(await client.subscribe(...filters), [1, 1, 1, 1, 1, 1, 1, 1, 0x97]);
    assert.deepEqual(
      await other.subscribe({ topic: '$g/cap/cap/0', qos: 2 }, { topic: '$share/cap/x', qos: 1 }),
      [2, 0x97],
    );
    await client.unsubscribe('$share/cap/cap/7');
    assert.deepEqual(await other.subscribe({ topic: '$share/cap/x', qos: 1 }), [1]);
    await Promise.all([client.end(), other.end()]);
  },
);

test('/metrics has the lag of each group', async () => {
  const [member, publisher] = [await connect({ properties: { receiveMaximum: 2 } }), await connect()];
  await member.subscribe({ topic: '$share/lag/behind/#', qos: 1 });
  await publisher.publishAll('behind/x', numbers(0, 7), 1);
  const labels = '{group="lag",filter="behind/#"}';
  await eventually(async () => (await node.metric(`supermq_group_pending${labels}`)) === 5);
  assert.equal(await node.metric(`supermq_group_unacknowledged${labels}`), 2);
  await Promise.all([member.end(), publisher.end()]);
});
