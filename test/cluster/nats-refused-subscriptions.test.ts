/** What NATS does not let a node subscribe to is refused to its clients in SUBACK, told to the operator, and granted once the operator allows it. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { ISubackPacket } from 'mqtt-packet';
import { eventually } from '../support/eventually.ts';
import { type RestrictedNats, startRestrictedNats } from '../support/nats-permissions.ts';
import { EdgeProcess } from '../support/node.ts';
import { type Filter, RawClient } from '../support/raw-client.ts';
import { SessionClient } from '../support/session-client.ts';

const NOT_AUTHORIZED = 0x87;
const REFUSED_3 = 0x80;
const WARN = 40;
const CLOSED = ['closed.>', 'closed'];

let place: RestrictedNats;
let edge: EdgeProcess;

before(async () => {
  place = await startRestrictedNats(...CLOSED);
  edge = await EdgeProcess.start(place.env);
});
after(async () => {
  assert.equal(await edge.stop(), 0);
  await place.stop();
});

function connect(version: 3 | 4 | 5 = 5): Promise<RawClient> {
  return RawClient.connect(edge.tcp, { version });
}

interface RefusalLine {
  readonly level: number;
  readonly subject: string;
  readonly queue?: string;
  readonly count: number;
}

function lines(): RefusalLine[] {
  const told = edge.wholeOutput.split('\n').filter((line) => line.includes('"nats.subscriptionRefused"'));
  return told.map((line) => JSON.parse(line) as RefusalLine);
}

/** Sends SUBSCRIBE and does not wait. */
function ask(client: RawClient, topic: string, qos: 0 | 1 | 2 = 0): void {
  const subscriptions = [{ topic, qos }];
  client.send({ cmd: 'subscribe', messageId: client.nextPacketId(), subscriptions, properties: {} });
}

test('refused subscriptions - each version hears it for those filters alone, with a reason, in metrics and log', async () => {
  const refused = await edge.metric('supermq_subscribes_refused_total');
  const client = await connect();
  const filters: Filter[] = [
    'open/a',
    'closed/a',
    { topic: 'open/b', qos: 1 },
    { topic: 'closed/b', qos: 1 },
    { topic: 'closed/#', qos: 2 },
    { topic: '$share/workers/closed/c', qos: 1 },
    { topic: '$g/workers/open/c', qos: 0 },
    'closed/+/x',
  ];
  assert.deepEqual(await client.subscribe(...filters), [
    0,
    NOT_AUTHORIZED,
    1,
    NOT_AUTHORIZED,
    NOT_AUTHORIZED,
    NOT_AUTHORIZED,
    0,
    NOT_AUTHORIZED,
  ]);
  assert.equal(await edge.metric('supermq_subscribes_refused_total'), refused + 5);
  ask(client, 'closed/a');
  const suback: ISubackPacket = await client.next('suback');
  assert.match(suback.properties?.reasonString ?? '', /^not authorized: the node may not subscribe to it$/);
  const [line] = lines();
  assert.deepEqual([line?.level, line?.subject, line?.count], [WARN, 'closed.a', 1]);
  assert.equal(await edge.metric('supermq_subscriptions'), 3);
  // What was granted beside them works.
  for (const topic of ['open/a', 'open/b', 'open/c']) client.publish(topic, topic);
  const got = await client.messages(3);
  assert.deepEqual(got.map(({ topic }) => topic).toSorted(), ['open/a', 'open/b', 'open/c']);
  for (const version of [3, 4] as const) {
    const older = await connect(version);
    assert.deepEqual(await older.subscribe('closed/a', 'open/a'), [REFUSED_3, 0]);
    await older.end();
  }
  await client.end();
});

test('refused subscriptions - all who ask for one at the same time hear it, and each of several requests for it', async () => {
  const clients = await Promise.all(Array.from({ length: 4 }, () => connect()));
  const codes = await Promise.all(clients.map((client) => client.subscribe('closed/shared')));
  assert.deepEqual(codes, Array(4).fill([NOT_AUTHORIZED]));
  const [first, second] = clients;
  assert.ok(first !== undefined && second !== undefined);
  assert.deepEqual(await first.subscribe('closed/twice', { topic: 'closed/twice', qos: 1 }), [0x87, 0x87]);
  for (let i = 0; i < 5; i++) for (const client of clients) ask(client, 'closed/pipelined', i % 2 === 0 ? 0 : 1);
  for (const client of clients)
    for (let i = 0; i < 5; i++) assert.deepEqual((await client.next('suback')).granted, [NOT_AUTHORIZED]);
  await second.unsubscribe('closed/pipelined');
  assert.equal(await edge.metric('supermq_subscriptions'), 0);
  await Promise.all(clients.map((client) => client.end()));
});

test('refused subscriptions - whatever characters the server has to quote', async () => {
  const client = await connect();
  for (const level of ['"quoted" \\ é', '\ufeff日本', '\u0001', '\u{e0001}', '\u0085', '\ue000'])
    for (const filter of [`closed/${level}`, `$share/${level.replace('\u0001', '')}x/closed/${level}`])
      assert.deepEqual(await client.subscribe(filter), [NOT_AUTHORIZED], JSON.stringify(filter));
  await client.end();
});

test('refused subscriptions - a flood of them is a line a second', async () => {
  const client = await connect();
  const before = lines().length;
  const started = performance.now();
  const filters = Array.from({ length: 1_000 }, (_, number) => `closed/flood/${number}`);
  for (let i = 0; i < 3; i++) assert.ok((await client.subscribe(...filters)).every((code) => code === NOT_AUTHORIZED));
  const seconds = (performance.now() - started) / 1000;
  assert.ok(lines().length - before <= seconds + 1, `${lines().length - before} lines in ${seconds} s`);
  await client.end();
});

test('refused subscriptions - the session has none, and gets nothing of them when they are allowed later', async (t) => {
  t.after(() => place.deny(...CLOSED));
  const device = await SessionClient.connect(edge.tcp, 'refused-device');
  await assert.rejects(device.subscribe('closed/kept', 1));
  await device.subscribe('open/kept', 1);
  await device.leave();
  await place.deny();
  const publisher = await connect();
  await publisher.publishAll('closed/kept', [1], 1);
  await publisher.publishAll('open/kept', [2], 1);
  await device.connect(edge.tcp);
  await device.waitFor(1);
  assert.deepEqual(device.numbers(), [2]);
  await device.subscribe('closed/kept', 1);
  await publisher.publishAll('closed/kept', [3], 1);
  await device.waitFor(2);
  assert.deepEqual(device.numbers(), [2, 3]);
  await device.forget();
  await publisher.end();
});

test('refused subscriptions - a new SUBSCRIBE works when the permissions are wider, for members of groups too', async (t) => {
  t.after(() => place.deny(...CLOSED));
  const [one, two] = [await connect(), await connect()];
  const filters = ['closed/later', '$share/workers/closed/shared-later'];
  for (const client of [one, two]) assert.deepEqual(await client.subscribe(...filters), [0x87, 0x87]);
  await place.deny();
  for (const client of [one, two]) assert.deepEqual(await client.subscribe(...filters), [0, 0]);
  two.publish('closed/later', 'x');
  two.publish('closed/shared-later', 'y');
  await eventually(() => one.received.length + two.received.length === 3, 'one to each, and one to one of them');
  for (const client of [one, two]) {
    assert.ok(client.taken('publish').some(({ topic }) => topic === 'closed/later'));
    await client.end();
  }
});

test('refused subscriptions - live messages of the log: what would come late is refused, and comes at once when it is allowed', async (t) => {
  t.after(() => place.deny(...CLOSED));
  await place.deny();
  const resumed = await SessionClient.connect(edge.tcp, 'late-device');
  await resumed.subscribe('late/x', 1);
  await resumed.leave();
  await place.deny('$SMQ.live.late.>');
  const refused = await edge.metric('supermq_bus_subscriptions_refused_total');
  await resumed.connect(edge.tcp);
  const counted = async (): Promise<boolean> =>
    (await edge.metric('supermq_bus_subscriptions_refused_total')) > refused;
  await eventually(counted, 'a resumed session holds a refused one');
  const [plain, first, second] = [await connect(), await connect(), await connect()];
  assert.deepEqual(await plain.subscribe('late/x'), [0], 'QoS 0 comes over the bus');
  for (const client of [first, second]) {
    client.acknowledges = true;
    assert.deepEqual(await client.subscribe({ topic: 'late/x', qos: 1 }, { topic: 'open/x', qos: 1 }), [0x87, 1]);
  }
  await place.deny();
  for (const client of [first, second]) assert.deepEqual(await client.subscribe({ topic: 'late/x', qos: 1 }), [1]);
  assert.equal(await plain.publishAcknowledged('late/x', '1', 1), 0);
  for (const client of [plain, first, second])
    assert.deepEqual(await client.messages(1), [{ topic: 'late/x', payload: '1' }]);
  await resumed.waitFor(1);
  await resumed.forget();
  for (const client of [plain, first, second]) await client.end();
});

test('refused subscriptions - a session that had one before keeps it and the rest, and it works again when somebody may subscribe', async (t) => {
  t.after(() => place.deny(...CLOSED));
  await place.deny();
  const device = await SessionClient.connect(edge.tcp, 'resumed-device');
  for (const filter of ['closed/once', 'open/once']) await device.subscribe(filter, 0);
  await device.subscribe('$share/resumed/closed/jobs', 0);
  await device.leave();
  await place.deny(...CLOSED);
  const refused = await edge.metric('supermq_bus_subscriptions_refused_total');
  await device.connect(edge.tcp);
  assert.equal(device.sessionPresent, true);
  const counted = async (): Promise<boolean> =>
    (await edge.metric('supermq_bus_subscriptions_refused_total')) === refused + 2;
  await eventually(counted, 'the plain one and that of the group counted');
  const client = await connect();
  client.publish('open/once', '1');
  await device.waitFor(1);
  // Still refused, to a second one too; the first one keeps it.
  assert.deepEqual(await client.subscribe('closed/once'), [NOT_AUTHORIZED]);
  await place.deny();
  assert.deepEqual(await client.subscribe('closed/once'), [0]);
  client.publish('closed/once', '2');
  assert.deepEqual(await client.messages(1), [{ topic: 'closed/once', payload: '2' }]);
  await device.waitFor(2);
  assert.deepEqual(device.numbers(), [1, 2]);
  await device.forget();
  await client.end();
});

test('refused subscriptions - what becomes of them when the permissions shrink or the connection is made anew', async (t) => {
  t.after(() => place.deny(...CLOSED));
  await place.deny();
  const [holder, other] = [await connect(), await connect()];
  assert.deepEqual(await holder.subscribe('closed/held', '$share/workers/closed/member', 'open/held'), [0, 0, 0]);
  const refused = await edge.metric('supermq_bus_subscriptions_refused_total');
  await place.deny(...CLOSED);
  const counted = async (): Promise<boolean> =>
    (await edge.metric('supermq_bus_subscriptions_refused_total')) === refused + 2;
  await eventually(counted, 'what was taken away is told, of a member of a group too');
  assert.deepEqual(await other.subscribe('closed/held'), [NOT_AUTHORIZED]);
  await place.deny();
  await place.nats.restart();
  await edge.waitForStatus('readyz', 200);
  const works = async (): Promise<boolean> => {
    other.publish('closed/held', 'x');
    await holder.ping();
    return holder.received.some(({ cmd }) => cmd === 'publish');
  };
  await eventually(works, 'the subscription is made again on the new connection');
  for (const client of [holder, other]) await client.end();
});

test('refused subscriptions - wider permissions hold for all that were refused the same subject, members of a group too, and nobody gets twice', async (t) => {
  t.after(() => place.deny(...CLOSED));
  await place.deny();
  const device = await SessionClient.connect(edge.tcp, 'lifted-device');
  await device.subscribe('closed', 0);
  await device.subscribe('$share/lifted/closed/jobs', 0);
  await device.leave();
  await place.deny(...CLOSED);
  const refused = await edge.metric('supermq_bus_subscriptions_refused_total');
  await device.connect(edge.tcp);
  const counted = async (): Promise<boolean> =>
    (await edge.metric('supermq_bus_subscriptions_refused_total')) === refused + 2;
  await eventually(counted, 'the plain one and that of the group counted');
  await place.deny();
  const [first, second] = [await connect(), await connect()];
  // The second of its two subjects is that of the plain filter.
  assert.deepEqual(await first.subscribe('closed/#'), [0]);
  assert.deepEqual(await second.subscribe('closed'), [0]);
  first.publish('closed', '1');
  first.publish('closed', '2');
  const published = ['1', '2'].map((payload) => ({ topic: 'closed', payload }));
  for (const client of [first, second]) assert.deepEqual(await client.messages(2), published);
  const member = await connect();
  assert.deepEqual(await member.subscribe('$share/lifted/closed/jobs'), [0]);
  await member.end();
  first.publish('closed/jobs', '3');
  await device.waitFor(3);
  assert.deepEqual(device.numbers(), [1, 2, 3]);
  await device.forget();
  for (const client of [first, second]) await client.end();
});

test('refused subscriptions - one that is refused in part brings all that it brings, once, while others ask for it', async (t) => {
  t.after(() => place.deny(...CLOSED));
  await place.deny();
  const [holder, other] = [await connect(), await connect()];
  assert.deepEqual(await holder.subscribe('closed/#'), [0]);
  const refused = await edge.metric('supermq_bus_subscriptions_refused_total');
  await place.deny('closed');
  const counted = async (): Promise<boolean> =>
    (await edge.metric('supermq_bus_subscriptions_refused_total')) === refused + 1;
  await eventually(counted, 'one of its two subjects is taken away');
  const [count, each] = [2_000, 50];
  for (let number = 0; number < count; number++) {
    other.publish('closed/x', String(number));
    if (number % each === 0) ask(other, 'closed/#');
  }
  for (let asked = 0; asked < count / each; asked++)
    assert.deepEqual((await other.next('suback')).granted, [NOT_AUTHORIZED]);
  const got = await holder.messages(count);
  assert.deepEqual(
    got.map(({ payload }) => Number(payload)),
    Array.from({ length: count }, (_, number) => number),
  );
  await holder.ping();
  assert.deepEqual(holder.taken('publish'), []);
  for (const client of [holder, other]) await client.end();
});

test('refused subscriptions - one that its client has ended before the refusal came is told of like the others', async () => {
  const refused = await edge.metric('supermq_bus_subscriptions_refused_total');
  const client = await connect();
  const filters = Array.from({ length: 1_000 }, (_, number) => `closed/left/${number}`);
  const subscriptions = filters.map((topic) => ({ topic, qos: 0 as const }));
  client.send({ cmd: 'subscribe', messageId: client.nextPacketId(), subscriptions, properties: {} });
  client.send({ cmd: 'unsubscribe', messageId: client.nextPacketId(), unsubscriptions: filters });
  await client.next('suback');
  await client.next('unsuback');
  await client.ping();
  assert.equal(await edge.metric('supermq_bus_subscriptions_refused_total'), refused + 1_000);
  assert.ok(!edge.wholeOutput.includes('"nats.refused"'), 'no line at level error for what a client has chosen');
  await client.end();
});
