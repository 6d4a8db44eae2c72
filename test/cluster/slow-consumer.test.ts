/** A subscriber that stops reading costs its node nothing but a position: memory stays flat, others are not disturbed, nothing is lost. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { IPublishPacket, Packet } from 'mqtt-packet';
import { startNatsServer } from '../support/nats-server.ts';
import { EdgeProcess } from '../support/node.ts';
import { RawClient } from '../support/raw-client.ts';

const COUNT = 100_000;
const PAYLOAD_BYTES = 200;
const WARMUP = 30_000;
const WINDOW = 80;
const MIB = 1024 * 1024;

/** Publishes numbered messages with QoS 1, at most {@link WINDOW} without PUBACK. */
async function publishAll(client: RawClient, topic: string, count = COUNT): Promise<void> {
  for (let sent = 0; sent < count; ) {
    const batch = Math.min(WINDOW, count - sent);
    for (let i = 0; i < batch; i++) {
      const payload = Buffer.alloc(PAYLOAD_BYTES);
      payload.writeUInt32BE(sent++);
      client.publish(topic, payload, { qos: 1, messageId: i + 1 });
    }
    for (let i = 0; i < batch; i++) await client.next('puback');
  }
}

/** Takes and acknowledges messages until all numbers have come; returns those that came out of turn. */
async function readAll(client: RawClient, count = COUNT): Promise<number[]> {
  const misplaced: number[] = [];
  for (let expected = 0; expected < count; expected++) {
    const packet = await client.nextMatching(isPublish);
    const number = (packet.payload as Buffer).readUInt32BE(0);
    if (number !== expected) misplaced.push(number);
    client.send({ cmd: 'puback', messageId: packet.messageId } as Packet);
  }
  return misplaced;
}

function isPublish(packet: Packet): packet is IPublishPacket {
  return packet.cmd === 'publish';
}

test('a subscriber that stops reading while 100,000 messages of 200 B arrive: the node grows by less than 50 MB, then it gets all in order', async (t) => {
  const nats = await startNatsServer();
  const edge = await EdgeProcess.start({ SUPERMQ_NATS_SERVERS: nats.url });
  const [stalled, fast] = [await RawClient.connect(edge.tcp), await RawClient.connect(edge.tcp)];
  const publisher = await RawClient.connect(edge.tcp);
  for (const client of [stalled, fast]) await client.subscribe({ topic: 'slow/#', qos: 1 } as { topic: string });
  // What a node needs for any such traffic is not what a stalled subscriber costs.
  const warm = [readAll(fast, WARMUP), readAll(stalled, WARMUP)];
  await publishAll(publisher, 'slow/a', WARMUP);
  await Promise.all(warm);
  stalled.socket.pause();
  const before = edge.residentBytes();
  const reading = readAll(fast);
  await publishAll(publisher, 'slow/a');
  assert.deepEqual(await reading, [], 'the fast subscriber is not disturbed');
  const grown = edge.residentBytes() - before;
  t.diagnostic(`${COUNT} messages past a stalled subscriber: the node grew by ${Math.round(grown / MIB)} MB`);
  assert.ok(grown < 50 * MIB, `grown by ${Math.round(grown / MIB)} MB`);
  stalled.socket.resume();
  assert.deepEqual(await readAll(stalled), []);
  assert.equal(await edge.metric('supermq_internal_errors_total'), 0);
  assert.equal(await edge.stop(), 0);
  await nats.stop();
});
