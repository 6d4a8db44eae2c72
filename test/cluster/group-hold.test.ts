/** Who has a message of a group, and for how long: members that work for long, nodes that freeze, consumers that are gone, applications. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { connect as connectNats, type JetStreamManager, type NatsConnection } from 'nats';
import { eventually } from '../support/eventually.ts';
import { startNatsCluster } from '../support/nats-cluster.ts';
import { type NatsServerProcess, startNatsServer } from '../support/nats-server.ts';
import { EdgeProcess } from '../support/node.ts';
import { poll } from '../support/poll.ts';
import { publishNumbers, range, SessionClient } from '../support/session-client.ts';

const STREAM = 'SMQ_LOG';
const LEASE_SECONDS = 5;
const ACK_WAIT_MILLISECONDS = 2 * LEASE_SECONDS * 1000;
const RETENTION_SECONDS = 15;

let nats: NatsServerProcess;
let edges: EdgeProcess[];
let application: NatsConnection;
let manager: JetStreamManager;
let serial = 0;

before(async () => {
  nats = await startNatsServer();
  edges = await Promise.all([0, 1].map(startEdge));
  application = await connectNats({ servers: nats.url, maxReconnectAttempts: -1, reconnectTimeWait: 100 });
  manager = await application.jetstreamManager();
});
after(async () => {
  await application.close();
  await Promise.all(edges.map((edge) => edge.stop()));
  await nats.stop();
});

function startEdge(): Promise<EdgeProcess> {
  return EdgeProcess.start({
    SUPERMQ_NATS_SERVERS: nats.url,
    SUPERMQ_LEASE_SECONDS: String(LEASE_SECONDS),
    SUPERMQ_GROUPS_RETENTION_SECONDS: String(RETENTION_SECONDS),
  });
}

async function connect(
  index: number,
  fields: { expiry?: number; receiveMaximum?: number } = {},
): Promise<SessionClient> {
  return SessionClient.connect(edges[index]?.tcp ?? 0, `hold-${++serial}`, fields);
}

/** A member that acknowledges nothing by itself. */
async function join(index: number, filter: string, qos: 1 | 2, receiveMaximum?: number): Promise<SessionClient> {
  const member = await connect(index, receiveMaximum === undefined ? {} : { receiveMaximum });
  member.acknowledges = () => false;
  await member.subscribe(filter, qos);
  return member;
}

async function publish(topic: string, to: number, qos: 1 | 2 = 1, from = 0): Promise<void> {
  const publisher = await connect(0, { expiry: 0 });
  await publishNumbers(publisher, { topic, from, to, qos });
  await publisher.leave();
}

function elapsed(milliseconds: number): Promise<void> {
  const start = performance.now();
  const check = async (): Promise<boolean> => performance.now() - start > milliseconds;
  return poll(check, { what: 'time', timeoutMs: milliseconds + 5_000 });
}

/** The consumer of a group, as NATS tools find it: by its description. */
async function consumerOf(description: string) {
  for await (const info of manager.consumers.list(STREAM)) if (info.config.description === description) return info;
  return undefined;
}

test('what a member works on for longer than the ack wait is given to nobody else, sent or waiting; at its end it is, at once', async () => {
  const holder = await join(0, '$share/long/work', 1, 2);
  await publish('work', 4);
  await holder.waitFor(2);
  const other = await join(1, '$share/long/work', 1);
  await elapsed(ACK_WAIT_MILLISECONDS * 1.5);
  // Two more were given to the holder's node before the other one came, or to the other one.
  const early = other.numbers();
  assert.ok(
    early.every((number) => number > 1),
    `${early} came although they are worked on`,
  );
  assert.equal(other.arrivals.length, early.length);
  assert.deepEqual(holder.numbers(), [0, 1]);
  const start = performance.now();
  await holder.abort();
  await other.waitFor(4);
  assert.ok(performance.now() - start < 2_000, 'at once');
  assert.deepEqual(other.numbers().sort(), range(4));
  await other.forget();
});

test('a node that freezes: what it held goes to others after the ack wait, and it gives out nothing when it wakes', async () => {
  const frozen = edges[0];
  assert.ok(frozen !== undefined);
  for (const qos of [1, 2] as const) {
    const filter = `$share/frozen${qos}/ice/${qos}`;
    const [asleep, awake] = [await join(0, filter, qos, 5), await connect(1)];
    process.kill(frozen.pid, 'SIGSTOP');
    const publisher = await connect(1, { expiry: 0 });
    // Its request still waits at the server: it is given messages that it does not see.
    await publishNumbers(publisher, { topic: `ice/${qos}`, to: 10, qos });
    await awake.subscribe(filter, qos);
    await poll(async () => awake.numbers().length === 10, { what: 'all at the other', timeoutMs: 30_000 });
    process.kill(frozen.pid, 'SIGCONT');
    await asleep.closed;
    assert.deepEqual(asleep.arrivals, []);
    assert.equal(awake.arrivals.length, 10, 'once each');
    await frozen.waitForStatus('readyz', 200);
    // A positive twin: the member is back, with its session, and gets its share.
    asleep.acknowledges = () => true;
    await asleep.connect(edges[1]?.tcp ?? 0);
    assert.equal(asleep.sessionPresent, true);
    await publishNumbers(publisher, { topic: `ice/${qos}`, from: 10, to: 30, qos });
    await eventually(() => asleep.arrivals.length + awake.arrivals.length === 30);
    assert.ok(asleep.arrivals.length > 0);
    await Promise.all([asleep.forget(), awake.forget(), publisher.leave()]);
  }
});

test('members with QoS 0, 1 and 2 and an application in one group: no member gets the copy on the bus as well', async () => {
  const members: SessionClient[] = [];
  for (const qos of [0, 1, 2] as const) {
    const member = await connect(qos % 2);
    await member.subscribe('$share/mixed/mix/+', qos);
    members.push(member);
  }
  let copies = 0;
  const queue = application.subscribe('mix.*', {
    queue: 'mixed',
    callback: (_error, message) => {
      if (message.headers?.get('Mqtt-Stored') === '1') copies++;
    },
  });
  await application.flush();
  for (const qos of [1, 2] as const) await publish('mix/x', 300 * qos, qos, 300 * (qos - 1));
  await eventually(() => members.reduce((sum, { arrivals }) => sum + arrivals.length, 0) >= 600);
  await Promise.all(members.map((member) => member.publish('elsewhere', 'round trip')));
  const numbers = members.flatMap(({ arrivals }) => arrivals.map(({ number }) => number)).sort((a, b) => a - b);
  assert.deepEqual(numbers, range(600));
  assert.ok(copies > 0, 'an application in the queue group is offered copies, and skips them');
  queue.unsubscribe();
  await Promise.all(members.map((member) => member.forget()));
});

test("an application takes part by pulling from the group's consumer, which NATS tools find by its description", async () => {
  const member = await connect(0);
  await member.subscribe('$share/tools/app/#', 1);
  const found = await consumerOf('$share/tools/app/#');
  assert.ok(found !== undefined);
  const consumer = await application.jetstream().consumers.get(STREAM, found.name);
  const taken: number[] = [];
  const messages = await consumer.consume({ max_messages: 20 });
  const consuming = (async () => {
    for await (const message of messages) {
      taken.push(Number(message.string()));
      message.ack();
    }
  })();
  await publish('app/x', 200);
  await eventually(() => taken.length + member.arrivals.length >= 200);
  assert.ok(taken.length > 0 && member.arrivals.length > 0, `${taken.length} and ${member.arrivals.length}`);
  assert.deepEqual(
    [...taken, ...member.numbers()].sort((a, b) => a - b),
    range(200),
  );
  await messages.close();
  await consuming;
  await member.forget();
});

test('lag: what waits for a group is in /metrics of its nodes and in the consumer; both filters of `a/#` count', async () => {
  const member = await join(1, '$share/lag/behind/#', 1, 3);
  await publish('behind/x', 5);
  await publish('behind', 5);
  await member.waitFor(3);
  const labels = '{group="lag",filter="behind/#"}';
  await eventually(async () => {
    const [pending, held] = await Promise.all([
      edges[1]?.metric(`supermq_group_pending${labels}`),
      edges[1]?.metric(`supermq_group_unacknowledged${labels}`),
    ]);
    return pending === 7 && held === 3;
  });
  const info = await consumerOf('$share/lag/behind/#');
  assert.deepEqual([info?.num_pending, info?.num_ack_pending], [7, 3]);
  await member.forget();
});

test('a consumer that somebody deletes is made again, and goes on where it was', async () => {
  const member = await connect(0);
  await member.subscribe('$share/gone/gone', 1);
  await publish('gone', 5);
  await member.waitFor(5);
  const before = (await edges[0]?.metric('supermq_groups_remade_total')) ?? 0;
  const found = await consumerOf('$share/gone/gone');
  await manager.consumers.delete(STREAM, found?.name ?? '');
  await publish('gone', 20, 1, 5);
  await member.waitFor(20);
  assert.equal(member.arrivals.length, 20, 'once each');
  assert.equal(await edges[0]?.metric('supermq_groups_remade_total'), before + 1);
  await member.forget();
});

test('[MQTT5 4.4.0-1] nats-server killed and back: groups go on, and what is worked on does not come twice on one connection', async () => {
  const members = [await join(0, '$share/restart/again', 1, 5), await connect(1)];
  const [holder, other] = members;
  assert.ok(holder !== undefined && other !== undefined);
  await publish('again', 5);
  await holder.waitFor(5);
  await other.subscribe('$share/restart/again', 1);
  await nats.kill();
  await nats.start();
  for (const edge of edges) await edge.waitForStatus('readyz', 200);
  await publish('again', 105, 1, 5);
  await eventually(() => other.numbers().length === 100);
  await elapsed(ACK_WAIT_MILLISECONDS * 1.2);
  assert.equal(holder.arrivals.length, 5);
  assert.equal(other.arrivals.length, 100);
  for (const arrival of holder.arrivals) holder.acknowledge(arrival);
  await holder.publish('elsewhere', 'round trip');
  await holder.forget();
  await elapsed(500);
  assert.equal(other.arrivals.length, 100);
  await other.forget();
});

test('a group ends a configured time after its last member, and not while it has one that gets nothing', async () => {
  const [stays, goes] = [await connect(0), await connect(1)];
  await stays.subscribe('$share/idle/idle', 1);
  await goes.subscribe('$share/ends/ends', 1);
  await goes.forget();
  await publish('ends', 3);
  assert.equal((await consumerOf('$share/ends/ends'))?.num_pending, 3);
  const left = performance.now();
  await poll(async () => (await consumerOf('$share/ends/ends')) === undefined, { what: 'the end', timeoutMs: 60_000 });
  assert.ok(performance.now() - left > RETENTION_SECONDS * 1000 - 3_000);
  await elapsed(RETENTION_SECONDS * 2_500 - (performance.now() - left));
  assert.notEqual(await consumerOf('$share/idle/idle'), undefined);
  await publish('idle', 3);
  await stays.waitFor(3);
  await stays.forget();
});

test("the server that leads a group's consumer dies (R3): the others go on within an election", async () => {
  const cluster = await startNatsCluster(3);
  const own = await Promise.all(
    [0, 1].map(() => EdgeProcess.start({ SUPERMQ_NATS_SERVERS: cluster.urls.join(','), SUPERMQ_NATS_REPLICAS: '3' })),
  );
  const tools = await connectNats({ servers: [...cluster.urls], maxReconnectAttempts: -1 });
  try {
    const members = await Promise.all(own.map(({ tcp }) => SessionClient.connect(tcp, `r3-${++serial}`)));
    for (const member of members) await member.subscribe('$share/r3/lead/#', 1);
    const publisher = await SessionClient.connect(own[0]?.tcp ?? 0, `r3-${++serial}`);
    await publishNumbers(publisher, { topic: 'lead/x', to: 500 });
    let leader: string | undefined;
    for await (const info of (await tools.jetstreamManager()).consumers.list(STREAM))
      if (info.config.description === '$share/r3/lead/#') leader = info.cluster?.leader;
    // Members are named by their place.
    const server = cluster.servers[Number(/\d+$/.exec(leader ?? '')?.[0]) - 1];
    assert.ok(server !== undefined, `leader ${leader}`);
    await server.kill();
    await publishNumbers(publisher, { topic: 'lead/x', from: 500, to: 1_500 });
    const check = async (): Promise<boolean> => new Set(members.flatMap((member) => member.numbers())).size === 1_500;
    await poll(check, { what: 'all messages', timeoutMs: 60_000 });
    await Promise.all(members.map((member) => member.forget()));
  } finally {
    await tools.close();
    await Promise.all(own.map((edge) => edge.kill()));
    await cluster.stop();
  }
});
