/** A NATS that allows a connection only so many subscriptions: whoever gets a SUBACK hears his messages, the others are told. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { eventually } from '../support/eventually.ts';
import { type NatsServerProcess, startNatsServer } from '../support/nats-server.ts';
import { EdgeProcess } from '../support/node.ts';
import { RawClient } from '../support/raw-client.ts';

const QUOTA_EXCEEDED = 0x97;
const REFUSED_3 = 0x80;
/** The node's own ones need some. */
const LIMIT = 60;

let nats: NatsServerProcess;
let edge: EdgeProcess;

before(async () => {
  nats = await startNatsServer({ extraConfig: `max_subscriptions: ${LIMIT}` });
  edge = await EdgeProcess.start({ SUPERMQ_NATS_SERVERS: nats.url });
});
after(async () => {
  assert.equal(await edge.stop(), 0);
  await nats.stop();
});

function filters(name: string): string[] {
  return Array.from({ length: 2 * LIMIT }, (_, i) => `${name}/${i}`);
}

/** Each of the filters gets a message, in order, and nothing else comes. */
async function hears(client: RawClient, granted: readonly string[], qos: 0 | 1): Promise<void> {
  const publisher = await RawClient.connect(edge.tcp, { version: 5 });
  for (const topic of granted) {
    if (qos === 0) publisher.publish(topic, 'x');
    else assert.equal(await publisher.publishAcknowledged(topic, 'x', 1), 0);
  }
  const topics = (await client.messages(granted.length)).map(({ topic }) => topic);
  assert.deepEqual(topics.toSorted(), granted.toSorted());
  await publisher.end();
}

for (const qos of [0, 1] as const)
  test(`too many subscriptions - QoS ${qos}, one after the other: what is granted is heard, the rest is 0x97, room is given again`, async () => {
    const client = await RawClient.connect(edge.tcp, { version: 5 });
    client.acknowledges = true;
    const refused = await edge.metric('supermq_subscribes_refused_total');
    const granted: string[] = [];
    let firstRefused: string | undefined;
    for (const topic of filters(`single${qos}`)) {
      const [code] = await client.subscribe({ topic, qos });
      if (code === qos) granted.push(topic);
      else {
        assert.equal(code, QUOTA_EXCEEDED);
        firstRefused ??= topic;
      }
    }
    assert.ok(granted.length > 0 && firstRefused !== undefined, `${granted.length} granted`);
    assert.equal(await edge.metric('supermq_subscribes_refused_total'), refused + 2 * LIMIT - granted.length);
    assert.equal(await edge.metric('supermq_subscriptions'), granted.length);
    await hears(client, granted, qos);
    const old = await RawClient.connect(edge.tcp, { version: 4 });
    assert.deepEqual(await old.subscribe({ topic: firstRefused, qos }), [REFUSED_3]);
    await client.unsubscribe(...granted.splice(0, 2));
    assert.deepEqual(await client.subscribe({ topic: firstRefused, qos }), [qos]);
    await hears(client, [...granted, firstRefused], qos);
    await client.end();
    await old.end();
  });

test('too many subscriptions - asked for by many at once: a SUBACK that grants is true', async () => {
  const clients = await Promise.all(Array.from({ length: 8 }, () => RawClient.connect(edge.tcp, { version: 5 })));
  const all = clients.map(async (client, number) => {
    const mine = filters(`many${number}`).slice(0, LIMIT / 3);
    const codes = await Promise.all(mine.map(async (topic) => (await client.subscribe(topic))[0]));
    assert.deepEqual(new Set([...codes, 0, QUOTA_EXCEEDED]), new Set([0, QUOTA_EXCEEDED]));
    return mine.filter((_, i) => codes[i] === 0);
  });
  const granted = await Promise.all(all);
  const count = granted.flat().length;
  assert.ok(count > 0 && count <= LIMIT, `${count} granted`);
  for (const [number, client] of clients.entries()) await hears(client, granted[number] ?? [], 0);
  await Promise.all(clients.map((client) => client.end()));
  await eventually(async () => (await edge.metric('supermq_subscriptions')) === 0, 'all are gone');
  const next = await RawClient.connect(edge.tcp, { version: 5 });
  assert.deepEqual(await next.subscribe('many0/0'), [0]);
  await next.end();
});

/** Takes all room that is left. */
async function fill(name: string): Promise<{ client: RawClient; granted: string[] }> {
  const client = await RawClient.connect(edge.tcp, { version: 5 });
  const granted: string[] = [];
  for (const topic of filters(name)) if ((await client.subscribe(topic))[0] === 0) granted.push(topic);
  return { client, granted };
}

/** Subscribes with a client of its own. */
async function newcomer(topic: string): Promise<{ client: RawClient; code: number | undefined }> {
  const client = await RawClient.connect(edge.tcp, { version: 5 });
  const [code] = await client.subscribe(topic);
  return { client, code };
}

async function endAll(...clients: RawClient[]): Promise<void> {
  await Promise.all(clients.map((client) => client.end(0)));
  await eventually(async () => (await edge.metric('supermq_subscriptions')) === 0, 'all are gone');
}

/** A session that has the filter from before, and whose subscription found no room when it came back. */
async function resumedWithoutRoom(
  topic: string,
  name: string,
): Promise<{ session: RawClient; full: RawClient; granted: string[] }> {
  const fields = { version: 5, clientId: name, clean: false, properties: { sessionExpiryInterval: 300 } } as const;
  const before = await RawClient.connect(edge.tcp, fields);
  assert.deepEqual(await before.subscribe(topic), [0]);
  await before.end();
  await eventually(async () => (await edge.metric('supermq_subscriptions')) === 0, 'it has left');
  const { client: full, granted } = await fill(name);
  const session = await RawClient.connect(edge.tcp, fields);
  await session.ping();
  return { session, full, granted };
}

test('too many subscriptions - what one client is refused takes nothing from those who have it', async () => {
  const holder = await newcomer('popular');
  const { client: full } = await fill('taken');
  const refused = await newcomer('popular/#');
  const other = await newcomer('popular');
  assert.deepEqual([holder.code, refused.code, other.code], [0, QUOTA_EXCEEDED, 0]);
  assert.deepEqual(await holder.client.subscribe('popular'), [0]);
  for (const { client } of [holder, other]) await hears(client, ['popular'], 0);
  await endAll(holder.client, refused.client, other.client, full);
});

test('too many subscriptions - a filter of a resumed session that found no room is granted to nobody before there is some', async () => {
  const { session, full, granted } = await resumedWithoutRoom('popular', 'resumed');
  await full.unsubscribe(...granted.slice(0, 2));
  const wide = await newcomer('popular/#');
  assert.equal(wide.code, 0);
  const early = await newcomer('popular');
  assert.equal(early.code, QUOTA_EXCEEDED);
  await full.unsubscribe(...granted.slice(2, 4));
  const late = await newcomer('popular');
  assert.equal(late.code, 0);
  for (const client of [late.client, session]) await hears(client, ['popular'], 0);
  await endAll(session, full, wide.client, early.client, late.client);
});

test('too many subscriptions - NATS comes back and takes others than before: nobody is granted what it did not take', async () => {
  const { session, full, granted } = await resumedWithoutRoom('popular', 'restarted');
  await full.unsubscribe(...granted.slice(0, 1));
  const last = await newcomer('late');
  assert.equal(last.code, 0);
  await nats.restart();
  await eventually(async () => (await edge.metric('supermq_bus_reconnects_total')) > 0, 'the node is back');
  await eventually(async () => {
    const { client, code } = await newcomer('late');
    await client.end();
    return code === QUOTA_EXCEEDED;
  }, 'a filter that found no room is refused');
  await full.unsubscribe(...granted.slice(1));
  const next = await newcomer('late');
  assert.equal(next.code, 0);
  for (const client of [next.client, last.client]) await hears(client, ['late'], 0);
  await endAll(session, full, last.client, next.client);
});

test('too many subscriptions - the operator reads of it, a line a second at most', () => {
  const told = edge.wholeOutput.split('\n').filter((line) => line.includes('"nats.tooManySubscriptions"'));
  assert.ok(told.length > 0);
  for (const line of told) {
    const { count, level, msg } = JSON.parse(line) as { count: number; level: number; msg: string };
    assert.equal(level, 40);
    assert.ok(count > 0);
    assert.match(msg, /max_subscriptions/);
  }
});
