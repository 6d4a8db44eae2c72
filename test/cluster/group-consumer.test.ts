/** The consumer behind a group: shared with applications, seen by NATS tools, deleted, led by a server that dies, and its end. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { connect as connectNats } from 'nats';
import { consumerName } from '../../src/nats/group-consumer.ts';
import { eventually } from '../support/eventually.ts';
import { elapsed, GroupNodes, LOG_STREAM, RETENTION_SECONDS } from '../support/group-nodes.ts';
import { startNatsCluster } from '../support/nats-cluster.ts';
import { EdgeProcess } from '../support/node.ts';
import { poll } from '../support/poll.ts';
import { publishNumbers, range, SessionClient } from '../support/session-client.ts';

let nodes: GroupNodes;

before(async () => {
  nodes = await GroupNodes.start();
});
after(() => nodes.stop());

test('members with QoS 0, 1 and 2 and an application in one group: no member gets the copy on the bus as well', async () => {
  const members: SessionClient[] = [];
  for (const qos of [0, 1, 2] as const) {
    const member = await nodes.connect(qos % 2);
    await member.subscribe('$share/mixed/mix/+', qos);
    members.push(member);
  }
  let copies = 0;
  const queue = nodes.application.subscribe('mix.*', {
    queue: 'mixed',
    callback: (_error, message) => {
      if (message.headers?.get('Mqtt-Stored') === '1') copies++;
    },
  });
  await nodes.application.flush();
  for (const qos of [1, 2] as const) await nodes.publish('mix/x', { from: 300 * (qos - 1), to: 300 * qos, qos });
  await eventually(() => members.reduce((sum, { arrivals }) => sum + arrivals.length, 0) >= 600);
  await Promise.all(members.map((member) => member.publish('elsewhere', 'round trip')));
  const numbers = members.flatMap(({ arrivals }) => arrivals.map(({ number }) => number)).sort((a, b) => a - b);
  assert.deepEqual(numbers, range(600));
  assert.ok(copies > 0, 'an application in the queue group is offered copies, and skips them');
  queue.unsubscribe();
  await Promise.all(members.map((member) => member.forget()));
});

test("an application takes part by pulling from the group's consumer, which NATS tools find by its description", async () => {
  const member = await nodes.connect(0);
  await member.subscribe('$share/tools/app/#', 1);
  const found = await nodes.consumerOf('$share/tools/app/#');
  assert.ok(found !== undefined);
  assert.equal(found.name, consumerName('tools', ['app.>', 'app']));
  const consumer = await nodes.application.jetstream().consumers.get(LOG_STREAM, found.name);
  const taken: number[] = [];
  const messages = await consumer.consume({ max_messages: 20 });
  const consuming = (async () => {
    for await (const message of messages) {
      taken.push(Number(message.string()));
      message.ack();
    }
  })();
  await nodes.publish('app/x', { to: 200 });
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
  const member = await nodes.join(1, '$share/lag/behind/#', 1, { receiveMaximum: 3 });
  await nodes.publish('behind/x', { to: 5 });
  await nodes.publish('behind', { to: 5 });
  await member.waitFor(3);
  const labels = '{group="lag",filter="behind/#"}';
  await eventually(async () => {
    const [pending, held] = await Promise.all([
      nodes.edges[1]?.metric(`supermq_group_pending${labels}`),
      nodes.edges[1]?.metric(`supermq_group_unacknowledged${labels}`),
    ]);
    return pending === 7 && held === 3;
  });
  const info = await nodes.consumerOf('$share/lag/behind/#');
  assert.deepEqual([info?.num_pending, info?.num_ack_pending], [7, 3]);
  await member.forget();
});

test('a consumer that somebody deletes is made again, and goes on where it was', async () => {
  const member = await nodes.connect(0);
  await member.subscribe('$share/gone/gone', 1);
  await nodes.publish('gone', { to: 5 });
  await member.waitFor(5);
  const before = (await nodes.edges[0]?.metric('supermq_groups_remade_total')) ?? 0;
  const found = await nodes.consumerOf('$share/gone/gone');
  await nodes.manager.consumers.delete(LOG_STREAM, found?.name ?? '');
  await nodes.publish('gone', { from: 5, to: 20 });
  await member.waitFor(20);
  assert.equal(member.arrivals.length, 20, 'once each');
  assert.equal(await nodes.edges[0]?.metric('supermq_groups_remade_total'), before + 1);
  await member.forget();
});

test('[MQTT5 §4.8.2 last-member] [X] a group ends a configured time after its last member, and not while it has one that gets nothing', async () => {
  const [stays, goes] = [await nodes.connect(0), await nodes.connect(1)];
  await stays.subscribe('$share/idle/idle', 1);
  await goes.subscribe('$share/ends/ends', 1);
  await goes.forget();
  await nodes.publish('ends', { to: 3 });
  assert.equal((await nodes.consumerOf('$share/ends/ends'))?.num_pending, 3);
  const left = performance.now();
  await poll(async () => (await nodes.consumerOf('$share/ends/ends')) === undefined, {
    what: 'the end',
    timeoutMs: 60_000,
  });
  assert.ok(performance.now() - left > RETENTION_SECONDS * 1000 - 3_000);
  await elapsed(RETENTION_SECONDS * 2_500 - (performance.now() - left));
  assert.notEqual(await nodes.consumerOf('$share/idle/idle'), undefined);
  await nodes.publish('idle', { to: 3 });
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
    const members = await Promise.all(own.map(({ tcp }, index) => SessionClient.connect(tcp, `r3-${index}`)));
    for (const member of members) await member.subscribe('$share/r3/lead/#', 1);
    const publisher = await SessionClient.connect(own[0]?.tcp ?? 0, 'r3-publisher');
    await publishNumbers(publisher, { topic: 'lead/x', to: 500 });
    let leader: string | undefined;
    for await (const info of (await tools.jetstreamManager()).consumers.list(LOG_STREAM))
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
