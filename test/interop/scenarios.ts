/** What every library does with every version, transport and deployment; MQTT.js is at the other end. */
import assert from 'node:assert/strict';
import type { Client, Feature, Message, Properties, Version } from './clients/client.ts';
import { assertArrived, type Trial } from './trial.ts';

export interface Scenario {
  readonly title: string;
  readonly needs?: readonly Feature[];
  /** For those that lack it. */
  readonly unless?: Feature;
  /** Default all. */
  readonly versions?: readonly Version[];
  run(trial: Trial): Promise<void>;
}

const LARGE_BYTES = 262_144;
const NOT_AUTHORIZED = 0x87;
const FAILURE = 0x80;

async function bothWays(trial: Trial): Promise<void> {
  const { root } = trial;
  const [peer, client] = [await trial.peer(), await trial.client()];
  await peer.subscribe(`${root}/from/#`, 2);
  await client.subscribe(`${root}/to/#`, 2);
  for (const qos of [0, 1, 2]) {
    for (const [from, to, way] of [
      [client, peer, 'from'],
      [peer, client, 'to'],
    ] as const) {
      const message = { topic: `${root}/${way}/${qos}`, payload: `${way} ${qos}`, qos };
      await from.publish(message);
      assertArrived(await to.inbox.next(), message);
    }
  }
  await client.end();
}

async function unicode(trial: Trial): Promise<void> {
  const topic = `${trial.root}/größe/温度/😀 a`;
  const [peer, client] = [await trial.peer(), await trial.client()];
  await Promise.all([peer.subscribe(topic, 1), client.subscribe(topic, 1)]);
  for (const from of [client, peer]) {
    const message = { topic, payload: 'Grüße, 世界 😀', qos: 1 };
    await from.publish(message);
    for (const to of [client, peer]) assertArrived(await to.inbox.next(), message);
  }
}

async function large(trial: Trial): Promise<void> {
  const topic = `${trial.root}/large`;
  const payload = '0123456789abcdef'.repeat(LARGE_BYTES / 16);
  const [peer, client] = [await trial.peer(), await trial.client()];
  await Promise.all([peer.subscribe(topic, 1), client.subscribe(topic, 1)]);
  for (const from of [client, peer]) {
    await from.publish({ topic, payload, qos: 1 });
    for (const to of [client, peer]) assertArrived(await to.inbox.next(), { topic, payload, qos: 1 });
  }
}

async function retained(trial: Trial): Promise<void> {
  const { root } = trial;
  const messages = ['mine', 'removed', 'theirs'].map((name) => ({
    topic: `${root}/${name}`,
    payload: name,
    qos: 1,
    retain: true,
  }));
  const [client, peer, late] = [await trial.client(), await trial.peer(), await trial.client()];
  for (const message of messages) await (message.payload === 'theirs' ? peer : client).publish(message);
  await client.publish({ topic: `${root}/removed`, payload: '', qos: 1, retain: true });
  await Promise.all([peer.subscribe(`${root}/#`, 1), late.subscribe(`${root}/#`, 1)]);
  for (const { inbox } of [peer, late]) {
    const arrived = [await inbox.next(), await inbox.next()].sort((a, b) => (a.topic < b.topic ? -1 : 1));
    for (const message of arrived) {
      const sent = messages.find(({ topic }) => topic === message.topic);
      assertArrived(message, sent ?? { topic: '', payload: '' });
    }
    assert.deepEqual(
      arrived.map(({ payload }) => payload),
      ['mine', 'theirs'],
    );
  }
}

async function will(trial: Trial): Promise<void> {
  const topic = `${trial.root}/will`;
  const peer = await trial.peer();
  await peer.subscribe(topic, 2);
  const [polite, killed] = await Promise.all(
    ['polite', 'killed'].map(async (payload) => {
      const client = await trial.client({
        clientId: `${payload}-${trial.root.replace('/', '-')}`,
        will: { topic, payload, qos: 1 },
      });
      await client.subscribe(`${trial.root}/other`, 0);
      return client;
    }),
  );
  assert.ok(polite !== undefined && killed !== undefined);
  await trial.leave(polite);
  // [MQTT5 §3.14.2.1] 0x04 asks for the will.
  if (trial.version === '5' && trial.library.features.includes('leaves with will'))
    assertArrived(await peer.inbox.next(), { topic, payload: 'polite', qos: 1 });
  await killed.kill();
  assertArrived(await peer.inbox.next(), { topic, payload: 'killed', qos: 1 });
  await peer.publish({ topic, payload: 'end', qos: 1 });
  assertArrived(await peer.inbox.next(), { topic, payload: 'end', qos: 1 });
}

async function session(trial: Trial): Promise<void> {
  const topic = `${trial.root}/session`;
  const kept = { clientId: `kept-${trial.root.replace('/', '-')}`, clean: false };
  const before = await trial.client(kept);
  await before.subscribe(topic, 2);
  await trial.leave(before);
  const peer = await trial.peer();
  // The last one with QoS 2: some libraries hand it on with PUBREL only.
  const sent = [1, 1, 2].map((qos, index) => ({ topic, payload: `away ${index}`, qos }));
  for (const message of sent) await peer.publish(message);
  const after = await trial.client(kept);
  if (trial.library.connects === 'on subscribe') await after.subscribe(topic, 2);
  for (const message of sent) assertArrived(await after.inbox.next(), message);
}

async function unsubscribe(trial: Trial): Promise<void> {
  const [given, kept] = [`${trial.root}/given`, `${trial.root}/kept`];
  const [peer, client] = [await trial.peer(), await trial.client({ clean: false })];
  for (const topic of [given, kept]) await client.subscribe(topic, 1);
  const publish = (topic: string): Promise<void> => peer.publish({ topic, payload: 'x', qos: 1 });
  await publish(given);
  assertArrived(await client.inbox.next(), { topic: given, payload: 'x', qos: 1 });
  await client.unsubscribe(given);
  await publish(given);
  await publish(kept);
  assertArrived(await client.inbox.next(), { topic: kept, payload: 'x', qos: 1 });
}

async function shared(trial: Trial): Promise<void> {
  const count = 30;
  const topic = `${trial.root}/shared`;
  const members = [await trial.client(), await trial.client()];
  for (const member of members) await member.subscribe(`$share/group/${topic}`, 1);
  const peer = await trial.peer();
  for (let n = 0; n < count; n++) await peer.publish({ topic, payload: String(n), qos: 1 });
  const got: string[] = [];
  const collect = async ({ inbox }: Client): Promise<void> => {
    while (got.length < count) got.push((await inbox.next()).payload);
  };
  await Promise.race(members.map(collect));
  assert.deepEqual(
    got.map(Number).sort((a, b) => a - b),
    Array.from({ length: count }, (_, n) => n),
  );
}

/** A 3.x client is told failure, and MQTT 5's why. [MQTT5 §3.9.3] [MQTT311 3.9.3-2] */
async function refused(trial: Trial): Promise<void> {
  const client = await trial.client();
  assert.equal(await client.refusal('$KV/bucket'), trial.version === '5' ? NOT_AUTHORIZED : FAILURE);
}

const properties = {
  contentType: 'text/plain; charset=utf-8',
  correlationData: 'order 17',
  messageExpiry: 600,
  responseTopic: 'replies/ü',
};

function assertProperties(actual: Message, user: Properties['user']): void {
  const { messageExpiry, ...others } = { ...actual.properties };
  const { messageExpiry: sent, ...expected } = properties;
  assert.deepEqual(others, { ...expected, user });
  assert.ok(messageExpiry !== undefined && messageExpiry <= sent && messageExpiry > sent - 60, `${messageExpiry}`);
}

async function propertiesArrive(trial: Trial): Promise<void> {
  const topic = `${trial.root}/properties`;
  const user = [
    ['b', '1'],
    ['b', '2'],
    ['a', 'ü'],
  ] as const;
  const [peer, client] = [await trial.peer(), await trial.client()];
  await client.subscribe(topic, 1);
  await peer.publish({ topic, payload: 'x', qos: 1, properties: { ...properties, user } });
  assertProperties(await client.inbox.next(), user);
}

async function propertiesSent(trial: Trial): Promise<void> {
  const topic = `${trial.root}/properties`;
  const user = [
    ['b', '1'],
    ['b', '2'],
    ['a', '3'],
  ] as const;
  const [peer, client] = [await trial.peer(), await trial.client()];
  await peer.subscribe(topic, 1);
  await client.publish({ topic, payload: 'x', qos: 1, properties: { ...properties, user } });
  assertProperties(await peer.inbox.next(), user);
}

/** For those that cannot publish more. */
async function someSent(trial: Trial): Promise<void> {
  const topic = `${trial.root}/some`;
  const [peer, client] = [await trial.peer(), await trial.client()];
  await peer.subscribe(topic, 1);
  await client.publish({ topic, payload: 'x', qos: 1, properties: { messageExpiry: 600, user: [['a', '1']] } });
  const { messageExpiry, ...others } = { ...(await peer.inbox.next()).properties };
  assert.deepEqual(others, { user: [['a', '1']] });
  assert.ok(messageExpiry !== undefined && messageExpiry <= 600 && messageExpiry > 540);
}

async function order(trial: Trial): Promise<void> {
  const topic = `${trial.root}/order`;
  const user = ['b', 'a', 'b', 'c', 'a'].map((name, index) => [name, String(index)] as const);
  const [receiver, sender] = [await trial.client(), await trial.client()];
  await receiver.subscribe(topic, 0);
  await sender.publish({ topic, payload: 'x', properties: { ...properties, user } });
  assertProperties(await receiver.inbox.next(), user);
}

/** MQTT 3.1 is the same in these; each costs processes and time. */
const FROM_311 = ['3.1.1', '5'] as const;

export const scenarios: readonly Scenario[] = [
  { title: 'QoS 0, 1 and 2 both ways', run: bothWays },
  { title: 'topic and payload beyond ASCII', versions: FROM_311, run: unicode },
  { title: 'a payload of 256 KiB both ways', versions: FROM_311, run: large },
  { title: 'retained messages are kept, sent and removed', versions: FROM_311, run: retained },
  { title: 'a will is published after a kill, not after DISCONNECT', run: will },
  { title: 'a session gets what came while it was away', needs: ['session'], run: session },
  { title: 'nothing more after unsubscribing', needs: ['unsubscribe', 'session'], run: unsubscribe },
  { title: 'a shared subscription gets each message once', versions: FROM_311, run: shared },
  { title: 'the code of a refused subscription', run: refused },
  { title: 'properties arrive', versions: ['5'], run: propertiesArrive },
  { title: 'its properties arrive', versions: ['5'], needs: ['properties'], run: propertiesSent },
  { title: 'its user property and expiry arrive', versions: ['5'], unless: 'properties', run: someSent },
  { title: 'user properties keep their order and repetitions', versions: ['5'], needs: ['order'], run: order },
];
