/** NATS stopped, killed and started: nodes stay up, readiness tells, traffic goes on by itself, nothing grows meanwhile. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventually } from '../support/eventually.ts';
import { freeze } from '../support/freeze.ts';
import { startNatsServer } from '../support/nats-server.ts';
import { EdgeProcess } from '../support/node.ts';
import { RawClient } from '../support/raw-client.ts';

test('NATS away and back: sockets stay, /readyz is 503 and 200 again, QoS 0 is dropped and counted, then flows again', async () => {
  const nats = await startNatsServer();
  const env = { SUPERMQ_NATS_SERVERS: nats.url, SUPERMQ_LEASE_SECONDS: '60' };
  const [here, there] = [await EdgeProcess.start(env), await EdgeProcess.start(env)];
  const subscriber = await RawClient.connect(here.tcp);
  const member = await RawClient.connect(here.tcp);
  const publisher = await RawClient.connect(there.tcp);
  await subscriber.subscribe('outage/#');
  await member.subscribe('$share/g/outage/#');
  publisher.publish('outage/a', 'before');
  assert.equal((await subscriber.messages(1))[0]?.payload, 'before');
  assert.equal((await member.messages(1))[0]?.payload, 'before');

  await nats.kill();
  await Promise.all([here, there].map((edge) => edge.waitForStatus('readyz', 503)));
  assert.equal(await there.status('healthz'), 200);
  for (let n = 0; n < 1_000; n++) publisher.publish('outage/a', 'lost');
  await publisher.ping();
  assert.equal(await there.metric('supermq_messages_dropped_total{cause="bus_disconnected"}'), 1_000);
  const refused = await RawClient.connect(there.tcp, { version: 5 });
  assert.equal(refused.connack.reasonCode, 0x88, 'new clients are sent elsewhere');
  assert.equal(await there.metric('supermq_protocol_errors_total'), 0, 'they have done nothing wrong');
  const waiting = subscriber.subscribe('later/#');
  await subscriber.ping();

  await nats.restart();
  await Promise.all([here, there].map((edge) => edge.waitForStatus('readyz', 200)));
  assert.deepEqual(await waiting, [0], 'a SUBSCRIBE of that time is answered now');
  await eventually(async () => {
    publisher.publish('later/x', 'after');
    publisher.publish('outage/a', 'after');
    await publisher.ping();
    return subscriber.received.filter(({ cmd }) => cmd === 'publish').length >= 2 && member.received.length > 0;
  });
  assert.ok(!subscriber.isClosed && !publisher.isClosed);
  for (const edge of [here, there]) assert.equal(await edge.stop(), 0);
  await nats.stop();
});

test('NATS away for longer than the lease: clients are closed so that they find another node, and may come back', async () => {
  const nats = await startNatsServer();
  const edge = await EdgeProcess.start({ SUPERMQ_NATS_SERVERS: nats.url, SUPERMQ_LEASE_SECONDS: '5' });
  const five = await RawClient.connect(edge.tcp, { version: 5 });
  const four = await RawClient.connect(edge.tcp);
  await nats.kill();
  await edge.waitForStatus('readyz', 503);
  const before = performance.now();
  await Promise.all([five.closed, four.closed]);
  const seconds = (performance.now() - before) / 1000;
  assert.ok(seconds > 3 && seconds < 8, `closed after ${seconds} s`);
  assert.equal(five.received[0]?.cmd === 'disconnect' && five.received[0].reasonCode, 0x89);
  await nats.restart();
  await edge.waitForStatus('readyz', 200);
  const again = await RawClient.connect(edge.tcp);
  await again.subscribe('again');
  again.publish('again', 'yes');
  assert.equal((await again.messages(1))[0]?.payload, 'yes');
  assert.equal(await edge.stop(), 0);
  await nats.stop();
});

test('NATS unreachable at start: the process lives, /readyz says 503, and serves as soon as NATS is there', async () => {
  const nats = await startNatsServer();
  await nats.kill();
  const edge = await EdgeProcess.start({ SUPERMQ_NATS_SERVERS: nats.url }, 'healthz');
  assert.equal(await edge.status('readyz'), 503);
  await eventually(() => edge.output.includes('nats.connectFailed'), 'a log line');
  await nats.restart();
  await edge.waitForStatus('readyz', 200);
  const client = await RawClient.connect(edge.tcp);
  await client.ping();
  assert.equal(await edge.stop(), 0);
  await nats.stop();
});

test('a node that waits for NATS stops when it is asked to', async () => {
  const nats = await startNatsServer();
  await nats.kill();
  const edge = await EdgeProcess.start({ SUPERMQ_NATS_SERVERS: nats.url }, 'healthz');
  assert.equal(await edge.stop(), 0);
  await nats.stop();
});

test('publishers that are faster than a frozen NATS are held back: memory stays flat, nothing is lost once it goes on', async () => {
  const nats = await startNatsServer();
  const edge = await EdgeProcess.start({
    SUPERMQ_NATS_SERVERS: nats.url,
    SUPERMQ_NATS_MAX_IN_FLIGHT_BYTES: String(1024 * 1024),
    SUPERMQ_LIMITS_MAX_OUTBOUND_BYTES_PER_CLIENT: String(512 * 1024 * 1024),
  });
  const subscriber = await RawClient.connect(edge.tcp);
  await subscriber.subscribe('flood');
  const publisher = await RawClient.connect(edge.tcp);
  const payload = Buffer.alloc(16 * 1024, 1);
  const count = 4_000; // 64 MB, far above what may be in flight
  freeze(nats.pid);
  const before = edge.residentBytes();
  for (let n = 0; n < count; n++) publisher.publish('flood', payload);
  await eventually(() => publisher.socket.writableLength > 0 && publisher.socket.bytesWritten > 0, 'back-pressure');
  await eventually(async () => (await edge.metric('supermq_bus_published_total')) > 50, 'some are under way');
  const grown = edge.residentBytes() - before;
  assert.ok((await edge.metric('supermq_bus_published_total')) < count / 2, 'the publisher is held back');
  assert.ok(grown < 40 * 1024 * 1024, `the node grew by ${Math.round(grown / 1024 / 1024)} MB`);
  process.kill(nats.pid, 'SIGCONT');
  for (let n = 0; n < count; n++) await subscriber.next('publish');
  await Promise.all([subscriber.end(), publisher.end()]);
  assert.equal(await edge.stop(), 0);
  await nats.stop();
});
