/** 500 and more broken packets from many connections: the node stays up, others are undisturbed, memory stays flat. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import mqttPacket, { type Packet } from 'mqtt-packet';
import { EdgeProcess } from '../support/node.ts';
import { Random } from '../support/random.ts';
import { connectPacket, RawClient, type Version } from '../support/raw-client.ts';

const ROUNDS = 500;

const samples: Packet[] = [
  {
    cmd: 'publish',
    topic: 'flood/x',
    payload: 'payload',
    qos: 0,
    dup: false,
    retain: false,
    properties: { contentType: 'c', userProperties: { a: 'b' } },
  },
  { cmd: 'subscribe', messageId: 5, subscriptions: [{ topic: 'flood/+', qos: 0 }] } as Packet,
  { cmd: 'unsubscribe', messageId: 6, unsubscriptions: ['flood/+'] },
  { cmd: 'pingreq' },
  { cmd: 'disconnect', reasonCode: 0 } as Packet,
];

/** A legal packet with some bytes changed, cut off, or nothing but noise. */
function broken(next: () => number, version: Version): Buffer {
  const sample = samples[Math.floor(next() * samples.length)] ?? { cmd: 'pingreq' };
  const bytes = mqttPacket.generate(sample, { protocolVersion: version });
  const kind = next();
  if (kind < 0.2)
    return Buffer.from(Array.from({ length: 1 + Math.floor(next() * 300) }, () => Math.floor(next() * 256)));
  if (kind < 0.4) return bytes.subarray(0, Math.floor(next() * bytes.length));
  const changed = Buffer.from(bytes);
  for (let i = 0; i < 1 + next() * 3; i++) changed[Math.floor(next() * changed.length)] = Math.floor(next() * 256);
  return changed;
}

test('[MQTT5 §4.13] 500 malformed packets: node up, the others undisturbed, memory flat, no defect logged', async () => {
  const edge = await EdgeProcess.start({ SUPERMQ_LIMITS_CONNECT_TIMEOUT_SECONDS: '1' });
  const [subscriber, publisher] = [
    await RawClient.connect(edge.tcp, { version: 5 }),
    await RawClient.connect(edge.tcp),
  ];
  await subscriber.subscribe('calm');
  const random = new Random(20_261_124);
  const next = (): number => random.next();
  const attack = async (): Promise<void> => {
    const version = ([3, 4, 5] as const)[Math.floor(next() * 3)] ?? 4;
    const hostile = await RawClient.open(edge.tcp, version);
    const connect = mqttPacket.generate(connectPacket({ version }), { protocolVersion: version });
    if (next() < 0.3) hostile.send(broken(next, version));
    else hostile.send(Buffer.concat([connect, broken(next, version)]));
    hostile.socket.end();
    await hostile.closed;
  };
  for (let i = 0; i < 100; i++) await attack();
  const before = edge.residentBytes();
  for (let i = 0; i < ROUNDS; i++) {
    await attack();
    publisher.publish('calm', String(i));
  }
  assert.deepEqual(
    (await subscriber.messages(ROUNDS)).map(({ payload }) => Number(payload)),
    Array.from({ length: ROUNDS }, (_, i) => i),
  );
  const grown = edge.residentBytes() - before;
  assert.ok(grown < 16 * 1024 * 1024, `the node grew by ${Math.round(grown / 1024)} KB`);
  assert.ok((await edge.metric('supermq_protocol_errors_total')) > 100, 'the packets were as broken as they should be');
  assert.equal(await edge.metric('supermq_internal_errors_total'), 0);
  assert.equal(await edge.metric('supermq_clients_connected'), 2);
  await Promise.all([subscriber.end(), publisher.end()]);
  assert.equal(await edge.stop(), 0);
});
