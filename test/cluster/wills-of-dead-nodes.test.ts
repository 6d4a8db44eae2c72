/**
 * Wills that outlive their node: it is killed, it is killed and so is the survivor that publishes, it is cut off from NATS, it is paused.
 * Each will is published once, after the lease is over, and never for a client that is served.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { connect } from 'nats';
import { openBackplane } from '../support/backplane.ts';
import { eventually } from '../support/eventually.ts';
import { freeze } from '../support/freeze.ts';
import { type NatsServerProcess, startNatsServer } from '../support/nats-server.ts';
import { EdgeProcess } from '../support/node.ts';
import { poll } from '../support/poll.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';
import { connectManyWithWill, connectWithWill, WillWatch } from '../support/will-watch.ts';

const LEASE_SECONDS = 5;
const CLIENTS = 1_000;
/** Of a lease, from its last renewal: what a node that dies has left at least, less what machines are late. */
const LEAST_LEASE_MILLISECONDS = (LEASE_SECONDS * 4 * 1000) / 5 - 300;
/** After the lease. */
const LATEST_MILLISECONDS = 15_000;
let nats: NatsServerProcess;
let survivors: readonly [EdgeProcess, EdgeProcess];
let observer: Awaited<ReturnType<typeof openBackplane>>;

function startEdge(env: Record<string, string> = {}): Promise<EdgeProcess> {
  return EdgeProcess.start({ SUPERMQ_NATS_SERVERS: nats.url, SUPERMQ_LEASE_SECONDS: String(LEASE_SECONDS), ...env });
}

before(async () => {
  nats = await startNatsServer();
  survivors = [await startEdge(), await startEdge()];
  observer = await openBackplane(nats.url);
});
after(async () => {
  await observer.close();
  for (const edge of survivors) await edge.stop();
  await nats.stop();
});

/** Of all nodes that still run: wills published for dead ones. */
async function publishedForDead(edges: readonly EdgeProcess[]): Promise<number> {
  const counts = await Promise.all(edges.map((edge) => edge.metric('supermq_wills_of_dead_nodes_total')));
  return counts.reduce((sum, count) => sum + count, 0);
}

/** Wills that any owner has in the store: none is left that could be published again. */
async function storedWills(): Promise<number> {
  const { wills } = observer;
  assert.ok(wills !== undefined);
  let count = 0;
  for (const owner of await wills.owners()) {
    for (let next: number | undefined = 0; next !== undefined; ) {
      const page = await wills.page(owner, next);
      count += page.wills.length;
      next = page.next;
    }
  }
  return count;
}

/** Node id of the one that sees to the wills of dead nodes. */
async function leader(): Promise<string> {
  const connection = await connect({ servers: nats.url });
  const manager = await connection.jetstreamManager();
  let nodeId = '';
  await eventually(async () => {
    const stored = await manager.streams
      .getMessage('KV_SMQ_NODES', { last_by_subj: '$KV.SMQ_NODES.task-wills' })
      .catch(() => undefined);
    if (stored !== undefined) nodeId = (JSON.parse(stored.string()) as { nodeId: string }).nodeId;
    return nodeId !== '';
  }, 'a leader');
  await connection.close();
  return nodeId;
}

async function seeAll(watch: WillWatch, count: number, timeoutMs = 30_000): Promise<void> {
  await poll(async () => watch.seen.length >= count, { what: `${count} wills`, timeoutMs }).catch((error: Error) => {
    throw new Error(`${error.message}; ${watch.seen.length} came`);
  });
}

/** Once each; one that would come twice has come when nothing is left in the store. */
async function assertOnceEach(watch: WillWatch, count: number): Promise<void> {
  await poll(async () => (await storedWills()) === 0, { what: 'an empty store of wills', timeoutMs: 20_000 });
  assert.deepEqual(watch.counts(), { 1: count });
}

function assertInTime(watch: WillWatch, diedAt: number): void {
  const times = watch.seen.map(({ at }) => at - diedAt);
  const [first, last] = [Math.min(...times), Math.max(...times)];
  assert.ok(first >= LEAST_LEASE_MILLISECONDS, `the first will came after ${first} ms`);
  assert.ok(last <= LEASE_SECONDS * 1000 + LATEST_MILLISECONDS, `the last will came after ${last} ms`);
}

test('[MQTT5 3.1.2-7] [MQTT5 3.1.2-8] [MQTT311 3.1.2-8] [X] [K] a node with 1,000 clients is killed: each will once, of every QoS, when its lease is over', async () => {
  const watch = await WillWatch.start(nats.url, 'killed');
  const node = await startEdge();
  await connectManyWithWill(node.tcp, { count: CLIENTS, level: 'killed', qosOf: (n) => (n % 3) as 0 | 1 | 2 });
  const before = await publishedForDead(survivors);
  const diedAt = performance.now();
  await node.kill();
  await seeAll(watch, CLIENTS);
  await eventually(async () => (await publishedForDead(survivors)) - before === CLIENTS, 'the count of wills');
  await assertOnceEach(watch, CLIENTS);
  assertInTime(watch, diedAt);
  await watch.stop();
});

test('[MQTT5 3.1.2-8] [MQTT5 3.1.2-10] [K] the survivor that publishes the wills of a killed node is killed too: each will once', async () => {
  const pair = [await startEdge({ SUPERMQ_NODE_ID: 'heir-1' }), await startEdge({ SUPERMQ_NODE_ID: 'heir-2' })];
  // Whoever leads now is stopped, so that one of the two leads, is known and can be killed.
  for (const edge of survivors) assert.equal(await edge.stop(), 0);
  const isHeir = async (): Promise<boolean> => (await leader()).startsWith('heir');
  await poll(isHeir, { what: 'a leader among the two', timeoutMs: 20_000 });
  const heir = pair[(await leader()) === 'heir-1' ? 0 : 1];
  assert.ok(heir !== undefined);
  const node = await startEdge();
  await connectManyWithWill(node.tcp, { count: CLIENTS, level: 'twice', qosOf: (n) => ((n % 2) + 1) as 1 | 2 });

  const watch = await WillWatch.start(nats.url, 'twice');
  watch.saw = () => {
    if (watch.seen.length === 50) process.kill(heir.pid, 'SIGKILL');
  };
  const diedAt = performance.now();
  await node.kill();
  await seeAll(watch, CLIENTS, 40_000);
  assert.ok(!heir.isRunning, 'it was killed');
  const others = pair.filter((edge) => edge !== heir);
  assert.ok((await publishedForDead(others)) > 0, 'it was killed before it was done');
  await assertOnceEach(watch, CLIENTS);
  assertInTime(watch, diedAt);
  await watch.stop();
  survivors = [await startEdge(), await startEdge()];
  for (const edge of pair) await edge.stop();
});

for (const cut of ['cut', 'stall'] as const) {
  const how = cut === 'cut' ? 'is cut off from NATS' : 'hears nothing of NATS any more';
  test(`a node that ${how} closes its clients first; then their wills are published, once each`, async () => {
    const proxy = await TcpProxy.start(nats.port);
    const node = await startEdge({ SUPERMQ_NATS_SERVERS: `nats://127.0.0.1:${proxy.port}` });
    const watch = await WillWatch.start(nats.url, cut);
    const clients = await connectManyWithWill(node.tcp, {
      count: CLIENTS,
      level: cut,
      qosOf: (n) => (n % 3) as 0 | 1 | 2,
    });
    proxy[cut]();
    const closedAt = await Promise.all(clients.map((client) => client.closed.then(() => performance.now())));
    assert.equal(watch.seen.length, 0, 'no will of a client that is served');
    await seeAll(watch, CLIENTS);
    assert.ok(Math.max(...closedAt) < Math.min(...watch.seen.map(({ at }) => at)));
    // The node comes back and has nothing to add.
    if (cut === 'cut') {
      proxy.mend();
      await node.waitForStatus('readyz', 200);
      const client = await connectWithWill(node.tcp, { topic: `${cut}/again` });
      await client.abort();
      await seeAll(watch, CLIENTS + 1);
      await assertOnceEach(watch, CLIENTS + 1);
    } else {
      await assertOnceEach(watch, CLIENTS);
    }
    await watch.stop();
    await node.kill();
    await proxy.stop();
  });
}

test('a paused node: its wills are published by others, and it publishes none again when it wakes', async () => {
  const node = await startEdge();
  const watch = await WillWatch.start(nats.url, 'paused');
  const clients = await connectManyWithWill(node.tcp, {
    count: 100,
    level: 'paused',
    qosOf: (n) => (n % 3) as 0 | 1 | 2,
  });
  const pausedAt = performance.now();
  freeze(node.pid);
  await seeAll(watch, 100);
  assertInTime(watch, pausedAt);
  process.kill(node.pid, 'SIGCONT');
  await Promise.all(clients.map(({ closed }) => closed));
  await node.waitForStatus('readyz', 200);
  const again = await connectWithWill(node.tcp, { topic: 'paused/again' });
  await again.abort();
  await seeAll(watch, 101);
  await assertOnceEach(watch, 101);
  await watch.stop();
  assert.equal(await node.stop(), 0);
});

test('[MQTT5 3.1.2-8] [K] two nodes are killed at once: the wills of both', async () => {
  const nodes = [await startEdge(), await startEdge()];
  const watch = await WillWatch.start(nats.url, 'both');
  for (const [index, { tcp }] of nodes.entries())
    await connectManyWithWill(tcp, { count: 100, level: `both/${index}`, qosOf: () => 1 });
  const diedAt = performance.now();
  await Promise.all(nodes.map((node) => node.kill()));
  await seeAll(watch, 200);
  await assertOnceEach(watch, 200);
  assertInTime(watch, diedAt);
  await watch.stop();
});

test('[MQTT5 3.1.2-7] [MQTT5 3.1.2-8] [K] all nodes die; the next one that starts publishes their wills when it may judge', async () => {
  const node = await startEdge();
  const watch = await WillWatch.start(nats.url, 'all');
  await connectManyWithWill(node.tcp, { count: 10, level: 'all', qosOf: () => 1 });
  await Promise.all([node, ...survivors].map((edge) => edge.kill()));
  survivors = [await startEdge(), await startEdge()];
  await seeAll(watch, 10);
  await assertOnceEach(watch, 10);
  await watch.stop();
});
