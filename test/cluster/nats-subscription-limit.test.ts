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
