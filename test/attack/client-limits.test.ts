/** What one client may do, on a real node: how fast it publishes, how long its topics are, how large its will is. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { after, before, test } from 'node:test';
import { startNode, type TestNode } from '../support/node.ts';
import { connectPacket, RawClient } from '../support/raw-client.ts';

let node: TestNode;
before(async () => {
  node = await startNode({
    SUPERMQ_LIMITS_MAX_TOPIC_BYTES: '40',
    SUPERMQ_LIMITS_MAX_TOPIC_LEVELS: '4',
    SUPERMQ_LIMITS_MAX_WILL_BYTES: '100',
    SUPERMQ_LIMITS_MAX_CONNECT_BYTES: '2000',
  });
});
after(() => node.stop());

const tooDeep = 'a/b/c/d/e';
const tooLong = 'x'.repeat(41);

/** Sends so many numbered messages at once, and says in how many milliseconds the subscriber has them all. */
async function publishMany(on: TestNode, count: number, payload: (i: number) => string, qos: 0 | 1): Promise<number> {
  const subscriber = await RawClient.connect(on.tcp);
  await subscriber.subscribe('fast');
  const publisher = await RawClient.connect(on.tcp, { keepalive: 1 });
  publisher.socket.cork();
  for (let i = 0; i < count; i++)
    publisher.publish('fast', payload(i), qos === 0 ? {} : { qos, messageId: publisher.nextPacketId() });
  const started = performance.now();
  publisher.socket.uncork();
  const numbers: number[] = [];
  while (numbers.length < count)
    for (const { payload: text } of await subscriber.messages(1)) numbers.push(Number.parseInt(text, 10));
  const took = performance.now() - started;
  assert.deepEqual(
    numbers,
    Array.from({ length: count }, (_, i) => i),
  );
  await publisher.ping();
  await Promise.all([publisher.end(), subscriber.end()]);
  return took;
}

for (const qos of [0, 1] as const) {
  test(`publish rate - QoS ${qos}: more messages than it allows come later, all of them and in order, and keep alive does not count`, async () => {
    const slow = await startNode({ SUPERMQ_LIMITS_PUBLISHES_PER_SECOND: '100' });
    const took = await publishMany(slow, 350, String, qos);
    assert.ok(took > 2_300, `350 messages, of which 100 are a burst, took ${took} ms`);
    assert.ok(slow.counters.limited.publishesPerSecond > 1);
    assert.equal(slow.counters.keepAliveTimeouts, 0);
    await slow.stop();
  });
}

test('publish rate - bytes: a client that sends more is read more slowly', async () => {
  const slow = await startNode({ SUPERMQ_LIMITS_PUBLISH_BYTES_PER_SECOND: '200000' });
  const took = await publishMany(slow, 600, (i) => `${i} ${'x'.repeat(1_000)}`, 0);
  assert.ok(took > 1_500, `600 KB, of which 200 are a burst, took ${took} ms`);
  assert.ok(slow.counters.limited.publishBytesPerSecond > 0);
  await slow.stop();
});

test('publish rate - a client that is slowed down can be closed, and the node stops', async () => {
  const slow = await startNode({ SUPERMQ_LIMITS_PUBLISHES_PER_SECOND: '1' });
  const publisher = await RawClient.connect(slow.tcp, { version: 5, clientId: 'slow' });
  for (let i = 0; i < 1_000; i++) publisher.publish('fast', String(i));
  const successor = await RawClient.connect(slow.tcp, { version: 5, clientId: 'slow' });
  assert.equal(await publisher.closingReason(), 0x8e);
  for (let i = 0; i < 1_000; i++) successor.publish('fast', String(i));
  await slow.stop();
  assert.equal(await successor.closingReason(), 0x8b);
});

for (const [name, topic, limit] of [
  ['too many levels', tooDeep, 'maxTopicLevels'],
  ['too many bytes', tooLong, 'maxTopicBytes'],
] as const) {
  test(`topics - ${name}: PUBLISH ends the connection with 0x90 (3.x: without a word), a filter is refused with 0x8F (3.x: 0x80)`, async () => {
    const before = node.counters.limited[limit];
    const [modern, old] = [await RawClient.connect(node.tcp, { version: 5 }), await RawClient.connect(node.tcp)];
    assert.deepEqual(await modern.subscribe(topic, 'a/b/c/+', `$share/group/${topic}`), [0x8f, 0, 0x8f]);
    assert.deepEqual(await old.subscribe(topic, 'a/b/c/d'), [0x80, 0]);
    modern.publish('a/b/c/d', 'as deep as it may be');
    assert.equal((await old.messages(1))[0]?.topic, 'a/b/c/d');
    modern.publish(topic, 'x');
    old.publish(topic, 'x', { qos: 1, messageId: 7 });
    assert.equal(await modern.closingReason(), 0x90);
    await old.closed;
    assert.equal(node.counters.limited[limit] - before, 5);
  });
}

test('wills - one that is too large, or on a topic that is, is refused at CONNECT', async () => {
  const refusal = async (will: { topic: string; payload: string }, version: 4 | 5): Promise<number | undefined> => {
    const client = await RawClient.open(node.tcp, version);
    const payload = Buffer.from(will.payload);
    client.send(connectPacket({ version, will: { topic: will.topic, payload, qos: 0, retain: false } }));
    await client.closed;
    const [answer] = client.received;
    return answer?.cmd === 'connack' ? answer.reasonCode : undefined;
  };
  assert.equal(await refusal({ topic: 'will', payload: 'x'.repeat(97) }, 5), 0x95);
  assert.equal(await refusal({ topic: 'will', payload: 'x'.repeat(97) }, 4), undefined);
  assert.equal(node.counters.limited.maxWillBytes, 2);
  assert.equal(await refusal({ topic: tooDeep, payload: 'x' }, 5), 0x90);
  const will = { topic: 'will', payload: Buffer.from('x'.repeat(96)), qos: 0 as const, retain: false };
  assert.equal((await RawClient.connect(node.tcp, { version: 4, will })).connack.returnCode, 0);
});

test('CONNECT - one that says that it is larger than it may be ends the connection at once, later packets may be larger', async () => {
  const hostile = await RawClient.open(node.tcp);
  hostile.send(Buffer.from([0x10, 0xd1, 0x0f])); // 2,001 bytes behind the header
  await hostile.closed;
  assert.equal(node.counters.limited.maxConnectBytes, 1);
  const client = await RawClient.connect(node.tcp);
  await client.subscribe('large');
  client.publish('large', 'x'.repeat(10_000));
  assert.equal((await client.messages(1))[0]?.payload.length, 10_000);
  await client.end();
});

test('CONNECT - bytes that cannot become one end the connection at the first of them', async () => {
  const before = node.counters.protocolErrors;
  const hostile = await RawClient.open(node.tcp);
  hostile.send(Buffer.from('G'));
  await hostile.closed;
  assert.equal(node.counters.protocolErrors - before, 1);
});

test('the end - a client that sends on behind it is cut off before the time that a socket has to close', {
  timeout: 10_000,
}, async () => {
  const socket = connect({ port: node.tcp, host: '127.0.0.1', allowHalfOpen: true });
  await once(socket, 'connect');
  socket.on('error', () => {}); // the reset that the test waits for
  socket.resume();
  socket.write(Buffer.from('no MQTT'));
  await once(socket, 'end');
  const started = performance.now();
  const closed = new Promise((resolve) => socket.once('close', resolve));
  socket.write(Buffer.alloc(8 * 1024 * 1024));
  await closed;
  const took = performance.now() - started;
  assert.ok(took < 3_000, `${took} ms`);
});

test('subscriptions - of one SUBSCRIBE with far more filters than a client may have the rest is refused without a look', async () => {
  const few = await startNode({ SUPERMQ_LIMITS_MAX_SUBSCRIPTIONS_PER_CLIENT: '3' });
  const client = await RawClient.connect(few.tcp, { version: 5 });
  const [granted, illegal, quota] = [0, 0x8f, 0x97];
  const more = Array.from({ length: 996 }, (_, i) => `more/${i}`);
  // Both of the last are no legal filters, which is found out of one.
  const codes = await client.subscribe('a', 'b', 'c', ...more, 'a/#/b', 'a/#/b');
  assert.deepEqual(codes, [granted, granted, granted, ...more.map(() => quota), illegal, quota]);
  assert.equal(few.counters.limited.maxSubscriptionsPerClient, more.length + 1);
  assert.deepEqual(await client.subscribe('c', 'd'), [granted, quota], 'one that is there can be replaced');
  await client.end();
  await few.stop();
});
