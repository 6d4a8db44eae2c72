/** The state of clients whose node is killed: what was acknowledged is stored, what is stored comes back, and what has an end gets it. */
import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { after, before, test } from 'node:test';
import { connect as connectNats, type NatsConnection } from 'nats';
import { eventually } from '../support/eventually.ts';
import { LOG_STREAM } from '../support/group-nodes.ts';
import { type NatsServerProcess, startNatsServer } from '../support/nats-server.ts';
import { EdgeProcess } from '../support/node.ts';
import { poll } from '../support/poll.ts';
import { type ConnectFields, RawClient } from '../support/raw-client.ts';
import { SessionClient } from '../support/session-client.ts';
import { connectWithWill } from '../support/will-watch.ts';

let nats: NatsServerProcess;
/** The node that goes on. */
let safe: EdgeProcess;
let application: NatsConnection;

before(async () => {
  nats = await startNatsServer();
  safe = await startEdge();
  application = await connectNats({ servers: nats.url });
});
after(async () => {
  await application.close();
  await safe.stop();
  await nats.stop();
});

function startEdge(): Promise<EdgeProcess> {
  return EdgeProcess.start({
    SUPERMQ_NATS_SERVERS: nats.url,
    SUPERMQ_LEASE_SECONDS: '5',
    SUPERMQ_GROUPS_RETENTION_SECONDS: '15',
  });
}

/** Of a client whose session stays. */
function durable(version: 4 | 5, clientId: string, sessionExpiryInterval = 600): ConnectFields {
  const kept = { version, clientId, clean: false };
  return version === 5 ? { ...kept, properties: { sessionExpiryInterval } } : kept;
}

/** Reads `count` messages and returns their packet ids. */
async function idsOf(client: RawClient, count: number): Promise<number[]> {
  const ids: number[] = [];
  while (ids.length < count) {
    const { dup, messageId = 0 } = await client.next('publish');
    assert.equal(dup, false);
    ids.push(messageId);
  }
  assert.equal(new Set(ids).size, count);
  return ids;
}

for (const version of [4, 5] as const) {
  const ids =
    version === 5
      ? '[MQTT5 §4.1 session-state] [MQTT5 3.1.2-5] [MQTT5 3.2.2-3] [MQTT5 4.3.2-1] [MQTT5 4.3.2-2] [MQTT5 4.3.2-3] [MQTT5 4.4.0-1] [MQTT5 4.5.0-1]'
      : '[MQTT311 §3.1.2.4] [MQTT311 3.1.2-4] [MQTT311 3.1.2-5] [MQTT311 3.2.2-2] [MQTT311 3.2.2-3] [MQTT311 4.3.2-1] [MQTT311 4.4.0-1] [MQTT311 4.5.0-1]';
  test(`${ids} [K] version ${version}: subscriptions, QoS 1 in flight with its ids, and what was published meanwhile, of a client whose node is killed`, async () => {
    const [one, two] = [`killed/${version}/1`, `killed/${version}/2`];
    const edge = await startEdge();
    const publisher = await RawClient.connect(safe.tcp, { version });
    const client = await RawClient.connect(edge.tcp, durable(version, `killed-${version}`));
    // A session that ends with its connection is not there afterwards.
    const brief = await RawClient.connect(edge.tcp, { version, clientId: `brief-${version}` });
    await brief.subscribe({ topic: one, qos: 1 });
    await client.subscribe({ topic: one, qos: 1 }, { topic: two, qos: 2 });
    await publisher.publishAll(one, ['done', 'open 1', 'open 2'], 1);
    const [done = 0, first, second] = await idsOf(client, 3);
    client.acknowledge('puback', done);
    // Its record says so when the next thing that has to be written has been.
    await publisher.publishAll(two, ['complete'], 2);
    const { messageId = 0 } = await client.next('publish');
    client.acknowledge('pubrec', messageId);
    await client.nextAcknowledgement('pubrel', messageId);
    await edge.kill();
    await client.closed;
    await publisher.publishAll(one, ['waits 1'], 1);
    await publisher.publishAll(two, ['waits 2'], 2);

    const again = await RawClient.connect(safe.tcp, durable(version, `killed-${version}`));
    assert.equal(again.connack.sessionPresent, true);
    await eventually(() => again.received.length >= 5, 'what was in flight, and what waited');
    const outline = again.received.map((packet) =>
      packet.cmd === 'publish' ? [packet.payload.toString(), packet.dup, packet.qos] : [packet.cmd, packet.messageId],
    );
    assert.deepEqual(outline, [
      ['open 1', true, 1],
      ['open 2', true, 1],
      ['pubrel', messageId],
      ['waits 1', false, 1],
      ['waits 2', false, 2],
    ]);
    assert.deepEqual(
      again.received.slice(0, 2).map((packet) => packet.messageId),
      [first, second],
    );
    again.acknowledges = true;
    again.acknowledge('pubcomp', messageId);
    again.received.length = 0;
    await publisher.publishAll(one, ['live'], 1);
    assert.equal((await again.next('publish')).payload.toString(), 'live');
    const absent = await RawClient.connect(safe.tcp, { version, clientId: `brief-${version}`, clean: false });
    assert.equal(absent.connack.sessionPresent, false);
    for (const each of [absent, publisher, again]) await each.end();
  });
}

for (const qos of [1, 2] as const) {
  const ids =
    qos === 1
      ? '[MQTT5 4.3.2-4] [MQTT311 4.3.2-2] [MQTT5 4.5.0-1] [MQTT311 4.5.0-1]'
      : '[MQTT5 4.3.3-8] [MQTT311 4.3.3-2]';
  const answer = qos === 1 ? 'puback' : 'pubrec';
  test(`${ids} [K] QoS ${qos}: what had its ${answer.toUpperCase()} when the publisher's node is killed in the midst of a flow reaches who is connected and who is away`, async () => {
    for (const version of [5, 4, 5] as const) {
      const topic = `acknowledged/${qos}`;
      const live = await SessionClient.connect(safe.tcp, 'acknowledged-live');
      const away = await SessionClient.connect(safe.tcp, 'acknowledged-away');
      for (const subscriber of [live, away]) await subscriber.subscribe(topic, qos);
      await away.leave();
      const edge = await startEdge();
      const publisher = await RawClient.connect(edge.tcp, durable(version, `acknowledged-${version}`));
      const acknowledged: number[] = [];
      let sent = 0;
      const publishNext = (): void => publisher.publish(topic, String(++sent), { qos, messageId: sent });
      publisher.intercept = ({ cmd, messageId = 0 }) => {
        if (cmd !== answer) return false;
        acknowledged.push(messageId);
        if (qos === 2) publisher.acknowledge('pubrel', messageId);
        publishNext();
        if (acknowledged.length === 200) process.kill(edge.pid, 'SIGKILL');
        return true;
      };
      for (let count = 0; count < 30; count++) publishNext();
      await publisher.closed;
      assert.ok(acknowledged.length >= 200 && acknowledged.length < sent, `${acknowledged.length} of ${sent}`);
      await away.connect(safe.tcp);
      for (const subscriber of [live, away]) {
        await subscriber.waitFor(acknowledged.length);
        const came = new Set(subscriber.numbers());
        const lost = acknowledged.filter((number) => !came.has(number));
        assert.deepEqual(lost, [], `${subscriber.clientId} of version ${version}`);
        await subscriber.forget();
      }
      await (await RawClient.connect(safe.tcp, { clientId: `acknowledged-${version}`, clean: true })).end();
    }
  });
}

test("[MQTT5 4.3.2-4] [MQTT311 4.3.2-2] [K] no PUBACK while NATS stands still; the node dies, and the message is the client's to send again", async () => {
  for (const version of [4, 5] as const) {
    const subscriber = await SessionClient.connect(safe.tcp, 'still-subscriber');
    await subscriber.subscribe('still', 1);
    const edge = await startEdge();
    const client = await RawClient.connect(edge.tcp, { version });
    nats.pause();
    const before = await edge.metric('supermq_bytes_received_total');
    client.publish('still', '1', { qos: 1, messageId: 9 });
    await eventually(async () => (await edge.metric('supermq_bytes_received_total')) > before, 'the packet was read');
    await client.ping();
    await edge.kill();
    nats.resume();
    await client.closed;
    assert.deepEqual(client.received, []);
    const again = await RawClient.connect(safe.tcp, { version });
    assert.equal(await again.publishAcknowledged('still', '1', 1, { messageId: 9, dup: true }), 0);
    await again.publishAcknowledged('still', '2', 1);
    await subscriber.waitFor(2);
    assert.deepEqual(subscriber.numbers(), [1, 2]);
    await Promise.all([subscriber.forget(), again.end()]);
  }
});

/** Whether the bucket has a record. */
async function hasRecord(clientId: string): Promise<boolean> {
  const bucket = await application.jetstream().views.kv('SMQ_SESSIONS', { bindOnly: true });
  const entry = await bucket.get(hash('sha256', clientId, 'base64url').slice(0, 22));
  return entry !== null && entry.value.length > 0;
}

/** Subjects that anybody but this test has subscribed to and that contain `part`. */
async function interestIn(part: string): Promise<string[]> {
  const answer = await fetch(`${nats.monitorUrl}/connz?subs=true`);
  const { connections } = (await answer.json()) as { connections: Array<{ subscriptions_list?: string[] }> };
  return connections.flatMap(({ subscriptions_list: subjects = [] }) => subjects).filter((s) => s.includes(part));
}

async function groupConsumers(): Promise<number> {
  const manager = await application.jetstreamManager();
  return (await manager.streams.info(LOG_STREAM)).state.consumer_count;
}

test('[MQTT5 4.1.0-2] [MQTT5 3.1.2-23] [MQTT5 §3.1.2.11.2] [MQTT5 3.2.2-3] [MQTT311 3.2.2-2] [X] [K] sessions of a killed node end when their expiry has passed, with their interest and groups; those with time left, or without an end, stay', async () => {
  const edge = await startEdge();
  const fields = {
    short: durable(5, 'end-short', 2),
    long: durable(5, 'end-long', 600),
    never: durable(5, 'end-never', 0xffff_ffff),
    four: durable(4, 'end-four'),
    none: { version: 5, clientId: 'end-none', clean: false },
    back: durable(5, 'end-back', 2),
  } as const;
  for (const each of Object.values(fields)) {
    const client = await RawClient.connect(edge.tcp, each);
    await client.subscribe({ topic: 'ends/+', qos: 1 }, { topic: '$share/ends/ends/group', qos: 1 });
  }
  // A node that had wills is found dead at once, not at the next look at all sessions.
  await connectWithWill(edge.tcp, { topic: 'will/ends' });
  assert.ok((await interestIn('ends')).length > 0);
  assert.equal(await groupConsumers(), 1);
  const publisher = await RawClient.connect(safe.tcp, { version: 5 });
  await edge.kill();
  const killedAt = performance.now();
  const isPresent = async (name: keyof typeof fields): Promise<boolean> => {
    const client = await RawClient.connect(safe.tcp, { ...fields[name] });
    await client.end(name === 'back' ? 60 : undefined);
    return client.connack.sessionPresent;
  };
  assert.equal(await isPresent('back'), true, 'back before its end');
  assert.equal(await hasRecord('end-short'), true, 'nobody says yet that its connection is closed');
  await poll(async () => !(await hasRecord('end-short')), { what: 'the end of the session', timeoutMs: 40_000 });
  assert.ok(performance.now() - killedAt > 4_000, 'not before lease and expiry were over');
  assert.equal(await hasRecord('end-none'), false);
  // Nothing that their filters match is asked for any more, and the group's consumer ends after its retention.
  assert.deepEqual(await interestIn('ends'), []);
  await publisher.publishAcknowledged('ends/x', 'nobody is here', 1);
  await poll(async () => (await groupConsumers()) === 0, { what: 'the end of the group', timeoutMs: 60_000 });
  for (const name of ['none', 'short'] as const) assert.equal(await isPresent(name), false, name);
  for (const name of ['long', 'never', 'four', 'back'] as const) {
    assert.equal(await isPresent(name), true, name);
    const client = await RawClient.connect(safe.tcp, { ...fields[name] });
    assert.equal((await client.next('publish')).payload.toString(), 'nobody is here', name);
    await client.end();
    await (await RawClient.connect(safe.tcp, { clientId: fields[name].clientId ?? '', clean: true })).end();
  }
  await publisher.end();
});
