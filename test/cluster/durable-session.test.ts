/** Sessions that outlive their connection, their node and the failures of both: three nodes over one nats-server. */
import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { after, before, test } from 'node:test';
import { connect as connectNats, type JetStreamManager, type KV, type NatsConnection } from 'nats';
import { EdgeNodes, startEdge } from '../support/edge-nodes.ts';
import { eventually } from '../support/eventually.ts';
import { freeze } from '../support/freeze.ts';
import { poll } from '../support/poll.ts';
import { RawClient } from '../support/raw-client.ts';
import { type Arrival, publishNumbers, range, SessionClient } from '../support/session-client.ts';

const LOG = 'SMQ_LOG';
const SESSION_TAKEN_OVER = 0x8e;

/** The parts of a session record that are looked at here. */
interface SessionRecord {
  readonly epoch: number;
  readonly owner: string;
  readonly outbound: readonly unknown[];
  readonly done: readonly number[];
  readonly expirySeconds: number;
}

let nodes: EdgeNodes;
let application: NatsConnection;
let manager: JetStreamManager;

before(async () => {
  nodes = await EdgeNodes.start(3);
  application = await connectNats({ servers: nodes.nats.url });
  manager = await application.jetstreamManager();
});
after(async () => {
  await application.close();
  await nodes.stop();
});

/** The record as it lies in the bucket; undefined = none. */
async function recordOf(clientId: string): Promise<(SessionRecord & { readonly bytes: number }) | undefined> {
  const bucket = await application.jetstream().views.kv('SMQ_SESSIONS', { bindOnly: true });
  const entry = await bucket.get(hash('sha256', clientId, 'base64url').slice(0, 22));
  if (entry === null || entry.value.length === 0) return undefined;
  const value = Buffer.from(entry.value);
  const json = value.toString('utf8', 2 + value.readUInt16BE(0));
  return { ...(JSON.parse(json) as SessionRecord), bytes: value.length }; // decoded border: docs/session-record.md
}

/** The key of the node that an owner's incarnation begins with. */
async function keyOfOwner(leases: KV, owner: string): Promise<string> {
  const [key = ''] = owner.split('.');
  assert.ok(await hasValue(leases, key), 'the owner has a lease');
  return key;
}

async function hasValue(bucket: KV, key: string): Promise<boolean> {
  const entry = await bucket.get(key);
  return entry !== null && entry.value.length > 0;
}

test('[MQTT5 3.1.2-5] [MQTT5 4.1.0-1] [MQTT5 4.1.0-2] a session that subscribed on one node resumes on a third with all of 5,000 messages from a second, in order', async () => {
  for (const qos of [1, 2] as const) {
    const subscriber = await SessionClient.connect(nodes.portOf(0), `resume-${qos}`);
    assert.ok(!subscriber.sessionPresent);
    await subscriber.subscribe(`resume/${qos}/+`, qos);
    await subscriber.leave();
    const publisher = await SessionClient.connect(nodes.portOf(1), `resume-${qos}-publisher`);
    await publishNumbers(publisher, { to: 5_000, qos, topic: (number) => `resume/${qos}/${number % 3}` });
    await subscriber.connect(nodes.portOf(2));
    assert.ok(subscriber.sessionPresent);
    await subscriber.waitFor(5_000);
    assert.deepEqual(
      subscriber.arrivals.map(({ number }) => number),
      range(5_000),
    );
    await Promise.all([subscriber.forget(), publisher.forget()]);
  }
});

test('[MQTT5 §3.14.2.2.2] the Session Expiry Interval of DISCONNECT is the stored one, whatever node looks at it', async () => {
  const clientId = 'leaves';
  const fields = { version: 5 as const, clientId, clean: false, properties: { sessionExpiryInterval: 600 } };
  const leave = async (index: number, seconds: number | undefined, isPresent: boolean): Promise<void> => {
    const client = await RawClient.connect(nodes.portOf(index), fields);
    assert.equal(client.connack.sessionPresent, isPresent);
    await client.subscribe({ topic: 'leaves', qos: 1 });
    await client.end(seconds);
  };
  const storedSeconds = async (): Promise<number | undefined> => (await recordOf(clientId))?.expirySeconds;
  await leave(0, 1_000, false);
  await eventually(async () => (await storedSeconds()) === 1_000);
  await leave(1, undefined, true);
  await eventually(async () => (await storedSeconds()) === 600);
  await leave(2, 0xffff_ffff, true);
  await eventually(async () => (await storedSeconds()) === 604_800, 'the limit of the server');
  await leave(0, 2, true);
  await eventually(async () => (await storedSeconds()) === 2);
  await eventually(async () => (await recordOf(clientId)) === undefined, 'the store forgets it');
  await leave(1, 100, false);
  await leave(2, 0, true);
  await leave(0, 0, false);
});

test('a backlog of messages so large that a page of the log holds fewer than the window comes whole', async () => {
  for (const qos of [1, 2] as const) {
    const subscriber = await SessionClient.connect(nodes.portOf(0), `large-${qos}`);
    await subscriber.subscribe(`large/${qos}/#`, qos);
    await subscriber.leave();
    const publisher = await SessionClient.connect(nodes.portOf(1), `large-${qos}-publisher`);
    await publishNumbers(publisher, { to: 1_000, qos, topic: `large/${qos}/x`, padding: 4_000 });
    await subscriber.connect(nodes.portOf(2));
    await subscriber.waitFor(1_000);
    assert.deepEqual(subscriber.numbers(), range(1_000));
    await Promise.all([subscriber.forget(), publisher.forget()]);
  }
});

test('[MQTT5 3.1.2-5] [MQTT5 4.5.0-1] [X] [K] a subscription survives the SIGKILL of its node at once after SUBACK, and so does what is published after it', async () => {
  const publisher = await SessionClient.connect(nodes.portOf(1), 'suback-publisher');
  for (let round = 0; round < 5; round++) {
    const doomed = await startEdge(nodes.nats.url);
    const subscriber = await SessionClient.connect(doomed.tcp, `suback-${round}`);
    await subscriber.subscribe(`suback/${round}`, 1);
    const killed = doomed.kill();
    await publishNumbers(publisher, { to: 100, topic: `suback/${round}` });
    await killed;
    await subscriber.closed;
    await subscriber.connect(nodes.portOf(round % 3));
    assert.ok(subscriber.sessionPresent);
    await subscriber.waitFor(100);
    assert.deepEqual(subscriber.numbers(), range(100));
    await subscriber.forget();
  }
  await publisher.forget();
});

test('a new subscription gets nothing from before it although its session lags far behind', async () => {
  const publisher = await SessionClient.connect(nodes.portOf(1), 'lag-publisher');
  const subscriber = await SessionClient.connect(nodes.portOf(0), 'lag', { receiveMaximum: 10 });
  await subscriber.subscribe('lag/known', 1);
  subscriber.acknowledges = () => false;
  await publishNumbers(publisher, { to: 2_000, topic: (number) => (number % 2 === 0 ? 'lag/known' : 'lag/new') });
  await subscriber.waitFor(10);
  await subscriber.subscribe('lag/new', 1);
  await publishNumbers(publisher, { from: 2_000, to: 2_100, topic: 'lag/new' });
  subscriber.acknowledges = () => true;
  for (const arrival of subscriber.arrivals) subscriber.acknowledge(arrival);
  await subscriber.waitFor(1_100);
  const numbersOf = (topic: string): number[] =>
    subscriber.arrivals.filter((arrival) => arrival.topic === topic).map(({ number }) => number);
  assert.deepEqual(
    numbersOf('lag/known'),
    range(1_000).map((number) => 2 * number),
  );
  assert.deepEqual(numbersOf('lag/new'), range(100, 2_000));
  // The same for a filter that was given up and comes again, and over a resume.
  await subscriber.unsubscribe('lag/new');
  await publishNumbers(publisher, { from: 2_100, to: 2_200, topic: 'lag/new' });
  await subscriber.subscribe('lag/new', 1);
  await publishNumbers(publisher, { from: 2_200, to: 2_210, topic: 'lag/new' });
  await subscriber.leave();
  await subscriber.connect(nodes.portOf(2));
  await subscriber.waitFor(1_110);
  // What came while the client said goodbye was not acknowledged, and comes again.
  assert.deepEqual([...new Set(numbersOf('lag/new'))], [...range(100, 2_000), ...range(10, 2_200)]);
  await Promise.all([subscriber.forget(), publisher.forget()]);
});

test('[MQTT5 3.1.4-3] [MQTT5 4.4.0-1] takeover between nodes with messages in flight: 0x8E, state written, in flight again with DUP and the same ids, none lost', async () => {
  for (const qos of [1, 2] as const) {
    const publisher = await SessionClient.connect(nodes.portOf(2), `takeover-${qos}-publisher`);
    const first = await SessionClient.connect(nodes.portOf(0), `takeover-${qos}`, { receiveMaximum: 20 });
    await first.subscribe(`takeover/${qos}`, qos);
    first.acknowledges = ({ number }) => number < 30;
    await publishNumbers(publisher, { to: 500, qos, topic: `takeover/${qos}` });
    await first.waitFor(50);
    const second = new SessionClient(`takeover-${qos}`);
    await second.connect(nodes.portOf(1), { receiveMaximum: 20 });
    await first.closed;
    assert.equal(first.disconnectReason, SESSION_TAKEN_OVER);
    assert.ok(second.sessionPresent);
    await second.waitFor(470);
    const idOf = (arrivals: readonly Arrival[]): Array<[number, number]> =>
      arrivals.filter(({ number }) => number >= 30 && number < 50).map(({ number, packetId }) => [number, packetId]);
    assert.deepEqual(idOf(second.arrivals), idOf(first.arrivals), 'the same packet ids');
    assert.deepEqual(second.numbers(), range(470, 30));
    for (const { isDuplicate, number } of second.arrivals) assert.equal(isDuplicate, number < 50, `DUP of ${number}`);
    assert.equal(second.arrivals.length, 470);
    await Promise.all([second.forget(), publisher.forget()]);
  }
});

test('[MQTT5 3.1.4-3] simultaneous CONNECTs of one persistent client on two nodes leave exactly one, with the session', async () => {
  const publisher = await SessionClient.connect(nodes.portOf(2), 'race-publisher');
  for (let round = 0; round < 10; round++) {
    const clientId = `persistent-race-${round}`;
    const made = await SessionClient.connect(nodes.portOf(2), clientId);
    await made.subscribe(`race/${round}`, 1);
    await made.leave();
    const rivals = [0, 1, 0, 1].map(() => new SessionClient(clientId));
    await Promise.allSettled(rivals.map((rival, index) => rival.connect(nodes.portOf(index % 2))));
    await eventually(() => rivals.filter(({ isOpen }) => isOpen).length <= 1, 'all but one closed');
    const survivors = rivals.filter(({ isOpen }) => isOpen);
    assert.equal(survivors.length, 1, `round ${round}`);
    const [survivor] = survivors;
    assert.ok(survivor?.sessionPresent);
    await publishNumbers(publisher, { to: 20, topic: `race/${round}` });
    await survivor.waitFor(20);
    assert.ok(survivor.isOpen);
    for (const other of rivals) if (other !== survivor) assert.deepEqual(other.arrivals, []);
    await survivor.forget();
  }
  await publisher.forget();
});

test('an owner that is frozen loses the session within a bounded time; awake, it closes its client and writes nothing', async () => {
  const frozen = await startEdge(nodes.nats.url);
  const publisher = await SessionClient.connect(nodes.portOf(1), 'frozen-publisher');
  const first = await SessionClient.connect(frozen.tcp, 'frozen-owner');
  await first.subscribe('frozen', 1);
  await publishNumbers(publisher, { to: 50, topic: 'frozen' });
  await first.waitFor(50);
  const before = await recordOf('frozen-owner');
  freeze(frozen.pid);
  const second = new SessionClient('frozen-owner');
  const started = performance.now();
  await second.connect(nodes.portOf(0));
  assert.ok(performance.now() - started < 4_000, `${performance.now() - started} ms`);
  assert.ok(second.sessionPresent);
  const taken = await recordOf('frozen-owner');
  assert.ok(taken !== undefined && before !== undefined);
  assert.equal(taken.epoch, before.epoch + 1);
  process.kill(frozen.pid, 'SIGCONT');
  await first.closed;
  await publishNumbers(publisher, { from: 50, to: 100, topic: 'frozen' });
  await second.waitFor(50, 10_000);
  await eventually(async () => ((await recordOf('frozen-owner'))?.epoch ?? 0) >= taken.epoch);
  // The old owner answers, so it has been through whatever it was going to write.
  await frozen.waitForStatus('readyz', 200);
  const last = await recordOf('frozen-owner');
  assert.equal(last?.epoch, taken.epoch);
  assert.equal(last?.owner, taken.owner);
  assert.ok(second.isOpen);
  await Promise.all([second.forget(), publisher.forget()]);
  await frozen.stop();
});

test('a node that was frozen for longer than its lease serves nothing of what waits in its sockets when it wakes', async () => {
  const frozen = await startEdge(nodes.nats.url, { SUPERMQ_LEASE_SECONDS: '5' });
  const witness = await SessionClient.connect(nodes.portOf(1), 'lease-witness');
  await witness.subscribe('lease/#', 1);
  const client = await SessionClient.connect(frozen.tcp, 'lease-client');
  await client.publish('lease/before', '1');
  const leases = await application.jetstream().views.kv('SMQ_NODES', { bindOnly: true });
  const key = await keyOfOwner(leases, (await recordOf('lease-client'))?.owner ?? '');
  freeze(frozen.pid);
  const unheard = client.publish('lease/stale', '2').then(
    () => 'acknowledged',
    () => 'closed',
  );
  await poll(async () => !(await hasValue(leases, key)), { what: 'the end of the lease', timeoutMs: 15_000 });
  process.kill(frozen.pid, 'SIGCONT');
  assert.equal(await unheard, 'closed');
  await client.connect(nodes.portOf(0));
  await client.publish('lease/after', '3');
  await witness.waitFor(2);
  assert.deepEqual(witness.numbers(), [1, 3]);
  await frozen.waitForStatus('readyz', 200);
  await eventually(async () => (await frozen.metric('supermq_leases_lost_total')) === 1, 'a lost lease');
  await Promise.all([client.forget(), witness.forget()]);
  assert.equal(await frozen.stop(), 0);
});

test('no JetStream consumer for idle, live or resuming sessions, and each message is stored once whatever number of sessions gets it', async () => {
  const before = (await manager.streams.info(LOG)).state;
  const publisher = await SessionClient.connect(nodes.portOf(0), 'once-publisher');
  const sessions = range(12).map((number) => new SessionClient(`once-${number}`));
  for (const [index, session] of sessions.entries()) {
    await session.connect(nodes.portOf(index % 3));
    await session.subscribe(index % 2 === 0 ? 'once/#' : 'once/+', 1);
  }
  const [idle, away, ...live] = sessions;
  await away?.leave();
  await publishNumbers(publisher, { to: 500, topic: 'once/a' });
  for (const session of live) await session.waitFor(500);
  const info = async (): Promise<[number, number, number]> => {
    const { state } = await manager.streams.info(LOG);
    return [state.consumer_count, state.messages - before.messages, state.last_seq - before.last_seq];
  };
  assert.deepEqual(await info(), [0, 500, 500]);
  const resuming = away?.connect(nodes.portOf(1));
  assert.deepEqual(await info(), [0, 500, 500]);
  await resuming;
  await away?.waitFor(500);
  await idle?.waitFor(500);
  assert.deepEqual(await info(), [0, 500, 500]);
  for (const stream of await manager.streams.list().next()) assert.equal(stream.state.consumer_count, 0);
  await Promise.all([...sessions, publisher].map((session) => session.forget()));
});

test('[MQTT5 3.1.3-5] client ids that no NATS subject could carry resume on another node, each its own session', async () => {
  const publisher = await SessionClient.connect(nodes.portOf(2), 'ids-publisher');
  const ids = [
    '🦖',
    '../../etc',
    'x'.repeat(1_000),
    `${'x'.repeat(999)}y`,
    'a.b.*.>',
    ' ',
    'é'.repeat(500),
    '$SYS',
    'a/b#+',
  ];
  for (const [index, id] of ids.entries()) {
    const client = await SessionClient.connect(nodes.portOf(0), id);
    await client.subscribe(`ids/${index}`, 1);
    await client.abort();
  }
  await publishNumbers(publisher, { to: ids.length, topic: (number) => `ids/${number}` });
  for (const [index, id] of ids.entries()) {
    const client = await SessionClient.connect(nodes.portOf(1), id);
    assert.ok(client.sessionPresent, id);
    await client.waitFor(1);
    assert.deepEqual(client.numbers(), [index]);
    await client.forget();
  }
  await publisher.forget();
});

test('a client that acknowledges all but the first message is held back, and its record stays small', async (t) => {
  const publisher = await SessionClient.connect(nodes.portOf(1), 'stubborn-publisher');
  const subscriber = await SessionClient.connect(nodes.portOf(0), 'stubborn');
  await subscriber.subscribe('stubborn/#', 1);
  subscriber.acknowledges = ({ number }) => number !== 0;
  await publishNumbers(publisher, { to: 5_000, topic: (number) => `stubborn/${number % 2}` });
  await subscriber.waitFor(1_000);
  const first = subscriber.arrivals[0];
  assert.ok(first !== undefined);
  // All acknowledgements but the first one's are in the record.
  await eventually(async () => (await recordOf('stubborn'))?.outbound.length === 1, 'a record with one in flight');
  const record = await recordOf('stubborn');
  const { length } = subscriber.numbers();
  t.diagnostic(`${length} messages sent, the record has ${record?.bytes} bytes`);
  assert.ok(length <= 1_002, `${length} messages came`);
  assert.ok((record?.bytes ?? Number.POSITIVE_INFINITY) < 16_384, `${record?.bytes} bytes`);
  // The rest was held back, not lost; a resume keeps what is acknowledged.
  await subscriber.abort();
  subscriber.acknowledges = () => true;
  await subscriber.connect(nodes.portOf(2));
  await subscriber.waitFor(5_000);
  const again = subscriber.arrivals.slice(length);
  assert.deepEqual(again[0], { ...first, isDuplicate: true });
  assert.equal(subscriber.arrivals.length, 5_001, 'only the unacknowledged one comes again');
  await eventually(async () => {
    const { done = [], outbound = [] } = (await recordOf('stubborn')) ?? {};
    return done.length === 0 && outbound.length === 0;
  }, 'an empty record');
  await Promise.all([subscriber.forget(), publisher.forget()]);
});
