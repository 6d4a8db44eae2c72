/** A client that does not read: bounded in bytes, loses QoS 0 messages (counted), and costs nobody else anything. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startDeployment } from '../support/deployment.ts';
import { eventually } from '../support/eventually.ts';
import { EdgeProcess } from '../support/node.ts';
import { RawClient } from '../support/raw-client.ts';

test('a stalled subscriber loses messages, the others none, memory stays bounded, and it goes on when it reads again', async () => {
  const edge = await EdgeProcess.start({ SUPERMQ_LIMITS_MAX_OUTBOUND_BYTES_PER_CLIENT: String(256 * 1024) });
  const [stalled, healthy, publisher] = [
    await RawClient.connect(edge.tcp),
    await RawClient.connect(edge.tcp),
    await RawClient.connect(edge.tcp),
  ];
  await stalled.subscribe('s/#');
  await healthy.subscribe('s/#');
  stalled.socket.pause();
  const payload = 'x'.repeat(8_192);
  const count = 8_000; // 64 MB: more than any socket buffer takes
  const before = edge.residentBytes();
  for (let n = 0; n < count; n++) {
    publisher.publish('s/a', `${String(n).padStart(6)}${payload}`);
    if (n % 10 === 9) await publisher.ping();
  }
  const got = await healthy.messages(count);
  assert.ok(
    got.every(({ payload: text }, n) => Number(text.slice(0, 6)) === n),
    'all and in order for the healthy one',
  );
  const dropped = await edge.metric('supermq_messages_dropped_total{cause="slow_subscriber"}');
  assert.ok(dropped > 0 && dropped < count, `${dropped} dropped`);
  const grown = edge.residentBytes() - before;
  assert.ok(grown < 60 * 1024 * 1024, `the node grew by ${Math.round(grown / 1024 / 1024)} MB for one stalled client`);
  stalled.socket.resume();
  await eventually(async () => {
    publisher.publish('s/last', '');
    await publisher.ping();
    return stalled.received.some((packet) => packet.cmd === 'publish' && packet.topic === 's/last');
  });
  const numbers = stalled.received.flatMap((packet) =>
    packet.cmd === 'publish' && packet.topic === 's/a' ? [Number(packet.payload.toString().slice(0, 6))] : [],
  );
  assert.equal(numbers.length, count - (await edge.metric('supermq_messages_dropped_total{cause="slow_subscriber"}')));
  assert.deepEqual(
    numbers,
    [...numbers].sort((a, b) => a - b),
    'what it got is in order',
  );
  await Promise.all([stalled.end(), healthy.end(), publisher.end()]);
  assert.equal(await edge.stop(), 0);
});

test('a client that never reads its answers is cut', async () => {
  const node = await startDeployment({ SUPERMQ_LIMITS_MAX_OUTBOUND_BYTES_PER_CLIENT: '16384' });
  const client = await RawClient.connect(node.tcp);
  client.socket.pause();
  const pings = Buffer.alloc(64 * 1024);
  for (let i = 0; i < pings.length; i += 2) pings[i] = 0xc0;
  const flood = setInterval(() => client.socket.writableLength === 0 && client.socket.write(pings), 1);
  await eventually(
    async () => (await fetchMetric(node.http, 'supermq_clients_connected')) === 0,
    'the connection is cut',
  );
  clearInterval(flood);
  client.socket.destroy();
  await node.stop();
});

async function fetchMetric(port: number, name: string): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  return Number(new RegExp(`^${name} (\\d+)`, 'm').exec(text)?.[1]);
}
