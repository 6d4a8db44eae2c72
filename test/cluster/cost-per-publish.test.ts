/**
 * What a published message costs NATS, counted by nats-server, and the sockets of the clients: figures that do not depend on the machine, so
 * that a change which makes a message travel more often is seen. Publishers share the node `here` with the subscribers unless a title says otherwise.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { eventually } from '../support/eventually.ts';
import { type NatsServerProcess, startNatsServer } from '../support/nats-server.ts';
import { type NatsTraffic, natsTraffic, since } from '../support/nats-traffic.ts';
import { startNode, type TestNode } from '../support/node.ts';
import { RawClient } from '../support/raw-client.ts';
import { countServerWrites } from '../support/server-writes.ts';

const COUNT = 1_000;
const PAYLOAD = '0123456789abcdef';
const PAYLOADS = COUNT * PAYLOAD.length;
/** Messages without answer: few enough for every reader to stay live. */
const WINDOW = 50;
/**
 * What a node says to NATS beside the messages of these tests: its lease, the leader's look for dead nodes each second, claims of the clients that
 * connect, looks of feeds at the log every two seconds. Measured: 3 to 40; a twentieth of the messages is far from one more per publish.
 */
const BESIDE = COUNT / 20;

let nats: NatsServerProcess;
let here: TestNode;
let there: TestNode;
let serial = 0;

before(async () => {
  nats = await startNatsServer();
  const env = { SUPERMQ_NATS_SERVERS: nats.url, SUPERMQ_LEASE_SECONDS: '60' };
  here = await startNode({ ...env, SUPERMQ_NODE_ID: 'here' });
  there = await startNode({ ...env, SUPERMQ_NODE_ID: 'there' });
});
after(async () => {
  await Promise.all([here.stop(), there.stop()]);
  await nats.stop();
});

/** Of the message connections of both nodes, and of those on which they publish to the log and acknowledge. */
interface Cost {
  readonly here: NatsTraffic;
  readonly there: NatsTraffic;
  readonly control: NatsTraffic;
  readonly controlThere: NatsTraffic;
}

async function costOf(work: () => Promise<void>): Promise<Cost> {
  await settle();
  const earlier = await natsTraffic(nats);
  await work();
  await settle();
  const later = await natsTraffic(nats);
  const of = (name: string): NatsTraffic => since(earlier.get(name), later.get(name));
  return { here: of('here'), there: of('there'), control: of('here control'), controlThere: of('there control') };
}

/** SUBACK comes when NATS has answered a question that was sent behind everything else: then all that is counted. */
async function settle(): Promise<void> {
  for (const { tcp } of [here, there]) {
    const client = await RawClient.connect(tcp);
    await client.subscribe(`settled/${serial++}`);
    await client.end();
  }
}

/** Counts what comes and keeps none of it. */
class Reader {
  readonly client: RawClient;
  #count = 0;
  #wanted = 0;
  #reached: () => void = () => {};

  constructor(client: RawClient) {
    this.client = client;
    client.acknowledges = true;
    client.intercept = ({ cmd }) => cmd === 'publish' && this.#take();
  }

  get count(): number {
    return this.#count;
  }

  /** Resolves when `count` more messages than were waited for before have come. */
  more(count: number): Promise<void> {
    this.#wanted += count;
    if (this.#count >= this.#wanted) return Promise.resolve();
    return new Promise((resolve) => {
      this.#reached = resolve;
    });
  }

  #take(): true {
    if (++this.#count === this.#wanted) this.#reached();
    return true;
  }
}

interface Wanted {
  readonly count: number;
  readonly filter: string;
  readonly qos?: 0 | 1;
}

function subscribers(node: TestNode, { count, filter, qos = 0 }: Wanted): Promise<Reader[]> {
  const subscribe = async (): Promise<Reader> => {
    const client = await RawClient.connect(node.tcp);
    await client.subscribe({ topic: filter, qos });
    return new Reader(client);
  };
  return Promise.all(Array.from({ length: count }, subscribe));
}

/** Publishes on `here`, window by window: the next one when every one of `readers` has the last. */
async function publishAll(
  topicOf: (n: number) => string,
  { qos = 0, readers = [], retain = false }: { qos?: 0 | 1; readers?: readonly Reader[]; retain?: boolean },
): Promise<void> {
  const publisher = await RawClient.connect(here.tcp);
  for (let sent = 0; sent < COUNT; sent += WINDOW) {
    for (let id = 1; id <= WINDOW; id++)
      publisher.publish(topicOf(sent + id), PAYLOAD, qos === 0 ? { retain } : { messageId: id, qos, retain });
    for (let id = 1; id <= WINDOW && qos === 1; id++) await publisher.nextAcknowledgement('puback', id);
    await publisher.ping();
    await Promise.all(readers.map((reader) => reader.more(WINDOW)));
  }
  await publisher.end();
}

async function endAll(readers: readonly Reader[]): Promise<void> {
  await Promise.all(readers.map(({ client }) => client.end()));
}

const silent: NatsTraffic = { inMessages: 0, outMessages: 0, inBytes: 0, outBytes: 0 };

/** `count`, and what nodes say beside it. */
function assertAbout(actual: number, count: number, what: string): void {
  assert.ok(actual >= count && actual <= count + BESIDE, `${what}: ${actual}, expected ${count} to ${count + BESIDE}`);
}

test('QoS 0 to 50 subscribers of one node: one message in and one out, nothing but the payload', async () => {
  const readers = await subscribers(here, { count: 50, filter: 'one/#' });
  const cost = await costOf(() => publishAll(() => 'one/a', { readers }));
  const once = { inMessages: COUNT, outMessages: COUNT, inBytes: PAYLOADS, outBytes: PAYLOADS };
  assert.deepEqual(cost.here, once);
  assert.deepEqual(cost.there, silent);
  await endAll(readers);
});

test('QoS 0 to subscribers of two nodes: one message in, one out to each node', async () => {
  const [near, far] = [
    await subscribers(here, { count: 5, filter: 'two/#' }),
    await subscribers(there, { count: 5, filter: 'two/#' }),
  ];
  const readers = [...near, ...far];
  const cost = await costOf(() => publishAll(() => 'two/a', { readers }));
  const out = { outMessages: COUNT, outBytes: PAYLOADS };
  assert.deepEqual(cost.here, { ...out, inMessages: COUNT, inBytes: PAYLOADS });
  assert.deepEqual(cost.there, { ...silent, ...out });
  await endAll(readers);
});

test('QoS 0 to nobody: one message in, because a node does not know what others have subscribed to, and none out', async () => {
  const cost = await costOf(() => publishAll((n) => `nobody/${n}`, {}));
  assert.deepEqual(cost.here, { ...silent, inMessages: COUNT, inBytes: PAYLOADS });
  assert.deepEqual(cost.there, silent);
});

test('QoS 0 to a group on two nodes: one message in, one out to a single node', async () => {
  const filter = '$share/cost/group/#';
  const members = [
    ...(await subscribers(here, { count: 2, filter })),
    ...(await subscribers(there, { count: 2, filter })),
  ];
  const cost = await costOf(() => publishAll(() => 'group/a', {}));
  assert.equal(cost.here.inMessages, COUNT);
  assert.equal(cost.here.outMessages + cost.there.outMessages, COUNT);
  assert.equal(cost.here.outBytes + cost.there.outBytes, PAYLOADS);
  await endAll(members);
});

test('QoS 1 to nobody: stored and acknowledged once, and one bare copy for subscribers of QoS 0', async () => {
  const cost = await costOf(() => publishAll(() => 'stored/a', { qos: 1 }));
  assertAbout(cost.control.inMessages, COUNT, 'stored');
  assertAbout(cost.control.outMessages, COUNT, 'acknowledged');
  assertAbout(cost.here.inMessages, COUNT, 'bare copies');
  assert.equal(cost.here.outMessages, 0);
  // 75 each: NATS headers with the publisher's origin, for No Local, and the mark that the log has the message; the stored one has no mark.
  assert.ok(cost.here.inBytes <= 75 * cost.here.inMessages, `${cost.here.inBytes} bytes of copies`);
  // 59 each, and what nodes say beside.
  assert.ok(cost.control.inBytes <= 65 * COUNT, `${cost.control.inBytes} bytes to store`);
});

test('QoS 1 to 20 subscribers of one node with QoS 1: the live copy of the log and the bare copy come to the node once, the log is not read', async () => {
  const readers = await subscribers(here, { count: 20, filter: 'live/a', qos: 1 });
  const cost = await costOf(() => publishAll(() => 'live/a', { qos: 1, readers }));
  assertAbout(cost.control.inMessages, COUNT, 'stored');
  assertAbout(cost.here.inMessages, COUNT, 'bare copies');
  // The bare copy comes back because the same filter takes messages of QoS 0, which are not in the log.
  assertAbout(cost.here.outMessages, 2 * COUNT, 'live and bare copies');
  assert.deepEqual(cost.there, silent);
  await endAll(readers);
});

test('QoS 1 to a group on two nodes: each message goes to one member, its acknowledgement back', async () => {
  const wanted = { count: 2, filter: '$share/cost/work/a', qos: 1 } as const;
  const members = [...(await subscribers(here, wanted)), ...(await subscribers(there, wanted))];
  const cost = await costOf(async () => {
    await publishAll(() => 'work/a', { qos: 1 });
    await eventually(() => members.reduce((sum, { count }) => sum + count, 0) >= COUNT);
  });
  assertAbout(cost.control.inMessages + cost.controlThere.inMessages, 2 * COUNT, 'stored, and acknowledged by members');
  // The queue group gets its bare copy too: a member with QoS 0 would take it. One request for several messages comes back per 32 of them or more.
  assertAbout(cost.here.outMessages + cost.there.outMessages, 2 * COUNT, 'handed out, and bare copies');
  assertAbout(cost.here.inMessages + cost.there.inMessages, COUNT, 'bare copies, and requests for more');
  await endAll(members);
});

for (const qos of [0, 1] as const) {
  test(`a retained message of QoS ${qos}: stored, put in its place, each acknowledged, and one copy`, async () => {
    const cost = await costOf(() => publishAll((n) => `kept/${qos}/${n}`, { qos, retain: true }));
    assertAbout(cost.control.inMessages, 2 * COUNT, 'stored and put in its place');
    assertAbout(cost.control.outMessages, 2 * COUNT, 'acknowledged');
    assertAbout(cost.here.inMessages, COUNT, 'copies');
    assert.equal(cost.here.outMessages, 0);
  });
}

test('1,000 messages that come at once go to 50 subscribers with at most ten writes each', async (t) => {
  const readers = await subscribers(here, { count: 50, filter: 'joined' });
  const publisher = await RawClient.connect(here.tcp);
  const { calls } = await countServerWrites(async () => {
    publisher.socket.cork();
    for (let n = 0; n < COUNT; n++) publisher.publish('joined', PAYLOAD);
    publisher.socket.uncork();
    await Promise.all(readers.map((reader) => reader.more(COUNT)));
  });
  // Measured: 50 to 100, one write per subscriber for each piece in which they come back from NATS. A busy machine cuts them into more.
  t.diagnostic(`${calls} writes for ${50 * COUNT} deliveries`);
  assert.ok(calls <= 10 * readers.length, `${calls} writes`);
  await endAll(readers);
  await publisher.end();
});
