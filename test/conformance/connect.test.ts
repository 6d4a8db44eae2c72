/** CONNECT and CONNACK on an embedded node, through real sockets. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { Packet } from 'mqtt-packet';
import mqttPacket from 'mqtt-packet';
import { deployment, startDeployment } from '../support/deployment.ts';
import type { TestNode } from '../support/node.ts';
import { connectPacket, RawClient, type Version } from '../support/raw-client.ts';

let node: TestNode;
before(async () => {
  node = await startDeployment({
    SUPERMQ_LIMITS_CONNECT_TIMEOUT_SECONDS: '1',
    SUPERMQ_LIMITS_MAX_CLIENT_ID_BYTES: '100',
  });
});
after(() => node.stop());

const will = { topic: 'w', payload: Buffer.from('gone'), qos: 0 as const, retain: false };

/** Sends a CONNECT that is refused and returns the CONNACK, undefined when the connection was closed without one. */
async function refusal(packet: Packet | Buffer, version: Version): Promise<Packet | undefined> {
  const client = await RawClient.open(node.tcp, version);
  client.send(packet);
  await client.closed;
  return client.received[0];
}

for (const version of [3, 4, 5] as const) {
  test(`[MQTT5 3.1.4-5] [MQTT311 3.1.4-4] MQTT version ${version}: CONNECT is answered with success`, async () => {
    const client = await RawClient.connect(node.tcp, { version });
    assert.equal(version === 5 ? client.connack.reasonCode : client.connack.returnCode, 0);
    assert.equal(client.connack.sessionPresent, false);
    await client.end();
  });
}

test('CONNACK says what is limited; what is offered is not named', async () => {
  const client = await RawClient.connect(node.tcp, { version: 5, properties: { sessionExpiryInterval: 3600 } });
  const { properties } = client.connack;
  assert.equal(properties?.maximumQoS, undefined);
  assert.equal(properties?.retainAvailable, undefined);
  assert.equal(properties?.sessionExpiryInterval, undefined, 'granted as asked for');
  assert.equal(properties?.receiveMaximum, 100);
  assert.equal(properties?.topicAliasMaximum, 32);
  // NATS takes 1 MiB with the headers of a message.
  assert.equal(properties?.maximumPacketSize, deployment === 'embedded' ? 1024 * 1024 : 1023 * 1024);
  assert.equal(properties?.assignedClientIdentifier, undefined);
  await client.end();
});

test('[MQTT5 3.1.3-7] [MQTT5 3.2.2-16] an empty client id is replaced by a unique one, which CONNACK tells', async () => {
  const ids = new Set<string>();
  for (let i = 0; i < 20; i++) {
    const client = await RawClient.connect(node.tcp, { version: 5, clientId: '' });
    ids.add(client.connack.properties?.assignedClientIdentifier ?? '');
    await client.end();
  }
  assert.equal(ids.size, 20);
  assert.ok(!ids.has(''));
});

test('[MQTT311 3.1.3-7] MQTT 3.1.1: an empty client id is fine with CleanSession 1', async () => {
  const client = await RawClient.connect(node.tcp, { version: 4, clientId: '' });
  assert.equal(client.connack.returnCode, 0);
  await client.end();
});

test('[MQTT311 3.1.3-8] MQTT 3.1.1: an empty client id with CleanSession 0 gets 0x02', async () => {
  const connect = Buffer.from([0x10, 12, 0, 4, 0x4d, 0x51, 0x54, 0x54, 4, 0, 0, 60, 0, 0]);
  const connack = await refusal(connect, 4);
  assert.equal(connack?.cmd === 'connack' && connack.returnCode, 2);
});

test('[MQTT5 3.1.3-8] [MQTT311 3.1.3-9] a client id above the limit is refused with 0x85 / 0x02', async () => {
  const clientId = 'x'.repeat(101);
  const five = await refusal(connectPacket({ version: 5, clientId }), 5);
  const four = await refusal(connectPacket({ version: 4, clientId }), 4);
  assert.equal(five?.cmd === 'connack' && five.reasonCode, 0x85);
  assert.equal(four?.cmd === 'connack' && four.returnCode, 2);
});

test('[MQTT5 3.1.2-2] [MQTT311 3.1.2-2] an unsupported version is refused in a form that its client can read', async () => {
  const level = (byte: number): Buffer =>
    Buffer.from([0x10, 13, 0, 4, 0x4d, 0x51, 0x54, 0x54, byte, 2, 0, 60, 0, 1, 0x61]);
  const read = async (byte: number): Promise<Buffer> => {
    const client = await RawClient.open(node.tcp);
    const chunks: Buffer[] = [];
    client.socket.on('data', (chunk) => chunks.push(chunk));
    client.send(level(byte));
    await client.closed;
    return Buffer.concat(chunks);
  };
  assert.deepEqual(await read(2), Buffer.from([0x20, 2, 0, 1]));
  const six = await read(6);
  assert.equal(six[0], 0x20);
  assert.equal(six[3], 0x84);
});

test('[MQTT5 3.1.0-1] [MQTT311 3.1.0-1] anything but CONNECT first closes the connection without an answer', async () => {
  assert.equal(await refusal({ cmd: 'pingreq' }, 4), undefined);
  assert.equal(await refusal(Buffer.from('GET / HTTP/1.1\r\n\r\n'), 4), undefined);
});

test('[MQTT5 3.1.0-2] [MQTT311 3.1.0-2] a second CONNECT closes the connection; MQTT 5 hears 0x82', async () => {
  for (const version of [4, 5] as const) {
    const client = await RawClient.connect(node.tcp, { version });
    client.send(connectPacket({ version }));
    await client.closed;
    const answer = client.received.find(({ cmd }) => cmd === 'disconnect');
    assert.equal(answer?.cmd === 'disconnect' ? answer.reasonCode : undefined, version === 5 ? 0x82 : undefined);
  }
});

test('a connection without CONNECT is closed after the connect timeout', async () => {
  const client = await RawClient.open(node.tcp);
  const before = performance.now();
  await client.closed;
  assert.ok(performance.now() - before < 4_000);
  assert.deepEqual(client.received, []);
});

test('packets sent right behind CONNECT are handled after CONNACK, in order', async () => {
  const client = await RawClient.open(node.tcp);
  const generate = (packet: Packet): Buffer => mqttPacket.generate(packet, { protocolVersion: 4 });
  const subscribe = generate({ cmd: 'subscribe', messageId: 7, subscriptions: [{ topic: 'early', qos: 0 }] } as Packet);
  const publish = generate({ cmd: 'publish', topic: 'early', payload: 'x', qos: 0, dup: false, retain: false });
  client.send(Buffer.concat([generate(connectPacket({})), subscribe, publish, generate({ cmd: 'pingreq' })]));
  await client.next('pingresp');
  await client.next('publish');
  assert.equal(client.received[0]?.cmd, 'connack');
  await client.end();
});

test('[MQTT5 3.1.4-6] [MQTT311 3.1.4-5] packets behind a refused CONNECT are ignored', async () => {
  const watcher = await RawClient.connect(node.tcp);
  await watcher.subscribe('refused/#');
  const client = await RawClient.open(node.tcp, 5);
  client.send(connectPacket({ version: 5, clientId: 'x'.repeat(101) }));
  client.publish('refused/a', 'never');
  await client.closed;
  const other = await RawClient.connect(node.tcp);
  other.publish('refused/marker', 'last');
  assert.deepEqual(await watcher.messages(1), [{ topic: 'refused/marker', payload: 'last' }]);
  await Promise.all([watcher.end(), other.end()]);
});

test('[MQTT5 4.12.0-1] an authentication method that is not supported gets 0x8C', async () => {
  const connack = await refusal(connectPacket({ version: 5, properties: { authenticationMethod: 'SCRAM-SHA-1' } }), 5);
  assert.equal(connack?.cmd === 'connack' && connack.reasonCode, 0x8c);
});

test('[MQTT5 3.1.2-8] [MQTT311 3.1.2-8] the will is published after an unclean end, with its properties, and not after DISCONNECT', async () => {
  const watcher = await RawClient.connect(node.tcp, { version: 5 });
  await watcher.subscribe('will/+');
  const properties = { contentType: 'text/plain', userProperties: { a: ['1', '2'] }, willDelayInterval: 0 };
  const dying = (topic: string): Promise<RawClient> =>
    RawClient.connect(node.tcp, { version: 5, will: { ...will, topic, properties } as never });
  const polite = await dying('will/polite');
  await polite.end();
  const crashed = await dying('will/crashed');
  await crashed.abort();
  const publication = await watcher.next('publish');
  assert.equal(publication.topic, 'will/crashed');
  assert.equal(publication.payload.toString(), 'gone');
  assert.equal(publication.properties?.contentType, 'text/plain');
  assert.deepEqual({ ...publication.properties?.userProperties }, { a: ['1', '2'] });
  const four = await RawClient.connect(node.tcp, {
    version: 4,
    will: { ...will, topic: 'will/four', qos: 1, retain: true },
  });
  await four.abort();
  const degraded = await watcher.next('publish');
  assert.deepEqual([degraded.topic, degraded.qos, degraded.retain], ['will/four', 0, false]);
  await watcher.end();
});

test('MQTT5 section 3.14.2.1: DISCONNECT 0x04 publishes the will, and so does a protocol error', async () => {
  const watcher = await RawClient.connect(node.tcp);
  await watcher.subscribe('will/wanted', 'will/rude');
  const client = await RawClient.connect(node.tcp, { version: 5, will: { ...will, topic: 'will/wanted' } });
  client.send({ cmd: 'disconnect', reasonCode: 4 });
  assert.equal((await watcher.next('publish')).topic, 'will/wanted');
  const rude = await RawClient.connect(node.tcp, { version: 5, will: { ...will, topic: 'will/rude' } });
  rude.send(Buffer.from([0xff, 0]));
  assert.equal((await watcher.next('publish')).topic, 'will/rude');
  await watcher.end();
});

test('[MQTT5 3.1.4-3] [MQTT311 3.1.4-2] a second connection with the same client id closes the first, with 0x8E for MQTT 5', async () => {
  for (const version of [4, 5] as const) {
    const first = await RawClient.connect(node.tcp, { version, clientId: 'twin' });
    const second = await RawClient.connect(node.tcp, { version, clientId: 'twin' });
    await first.closed;
    const answer = first.received.find(({ cmd }) => cmd === 'disconnect');
    assert.equal(answer?.cmd === 'disconnect' ? answer.reasonCode : undefined, version === 5 ? 0x8e : undefined);
    await second.ping();
    await second.end();
  }
});

test('[MQTT5 3.1.2-22] [MQTT311 3.1.2-24] silence of 1.5 times the keep alive closes the connection; packets keep it open', async () => {
  const silent = await RawClient.connect(node.tcp, { version: 5, keepalive: 1 });
  const alive = await RawClient.connect(node.tcp, { version: 5, keepalive: 1 });
  const forever = await RawClient.connect(node.tcp, { version: 5, keepalive: 0 });
  const pings = setInterval(() => alive.send({ cmd: 'pingreq' }), 500);
  const before = performance.now();
  await silent.closed;
  const seconds = (performance.now() - before) / 1000;
  clearInterval(pings);
  const [answer] = silent.received;
  assert.equal(answer?.cmd === 'disconnect' && answer.reasonCode, 0x8d);
  assert.ok(seconds > 1.4 && seconds < 3, `closed after ${seconds} s`);
  assert.ok(!alive.isClosed && !forever.isClosed);
  await Promise.all([alive.end(), forever.end()]);
});

test('[MQTT5 3.2.2-21] a keep alive above the maximum is replaced, and CONNACK says so', async () => {
  const strict = await startDeployment({ SUPERMQ_LIMITS_MAX_KEEP_ALIVE_SECONDS: '30' });
  const long = await RawClient.connect(strict.tcp, { version: 5, keepalive: 60 });
  const none = await RawClient.connect(strict.tcp, { version: 5, keepalive: 0 });
  const short = await RawClient.connect(strict.tcp, { version: 5, keepalive: 20 });
  assert.equal(long.connack.properties?.serverKeepAlive, 30);
  assert.equal(none.connack.properties?.serverKeepAlive, 30);
  assert.equal(short.connack.properties?.serverKeepAlive, undefined);
  await strict.stop();
});

test('a stopping node says 0x8B to MQTT 5 clients and closes', async () => {
  const leaving = await startDeployment();
  const client = await RawClient.connect(leaving.tcp, { version: 5 });
  await leaving.stop();
  await client.closed;
  assert.equal(client.received[0]?.cmd === 'disconnect' && client.received[0].reasonCode, 0x8b);
});
