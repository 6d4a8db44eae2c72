/** Errors (section 4.13): the connection of whoever makes one ends, with the code where there is one, and nobody else notices. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import mqttPacket, { type Packet } from 'mqtt-packet';
import { startDeployment } from '../support/deployment.ts';
import type { TestNode } from '../support/node.ts';
import { type ConnectFields, connectPacket, RawClient, type Version } from '../support/raw-client.ts';

let node: TestNode;
before(async () => {
  node = await startDeployment({ SUPERMQ_LIMITS_MAX_CLIENT_ID_BYTES: '50' });
});
after(() => node.stop());

function bytesOf(packet: Packet, version: Version): Buffer {
  return mqttPacket.generate(packet, { protocolVersion: version });
}

function publication(topic: string, payload: string, version: Version): Buffer {
  return bytesOf({ cmd: 'publish', topic, payload, qos: 0, dup: false, retain: false }, version);
}

/** What breaks the protocol within a connection that was accepted, and the code for it. */
const breaches: ReadonlyArray<readonly [name: string, bytes: number[], code: number]> = [
  ['packet type 0', [0x00, 0], 0x81],
  ['flags of PINGREQ', [0xc1, 0], 0x81],
  ['five length bytes', [0x30, 0xff, 0xff, 0xff, 0xff, 1], 0x81],
  ['PUBLISH without a topic', [0x30, 0], 0x81],
  ['packet id 0', [0xa2, 2, 0, 0], 0x82],
  ['a packet of servers', [0xd0, 0], 0x82],
];

for (const version of [3, 4, 5] as const) {
  test(`[MQTT5 4.13.1-1] [MQTT311 4.8.0-1] [MQTT5 4.13.2-1] [MQTT5 §4.13] [C] MQTT version ${version}: what comes before a breach is handled, nothing behind it; the code is the last packet (3.x: none), then the connection closes; others go on`, async () => {
    const watcher = await RawClient.connect(node.tcp, { version });
    await watcher.subscribe('breach/#');
    for (const [name, bytes, code] of breaches) {
      const client = await RawClient.connect(node.tcp, { version });
      client.send(
        Buffer.concat([
          publication('breach/before', name, version),
          Buffer.from(bytes),
          publication('breach/behind', name, version),
          bytesOf({ cmd: 'pingreq' }, version),
        ]),
      );
      await client.closed;
      const [answer, ...others] = client.received;
      if (version === 5) assert.equal(answer?.cmd === 'disconnect' && answer.reasonCode, code, name);
      else assert.equal(answer, undefined, name);
      assert.deepEqual(others, [], name);
      assert.deepEqual(await watcher.messages(1), [{ topic: 'breach/before', payload: name }]);
    }
    const witness = await RawClient.connect(node.tcp, { version });
    witness.publish('breach/last', 'x');
    assert.deepEqual(await watcher.messages(1), [{ topic: 'breach/last', payload: 'x' }]);
    for (const client of [watcher, witness]) await client.end();
  });
}

test('[MQTT5 4.13.2-1] [MQTT5 3.2.2-7] [MQTT311 3.2.2-5] a refusal in CONNACK closes the connection, and nothing of the client is handled', async () => {
  const watcher = await RawClient.connect(node.tcp);
  await watcher.subscribe('refused/#');
  const refusals: ReadonlyArray<readonly [fields: ConnectFields, code: number]> = [
    [{ version: 4, clientId: 'x'.repeat(51) }, 0x02],
    [{ version: 5, clientId: 'x'.repeat(51) }, 0x85],
    [{ version: 5, properties: { receiveMaximum: 0 } }, 0x82],
    [{ version: 5, properties: { maximumPacketSize: 0 } }, 0x82],
    [{ version: 5, properties: { authenticationMethod: 'none such' } }, 0x8c],
  ];
  for (const [fields, code] of refusals) {
    const { version = 4 } = fields;
    const client = await RawClient.open(node.tcp, version);
    client.send(Buffer.concat([connectBytes(fields), publication('refused/x', String(code), version)]));
    await client.closed;
    const [connack, ...others] = client.received;
    assert.equal(connack?.cmd === 'connack' && (version === 5 ? connack.reasonCode : connack.returnCode), code);
    assert.deepEqual(others, []);
  }
  watcher.publish('refused/marker', '');
  assert.deepEqual(await watcher.messages(1), [{ topic: 'refused/marker', payload: '' }]);
  await watcher.end();
});

function connectBytes({ properties = {}, ...fields }: ConnectFields): Buffer {
  const { version = 4 } = fields;
  return bytesOf(connectPacket({ ...fields, ...(version === 5 ? { properties } : {}) }), version);
}

test('[MQTT5 4.13.2-1] DISCONNECT of a client with a code of 0x80 and above ends its connection, without an answer', async () => {
  for (const code of [0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99]) {
    const client = await RawClient.connect(node.tcp, { version: 5 });
    client.send({ cmd: 'disconnect', reasonCode: code, properties: {} } as Packet);
    await client.closed;
    assert.deepEqual(client.received, [], `0x${code.toString(16)}`);
  }
});
