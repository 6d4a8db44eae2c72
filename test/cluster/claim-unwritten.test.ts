/** A client that comes back while the session of its last connection cannot be written: NATS is there and does not answer. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { eventually } from '../support/eventually.ts';
import { type NatsServerProcess, startNatsServer } from '../support/nats-server.ts';
import { EdgeProcess } from '../support/node.ts';
import { connectPacket, RawClient } from '../support/raw-client.ts';

const SERVER_UNAVAILABLE = 0x88;
const SERVER_BUSY = 0x89;
/** CONNECTs of one client that may wait. */
const WAITING = 64;

let nats: NatsServerProcess;
let edge: EdgeProcess;

before(async () => {
  nats = await startNatsServer();
  edge = await EdgeProcess.start({ SUPERMQ_NATS_SERVERS: nats.url, SUPERMQ_LIMITS_CONNECT_TIMEOUT_SECONDS: '2' });
});
after(async () => {
  await edge.stop();
  await nats.stop();
});

test('it is told in time that the server is not available, and finds all when NATS is back', {
  timeout: 30_000,
}, async () => {
  const fields = {
    version: 5,
    clientId: 'unwritten',
    clean: false,
    properties: { sessionExpiryInterval: 600 },
  } as const;
  const client = await RawClient.connect(edge.tcp, fields);
  await client.subscribe({ topic: 'unwritten', qos: 1 });
  const publisher = await RawClient.connect(edge.tcp, { version: 5 });
  nats.pause();
  try {
    await client.end();
    const started = performance.now();
    const waiting = await Promise.all(Array.from({ length: WAITING }, () => RawClient.open(edge.tcp, 5)));
    for (const one of waiting) one.send(connectPacket(fields));
    // Each is closed by the next one.
    const last = await lastOf(waiting);
    const refused = await RawClient.connect(edge.tcp, fields);
    assert.equal(refused.connack.reasonCode, SERVER_BUSY, 'one more than may wait');
    assert.equal((await last.next('connack')).reasonCode, SERVER_UNAVAILABLE);
    assert.ok(performance.now() - started < 10_000, 'in time');
    await publisher.ping();
    assert.equal(await edge.metric('supermq_protocol_errors_total'), 0, 'they have done nothing wrong');
  } finally {
    nats.resume();
  }
  await publisher.publishAcknowledged('unwritten', 'meanwhile', 1);
  let back = await RawClient.connect(edge.tcp, fields);
  await eventually(async () => {
    // Until the session is written those that wait are as many as may.
    if (back.connack.reasonCode === SERVER_BUSY) back = await RawClient.connect(edge.tcp, fields);
    return back.connack.reasonCode !== SERVER_BUSY;
  });
  assert.deepEqual([back.connack.reasonCode, back.connack.sessionPresent], [0, true]);
  assert.deepEqual(await back.messages(1), [{ topic: 'unwritten', payload: 'meanwhile' }]);
  await back.end();
  await publisher.end();
});

/** The only one that stays when all others are closed. */
async function lastOf(clients: readonly RawClient[]): Promise<RawClient> {
  const ended = new Set<RawClient>();
  await new Promise<void>((resolve) => {
    for (const client of clients)
      client.closed.then(() => {
        if (ended.add(client).size === clients.length - 1) resolve();
      });
  });
  const last = clients.find((client) => !ended.has(client));
  assert.ok(last !== undefined);
  return last;
}
