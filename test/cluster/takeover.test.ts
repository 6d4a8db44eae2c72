/** One live connection per client id, whatever node it comes to: takeover between nodes, races, a killed owner, a NATS cut. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { eventually } from '../support/eventually.ts';
import { freeze } from '../support/freeze.ts';
import { type NatsCluster, startNatsCluster } from '../support/nats-cluster.ts';
import { type NatsServerProcess, startNatsServer } from '../support/nats-server.ts';
import { EdgeProcess } from '../support/node.ts';
import { RawClient } from '../support/raw-client.ts';

let nats: NatsServerProcess;
let edges: EdgeProcess[];

before(async () => {
  nats = await startNatsServer();
  edges = await Promise.all([1, 2].map(() => EdgeProcess.start({ SUPERMQ_NATS_SERVERS: nats.url })));
});
after(async () => {
  await Promise.all(edges.map((edge) => edge.stop()));
  await nats.stop();
});

function port(index: number, of: readonly EdgeProcess[] = edges): number {
  const edge = of[index % of.length];
  assert.ok(edge !== undefined);
  return edge.tcp;
}

function disconnectReason(client: RawClient): number | undefined {
  const packet = client.received.find(({ cmd }) => cmd === 'disconnect');
  return packet?.cmd === 'disconnect' ? packet.reasonCode : undefined;
}

test('[MQTT5 3.1.4-3] [MQTT311 3.1.4-2] a client that connects to another node is closed on the first, before its CONNACK', async () => {
  for (const version of [5, 4] as const) {
    const first = await RawClient.connect(port(0), { version, clientId: 'mover' });
    const second = await RawClient.connect(port(1), { version, clientId: 'mover' });
    await first.closed;
    assert.equal(disconnectReason(first), version === 5 ? 0x8e : undefined);
    await second.ping();
    const third = await RawClient.connect(port(0), { version, clientId: 'mover' });
    await second.closed;
    await third.ping();
    await third.end();
  }
});

test('the old subscriptions are gone with the old connection, and the will of the old one is published', async () => {
  const watcher = await RawClient.connect(port(0));
  await watcher.subscribe('takeover/will');
  const will = { topic: 'takeover/will', payload: Buffer.from('taken over'), qos: 0 as const, retain: false };
  const first = await RawClient.connect(port(0), { clientId: 'with-will', will });
  await first.subscribe('takeover/data');
  const second = await RawClient.connect(port(1), { clientId: 'with-will' });
  assert.equal((await watcher.messages(1))[0]?.payload, 'taken over');
  watcher.publish('takeover/data', 'x');
  await watcher.ping();
  await second.ping();
  assert.deepEqual(second.received, []);
  await Promise.all([watcher.end(), second.end()]);
});

test('while a client is subscribed to everything, others still connect and move from node to node without a long wait', async () => {
  const listener = await RawClient.connect(port(0));
  await listener.subscribe('#');
  for (let round = 0; round < 5; round++) {
    const began = performance.now();
    const first = await RawClient.connect(port(0), { version: 5, clientId: `heard-${round}` });
    const second = await RawClient.connect(port(1), { version: 5, clientId: `heard-${round}` });
    const elapsed = performance.now() - began;
    await first.closed;
    assert.equal(disconnectReason(first), 0x8e);
    await second.ping();
    assert.ok(elapsed < 1_500, `${elapsed} ms for two connections`);
    await second.end();
  }
  await listener.end();
});

test('[MQTT5 3.1.4-3] of simultaneous CONNECTs with one id exactly one survives', async () => {
  for (let round = 0; round < 10; round++) {
    const clientId = `race-${round}`;
    const open = Array.from({ length: 6 }, (_, i) => RawClient.connect(port(i), { version: 5, clientId }));
    const settled = await Promise.allSettled(open);
    const clients = settled.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
    await eventually(() => clients.filter((client) => !client.isClosed).length <= 1, 'all but one closed');
    const survivors = clients.filter((client) => !client.isClosed);
    assert.equal(survivors.length, 1, `round ${round}: ${survivors.length} of ${clients.length} survive`);
    await survivors[0]?.ping();
    await survivors[0]?.end();
  }
});

test('a client of a killed node is served at once elsewhere', async () => {
  const doomed = await EdgeProcess.start({ SUPERMQ_NATS_SERVERS: nats.url });
  const first = await RawClient.connect(doomed.tcp, { clientId: 'orphan' });
  await doomed.kill();
  await first.closed;
  const before = performance.now();
  const second = await RawClient.connect(port(0), { clientId: 'orphan' });
  assert.ok(performance.now() - before < 1_000, 'nobody is waited for');
  await second.end();
});

test('an owner that does not answer is waited for a bounded time, and yields when it wakes', async () => {
  const frozen = await EdgeProcess.start({ SUPERMQ_NATS_SERVERS: nats.url });
  const first = await RawClient.connect(frozen.tcp, { version: 5, clientId: 'frozen' });
  freeze(frozen.pid);
  const before = performance.now();
  const second = await RawClient.connect(port(0), { version: 5, clientId: 'frozen' });
  assert.ok(performance.now() - before < 3_000, 'the wait is bounded');
  process.kill(frozen.pid, 'SIGCONT');
  await first.closed;
  await second.ping();
  await second.end();
  await frozen.stop();
});

test('connections that were made while a node was cut off from NATS are found afterwards: one of two remains', async () => {
  const lone = await startNatsServer();
  const pair = await Promise.all(
    [1, 2].map(() => EdgeProcess.start({ SUPERMQ_NATS_SERVERS: lone.url, SUPERMQ_LEASE_SECONDS: '60' })),
  );
  const first = await RawClient.connect(port(0, pair), { version: 5, clientId: 'cut' });
  // Freezing the node's answer path for the time of the second CONNECT stands in for a node that is redialling.
  freeze(pair[0]?.pid ?? 0);
  const second = await RawClient.connect(port(1, pair), { version: 5, clientId: 'cut' });
  await lone.kill();
  await lone.restart();
  process.kill(pair[0]?.pid ?? 0, 'SIGCONT');
  await first.closed;
  await Promise.all(pair.map((edge) => edge.waitForStatus('readyz', 200)));
  await second.ping();
  await second.end();
  await Promise.all(pair.map((edge) => edge.stop()));
  await lone.stop();
});

test('takeover across the servers of a NATS cluster, and races there leave exactly one', async () => {
  const cluster: NatsCluster = await startNatsCluster(3);
  const trio = await Promise.all(cluster.urls.map((url) => EdgeProcess.start({ SUPERMQ_NATS_SERVERS: url })));
  for (let round = 0; round < 10; round++) {
    const clientId = `cluster-${round}`;
    const settled = await Promise.allSettled(
      [0, 1, 2].map((i) => RawClient.connect(port(i, trio), { version: 5, clientId })),
    );
    const clients = settled.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
    await eventually(() => clients.filter((client) => !client.isClosed).length <= 1, 'all but one closed');
    const mover = await RawClient.connect(port(round, trio), { version: 5, clientId });
    await eventually(() => clients.every((client) => client.isClosed), 'the earlier ones closed');
    await mover.ping();
    await mover.end();
  }
  await Promise.all(trio.map((edge) => edge.stop()));
  await cluster.stop();
});
