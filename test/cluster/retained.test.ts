/** Retained messages over three nodes: one truth whoever writes it, whatever dies, and for NATS applications too. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { connect as connectNats, type NatsConnection } from 'nats';
import { EdgeNodes, startEdge } from '../support/edge-nodes.ts';
import { eventually } from '../support/eventually.ts';
import { startNatsCluster } from '../support/nats-cluster.ts';
import { startNatsServer } from '../support/nats-server.ts';
import { range, SessionClient } from '../support/session-client.ts';

const STREAM = 'SMQ_RETAINED';

let nodes: EdgeNodes;
let application: NatsConnection;

before(async () => {
  nodes = await EdgeNodes.start(3);
  application = await connectNats({ servers: nodes.nats.url });
});
after(async () => {
  await application.close();
  await nodes.stop();
});

let clients = 0;

/** What a fresh subscriber gets of a filter: the newest number per topic. `count`: how many topics. */
async function retained(
  onPort: number,
  filter: string,
  count: number,
  qos: 0 | 1 | 2 = 1,
): Promise<Map<string, number>> {
  const client = await SessionClient.connect(onPort, `retained-reader-${++clients}`, { expiry: 0 });
  await client.subscribe(filter, qos);
  const numbers = (): Map<string, number> => new Map(client.arrivals.map(({ number, topic }) => [topic, number]));
  await eventually(() => numbers().size >= count, `${count} retained messages of ${filter}`);
  await client.forget();
  return numbers();
}

const retain = { retain: true } as const;

test('[MQTT5 3.3.1-5] [MQTT5 3.3.1-9] [MQTT5 3.3.1-6] kept on one node, found on the others, removed on a third', async () => {
  const publishers = await Promise.all(
    [0, 1, 2].map((index) => SessionClient.connect(nodes.portOf(index), `keeper-${index}`)),
  );
  const [first, second, third] = publishers;
  for (const qos of [0, 1, 2] as const) {
    await first?.publish(`across/${qos}`, '1', { ...retain, qos: 1 });
    await second?.publish(`across/${qos}`, '2', { ...retain, qos });
  }
  // Of QoS 0 nothing tells when it is stored.
  await eventually(async () => (await retained(nodes.portOf(2), 'across/0', 1)).get('across/0') === 2, 'QoS 0');
  assert.deepEqual((await retained(nodes.portOf(2), 'across/+', 3)).size, 3);
  assert.deepEqual([...(await retained(nodes.portOf(0), 'across/2', 1, 2))], [['across/2', 2]]);
  await third?.publish('across/1', '', retain);
  const left = await retained(nodes.portOf(1), 'across/#', 2);
  assert.deepEqual([...left.keys()].sort(), ['across/0', 'across/2']);
  for (const client of publishers) await client.forget();
});

test('two nodes that write the same topics at the same time agree with each other and with what was live', async () => {
  const TOPICS = 10;
  const ROUNDS = 60;
  const live = await SessionClient.connect(nodes.portOf(2), 'agree-live');
  await live.subscribe('agree/#', 1);
  const writers = await Promise.all(
    [0, 1].map((index) => SessionClient.connect(nodes.portOf(index), `agree-${index}`)),
  );
  await Promise.all(
    writers.map(async (writer, index) => {
      for (let round = 0; round < ROUNDS; round++) {
        const number = String(round * 2 + index);
        const topics = range(TOPICS).map((topic) => `agree/${topic}`);
        await Promise.all(
          topics.map((topic, at) => writer.publish(topic, number, { ...retain, qos: at % 2 === 0 ? 1 : 2 })),
        );
      }
    }),
  );
  await eventually(() => live.arrivals.length === TOPICS * ROUNDS * 2, 'everything live');
  const last = new Map(live.arrivals.map(({ number, topic }) => [topic, number]));
  assert.deepEqual(sorted(await retained(nodes.portOf(0), 'agree/+', TOPICS)), sorted(last));
  for (const client of [live, ...writers]) await client.forget();
});

test('[MQTT5 3.3.1-5] [MQTT311 3.3.1-5] [X] [K] the publisher’s node killed between log and retained store, many times: what was acknowledged is what is found', async () => {
  const TOPICS = 20;
  const live = await SessionClient.connect(nodes.portOf(2), 'kill-live');
  await live.subscribe('kill/#', 2);
  const acknowledged = new Map<string, number>();
  let number = 0;
  for (let round = 0; round < 5; round++) {
    const victim = await startEdge(nodes.nats.url);
    const publisher = await SessionClient.connect(victim.tcp, 'kill-publisher', { clean: true });
    const publishing = Promise.allSettled(
      range(TOPICS).map(async (index) => {
        const topic = `kill/${index}`;
        for (;;) {
          const mine = ++number;
          const code = await publisher.publish(topic, String(mine), { ...retain, qos: index % 2 === 0 ? 1 : 2 });
          assert.equal(code, 0);
          acknowledged.set(topic, mine);
        }
      }),
    );
    const before = number;
    await eventually(() => number > before + 500, 'a flow');
    await victim.kill();
    await publishing;
  }
  const found = await retained(nodes.portOf(0), 'kill/+', TOPICS);
  for (const [topic, last] of acknowledged)
    assert.ok((found.get(topic) ?? 0) >= last, `${topic}: ${found.get(topic)} ${last}`);
  await live.forget();
});

test('[MQTT5 3.3.1-5] [MQTT311 3.3.1-5] [K] every node and NATS killed and started again: everything is there', async () => {
  const own = await startNatsServer();
  const old = await startEdge(own.url);
  const publisher = await SessionClient.connect(old.tcp, 'restart-publisher');
  for (const index of range(50)) await publisher.publish(`restart/${index}`, String(index), retain);
  await old.kill();
  await own.kill();
  await own.restart();
  const edge = await startEdge(own.url);
  const found = await retained(edge.tcp, 'restart/#', 50);
  assert.deepEqual(
    [...found.values()].sort((a, b) => a - b),
    range(50),
  );
  await edge.stop();
  await own.stop();
});

test('[MQTT5 3.3.1-9] [MQTT5 3.1.2-5] [X] [K] a subscriber’s node killed while retained messages are on their way: they all come on another node, QoS 2 once', async () => {
  const COUNT = 600;
  const publisher = await SessionClient.connect(nodes.portOf(0), 'due-publisher');
  for (const index of range(COUNT)) await publisher.publish(`due/${index}`, String(index), { ...retain, qos: 2 });
  for (const qos of [1, 2] as const) {
    const victim = await startEdge(nodes.nats.url);
    const client = await SessionClient.connect(victim.tcp, `due-${qos}`, { receiveMaximum: 20 });
    client.arrived = () => {
      if (client.arrivals.length === 350) void victim.kill();
    };
    await client.subscribe('due/#', qos);
    await client.closed;
    client.arrived = () => {};
    await client.connect(nodes.portOf(1), { receiveMaximum: 20 });
    assert.ok(client.sessionPresent);
    await client.waitFor(COUNT);
    if (qos === 2) assert.equal(client.arrivals.length, COUNT, 'none twice');
    assert.deepEqual(
      client.numbers().sort((a, b) => a - b),
      range(COUNT),
    );
    await client.forget();
  }
  await publisher.forget();
});

test('a NATS application reads what is retained, writes it and removes it', async () => {
  const publisher = await SessionClient.connect(nodes.portOf(0), 'application-publisher');
  await publisher.publish('app/a.b', '1', retain);
  const manager = await application.jetstreamManager();
  const stored = await manager.streams.getMessage(STREAM, { last_by_subj: '$SMQ.retained.app.a//b' });
  assert.equal(Buffer.from(stored.data).toString(), '1');
  await application.jetstream().publish('$SMQ.retained.app.own', '7');
  assert.deepEqual(sorted(await retained(nodes.portOf(1), 'app/+', 2)), [
    ['app/a.b', 1],
    ['app/own', 7],
  ]);
  // A client's later message takes the place of an application's, and the other way round.
  await publisher.publish('app/own', '8', retain);
  assert.equal((await retained(nodes.portOf(2), 'app/own', 1)).get('app/own'), 8);
  await application.jetstream().publish('$SMQ.retained.app.own', '9');
  assert.equal((await retained(nodes.portOf(2), 'app/own', 1)).get('app/own'), 9);
  await publisher.publish('app/own', '10', retain);
  assert.equal((await retained(nodes.portOf(2), 'app/own', 1)).get('app/own'), 10);
  await application.jetstream().publish('$SMQ.retained.app.own', '');
  assert.deepEqual([...(await retained(nodes.portOf(1), 'app/#', 1)).keys()], ['app/a.b']);
  await publisher.forget();
});

test('the log made anew: what is retained from then on takes its place, whatever its position', async () => {
  const own = await startNatsServer();
  const edge = await startEdge(own.url);
  const publisher = await SessionClient.connect(edge.tcp, 'anew-retained', { expiry: 0 });
  for (const index of range(30)) await publisher.publish('anew/x', String(index), retain);
  const connection = await connectNats({ servers: own.url });
  const manager = await connection.jetstreamManager();
  const { config } = await manager.streams.info('SMQ_LOG');
  await manager.streams.delete('SMQ_LOG');
  await manager.streams.add(config);
  const after = await SessionClient.connect(edge.tcp, 'anew-retained-after', { expiry: 0 });
  await after.subscribe('anew/other', 1);
  assert.equal(await after.publish('anew/x', '1000', retain), 0);
  assert.deepEqual([...(await retained(edge.tcp, 'anew/x', 1))], [['anew/x', 1_000]]);
  await connection.close();
  await edge.kill();
  await own.stop();
});

test('[MQTT5 3.8.4-4] [X] a subscription in the midst of a burst of retained messages on another node ends with the last of them', async () => {
  const publisher = await SessionClient.connect(nodes.portOf(0), 'burst-publisher', { expiry: 0 });
  for (const round of range(30)) {
    const topic = `burst/${round}`;
    await publisher.publish(topic, '0', retain);
    const burst = Promise.all(range(41, 1).map((number) => publisher.publish(topic, String(number), retain)));
    const client = await SessionClient.connect(nodes.portOf(1), `burst-${round}`, { expiry: 0 });
    await client.subscribe(topic, 1);
    await burst;
    await eventually(
      () => client.arrivals.at(-1)?.number === 41,
      `the last one, not ${client.arrivals.at(-1)?.number}`,
    );
    await client.forget();
  }
  await publisher.forget();
});

test('three servers: what was acknowledged a moment ago is found through every one of them', async () => {
  const cluster = await startNatsCluster(3);
  const env = { SUPERMQ_NATS_REPLICAS: '3' };
  const first = await startEdge(cluster.urls.join(','), env);
  const trio = await Promise.all(cluster.urls.map((url) => startEdge(url, env)));
  const publisher = await SessionClient.connect(first.tcp, 'three-publisher');
  const readers = await Promise.all(
    trio.map(({ tcp }, index) => SessionClient.connect(tcp, `three-${index}`, { expiry: 0 })),
  );
  for (const round of range(40)) {
    await Promise.all(range(10).map((index) => publisher.publish(`three/${round}/${index}`, String(index), retain)));
    const before = readers.map(({ arrivals }) => arrivals.length);
    await Promise.all(
      readers.map((reader, index) => reader.subscribe(index === 0 ? `three/${round}/5` : `three/${round}/+`, 1)),
    );
    const wanted = [1, 10, 10];
    await eventually(
      () => readers.every(({ arrivals }, index) => arrivals.length - (before[index] ?? 0) >= (wanted[index] ?? 0)),
      `round ${round}: ${readers.map(({ arrivals }) => arrivals.length)}`,
    );
  }
  await Promise.all([publisher, ...readers].map((client) => client.forget()));
  await Promise.all([first, ...trio].map((edge) => edge.stop()));
  await cluster.stop();
});

function sorted(numbers: ReadonlyMap<string, number>): Array<[string, number]> {
  return [...numbers].sort(([a], [b]) => (a < b ? -1 : 1));
}
