/** QoS 0: sent once, with nothing that asks for an answer, and never again. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startDeployment } from '../support/deployment.ts';
import type { TestNode } from '../support/node.ts';
import { type ConnectFields, RawClient } from '../support/raw-client.ts';

let node: TestNode;
before(async () => {
  node = await startDeployment();
});
after(() => node.stop());

function connect(fields: ConnectFields = {}): ReturnType<typeof RawClient.connect> {
  return RawClient.connect(node.tcp, { version: 5, ...fields });
}

for (const version of [4, 5] as const) {
  const ids = version === 5 ? '[MQTT5 4.3.1-1] [MQTT5 3.3.1-2] [MQTT5 2.2.1-2]' : '[MQTT311 4.3.1-1] [MQTT311 3.3.1-2]';
  test(`${ids} version ${version}: QoS 0 is sent once, with DUP 0 and no packet id, and not again on the next connection`, async () => {
    const session = { clientId: `zero-${version}`, clean: false, ...(version === 5 ? expiry : {}) };
    const subscriber = await connect({ version, ...session });
    await subscriber.subscribe({ topic: 'zero/granted', qos: 0 }, { topic: 'zero/published', qos: 2 });
    const publisher = await connect();
    publisher.publish('zero/published', 'sent with 0');
    assert.equal((await subscriber.next('publish')).payload.toString(), 'sent with 0');
    // The other way to QoS 0: a stored message, which would have to be remembered if it were more.
    const first: number[] = [];
    subscriber.socket.on('data', (chunk: Buffer) => first.push(chunk[0] ?? 0));
    await publisher.publishAcknowledged('zero/granted', 'granted 0', 2, { dup: true });
    const { dup, messageId, payload, qos } = await subscriber.next('publish');
    assert.deepEqual([payload.toString(), qos, dup, messageId], ['granted 0', 0, false, undefined]);
    assert.deepEqual(first, [0x30]);
    await subscriber.abort();
    const again = await connect({ version, ...session });
    assert.equal(again.connack.sessionPresent, true);
    await publisher.publishAcknowledged('zero/granted', 'marker', 1);
    assert.equal((await again.next('publish')).payload.toString(), 'marker', 'none of them comes again');
    for (const client of [again, publisher]) await client.end();
    await (await connect({ version, ...session, clean: true, properties: {} })).end();
  });
}

test('[MQTT5 4.3.1-1] [MQTT311 4.3.1-1] QoS 0 of a client gets no answer, whatever its version', async () => {
  for (const version of [3, 4, 5] as const) {
    const subscriber = await connect({ version });
    await subscriber.subscribe({ topic: `silent/${version}`, qos: 2 });
    const publisher = await connect({ version });
    for (const payload of ['1', '2', 'last']) publisher.publish(`silent/${version}`, payload);
    const seen = (await subscriber.messages(3)).map(({ payload }) => payload);
    assert.deepEqual(seen, ['1', '2', 'last'], 'once each');
    await publisher.ping();
    assert.deepEqual(publisher.received, []);
    for (const client of [subscriber, publisher]) await client.end();
  }
});

const expiry = { properties: { sessionExpiryInterval: 60 } };
