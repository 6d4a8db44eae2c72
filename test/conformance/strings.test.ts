/** Strings, binary data and user properties that look odd and are legal: kept as they are, wherever they may stand. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startDeployment } from '../support/deployment.ts';
import type { TestNode } from '../support/node.ts';
import { RawClient } from '../support/raw-client.ts';
import { bytes, packet, props, str, u16 } from '../unit/mqtt/bytes.ts';

let node: TestNode;
before(async () => {
  node = await startDeployment();
});
after(() => node.stop());

const BOM = '\ufeff';

/** Everything that one client receives, as bytes. */
function recorded(client: RawClient): () => Buffer {
  const chunks: Buffer[] = [];
  client.socket.on('data', (chunk) => chunks.push(chunk));
  return () => Buffer.concat(chunks);
}

test('[MQTT5 1.5.4-3] [MQTT311 1.5.3-3] U+FEFF is kept in front, within and behind: topics, filters, client ids, user properties', async () => {
  for (const version of [4, 5] as const) {
    const topics = [`${BOM}bom`, `b${BOM}om`, `bom${BOM}`, `${BOM}`, `${BOM}${BOM}`];
    const subscriber = await RawClient.connect(node.tcp, { version });
    for (const topic of topics) await subscriber.subscribe(topic);
    const publisher = await RawClient.connect(node.tcp, { version });
    publisher.publish('bom', 'not subscribed to');
    for (const topic of topics) publisher.publish(topic, 'x');
    for (const topic of topics) assert.equal((await subscriber.messages(1))[0]?.topic, topic);
    await Promise.all([subscriber.end(), publisher.end()]);
    const durable = version === 5 ? { properties: { sessionExpiryInterval: 60 } } : {};
    for (const round of [false, true]) {
      for (const id of ['bom', ...topics]) {
        const clientId = `${id}${version}`;
        const client = await RawClient.connect(node.tcp, { version, clientId, clean: false, ...durable });
        assert.equal(client.connack.sessionPresent, round, 'a session of its own');
        await client.end();
      }
    }
  }
  const subscriber = await RawClient.connect(node.tcp, { version: 5 });
  await subscriber.subscribe('bom/properties');
  const received = recorded(subscriber);
  const block = bytes(0x26, str(`${BOM}name`), str(`va${BOM}lue${BOM}`));
  const publisher = await RawClient.connect(node.tcp, { version: 5 });
  publisher.send(packet(0x30, str('bom/properties'), props(block), Buffer.from('x')));
  await subscriber.next('publish');
  assert.ok(received().includes(block));
  await Promise.all([subscriber.end(), publisher.end()]);
});

test('[MQTT5 §1.5.4] [MQTT311 §1.5.3] control characters and non-characters are accepted and kept, in every string alike', async () => {
  for (const version of [4, 5] as const) {
    const odd = '\u0001\u001f\u007f\u009f\ufdd0\uffff\u{1ffff}\u{10ffff}';
    const topic = `odd/${odd}/${version}`;
    const watcher = await RawClient.connect(node.tcp, { version });
    assert.deepEqual(await watcher.subscribe(topic), [0]);
    const will = { topic, payload: Buffer.from('will'), qos: 0 as const, retain: false };
    const client = await RawClient.connect(node.tcp, { version, clientId: `id-${odd}`, will });
    assert.equal(version === 5 ? client.connack.reasonCode : client.connack.returnCode, 0);
    client.publish(topic, 'live');
    assert.deepEqual(await watcher.messages(1), [{ topic, payload: 'live' }]);
    await client.abort();
    assert.deepEqual(await watcher.messages(1), [{ topic, payload: 'will' }]);
    await watcher.end();
  }
});

test('[MQTT5 §1.5.6] binary data is any bytes: payload, correlation data and will payload, 0x00 and no UTF-8 among them', async () => {
  const all = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
  const watcher = await RawClient.connect(node.tcp, { version: 5 });
  watcher.acknowledges = true;
  await watcher.subscribe({ topic: 'binary/+', qos: 1 });
  const will = { topic: 'binary/will', payload: all, qos: 1 as const, retain: false };
  const properties = { correlationData: all };
  const client = await RawClient.connect(node.tcp, { version: 5, will: { ...will, properties } as never });
  const expect = async (topic: string): Promise<void> => {
    const message = await watcher.next('publish');
    assert.equal(message.topic, topic);
    assert.ok(all.equals(Buffer.from(message.payload as Buffer)));
    assert.ok(all.equals(message.properties?.correlationData ?? Buffer.alloc(0)));
  };
  client.publish('binary/0', all, { properties });
  await expect('binary/0');
  await client.publishAcknowledged('binary/1', all, 1, { properties });
  await expect('binary/1');
  await client.abort();
  await expect('binary/will');
  await watcher.end();
});

test('[MQTT5 §2.2.2.2 user-property] User Property may repeat in every packet of a client that has it, equal ones too', async () => {
  const user = (name: string, value: string): Buffer => bytes(0x26, str(name), str(value));
  const block = props(user('b', '1'), user('a', ''), user('b', '1'), user('', 'x'), user('b', '2'));
  const watcher = await RawClient.connect(node.tcp, { version: 5 });
  await watcher.subscribe({ topic: 'user/#', qos: 0 });
  const received = recorded(watcher);
  const client = await RawClient.open(node.tcp, 5);
  const willFields = [block, str('user/will'), str('x')];
  client.send(packet(0x10, str('MQTT'), 5, 0x06, u16(0), block, str('user-properties'), ...willFields));
  assert.equal((await client.next('connack')).reasonCode, 0);
  client.send(packet(0x82, u16(1), block, str('user/2'), 2, str('user/1'), 1));
  assert.deepEqual((await client.next('suback')).granted, [2, 1]);
  client.send(packet(0xa2, u16(2), block, str('never')));
  await client.next('unsuback');
  client.send(packet(0x32, str('user/1'), u16(3), block));
  await client.nextAcknowledgement('puback', 3);
  const once = (await client.next('publish')).messageId ?? 0;
  client.send(packet(0x40, u16(once), 0, block));
  client.send(packet(0x34, str('user/2'), u16(4), block));
  await client.nextAcknowledgement('pubrec', 4);
  client.send(packet(0x62, u16(4), 0, block));
  await client.nextAcknowledgement('pubcomp', 4);
  const exactly = (await client.next('publish')).messageId ?? 0;
  client.send(packet(0x50, u16(exactly), 0, block));
  await client.nextAcknowledgement('pubrel', exactly);
  client.send(packet(0x70, u16(exactly), 0, block));
  await client.ping();
  client.send(packet(0xe0, 4, block));
  assert.equal(await client.closingReason(), undefined);
  const topics = (await watcher.messages(3)).map(({ topic }) => topic).sort();
  assert.deepEqual(topics, ['user/1', 'user/2', 'user/will']);
  assert.equal(received().toString('latin1').split(block.toString('latin1')).length - 1, 3, 'each as it was');
  await watcher.end();
});
