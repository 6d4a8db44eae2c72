/** Wills of clients that move between nodes: cancelled or published by whatever node, in the right order, also when a node is killed or stopped. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type NatsServerProcess, startNatsServer } from '../support/nats-server.ts';
import { EdgeProcess } from '../support/node.ts';
import { poll } from '../support/poll.ts';
import { RawClient } from '../support/raw-client.ts';
import { connectWithWill, WillWatch } from '../support/will-watch.ts';

const LEASE_SECONDS = 5;
let nats: NatsServerProcess;
let edges: readonly [EdgeProcess, EdgeProcess];
let watch: WillWatch;

function startEdge(): Promise<EdgeProcess> {
  return EdgeProcess.start({ SUPERMQ_NATS_SERVERS: nats.url, SUPERMQ_LEASE_SECONDS: String(LEASE_SECONDS) });
}

before(async () => {
  nats = await startNatsServer();
  edges = [await startEdge(), await startEdge()];
  watch = await WillWatch.start(nats.url, 'will');
});
after(async () => {
  await watch.stop();
  for (const edge of edges) await edge.stop();
  await nats.stop();
});

const times = (topic: string): number => watch.seen.filter((will) => will.topic === topic).length;

function published(topic: string): Promise<void> {
  return poll(async () => times(topic) > 0, { what: `the will on ${topic}`, timeoutMs: 30_000 });
}

function reconnect(edge: EdgeProcess, clientId: string, clean = false): Promise<RawClient> {
  const properties = { sessionExpiryInterval: 100 };
  return RawClient.connect(edge.tcp, { version: 5, clientId, clean, properties });
}

test('[MQTT5 3.1.3-9] [X] a client that comes back on another node within the delay cancels its will; one that does not, does not', async () => {
  const fields = { delaySeconds: 3, expirySeconds: 100, clean: false };
  const back = await connectWithWill(edges[0].tcp, { ...fields, clientId: 'back', topic: 'will/back' });
  const gone = await connectWithWill(edges[0].tcp, { ...fields, clientId: 'gone', topic: 'will/gone' });
  const taken = await connectWithWill(edges[0].tcp, { ...fields, clientId: 'taken', topic: 'will/taken' });
  const cleaned = await connectWithWill(edges[0].tcp, { ...fields, clientId: 'cleaned', topic: 'will/cleaned' });
  await back.abort();
  const lostAt = performance.now();
  await gone.abort();
  const again = await reconnect(edges[1], 'back');
  const over = await reconnect(edges[1], 'taken');
  await taken.closed;
  // Clean Start ends the session: its will is not cancelled but published.
  const anew = await reconnect(edges[1], 'cleaned', true);
  await cleaned.closed;
  await published('will/cleaned');
  await published('will/gone');
  const waited = performance.now() - lostAt;
  assert.ok(waited > 2_900, `published after ${waited} ms`);
  for (const client of [again, over, anew]) await client.end(0);
  // A will that comes later than all that are asked for: those of before have come, or never will.
  await (await connectWithWill(edges[0].tcp, { ...fields, topic: 'will/last' })).abort();
  await published('will/last');
  assert.deepEqual(watch.topics(), ['will/cleaned', 'will/gone', 'will/last']);
});

test('[MQTT5 3.1.2-8] [MQTT5 3.1.4-3] [X] takeover on another node publishes a will without delay, before the new client has its CONNACK', async () => {
  for (const expirySeconds of [0, 100]) {
    const [clientId, topic] = [`moved-${expirySeconds}`, `will/moved-${expirySeconds}`];
    const first = await connectWithWill(edges[0].tcp, { clientId, topic, expirySeconds, clean: false });
    const second = await reconnect(edges[1], clientId);
    await second.publishAcknowledged(topic, 'online', 1);
    await first.closed;
    await poll(async () => times(topic) === 2, { what: 'both messages', timeoutMs: 10_000 });
    const payloads = watch.seen.filter((will) => will.topic === topic).map(({ payload }) => payload);
    assert.deepEqual(payloads, ['gone', 'online']);
    await second.end(0);
  }
});

test('[MQTT5 3.1.2-7] [MQTT5 3.1.2-8] [MQTT311 3.1.2-8] [MQTT5 3.1.3-9] [X] [K] the node of a client is killed and the client comes back elsewhere before the lease is over: its will is cancelled, or published before its own messages', async () => {
  const node = await startEdge();
  const later = { delaySeconds: 1, expirySeconds: 100, clean: false };
  await connectWithWill(node.tcp, { clientId: 'k-back', topic: 'will/k-back', ...later });
  await connectWithWill(node.tcp, { clientId: 'k-gone', topic: 'will/k-gone', ...later });
  await connectWithWill(node.tcp, { clientId: 'k-prompt', topic: 'will/k-prompt', expirySeconds: 100, clean: false });
  await connectWithWill(node.tcp, { clientId: 'k-brief', topic: 'will/k-brief' });
  await connectWithWill(node.tcp, { clientId: 'k-four', topic: 'will/k-four', version: 4 });
  await node.kill();
  const killedAt = performance.now();
  const back = await reconnect(edges[0], 'k-back');
  for (const clientId of ['k-prompt', 'k-brief', 'k-four']) {
    const client = await reconnect(edges[1], clientId);
    await client.publishAcknowledged(`will/${clientId}`, 'online', 1);
    await client.end(0);
  }
  assert.ok(performance.now() - killedAt < 4_000, 'the lease was not over');
  await published('will/k-gone');
  assert.ok(performance.now() - killedAt > 4_700, 'not before lease and delay were over');
  assert.equal(times('will/k-back'), 0);
  for (const clientId of ['k-prompt', 'k-brief', 'k-four']) {
    const payloads = watch.seen.filter(({ topic }) => topic === `will/${clientId}`).map(({ payload }) => payload);
    assert.deepEqual(payloads, ['gone', 'online'], clientId);
  }
  await back.end(0);
});

test('[MQTT5 3.1.2-8] [MQTT5 §3.1.3.2.2] [X] [K] a delayed will whose node is killed while it waits is published by another node, at its time', async () => {
  const node = await startEdge();
  const fields = { expirySeconds: 100, clean: false };
  const client = await connectWithWill(node.tcp, { ...fields, delaySeconds: 8, topic: 'will/waiting' });
  await client.abort();
  const lostAt = performance.now();
  const waits = async (): Promise<boolean> => (await node.metric('supermq_wills_waiting')) === 1;
  await poll(waits, { what: 'the end of the connection', timeoutMs: 20_000 });
  await node.kill();
  await published('will/waiting');
  const waited = performance.now() - lostAt;
  assert.ok(waited > 7_900 && waited < 13_000, `published after ${waited} ms`);
});

test('[MQTT5 §3.1.2.5] a stopped node publishes wills without delay at once, and leaves the others to the other nodes', async () => {
  const node = await startEdge();
  await connectWithWill(node.tcp, { topic: 'will/stopped' });
  await connectWithWill(node.tcp, { topic: 'will/stopped-later', delaySeconds: 3, expirySeconds: 100 });
  await connectWithWill(node.tcp, {
    topic: 'will/stopped-back',
    clientId: 'stopped-back',
    delaySeconds: 3,
    expirySeconds: 100,
  });
  assert.equal(await node.stop(), 0);
  const stoppedAt = performance.now();
  await published('will/stopped');
  assert.equal(times('will/stopped-later'), 0);
  const back = await reconnect(edges[0], 'stopped-back');
  await published('will/stopped-later');
  assert.ok(performance.now() - stoppedAt < 10_000);
  assert.equal(times('will/stopped-back'), 0);
  await back.end(0);
});

test('clients without a will cost NATS no write, with a session that ends with its connection', async () => {
  const writes = async (): Promise<number> => {
    const answer = await fetch(`${nats.monitorUrl}/jsz?streams=true`);
    const { account_details: accounts } = (await answer.json()) as {
      account_details: Array<{ stream_detail: Array<{ name: string; state: { last_seq: number } }> }>;
    };
    const streams = accounts.flatMap(({ stream_detail }) => stream_detail);
    return streams
      .filter(({ name }) => /SESSIONS|WILLS/.test(name))
      .reduce((sum, { state }) => sum + state.last_seq, 0);
  };
  const writesOfTwo = async (): Promise<number> => {
    const before = await writes();
    for (const version of [4, 5] as const) await (await RawClient.connect(edges[0].tcp, { version })).end();
    return (await writes()) - before;
  };
  // The last writes of the tests before may still be under way.
  await poll(async () => (await writesOfTwo()) === 0, { what: 'two clients without a write', timeoutMs: 10_000 });
  const before = await writes();
  await (await connectWithWill(edges[0].tcp, { topic: 'will/counted' })).end();
  assert.ok((await writes()) > before, 'that would show');
});
