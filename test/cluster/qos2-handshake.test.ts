/** The four packets of QoS 2, with the node killed after each of them, in both directions: one copy each, whatever node goes on. */
import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { after, before, test } from 'node:test';
import type { IPublishPacket, Packet } from 'mqtt-packet';
import { connect as connectNats, type NatsConnection } from 'nats';
import { eventually } from '../support/eventually.ts';
import { type NatsServerProcess, startNatsServer } from '../support/nats-server.ts';
import { EdgeProcess } from '../support/node.ts';
import { RawClient } from '../support/raw-client.ts';
import { SessionClient } from '../support/session-client.ts';

const PACKET_ID_NOT_FOUND = 0x92;

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
  return EdgeProcess.start({ SUPERMQ_NATS_SERVERS: nats.url });
}

function connect(port: number, version: 4 | 5, clientId: string): ReturnType<typeof RawClient.connect> {
  const properties = version === 5 ? { properties: { sessionExpiryInterval: 600 } } : {};
  return RawClient.connect(port, { version, clientId, clean: false, ...properties });
}

/** Does what makes the node read something, and waits until it has. */
async function untilRead(edge: EdgeProcess, act: () => void): Promise<void> {
  const before = await edge.metric('supermq_bytes_received_total');
  act();
  await eventually(async () => (await edge.metric('supermq_bytes_received_total')) > before, 'the packet was read');
}

/** The node reads it and cannot act on it, or answer it: NATS stands still, and the node dies before NATS goes on. */
async function dieUnanswered(edge: EdgeProcess, client: RawClient, act: () => void): Promise<void> {
  nats.pause();
  await untilRead(edge, act);
  await client.ping();
  assert.deepEqual(client.received, [], 'nothing before it is stored');
  await edge.kill();
  nats.resume();
}

async function lastSequence(): Promise<number> {
  const manager = await application.jetstreamManager();
  return (await manager.streams.info('SMQ_LOG')).state.last_seq;
}

/** Part of the session record. */
async function recordOf(clientId: string): Promise<{ inbound: unknown[]; outbound: unknown[]; owner: string }> {
  const bucket = await application.jetstream().views.kv('SMQ_SESSIONS', { bindOnly: true });
  const entry = await bucket.get(hash('sha256', clientId, 'base64url').slice(0, 22));
  const value = Buffer.from(entry?.value ?? []);
  return JSON.parse(value.toString('utf8', 2 + value.readUInt16BE(0))); // decoded border: docs/session-record.md
}

// ---- from the client ----

interface Inbound {
  readonly edge: EdgeProcess;
  readonly client: RawClient;
  readonly publish: (client: RawClient, dup: boolean) => void;
}

/** Kills the node at some point; the result is what the client has to send through the next node. */
type InboundStep = (at: Inbound) => Promise<'publish' | 'pubrel' | 'nothing'>;

const ID = 7;
const pubrel: Packet = { cmd: 'pubrel', messageId: ID };

const inboundSteps: Record<string, InboundStep> = {
  'after PUBLISH, before anything is stored': async ({ client, edge, publish }) => {
    await dieUnanswered(edge, client, () => publish(client, false));
    return 'publish';
  },
  'after PUBLISH, its message is in the log, the client has no PUBREC': async ({ client, edge, publish }) => {
    const last = await lastSequence();
    publish(client, false);
    await eventually(async () => (await lastSequence()) === last + 1, 'the message in the log');
    await edge.kill();
    return 'publish';
  },
  'after PUBREC': async ({ client, edge, publish }) => {
    publish(client, false);
    await client.next('pubrec');
    await edge.kill();
    return 'pubrel';
  },
  'after PUBREL, before anything is stored': async ({ client, edge, publish }) => {
    publish(client, false);
    await client.next('pubrec');
    await dieUnanswered(edge, client, () => client.send(pubrel));
    return 'pubrel';
  },
  'after PUBREL, stored, the client has no PUBCOMP': async ({ client, edge, publish }) => {
    publish(client, false);
    await client.next('pubrec');
    client.send(pubrel);
    await eventually(async () => (await recordOf('in')).inbound.length === 0, 'a record without the packet id');
    await edge.kill();
    return 'pubrel';
  },
  'after PUBCOMP': async ({ client, edge, publish }) => {
    publish(client, false);
    await client.next('pubrec');
    client.send(pubrel);
    await client.next('pubcomp');
    await edge.kill();
    return 'nothing';
  },
};

for (const version of [5, 4] as const) {
  const ids =
    version === 5
      ? '[MQTT5 4.3.3-8] [MQTT5 4.3.3-10] [MQTT5 4.3.3-11] [MQTT5 4.3.3-12] [X] [K]'
      : '[MQTT311 4.3.3-2] [X] [K]';
  for (const [title, step] of Object.entries(inboundSteps)) {
    test(`${ids} QoS 2 from a client (version ${version}), node killed ${title}: one copy, and the packet id is free again`, async () => {
      const topic = 'handshake/in';
      const subscriber = await SessionClient.connect(safe.tcp, 'in-subscriber');
      await subscriber.subscribe(topic, 2);
      const edge = await startEdge();
      const first = await connect(edge.tcp, version, 'in');
      const publish = (client: RawClient, dup: boolean): void =>
        client.publish(topic, '1', { qos: 2, messageId: ID, dup });
      const todo = await step({ edge, client: first, publish });
      await first.closed;
      const client = await connect(safe.tcp, version, 'in');
      assert.ok(client.connack.sessionPresent);
      if (todo === 'publish') {
        publish(client, true);
        await client.next('pubrec');
      }
      if (todo !== 'nothing') {
        client.send(pubrel);
        const { reasonCode } = await client.next('pubcomp');
        if (version === 5) assert.ok(reasonCode === 0 || reasonCode === PACKET_ID_NOT_FOUND, `PUBCOMP ${reasonCode}`);
      }
      // The same packet id at once for other messages: none is taken for the old one.
      for (const payload of ['2', '3']) {
        client.publish(topic, payload, { qos: 2, messageId: ID });
        await client.next('pubrec');
        client.send(pubrel);
        await client.next('pubcomp');
      }
      await subscriber.waitFor(3);
      assert.deepEqual(
        subscriber.arrivals.map(({ number }) => number),
        [1, 2, 3],
      );
      assert.deepEqual(subscriber.discarded, []);
      await Promise.all([client.end(), subscriber.forget()]);
      await discard('in');
    });
  }
}

/** The next test begins with no session. */
async function discard(clientId: string): Promise<void> {
  const client = await RawClient.connect(safe.tcp, { clientId, clean: true });
  await client.end();
}

// ---- to the client ----

interface Outbound {
  readonly edge: EdgeProcess;
  readonly client: RawClient;
  readonly id: number;
}

type OutboundStep = (at: Outbound) => Promise<void>;

/** What the client may get for the message from the next node; `nothing` only where the node may know that it is done. */
type Allowed = ReadonlyArray<'publish' | 'pubrel' | 'nothing'>;

const outboundSteps: Record<string, readonly [Allowed, OutboundStep]> = {
  'before PUBREC': [['publish'], ({ edge }) => edge.kill()],
  'after PUBREC, before anything is stored': [
    ['publish', 'pubrel'],
    ({ client, edge, id }) => dieUnanswered(edge, client, () => client.send({ cmd: 'pubrec', messageId: id })),
  ],
  'after PUBREC, at once': [
    ['publish', 'pubrel'],
    async ({ client, edge, id }) => {
      client.send({ cmd: 'pubrec', messageId: id });
      await edge.kill();
    },
  ],
  'after PUBREL': [
    ['pubrel'],
    async ({ client, edge, id }) => {
      client.send({ cmd: 'pubrec', messageId: id });
      await client.next('pubrel');
      await edge.kill();
    },
  ],
  'after PUBCOMP, at once': [
    ['pubrel', 'nothing'],
    async ({ client, edge, id }) => {
      client.send({ cmd: 'pubrec', messageId: id });
      await client.next('pubrel');
      await untilRead(edge, () => client.send({ cmd: 'pubcomp', messageId: id }));
      await edge.kill();
    },
  ],
  'after PUBCOMP, stored': [
    ['nothing'],
    async ({ client, edge, id }) => {
      client.send({ cmd: 'pubrec', messageId: id });
      await client.next('pubrel');
      client.send({ cmd: 'pubcomp', messageId: id });
      await eventually(async () => (await recordOf('out')).outbound.length === 0, 'a record without the delivery');
      await edge.kill();
    },
  ],
};

async function complete(client: RawClient, id: number): Promise<void> {
  client.send({ cmd: 'pubrec', messageId: id });
  await client.nextMatching((packet): packet is Packet => packet.cmd === 'pubrel' && packet.messageId === id);
  client.send({ cmd: 'pubcomp', messageId: id });
}

async function nextMessage(client: RawClient): Promise<IPublishPacket & { readonly messageId: number }> {
  const message = await client.next('publish');
  const { messageId } = message;
  assert.ok(messageId !== undefined);
  return { ...message, messageId };
}

/** Takes what the next node sends for message `id` and finishes the exchange; says what it was. */
async function goOn(client: RawClient, id: number): Promise<Allowed[number]> {
  const packet = await client.nextMatching(
    (candidate): candidate is Packet => candidate.cmd === 'publish' || candidate.cmd === 'pubrel',
  );
  if (packet.cmd === 'pubrel') {
    assert.equal(packet.messageId, id, 'PUBREL with the same packet id');
    client.send({ cmd: 'pubcomp', messageId: id });
    return 'pubrel';
  }
  assert.ok(packet.cmd === 'publish');
  if (packet.payload.toString() !== 'old') {
    client.received.unshift(packet);
    return 'nothing';
  }
  assert.equal(packet.messageId, id, 'the same packet id');
  assert.ok(packet.dup, 'DUP'); // [MQTT5 3.3.1-1] [MQTT311 3.3.1-1]
  await complete(client, id);
  return 'publish';
}

for (const version of [5, 4] as const) {
  const ids =
    version === 5
      ? '[MQTT5 4.4.0-1] [MQTT5 4.3.3-5] [MQTT5 4.3.3-6] [X] [K]'
      : '[MQTT311 4.4.0-1] [MQTT311 4.3.3-1] [X] [K]';
  for (const [title, [allowed, step]] of Object.entries(outboundSteps)) {
    test(`${ids} QoS 2 to a client (version ${version}), node killed ${title}: ${allowed.join(' or ')} with the same id`, async () => {
      const topic = 'handshake/out';
      const publisher = await SessionClient.connect(safe.tcp, 'out-publisher');
      const edge = await startEdge();
      const first = await connect(edge.tcp, version, 'out');
      await first.subscribe({ topic, qos: 2 } as { topic: string });
      // Ids that are used up: a node that begins to count anew is found out.
      for (let warmUp = 0; warmUp < 3; warmUp++) {
        await publisher.publish(topic, 'warm-up', { qos: 2 });
        await complete(first, (await nextMessage(first)).messageId);
      }
      await publisher.publish(topic, 'old', { qos: 2 });
      const { dup, messageId: id } = await nextMessage(first);
      assert.ok(!dup && id > 3);
      await step({ edge, client: first, id });
      await first.closed;
      await publisher.publish(topic, 'new', { qos: 2 });
      const client = await connect(safe.tcp, version, 'out');
      assert.ok(client.connack.sessionPresent);
      const got = await goOn(client, id);
      assert.ok(allowed.includes(got), got);
      const fresh = await nextMessage(client);
      assert.equal(fresh.payload.toString(), 'new');
      assert.equal(fresh.dup, false);
      await complete(client, fresh.messageId);
      await publisher.publish(topic, 'newer', { qos: 2 });
      assert.equal((await nextMessage(client)).payload.toString(), 'newer');
      assert.deepEqual(
        client.received.filter(({ cmd }) => cmd === 'publish'),
        [],
      );
      await Promise.all([client.end(), publisher.forget()]);
      await discard('out');
    });
  }
}

test('[MQTT5 4.6.0-1] [MQTT5 4.4.0-1] [X] [K] several QoS 2 messages in flight in different states go on in their order, each where it was', async () => {
  const publisher = await SessionClient.connect(safe.tcp, 'mixed-publisher');
  const edge = await startEdge();
  const first = await connect(edge.tcp, 5, 'out');
  await first.subscribe({ topic: 'mixed', qos: 2 } as { topic: string });
  for (const payload of ['a', 'b', 'c', 'd']) await publisher.publish('mixed', payload, { qos: 2 });
  const messages = [];
  for (let index = 0; index < 4; index++) messages.push(await nextMessage(first));
  const [a, b, c, d] = messages.map(({ messageId }) => messageId);
  assert.ok(a !== undefined && b !== undefined && c !== undefined && d !== undefined);
  first.send({ cmd: 'pubrec', messageId: b });
  await first.next('pubrel');
  await complete(first, c);
  await eventually(async () => (await recordOf('out')).outbound.length === 3, 'a record without the third');
  await edge.kill();
  const client = await connect(safe.tcp, 5, 'out');
  for (const [cmd, id] of [
    ['publish', a],
    ['pubrel', b],
    ['publish', d],
  ]) {
    const packet = await client.nextMatching((candidate): candidate is Packet => candidate.cmd !== 'pingresp');
    assert.deepEqual([packet.cmd, packet.messageId], [cmd, id]);
  }
  await client.ping();
  assert.deepEqual(client.received, []);
  await Promise.all([client.end(), publisher.forget()]);
  await discard('out');
});
