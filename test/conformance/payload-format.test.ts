/** Payload Format Indicator 1 and a payload that is not UTF-8, on nodes that look and on one that does not. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startDeployment } from '../support/deployment.ts';
import type { TestNode } from '../support/node.ts';
import { connectPacket, RawClient } from '../support/raw-client.ts';

let strict: TestNode;
let relaxed: TestNode;
before(async () => {
  strict = await startDeployment({ SUPERMQ_MQTT_CHECK_PAYLOAD_FORMAT: 'true' });
  relaxed = await startDeployment();
});
after(() => Promise.all([strict.stop(), relaxed.stop()]));

const broken = Buffer.from([0x61, 0xff, 0x62]);
const text = { properties: { payloadFormatIndicator: true } };

async function connectTo(node: TestNode): Promise<RawClient> {
  return RawClient.connect(node.tcp, { version: 5 });
}

test('[MQTT5 §3.3.2.3.2] QoS 1 and 2: PUBACK and PUBREC 0x99, nobody gets it, the packet id is free and the connection goes on', async () => {
  const watcher = await connectTo(strict);
  await watcher.subscribe('format/#');
  const client = await connectTo(strict);
  const before = strict.counters.dropped.payloadInvalid;
  for (const qos of [1, 2] as const) {
    const again = { ...text, messageId: 7 };
    assert.equal(await client.publishAcknowledged('format/a', broken, qos, again), 0x99);
    assert.equal(await client.publishAcknowledged('format/a', `grün ${qos}`, qos, again), 0);
    assert.equal((await watcher.next('publish')).payload.toString(), `grün ${qos}`);
  }
  assert.equal(strict.counters.dropped.payloadInvalid, before + 2);
  await Promise.all([watcher.end(), client.end()]);
});

test('[MQTT5 §3.3.2.3.2] QoS 0, with and without RETAIN: DISCONNECT 0x99', async () => {
  for (const retain of [false, true]) {
    const client = await connectTo(strict);
    client.publish('format/b', 'fine', { ...text, retain });
    await client.ping();
    client.publish('format/b', broken, { ...text, retain });
    assert.equal(await client.closingReason(), 0x99);
  }
});

test('[MQTT5 §3.1.3.2.3] a will: CONNACK 0x99', async () => {
  const will = { topic: 'format/will', qos: 0 as const, retain: false, ...text };
  const client = await RawClient.open(strict.tcp, 5);
  client.send(connectPacket({ version: 5, will: { ...will, payload: broken } }));
  assert.equal((await client.next('connack')).reasonCode, 0x99);
  const fine = await RawClient.connect(strict.tcp, { version: 5, will: { ...will, payload: Buffer.from('grün') } });
  assert.equal(fine.connack.reasonCode, 0);
  await fine.end();
});

test('[MQTT5 3.3.2-4] a payload without the indicator is any bytes; and a node that does not look forwards both as they are', async () => {
  for (const [node, fields] of [
    [strict, {}],
    [strict, { properties: { payloadFormatIndicator: false } }],
    [relaxed, text],
  ] as const) {
    const client = await connectTo(node);
    await client.subscribe('format/c');
    client.publish('format/c', broken, fields);
    const { payload, properties } = await client.next('publish');
    assert.deepEqual(payload, broken);
    assert.equal(properties?.payloadFormatIndicator, fields.properties?.payloadFormatIndicator);
    assert.equal(await client.publishAcknowledged('format/d', broken, 1, fields), 0);
    await client.end();
  }
});
