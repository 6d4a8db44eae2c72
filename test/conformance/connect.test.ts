/** CONNECT and CONNACK through real sockets. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { Packet } from 'mqtt-packet';
import mqttPacket from 'mqtt-packet';
import { deployment, startDeployment } from '../support/deployment.ts';
import { eventually } from '../support/eventually.ts';
import { receivedBefore } from '../support/markers.ts';
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
  test(`[MQTT5 3.1.4-5] [MQTT311 3.1.4-4] [MQTT31 MQIsdp] MQTT version ${version}: CONNECT is answered with success`, async () => {
    const client = await RawClient.connect(node.tcp, { version });
    assert.equal(version === 5 ? client.connack.reasonCode : client.connack.returnCode, 0);
    assert.equal(client.connack.sessionPresent, false);
    await client.end();
  });
}

test('[MQTT5 3.2.2-20] CONNACK says what is limited; what is offered is not named, and there are no User Properties', async () => {
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
  assert.equal(properties?.userProperties, undefined);
  await client.end();
});

test('[MQTT5 3.1.3-6] [MQTT5 3.1.3-7] [MQTT5 3.2.2-16] an empty client id is replaced by a unique one, which CONNACK tells and which names the session', async () => {
  const ids = new Set<string>();
  const properties = { sessionExpiryInterval: 60 };
  for (let i = 0; i < 20; i++) {
    const client = await RawClient.connect(node.tcp, { version: 5, clientId: '', properties });
    assert.equal(client.connack.sessionPresent, false);
    ids.add(client.connack.properties?.assignedClientIdentifier ?? '');
    await client.end();
  }
  assert.equal(ids.size, 20);
  assert.ok(!ids.has(''));
  for (const clientId of ids) {
    const client = await RawClient.connect(node.tcp, { version: 5, clientId, clean: false, properties });
    assert.equal(client.connack.sessionPresent, true);
    assert.equal(client.connack.properties?.assignedClientIdentifier, undefined);
    await client.end(0);
  }
});

test('[MQTT311 3.1.3-6] [MQTT311 3.1.3-7] MQTT 3.1.1: an empty client id is fine with CleanSession 1', async () => {
  const client = await RawClient.connect(node.tcp, { version: 4, clientId: '' });
  assert.equal(client.connack.returnCode, 0);
  await client.end();
});

test('[MQTT311 3.1.3-8] [MQTT311 3.2.2-5] [C] MQTT 3.1.1: an empty client id with CleanSession 0 gets 0x02 and is closed', async () => {
  const connect = Buffer.from([0x10, 12, 0, 4, 0x4d, 0x51, 0x54, 0x54, 4, 0, 0, 60, 0, 0]);
  const connack = await refusal(connect, 4);
  assert.equal(connack?.cmd === 'connack' && connack.returnCode, 2);
});

test('[MQTT5 3.1.3-8] [MQTT311 3.1.3-9] [MQTT5 3.2.2-7] [MQTT311 3.2.2-5] a client id above the limit is refused with 0x85 / 0x02, and closed', async () => {
  const clientId = 'x'.repeat(101);
  const five = await refusal(connectPacket({ version: 5, clientId }), 5);
  const four = await refusal(connectPacket({ version: 4, clientId }), 4);
  assert.equal(five?.cmd === 'connack' && five.reasonCode, 0x85);
  assert.equal(four?.cmd === 'connack' && four.returnCode, 2);
});

test('[MQTT5 3.1.2-2] [MQTT311 3.1.2-2] [C] an unsupported version is refused in a form that its client can read', async () => {
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

test('[MQTT5 3.1.0-1] [MQTT311 3.1.0-1] [C] anything but CONNECT first closes the connection without an answer, and is not handled', async () => {
  const watcher = await RawClient.connect(node.tcp);
  await watcher.subscribe('first/#');
  const first: Array<Packet | Buffer> = [
    { cmd: 'pingreq' },
    { cmd: 'disconnect' } as Packet,
    { cmd: 'publish', topic: 'first/a', payload: 'x', qos: 0, dup: false, retain: false },
    { cmd: 'publish', topic: 'first/b', payload: 'x', qos: 1, messageId: 1, dup: false, retain: false },
    { cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'first/a', qos: 0 }] } as Packet,
    { cmd: 'unsubscribe', messageId: 1, unsubscriptions: ['first/a'] },
    { cmd: 'pubrel', messageId: 1 },
    Buffer.from([0x20, 2, 0, 0]),
    Buffer.from([0xf0, 0]),
    Buffer.from([0x00, 0]),
    Buffer.from('GET / HTTP/1.1\r\n\r\n'),
  ];
  for (const version of [4, 5] as const)
    for (const packet of first) assert.equal(await refusal(packet, version), undefined);
  assert.deepEqual(await receivedBefore(node.tcp, watcher, 'first/marker'), []);
  await watcher.end();
});

test('[MQTT5 3.1.0-2] [MQTT311 3.1.0-2] [MQTT5 3.2.0-2] [C] a second CONNECT closes the connection; MQTT 5 hears 0x82', async () => {
  for (const version of [4, 5] as const) {
    const client = await RawClient.connect(node.tcp, { version });
    client.send(connectPacket({ version }));
    assert.equal(await client.closingReason(), version === 5 ? 0x82 : undefined);
    assert.equal(client.received.length, version === 5 ? 1 : 0, 'no other CONNACK');
  }
});

test('[MQTT5 §3.1.4 connect-timeout] [MQTT311 §3.1.4 connect-timeout] a connection without CONNECT, or with a part of it only, is closed after the connect timeout', async () => {
  const whole = mqttPacket.generate(connectPacket({}), { protocolVersion: 4 });
  for (const bytes of [0, 1, whole.length - 1]) {
    const client = await RawClient.open(node.tcp);
    client.send(whole.subarray(0, bytes));
    const before = performance.now();
    await client.closed;
    const passed = performance.now() - before;
    assert.ok(passed > 900 && passed < 4_000, `after ${passed} ms`);
    assert.deepEqual(client.received, []);
  }
});

test('[MQTT5 §3.1.4 early-packets] [MQTT311 §3.1.4 early-packets] [MQTT5 3.2.0-1] [MQTT311 3.2.0-1] packets sent right behind CONNECT are handled after CONNACK, in order', async () => {
  for (const version of [4, 5] as const) {
    const topic = `early/${version}`;
    const client = await RawClient.open(node.tcp, version);
    const early = [
      connectPacket({ version }),
      { cmd: 'subscribe', messageId: 7, subscriptions: [{ topic, qos: 0 }] },
      { cmd: 'publish', topic, payload: 'x', qos: 1, messageId: 8, dup: false, retain: false },
      { cmd: 'unsubscribe', messageId: 9, unsubscriptions: ['elsewhere'] },
      { cmd: 'pingreq' },
    ] as Packet[];
    client.send(Buffer.concat(early.map((packet) => mqttPacket.generate(packet, { protocolVersion: version }))));
    const kinds = ['connack', 'pingresp', 'puback', 'publish', 'suback', 'unsuback'];
    await eventually(() => client.received.length >= kinds.length, 'all answers');
    const received = client.received.map(({ cmd }) => cmd);
    assert.equal(received[0], 'connack');
    assert.deepEqual(received.toSorted(), kinds, 'one of each');
    await client.end();
  }
});

test('[MQTT5 3.1.4-6] [MQTT311 3.1.4-5] [MQTT5 §3.1.4 early-packets] [MQTT311 §3.1.4 early-packets] [MQTT5 3.2.2-7] [MQTT311 3.2.2-5] [MQTT5 3.2.2-20] [C] packets behind a refused CONNECT are ignored, the client hears the refusal and is closed', async () => {
  const watcher = await RawClient.connect(node.tcp);
  await watcher.subscribe('refused/#');
  const refused = [
    { clientId: 'x'.repeat(101) },
    { will: { ...will, topic: '$SYS/x' } },
    { will: { ...will, topic: '_INBOX/x', qos: 1 as const } },
  ];
  for (const version of [4, 5] as const) {
    for (const fields of refused) {
      const client = await RawClient.open(node.tcp, version);
      client.send(connectPacket({ version, ...fields }));
      client.publish('refused/a', 'never');
      client.publish('refused/a', 'never', { qos: 1, messageId: 1 });
      client.send({ cmd: 'pingreq' });
      await client.closed;
      const [connack, ...more] = client.received;
      assert.ok(connack?.cmd === 'connack' && (version === 5 ? connack.reasonCode : connack.returnCode) !== 0);
      assert.equal(connack.properties?.userProperties, undefined);
      assert.deepEqual(more, []);
    }
  }
  assert.deepEqual(await receivedBefore(node.tcp, watcher, 'refused/marker'), []);
  await watcher.end();
});

test('[MQTT5 3.1.4-1] [MQTT311 3.1.4-1] [C] a malformed CONNECT touches nothing of the client whose id it has: MQTT 5 hears 0x81, MQTT 3.1.1 is closed', async () => {
  for (const version of [4, 5] as const) {
    const watcher = await RawClient.connect(node.tcp);
    await watcher.subscribe('touched/#');
    const clientId = `untouched-${version}`;
    const durable = version === 5 ? { properties: { sessionExpiryInterval: 60 } } : {};
    const client = await RawClient.connect(node.tcp, { version, clientId, clean: false, ...durable });
    await client.subscribe('mine');
    const fields = { version, clientId, will: { ...will, topic: 'touched/will' } };
    const sound = mqttPacket.generate(connectPacket(fields), { protocolVersion: version });
    const trailing = Buffer.concat([sound, Buffer.from([0])]);
    trailing[1] = (sound[1] ?? 0) + 1; // a byte behind the last field
    const reserved = Buffer.from(sound);
    reserved[9] = (sound[9] ?? 0) | 1;
    for (const malformed of [trailing, reserved]) {
      const answer = await refusal(malformed, version);
      assert.equal(answer?.cmd === 'connack' ? answer.reasonCode : undefined, version === 5 ? 0x81 : undefined);
    }
    client.publish('mine', 'still here');
    assert.deepEqual(await client.messages(1), [{ topic: 'mine', payload: 'still here' }]);
    assert.deepEqual(await receivedBefore(node.tcp, watcher, 'touched/marker'), []);
    await Promise.all([client.end(0), watcher.end()]);
  }
});

test('[MQTT5 3.2.0-1] [MQTT311 3.2.0-1] [MQTT5 3.2.0-2] CONNACK is the first packet of a resumed session too, although messages wait for it, and comes once', async () => {
  for (const version of [4, 5] as const) {
    const clientId = `waited-${version}`;
    const durable = version === 5 ? { properties: { sessionExpiryInterval: 60 } } : {};
    const fields = { version, clientId, clean: false, ...durable };
    const first = await RawClient.connect(node.tcp, fields);
    await first.subscribe({ topic: clientId, qos: 1 });
    await first.end();
    const publisher = await RawClient.connect(node.tcp);
    await publisher.publishAll(clientId, [1, 2, 3], 1);
    const again = await RawClient.open(node.tcp, version);
    again.send(connectPacket(fields));
    await eventually(() => again.received.length >= 4, 'CONNACK and three messages');
    const received = again.received.map(({ cmd }) => cmd);
    assert.deepEqual(received, ['connack', 'publish', 'publish', 'publish']);
    await Promise.all([again.end(0), publisher.end()]);
  }
});

test('[MQTT5 3.1.3-2] [MQTT311 3.1.3-2] the client id names the session, to the letter', async () => {
  for (const version of [4, 5] as const) {
    const ids = ['Pump', 'pump', 'pump ', 'pump/1', 'pump\u00e4', 'pumpa\u0308'].map((id) => `${version}${id}`);
    const durable = version === 5 ? { properties: { sessionExpiryInterval: 60 } } : {};
    const connect = (clientId: string) => RawClient.connect(node.tcp, { version, clientId, clean: false, ...durable });
    for (const [index, id] of ids.entries()) {
      const client = await connect(id);
      assert.equal(client.connack.sessionPresent, false, id);
      await client.subscribe({ topic: `named/${version}/${index}`, qos: 1 });
      await client.end();
    }
    const publisher = await RawClient.connect(node.tcp);
    for (const index of ids.keys()) await publisher.publishAcknowledged(`named/${version}/${index}`, 'x', 1);
    for (const [index, id] of ids.entries()) {
      const client = await connect(id);
      assert.equal(client.connack.sessionPresent, true, id);
      assert.deepEqual(await client.messages(1), [{ topic: `named/${version}/${index}`, payload: 'x' }]);
      await client.ping();
      assert.deepEqual(client.received, []);
      await client.end(0);
    }
    await publisher.end();
  }
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
