/** SIGTERM: clients are told, sessions and messages are stored, the process ends with 0 in time, and everything goes on elsewhere. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { runFlow } from '../chaos/flow.ts';
import { type NatsServerProcess, startNatsServer } from '../support/nats-server.ts';
import { EdgeProcess } from '../support/node.ts';
import { RawClient } from '../support/raw-client.ts';

let nats: NatsServerProcess;

before(async () => {
  nats = await startNatsServer();
});
after(() => nats.stop());

function startEdge(env: Record<string, string> = {}): Promise<EdgeProcess> {
  return EdgeProcess.start({ SUPERMQ_NATS_SERVERS: nats.url, ...env });
}

for (const qos of [1, 2] as const) {
  test(`QoS ${qos}: the nodes of publisher and subscriber are stopped during a flow: exit code 0, nothing lost${qos === 2 ? ', nothing twice' : ''}`, async () => {
    const edges = [await startEdge(), await startEdge(), await startEdge()] as const;
    const codes: Array<number | null> = [];
    const stop = (edge: EdgeProcess) => async (): Promise<void> => void codes.push(await edge.stop());
    const flow = await runFlow({
      qos,
      count: 4_000,
      ports: edges.map(({ tcp }) => tcp),
      at: new Map([
        [1_000, stop(edges[2])],
        [2_500, stop(edges[0])],
      ]),
    });
    assert.deepEqual({ lost: flow.lost, misordered: flow.misordered }, { lost: [], misordered: 0 });
    if (qos === 2) assert.equal(flow.repeated, 0);
    assert.deepEqual(codes, [0, 0]);
    await edges[1].stop();
  });
}

test('a stopping node tells MQTT 5 clients 0x8B and writes what they have acknowledged: none of it comes again', async () => {
  const [first, second] = [await startEdge(), await startEdge()];
  const fields = { version: 5 as const, clientId: 'drained', clean: false, properties: { sessionExpiryInterval: 600 } };
  const client = await RawClient.connect(first.tcp, fields);
  await client.subscribe({ topic: 'drain/#', qos: 1 } as { topic: string });
  const publisher = await RawClient.connect(second.tcp);
  for (let n = 1; n <= 20; n++) publisher.publish('drain/a', String(n), { qos: 1, messageId: n });
  for (let n = 1; n <= 20; n++) {
    const { messageId, payload } = await client.next('publish');
    assert.equal(payload.toString(), String(n));
    if (n <= 15) client.send({ cmd: 'puback', messageId: messageId ?? 0 });
  }
  await client.ping();
  const stopping = first.stop();
  await client.closed;
  const disconnect = client.received.find(({ cmd }) => cmd === 'disconnect');
  assert.equal(disconnect?.cmd === 'disconnect' && disconnect.reasonCode, 0x8b);
  assert.equal(await stopping, 0);

  const resumed = await RawClient.connect(second.tcp, fields);
  assert.equal(resumed.connack.sessionPresent, true);
  for (let n = 16; n <= 20; n++) {
    const { dup, payload } = await resumed.next('publish');
    assert.deepEqual([payload.toString(), dup], [String(n), true]);
  }
  publisher.publish('drain/a', 'marker', { qos: 1, messageId: 21 });
  assert.equal((await resumed.next('publish')).payload.toString(), 'marker');
  assert.equal(await second.stop(), 0);
});

test('a node whose NATS is gone still stops within the bound', async () => {
  const own = await startNatsServer();
  const edge = await EdgeProcess.start({ SUPERMQ_NATS_SERVERS: own.url, SUPERMQ_DRAIN_SECONDS: '2' });
  const fields = { version: 5 as const, clientId: 'stuck', clean: false, properties: { sessionExpiryInterval: 600 } };
  const client = await RawClient.connect(edge.tcp, fields);
  await client.subscribe({ topic: 'stuck', qos: 1 } as { topic: string });
  await own.kill();
  await edge.waitForStatus('readyz', 503);
  const started = performance.now();
  assert.equal(await edge.stop(), 0);
  const seconds = (performance.now() - started) / 1000;
  assert.ok(seconds < 6, `stopped after ${seconds} s`);
  await own.stop();
});

test('a stopping node is not ready and takes no new clients from the first moment on, however long its end takes', async () => {
  const own = await startNatsServer();
  const edge = await EdgeProcess.start({ SUPERMQ_NATS_SERVERS: own.url, SUPERMQ_DRAIN_SECONDS: '5' });
  const fields = { version: 5 as const, clientId: 'told', clean: false, properties: { sessionExpiryInterval: 600 } };
  const client = await RawClient.connect(edge.tcp, fields);
  await client.subscribe({ topic: 'told', qos: 1 } as { topic: string });
  assert.equal(await edge.status('readyz'), 200);
  // The session cannot be written, so the end waits.
  own.pause();
  const stopping = edge.stop();
  await edge.waitForStatus('readyz', 503);
  assert.equal(await edge.status('healthz'), 200);
  await client.closed;
  const disconnect = client.received.find(({ cmd }) => cmd === 'disconnect');
  assert.equal(disconnect?.cmd === 'disconnect' && disconnect.reasonCode, 0x8b);
  await assert.rejects(RawClient.open(edge.tcp), { code: 'ECONNREFUSED' });
  assert.ok(edge.isRunning, 'it waits for NATS');
  own.resume();
  assert.equal(await stopping, 0);
  await own.stop();
});
