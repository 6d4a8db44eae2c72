/** What a server may be configured not to offer: CONNACK says it, and every packet is held to it. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startDeployment } from '../support/deployment.ts';
import { receivedBefore } from '../support/markers.ts';
import type { TestNode } from '../support/node.ts';
import { type ConnectFields, connectPacket, RawClient } from '../support/raw-client.ts';

let node: TestNode;
/** Maximum QoS 1, without retained messages. */
let modest: TestNode;
/** Plain subscriptions only. */
let plain: TestNode;
before(async () => {
  node = await startDeployment();
  modest = await startDeployment({ SUPERMQ_MQTT_MAXIMUM_QOS: '1', SUPERMQ_MQTT_RETAIN_AVAILABLE: 'false' });
  plain = await startDeployment({
    SUPERMQ_MQTT_WILDCARD_SUBSCRIPTIONS: 'false',
    SUPERMQ_MQTT_SUBSCRIPTION_IDENTIFIERS: 'false',
    SUPERMQ_MQTT_SHARED_SUBSCRIPTIONS: 'false',
  });
});
after(() => Promise.all([node.stop(), modest.stop(), plain.stop()]));

const will = { topic: 'will', payload: Buffer.from('gone'), qos: 0 as const, retain: false };

/** The reason of a refused CONNECT of MQTT 5. */
async function refused(on: TestNode, fields: ConnectFields): Promise<number | undefined> {
  const client = await RawClient.open(on.tcp, 5);
  client.send(connectPacket({ version: 5, ...fields }));
  const { reasonCode } = await client.next('connack');
  await client.closed;
  return reasonCode;
}

async function withClient(on: TestNode, version: 3 | 4 | 5, use: (client: RawClient) => Promise<void>): Promise<void> {
  const client = await RawClient.connect(on.tcp, { version });
  await use(client);
  await client.end();
}

test('[MQTT5 3.2.2-9] [MQTT5 §3.2.2.3] CONNACK says what is not offered, and nothing of what is', async () => {
  const named = async (on: TestNode): Promise<object> => {
    const { connack, ...client } = await RawClient.connect(on.tcp, { version: 5 });
    client.socket.destroy();
    const { maximumPacketSize: _, receiveMaximum, topicAliasMaximum: __, ...rest } = connack.properties ?? {};
    assert.equal(receiveMaximum, 100);
    return { ...rest };
  };
  assert.deepEqual(await named(node), {});
  assert.deepEqual(await named(modest), { maximumQoS: 1, retainAvailable: false });
  assert.deepEqual(await named(plain), {
    wildcardSubscriptionAvailable: false,
    subscriptionIdentifiersAvailable: false,
    sharedSubscriptionAvailable: false,
  });
});

test('[MQTT5 3.2.2-9] Maximum QoS 0 with a log: sessions last, and no Receive Maximum is named', async () => {
  const zero = await startDeployment({ SUPERMQ_MQTT_MAXIMUM_QOS: '0' });
  const properties = { sessionExpiryInterval: 60 };
  const client = await RawClient.connect(zero.tcp, { version: 5, properties });
  assert.equal(client.connack.properties?.maximumQoS, 0);
  assert.equal(client.connack.properties?.receiveMaximum, undefined);
  assert.equal(client.connack.properties?.sessionExpiryInterval, undefined, 'granted');
  assert.deepEqual(await client.subscribe({ topic: 'zero', qos: 2 }), [0]);
  client.publish('zero', 'kept', { retain: true });
  assert.equal((await client.next('publish')).payload.toString(), 'kept');
  const late = await RawClient.connect(zero.tcp, { version: 5 });
  await late.subscribe('zero');
  assert.equal((await late.next('publish')).retain, true, 'retained messages need no QoS');
  client.publish('zero', 'x', { qos: 1, messageId: 1 });
  assert.equal(await client.closingReason(), 0x9b);
  await late.end();
  await zero.stop();
});

test('[MQTT5 3.2.2-11] [C] PUBLISH above Maximum QoS gets 0x9B, and MQTT 3.x is closed; at Maximum QoS it is stored', async () => {
  for (const version of [3, 4, 5] as const) {
    const client = await RawClient.connect(modest.tcp, { version });
    assert.equal(await client.publishAcknowledged('modest/a', 'x', 1), 0);
    client.publish('modest/a', 'x', { qos: 2, messageId: 9 });
    assert.equal(await client.closingReason(), version === 5 ? 0x9b : undefined);
    assert.deepEqual(client.taken('pubrec'), []);
  }
});

test('[MQTT5 3.2.2-10] SUBSCRIBE above Maximum QoS is accepted, granted lower, and delivered so', async () => {
  for (const version of [3, 4, 5] as const) {
    await withClient(modest, version, async (client) => {
      const filters = [0, 1, 2].map((qos) => ({ topic: `grant/${qos}`, qos: qos as 0 | 1 | 2 }));
      assert.deepEqual(await client.subscribe(...filters), [0, 1, 1]);
      client.acknowledges = true;
      await client.publishAcknowledged('grant/2', 'x', 1);
      assert.equal((await client.next('publish')).qos, 1);
    });
  }
});

test('[MQTT5 3.2.2-12] [MQTT5 3.2.2-13] a will above Maximum QoS gets 0x9B, one with Will Retain 0x9A', async () => {
  assert.equal(await refused(modest, { will: { ...will, qos: 2 } }), 0x9b);
  assert.equal(await refused(modest, { will: { ...will, retain: true } }), 0x9a);
  const fine = await RawClient.connect(modest.tcp, { version: 5, will: { ...will, qos: 1 } });
  assert.equal(fine.connack.reasonCode, 0);
  await fine.end();
});

test('the will of a 3.x client is published at Maximum QoS, and not retained where nothing is', async () => {
  const watcher = await RawClient.connect(modest.tcp, { version: 5 });
  await watcher.subscribe({ topic: 'will/three', qos: 2 });
  const three = { ...will, topic: 'will/three', qos: 2 as const, retain: true };
  await (await RawClient.connect(modest.tcp, { version: 4, will: three })).abort();
  assert.equal((await watcher.next('publish')).qos, 1);
  const late = await RawClient.connect(modest.tcp, { version: 5 });
  await late.subscribe('will/three');
  await late.ping();
  assert.deepEqual(late.taken('publish'), []);
  await Promise.all([watcher.end(), late.end()]);
});

test('[MQTT5 3.2.2-14] [C] RETAIN where it is not offered gets 0x9A at every QoS', async () => {
  for (const qos of [0, 1] as const) {
    const client = await RawClient.connect(modest.tcp, { version: 5 });
    client.publish('retain/refused', 'x', qos === 0 ? { retain: true } : { retain: true, qos, messageId: 1 });
    assert.equal(await client.closingReason(), 0x9a);
  }
});

test('[MQTT5 3.3.1-13] RETAIN of a 3.x client where it is not offered: delivered as published, counted, not retained', async () => {
  const watcher = await RawClient.connect(modest.tcp, { version: 5 });
  await watcher.subscribe({ topic: 'retain/three', qos: 1, rap: true });
  watcher.acknowledges = true;
  const before = modest.counters.retainIgnored;
  const publisher = await RawClient.connect(modest.tcp, { version: 4 });
  publisher.publish('retain/three', '0', { retain: true });
  assert.equal((await watcher.next('publish')).retain, true);
  await publisher.publishAcknowledged('retain/three', '1', 1, { retain: true });
  assert.equal((await watcher.next('publish')).retain, true);
  assert.equal(modest.counters.retainIgnored, before + 2);
  const late = await RawClient.connect(modest.tcp, { version: 4 });
  await late.subscribe({ topic: 'retain/three', qos: 1 });
  await publisher.publishAcknowledged('retain/three', 'live', 1);
  assert.deepEqual(await late.messages(1), [{ topic: 'retain/three', payload: 'live' }]);
  await Promise.all([watcher.end(), publisher.end(), late.abort()]);
});

test('[MQTT5 3.2.2-17] [MQTT5 3.2.2-18] [C] Topic Alias Maximum: aliases up to it are taken, one above it gets 0x94, and every one where it is 0; nobody gets the message', async () => {
  for (const maximum of [0, 3]) {
    const on = await startDeployment({ SUPERMQ_LIMITS_TOPIC_ALIAS_MAXIMUM: String(maximum) });
    const watcher = await RawClient.connect(on.tcp);
    await watcher.subscribe('alias/#');
    const client = await RawClient.connect(on.tcp, { version: 5 });
    assert.equal(client.connack.properties?.topicAliasMaximum ?? 0, maximum);
    for (let alias = 1; alias <= maximum; alias++)
      client.publish(`alias/${alias}`, 'x', { properties: { topicAlias: alias } });
    client.publish('alias/above', 'x', { properties: { topicAlias: maximum + 1 } });
    assert.equal(await client.closingReason(), 0x94);
    const expected = maximum === 0 ? [] : ['alias/1', 'alias/2', 'alias/3'];
    assert.deepEqual(await receivedBefore(on.tcp, watcher, 'alias/marker'), expected);
    await watcher.end();
    await on.stop();
  }
});

const refusals = [
  ['[MQTT5 §3.2.2.3.11] wildcards', 'a/+', 0xa2],
  ['[MQTT5 §3.2.2.3.11] wildcards', '#', 0xa2],
  ['[MQTT5 §3.2.2.3.13] $share', '$share/g/a', 0x9e],
  ['[MQTT5 §3.2.2.3.13] $g', '$g/g/a', 0x9e],
] as const;

for (const [what, filter, reason] of refusals) {
  test(`${what} that are not offered: ${filter} gets DISCONNECT 0x${reason.toString(16)}, MQTT 3.x SUBACK 0x80`, async () => {
    const client = await RawClient.connect(plain.tcp, { version: 5 });
    const subscriptions = [
      { topic: 'fine', qos: 0 as const },
      { topic: filter, qos: 0 as const },
    ];
    client.send({ cmd: 'subscribe', messageId: 1, subscriptions });
    assert.equal(await client.closingReason(), reason);
    for (const version of [3, 4] as const) {
      await withClient(plain, version, async (older) => {
        assert.deepEqual(await older.subscribe(filter, 'fine'), [0x80, 0]);
        older.publish('a/b', 'never');
        older.publish('a', 'never');
        older.publish('fine', 'x');
        assert.deepEqual(await older.messages(1), [{ topic: 'fine', payload: 'x' }]);
      });
    }
  });
}

test('[MQTT5 §3.2.2.3.12] a subscription identifier where none are offered gets DISCONNECT 0xA1', async () => {
  const client = await RawClient.connect(plain.tcp, { version: 5 });
  assert.deepEqual(await client.subscribe('fine'), [0]);
  const properties = { subscriptionIdentifier: 7 };
  client.send({ cmd: 'subscribe', messageId: 9, subscriptions: [{ topic: 'fine', qos: 0 }], properties });
  assert.equal(await client.closingReason(), 0xa1);
});

test('[MQTT5 3.1.2-28] Response Information is sent to those only who ask for it, and %c is their client id', async () => {
  const asking = { requestResponseInformation: true };
  const answering = await startDeployment({ SUPERMQ_MQTT_RESPONSE_INFORMATION: 'answers/%c/%c' });
  const told = async (clientId: string, properties: object, more: ConnectFields = {}): Promise<string | undefined> => {
    const client = await RawClient.connect(answering.tcp, { version: 5, clientId, properties, ...more });
    await client.end();
    return client.connack.properties?.responseInformation;
  };
  assert.equal(await told('one', asking), 'answers/one/one');
  assert.equal(await told('one', {}), undefined);
  assert.equal(await told('one', { requestResponseInformation: false }), undefined);
  assert.equal(await told('$&$1%c', asking), 'answers/$&$1%c/$&$1%c', 'as it is');
  for (const clientId of ['a+', '#']) assert.equal(await told(clientId, asking), undefined, 'no topic');
  const unnamed = await RawClient.connect(answering.tcp, { version: 5, clientId: '', properties: asking });
  const { assignedClientIdentifier: id, responseInformation } = unnamed.connack.properties ?? {};
  assert.equal(responseInformation, `answers/${id}/${id}`);
  await unnamed.end();
  await withClient(answering, 4, (client) => client.ping());
  await answering.stop();
  const silent = await RawClient.connect(node.tcp, { version: 5, properties: asking });
  assert.equal(silent.connack.properties?.responseInformation, undefined);
  await silent.end();
});

test('[MQTT5 3.1.2-28] Response Information that its client could not publish to is not sent', async () => {
  const answering = await startDeployment({ SUPERMQ_MQTT_RESPONSE_INFORMATION: '%c/answers' });
  const properties = { requestResponseInformation: true };
  for (const [clientId, expected] of [
    ['one', 'one/answers'],
    ['$one', undefined],
    ['_INBOX', undefined],
  ] as const) {
    const client = await RawClient.connect(answering.tcp, { version: 5, clientId, properties });
    assert.equal(client.connack.properties?.responseInformation, expected);
    await client.end();
  }
  await answering.stop();
});

test('[MQTT5 3.1.2-24] Response Information is left out where CONNACK would exceed the Maximum Packet Size of the client', async () => {
  const answering = await startDeployment({ SUPERMQ_MQTT_RESPONSE_INFORMATION: `answers/${'x'.repeat(100)}` });
  const properties = { requestResponseInformation: true, maximumPacketSize: 100 };
  const client = await RawClient.connect(answering.tcp, { version: 5, properties });
  assert.deepEqual(
    [client.connack.reasonCode, client.connack.properties?.responseInformation],
    [0, undefined],
    'the packet itself is sent',
  );
  await client.end();
  await answering.stop();
});
