/** What makes positions of the log lie: forged headers, live copies that never come, a log made anew or set back, stale replicas. */
import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { connect as connectNats, headers, type NatsConnection } from 'nats';
import { runFlow } from '../chaos/flow.ts';
import { streamLeader } from '../chaos/stream-leader.ts';
import { EdgeNodes, startEdge } from '../support/edge-nodes.ts';
import { eventually } from '../support/eventually.ts';
import { startNatsCluster } from '../support/nats-cluster.ts';
import { type NatsServerProcess, startNatsServer } from '../support/nats-server.ts';
import type { EdgeProcess } from '../support/node.ts';
import { publishNumbers, range, SessionClient } from '../support/session-client.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';

const LOG = 'SMQ_LOG';

let nodes: EdgeNodes;
let application: NatsConnection;

before(async () => {
  nodes = await EdgeNodes.start(2);
  application = await connectNats({ servers: nodes.nats.url });
});
after(async () => {
  await application.close();
  await nodes.stop();
});

async function lastSequence(connection: NatsConnection): Promise<number> {
  const manager = await connection.jetstreamManager();
  return (await manager.streams.info(LOG)).state.last_seq;
}

/** Header lines that only the server should write. */
function forged(sequence: number, previous: number): ReturnType<typeof headers> {
  const lines = headers();
  lines.set('Nats-Stream', LOG);
  lines.set('Nats-Sequence', String(sequence));
  lines.set('Nats-Last-Sequence', String(previous));
  lines.set('Nats-Time-Stamp', new Date(0).toISOString());
  return lines;
}

/** One live subscriber of a topic, one of a wildcard, and one of each that is away. */
async function audience(name: string): Promise<{ live: SessionClient[]; away: SessionClient[] }> {
  const make = async (kind: string): Promise<SessionClient[]> => {
    const exact = await SessionClient.connect(nodes.portOf(0), `${name}-${kind}-topic`);
    await exact.subscribe(`${name}/x`, 1);
    const wild = await SessionClient.connect(nodes.portOf(0), `${name}-${kind}-wildcard`);
    await wild.subscribe(`${name}/#`, 1);
    return [exact, wild];
  };
  const away = await make('away');
  for (const client of away) await client.leave();
  return { live: await make('live'), away };
}

test('a message in the log with forged headers of the server is one message and hides none', async () => {
  const { away, live } = await audience('forged');
  const publisher = await SessionClient.connect(nodes.portOf(1), 'forged-publisher');
  await publisher.publish('forged/x', '0');
  await application.jetstream().publish('$SMQ.log.forged.x', '1', { headers: forged(999_999, 999_998) });
  await application.jetstream().publish('$SMQ.log.forged.x', '2', { headers: forged(1, 0) });
  await publishNumbers(publisher, { from: 3, to: 100, topic: 'forged/x' });
  for (const client of away) await client.connect(nodes.portOf(1));
  for (const client of [...live, ...away]) {
    await client.waitFor(100);
    assert.deepEqual(
      client.arrivals.map(({ number }) => number),
      range(100),
      client.clientId,
    );
  }
  await Promise.all([...live, ...away, publisher].map((client) => client.forget()));
});

test('a forged live message far beyond the end of the log is dropped and counted, and hides nothing', async () => {
  const { away, live } = await audience('beyond');
  const publisher = await SessionClient.connect(nodes.portOf(1), 'beyond-publisher');
  await publisher.publish('beyond/x', '0');
  for (const client of live) await client.waitFor(1);
  const drops = 'supermq_messages_dropped_total{cause="forged_sequence"}';
  const before = (await nodes.edge(0).metric(drops)) ?? 0;
  application.publish('$SMQ.live.beyond.x', '777', { headers: forged(9e15, 0) });
  await eventually(async () => (await nodes.edge(0).metric(drops)) === before + 2, 'dropped for both feeds');
  await publishNumbers(publisher, { from: 1, to: 100, topic: 'beyond/x' });
  for (const client of away) await client.connect(nodes.portOf(1));
  for (const client of [...live, ...away]) {
    await client.waitFor(100);
    assert.deepEqual(client.numbers(), range(100), client.clientId);
  }
  await Promise.all([...live, ...away, publisher].map((client) => client.forget()));
});

test('known limit: a forged live message slightly beyond the end; what is behind it arrives again, and sessions that are away miss nothing', async (t) => {
  const { away, live } = await audience('near');
  const publisher = await SessionClient.connect(nodes.portOf(1), 'near-publisher');
  await publisher.publish('near/x', '0');
  for (const client of live) await client.waitFor(1);
  const last = await lastSequence(application);
  application.publish('$SMQ.live.near.x', '777', { headers: forged(last + 50, last) });
  for (const client of live) await client.waitFor(2);
  await publishNumbers(publisher, { from: 1, to: 200, topic: 'near/x' });
  for (const client of away) {
    await client.connect(nodes.portOf(1));
    await client.waitFor(200);
    assert.deepEqual(client.numbers(), range(200), client.clientId);
  }
  for (const client of live) {
    await eventually(() => client.numbers().includes(199), 'the newest message');
    const missing = range(200).filter((number) => !client.numbers().includes(number));
    t.diagnostic(`${client.clientId} missed ${missing.length}: ${missing[0]} … ${missing.at(-1)}`);
    assert.ok(missing.every((number) => number <= 50));
  }
  await Promise.all([...live, ...away, publisher].map((client) => client.forget()));
});

test('a node cut off from NATS while messages are published: its live sessions get all of them, in order', async (t) => {
  const proxy = await TcpProxy.start(nodes.nats.port);
  const cutOff = await startEdge(`nats://127.0.0.1:${proxy.port}`, { SUPERMQ_LEASE_SECONDS: '60' });
  const publisher = await SessionClient.connect(nodes.portOf(1), 'cut-publisher');
  const subscribers = [new SessionClient('cut-exact'), new SessionClient('cut-wild'), new SessionClient('cut-once')];
  for (const [index, subscriber] of subscribers.entries()) {
    await subscriber.connect(cutOff.tcp);
    await subscriber.subscribe(['cut/0', 'cut/#', 'cut/+'][index] ?? '', index === 2 ? 2 : 1);
  }
  const publish = (from: number, to: number): Promise<void> =>
    publishNumbers(publisher, { from, to, qos: 2, topic: (number) => `cut/${number % 3}` });
  for (let round = 0; round < 3; round++) {
    const from = round * 900;
    const whole = publish(from, from + 900);
    await eventually(() => (subscribers[1]?.numbers().length ?? 0) > from + 100, 'a flow');
    // Copies that NATS has sent and the node has not read are lost with the connection.
    proxy.stall();
    const last = await lastSequence(application);
    await eventually(async () => (await lastSequence(application)) > last + 100, 'messages meanwhile');
    proxy.cut();
    await whole;
    proxy.mend();
    await subscribers[1]?.waitFor(from + 900);
  }
  t.diagnostic(`repaired: ${await cutOff.metric('supermq_log_repaired_total')}`);
  assert.ok((await cutOff.metric('supermq_log_repaired_total')) > 0, 'copies were missing');
  for (const [index, subscriber] of subscribers.entries()) {
    const wanted = range(2_700).filter((number) => index > 0 || number % 3 === 0);
    await subscriber.waitFor(wanted.length);
    for (const topic of ['cut/0', 'cut/1', 'cut/2']) {
      const numbers = subscriber.arrivals.filter((arrival) => arrival.topic === topic).map(({ number }) => number);
      assert.deepEqual(
        numbers,
        wanted.filter((number) => topic.endsWith(String(number % 3))),
        `${subscriber.clientId} ${topic}`,
      );
    }
    assert.ok(subscriber.isOpen);
    await subscriber.forget();
  }
  await publisher.forget();
  await cutOff.stop();
  await proxy.stop();
});

test('the log deleted and made again: sessions that were away get what is new, from its first message, and are counted', async () => {
  const own = await startNatsServer();
  const old = await startEdge(own.url);
  const publisher = await SessionClient.connect(old.tcp, 'anew-publisher');
  const subscriber = await SessionClient.connect(old.tcp, 'anew');
  await subscriber.subscribe('anew/#', 2);
  await publishNumbers(publisher, { to: 500, topic: 'anew/x', qos: 2 });
  await subscriber.waitFor(500);
  await subscriber.leave();
  await publisher.leave();
  await old.stop();
  const connection = await connectNats({ servers: own.url });
  await (await connection.jetstreamManager()).streams.delete(LOG);
  const edge = await startEdge(own.url);
  await publisher.connect(edge.tcp, { clean: true });
  await publishNumbers(publisher, { from: 500, to: 600, topic: 'anew/x', qos: 2 });
  assert.equal(await lastSequence(connection), 100, 'below the positions of the session');
  await subscriber.connect(edge.tcp);
  assert.ok(subscriber.sessionPresent);
  await publishNumbers(publisher, { from: 600, to: 700, topic: 'anew/x', qos: 2 });
  await subscriber.waitFor(700);
  assert.deepEqual(
    subscriber.arrivals.map(({ number }) => number),
    range(700),
  );
  assert.equal(await edge.metric('supermq_sessions_reset_total'), 1);
  // The reset is in the record: the next resume is an ordinary one.
  await subscriber.leave();
  await subscriber.connect(edge.tcp);
  await publishNumbers(publisher, { from: 700, to: 710, topic: 'anew/x', qos: 2 });
  await subscriber.waitFor(710);
  assert.equal(subscriber.arrivals.length, 710);
  assert.equal(await edge.metric('supermq_sessions_reset_total'), 1);
  await connection.close();
  await edge.stop();
  await own.stop();
});

/** What a node says of positions beyond the end of the log; a client comes back after it. */
const SERVER_BUSY = 0x89;

/** Longer than a node goes without asking where the log ends. */
const NOTICED_MILLISECONDS = 2_500;

/** Three clients have read on when NATS comes back with the log as it was after 100 messages; `isSlow`: the flow took a while. */
async function setBack(isSlow: boolean): Promise<void> {
  const storeDir = mkdtempSync(join(tmpdir(), 'supermq-store-'));
  const folder = join(storeDir, 'jetstream', '$G', 'streams', LOG);
  await using own = await startNatsServer({ storeDir });
  const edge = await startEdge(own.url, { SUPERMQ_LEASE_SECONDS: '60' });
  try {
    await setBackUnder({ own, edge, folder, backup: join(storeDir, 'backup'), isSlow });
  } finally {
    await edge.kill();
    rmSync(storeDir, { recursive: true });
  }
}

interface SetBack {
  readonly own: NatsServerProcess;
  readonly edge: EdgeProcess;
  /** Where the log is stored. */
  readonly folder: string;
  readonly backup: string;
  readonly isSlow: boolean;
}

async function setBackUnder({ backup, edge, folder, isSlow, own }: SetBack): Promise<void> {
  const publisher = await SessionClient.connect(edge.tcp, 'restored-publisher');
  const clients = await Promise.all(
    ['away', 'live-topic', 'live-wildcard'].map((name) => SessionClient.connect(edge.tcp, `restored-${name}`)),
  );
  const [away, exact, wild] = clients;
  assert.ok(away !== undefined && exact !== undefined && wild !== undefined);
  await Promise.all([away.subscribe('old/x', 1), exact.subscribe('old/x', 1), wild.subscribe('old/#', 1)]);
  await publishNumbers(publisher, { to: 100, topic: 'old/x' });
  await own.kill('SIGTERM');
  cpSync(folder, backup, { recursive: true });
  await own.restart();
  await edge.waitForStatus('readyz', 200);
  let count = 600;
  await publishNumbers(publisher, { from: 100, to: count, topic: 'old/x' });
  const end = performance.now() + (isSlow ? NOTICED_MILLISECONDS : 0);
  for (; performance.now() < end; count++) await publisher.publish('old/x', String(count));
  for (const client of clients) await client.waitFor(count);
  await away.leave();
  await own.kill('SIGTERM');
  rmSync(folder, { recursive: true });
  cpSync(backup, folder, { recursive: true });
  await own.restart();
  await edge.waitForStatus('readyz', 200);
  for (const client of [exact, wild]) {
    await eventually(() => !client.isOpen, `${client.clientId} is sent away`);
    assert.equal(client.disconnectReason, SERVER_BUSY);
  }
  for (const client of clients) {
    await client.connect(edge.tcp);
    assert.ok(client.sessionPresent);
  }
  await publisher.connect(edge.tcp, { clean: true });
  await publishNumbers(publisher, { from: count, to: count + 100, topic: 'old/x' });
  for (const client of clients) {
    await client.waitFor(count + 100);
    assert.deepEqual(client.numbers(), range(count + 100), client.clientId);
  }
  assert.equal(await edge.metric('supermq_sessions_reset_total'), 3);
}

test('NATS restored from an older store of the log: what is new reaches sessions that were away and clients that were connected', () =>
  setBack(true));

test('NATS loses no more of the log than the last second: what is new arrives all the same', () => setBack(false));

test('the route between the leader of the log and the server of a node cut for a second: nothing is missing, on quiet topics neither', async (t) => {
  const proxies = new Map<string, TcpProxy>();
  const routeVia = async (from: number, to: number, routePort: number): Promise<number> => {
    const proxy = await TcpProxy.start(routePort);
    proxies.set(`${from} ${to}`, proxy);
    return proxy.port;
  };
  const cluster = await startNatsCluster(3, { routeVia });
  const env = { SUPERMQ_NATS_REPLICAS: '3' };
  const first = await startEdge(cluster.urls.join(','), env);
  const leader = await streamLeader(cluster);
  const follower = cluster.servers.find((server) => server !== leader);
  assert.ok(follower !== undefined);
  const [near, far] = await Promise.all([startEdge(leader.url, env), startEdge(follower.url, env)]);
  const pair = [cluster.servers.indexOf(leader), cluster.servers.indexOf(follower)];
  const routes = [pair.join(' '), pair.reverse().join(' ')].map((key) => proxies.get(key));
  const publisher = await SessionClient.connect(near.tcp, 'route-publisher');
  const subscriber = await SessionClient.connect(far.tcp, 'route-subscriber');
  await subscriber.subscribe('route/#', 1);
  const COUNT = 600;
  let isCut = false;
  for (let number = 0; number < COUNT; number++) {
    // Each topic is used once: no later message shows that one is missing.
    await publisher.publish(`route/${number}`, String(number));
    if (number === COUNT / 4) {
      for (const proxy of routes) proxy?.cut();
      isCut = true;
      setTimeout(() => {
        for (const proxy of routes) proxy?.mend();
        isCut = false;
      }, 1_200);
    }
    if (isCut) await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.equal(await streamLeader(cluster), leader, 'no election');
  await subscriber.waitFor(COUNT);
  assert.deepEqual(
    subscriber.numbers().sort((a, b) => a - b),
    range(COUNT),
  );
  const repaired = await far.metric('supermq_log_repaired_total');
  t.diagnostic(`repaired: ${repaired}`);
  assert.ok(repaired > 0, 'copies were missing');
  await Promise.all([publisher, subscriber].map((client) => client.forget()));
  await Promise.all([first, near, far].map((edge) => edge.stop()));
  await cluster.stop();
  for (const proxy of proxies.values()) await proxy.stop();
});

test('three servers: sessions resume whole while a follower of the log is frozen; then its leader is killed in a flow', async (t) => {
  const cluster = await startNatsCluster(3);
  const env = { SUPERMQ_NATS_REPLICAS: '3' };
  const servers = cluster.urls.join(',');
  const trio = await Promise.all([0, 1, 2].map(() => startEdge(servers, env)));
  const ports = trio.map(({ tcp }) => tcp);
  const sessions = range(10).map((number) => new SessionClient(`follower-${number}`));
  for (const session of sessions) {
    await session.connect(ports[0] ?? 0);
    await session.subscribe('follower/#', 1);
    await session.leave();
  }
  const publisher = await SessionClient.connect(ports[1] ?? 0, 'follower-publisher');
  await publishNumbers(publisher, { to: 500, topic: 'follower/x', padding: 1_000 });
  const leader = await streamLeader(cluster);
  const follower = cluster.servers.find((server) => server !== leader);
  assert.ok(follower !== undefined);
  follower.pause();
  // An edge node that was connected to the frozen server is of no use meanwhile: one that surely is not.
  const elsewhere = await startEdge(leader.url, env);
  const started = performance.now();
  for (const session of sessions) await session.connect(elsewhere.tcp);
  for (const session of sessions) {
    await session.waitFor(500, 30_000);
    assert.deepEqual(session.numbers(), range(500));
  }
  t.diagnostic(`ten sessions resumed in ${((performance.now() - started) / 1000).toFixed(1)} s with a frozen follower`);
  follower.resume();
  await cluster.formed();
  await Promise.all(sessions.map((session) => session.forget()));
  await elsewhere.stop();

  let killed = false;
  const killLeader = async (): Promise<void> => {
    const server = await streamLeader(cluster);
    await server.kill();
    await streamLeader(cluster);
    await server.restart();
    killed = true;
  };
  const result = await runFlow({ qos: 1, count: 3_000, ports, at: new Map([[1_000, killLeader]]) });
  t.diagnostic(`leader killed: ${result.seconds.toFixed(1)} s, ${result.repeated} repeated`);
  assert.ok(killed);
  assert.deepEqual([result.lost.length, result.misordered], [0, 0]);
  await Promise.all(trio.map((edge) => edge.stop()));
  await cluster.stop();
});
