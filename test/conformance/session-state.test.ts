/** What a session consists of, what it does not, and how long it lasts: by the wall clock, so in every deployment. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startDeployment } from '../support/deployment.ts';
import { eventually } from '../support/eventually.ts';
import { elapsed } from '../support/group-nodes.ts';
import type { TestNode } from '../support/node.ts';
import { type ConnectFields, RawClient } from '../support/raw-client.ts';

const NEVER = 0xffff_ffff;

let node: TestNode;
before(async () => {
  node = await startDeployment({ SUPERMQ_LIMITS_MAX_SESSION_EXPIRY_SECONDS: String(NEVER) });
});
after(() => node.stop());

function connect(fields: ConnectFields = {}): ReturnType<typeof RawClient.connect> {
  return RawClient.connect(node.tcp, { version: 5, ...fields });
}

/** Of a client whose session stays. */
function durable(version: 4 | 5, clientId: string, sessionExpiryInterval = 600): ConnectFields {
  const kept = { version, clientId, clean: false };
  return version === 5 ? { ...kept, properties: { sessionExpiryInterval } } : kept;
}

/** Leaves without a word about the expiry, so that of CONNECT holds. */
async function visit(fields: ConnectFields): Promise<boolean> {
  const client = await connect(fields);
  await client.end();
  return client.connack.sessionPresent;
}

/** Packets as they matter to a resume: their kind, payload, DUP and id. */
function outline(client: RawClient): unknown[][] {
  return client.received.map((packet) =>
    packet.cmd === 'publish'
      ? [packet.cmd, packet.payload.toString(), packet.dup, packet.messageId]
      : [packet.cmd, packet.messageId],
  );
}

for (const version of [4, 5] as const) {
  const ids =
    version === 5
      ? '[MQTT5 §4.1 session-state] [MQTT5 3.1.2-5] [MQTT5 3.2.2-3] [MQTT5 4.4.0-1] [MQTT5 4.3.3-5]'
      : '[MQTT311 §3.1.2.4] [MQTT311 3.1.2-4] [MQTT311 3.1.2-5] [MQTT311 3.2.2-2] [MQTT311 4.4.0-1]';
  test(`${ids} a session has its subscriptions, what is in flight both ways, and what waits; all of it comes back`, async () => {
    const [one, two, own] = [`state/${version}/1`, `state/${version}/2`, `state/${version}/own`];
    const fields = durable(version, `state-${version}`);
    const publisher = await connect();
    const witness = await connect();
    await witness.subscribe({ topic: own, qos: 2 });
    witness.acknowledges = true;
    const first = await connect(fields);
    await first.subscribe({ topic: one, qos: 1 }, { topic: two, qos: 2 });
    if (version === 5) await first.subscribeWith({ subscriptionIdentifier: 70_000 }, { topic: one, qos: 1, nl: true });
    // To the client: acknowledged, not acknowledged, received and not completed, not received.
    await publisher.publishAll(one, ['done', 'open 1'], 1);
    await publisher.publishAll(two, ['released', 'open 2'], 2);
    const flight: number[] = [];
    for (let count = 0; count < 4; count++) flight.push((await first.next('publish')).messageId ?? 0);
    const [done = 0, openOne = 0, released = 0, openTwo = 0] = flight;
    first.acknowledge('puback', done);
    first.acknowledge('pubrec', released);
    await first.nextAcknowledgement('pubrel', released);
    // From the client: received, not released.
    first.publish(own, 'unreleased', { qos: 2, messageId: 77 });
    await first.nextAcknowledgement('pubrec', 77);
    await first.end();
    await publisher.publishAll(one, ['waits 1'], 1);
    await publisher.publishAll(two, ['waits 2'], 2);

    const again = await connect(fields);
    assert.equal(again.connack.sessionPresent, true);
    await eventually(() => again.received.length >= 5, 'what was in flight, and what waited');
    assert.deepEqual(outline(again).slice(0, 3), [
      ['publish', 'open 1', true, openOne],
      ['pubrel', released],
      ['publish', 'open 2', true, openTwo],
    ]);
    const waited = again.received.slice(3).flatMap((packet) => (packet.cmd === 'publish' ? [packet] : []));
    assert.deepEqual(
      waited.map(({ dup, payload, qos }) => [payload.toString(), qos, dup]),
      [
        ['waits 1', 1, false],
        ['waits 2', 2, false],
      ],
    );
    const [identified] = waited;
    assert.equal(identified?.properties?.subscriptionIdentifier, version === 5 ? 70_000 : undefined);
    again.received.length = 0;
    for (const id of [openOne, identified?.messageId ?? 0]) again.acknowledge('puback', id);
    again.acknowledge('pubcomp', released);
    for (const id of [openTwo, waited[1]?.messageId ?? 0]) again.acknowledge('pubrec', id);
    for (let count = 0; count < 2; count++) again.acknowledge('pubcomp', (await again.next('pubrel')).messageId ?? 0);
    // The id that was not released is the same message still; no other subscriber gets it again.
    again.publish(own, 'unreleased', { qos: 2, messageId: 77, dup: true });
    await again.nextAcknowledgement('pubrec', 77);
    again.acknowledge('pubrel', 77);
    assert.equal(await again.nextAcknowledgement('pubcomp', 77), 0);
    await again.publishAcknowledged(own, 'new', 2, { messageId: 77 });
    assert.deepEqual(
      (await witness.messages(2)).map(({ payload }) => payload),
      ['unreleased', 'new'],
    );
    await publisher.publishAcknowledged(two, 'live', 2);
    assert.equal((await again.next('publish')).payload.toString(), 'live');
    for (const client of [again, witness, publisher]) await client.end();
    await (await connect({ ...fields, clean: true, properties: {} })).end();
  });

  const retainedId = version === 5 ? '[MQTT5 §4.1 retained]' : '[MQTT311 3.1.2-7]';
  test(`${retainedId} version ${version}: retained messages are no part of the session that published them, and outlive it`, async () => {
    const topic = `outlives/${version}`;
    const fields = durable(version, `retains-${version}`);
    const publisher = await connect(fields);
    await publisher.publishAcknowledged(topic, 'kept', 1, { retain: true });
    await publisher.abort();
    // A new session takes the place of that one, and ends with its connection.
    assert.equal(await visit({ ...fields, clean: true, properties: {} }), false);
    assert.equal(await visit({ version, clientId: fields.clientId ?? '' }), false);
    const subscriber = await connect({ version });
    await subscriber.subscribe({ topic, qos: 1 });
    const message = await subscriber.next('publish');
    assert.deepEqual([message.payload.toString(), message.retain], ['kept', true]);
    await subscriber.end();
  });
}

test('[MQTT5 3.1.2-23] [MQTT5 4.1.0-1] [MQTT5 4.1.0-2] [MQTT5 §3.1.2.11.2] a session lasts as long as its last CONNECT has said, from the close of the connection on, and no longer', async () => {
  const named = (name: string, seconds?: number): ConnectFields =>
    seconds === undefined
      ? { version: 5, clientId: `lasts-${name}`, clean: false }
      : durable(5, `lasts-${name}`, seconds);
  const publisher = await connect();
  const open = await connect(named('open', 1));
  const short = await connect(named('short', 1));
  for (const client of [open, short]) await client.subscribe({ topic: 'lasts', qos: 1 });
  await visit(named('absent'));
  await visit(named('long', 600));
  await visit(named('never', NEVER));
  await visit(named('longer', 1));
  assert.equal(await visit(named('longer', 600)), true);
  await visit(named('shorter', 600));
  assert.equal(await visit(named('shorter', 1)), true);
  await short.end();
  await elapsed(3_000);
  // A connection that is open keeps its session, whatever the interval.
  await publisher.publishAcknowledged('lasts', 'marker', 1);
  assert.equal((await open.next('publish')).payload.toString(), 'marker');
  for (const [name, isPresent] of [
    ['open', true],
    ['absent', false],
    ['short', false],
    ['shorter', false],
    ['long', true],
    ['longer', true],
    ['never', true],
  ] as const) {
    const client = await connect(named(name, 0));
    assert.equal(client.connack.sessionPresent, isPresent, name);
    await client.end();
  }
  await open.closed;
  // Nothing of the session that has ended is there: neither its subscription nor what came for it.
  const anew = await connect(named('short', 0));
  await anew.subscribe({ topic: 'lasts/marker', qos: 1 });
  for (const topic of ['lasts', 'lasts/marker']) await publisher.publishAcknowledged(topic, 'later', 1);
  assert.equal((await anew.next('publish')).topic, 'lasts/marker');
  for (const client of [anew, publisher]) await client.end();
});
