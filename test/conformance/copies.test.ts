/**
 * Every way on which a message becomes a copy for a subscriber: published or a will; live, stored while the subscriber was away,
 * retained, in a group. What the standards say about copies holds on each of them.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { IPublishPacket } from 'mqtt-packet';
import { startDeployment } from '../support/deployment.ts';
import { eventually } from '../support/eventually.ts';
import type { TestNode } from '../support/node.ts';
import { type ConnectFields, connectPacket, RawClient } from '../support/raw-client.ts';
import { bytes, packet, property, props, str, u16 } from '../unit/mqtt/bytes.ts';

let node: TestNode;
before(async () => {
  node = await startDeployment();
});
after(() => node.stop());

type Qos = 0 | 1 | 2;
type Version = 4 | 5;
type Source = 'publication' | 'will';
type Route = 'live' | 'stored' | 'retained' | 'group';

interface Way {
  readonly source: Source;
  readonly route: Route;
}

const ways: readonly Way[] = (['publication', 'will'] as const).flatMap((source) =>
  (['live', 'stored', 'retained', 'group'] as const).map((route) => ({ source, route })),
);

interface Message {
  readonly topic: string;
  readonly payload: string;
  readonly qos: Qos;
  readonly isRetained: boolean;
  readonly version: Version;
  /** The block of properties without its length; MQTT 5 only. */
  readonly properties: Buffer;
}

let serial = 0;

/** Sends a PUBLISH and goes through its handshake. */
async function publish({ topic, payload, qos, isRetained, version, properties }: Message): Promise<void> {
  const publisher = await RawClient.connect(node.tcp, { version });
  const header = 0x30 | (qos << 1) | (isRetained ? 1 : 0);
  const id = qos === 0 ? [] : u16(7);
  publisher.send(packet(header, str(topic), id, version === 5 ? props(properties) : [], Buffer.from(payload)));
  if (qos === 1) assert.equal(await publisher.nextAcknowledgement('puback', 7), 0);
  if (qos === 2) {
    assert.equal(await publisher.nextAcknowledgement('pubrec', 7), 0);
    publisher.acknowledge('pubrel', 7);
    await publisher.nextAcknowledgement('pubcomp', 7);
  }
  await publisher.end();
}

/** Connects with a will, and crashes. */
async function leaveWill({ topic, payload, qos, isRetained, version, properties }: Message): Promise<void> {
  const client = await RawClient.open(node.tcp, version);
  const flags = 0x06 | (qos << 3) | (isRetained ? 0x20 : 0);
  const five = version === 5;
  const head = [str('MQTT'), version, flags, u16(0), five ? props() : []];
  client.send(
    packet(0x10, ...head, str(`mortal-${++serial}`), five ? props(properties) : [], str(topic), str(payload)),
  );
  await client.next('connack');
  await client.abort();
}

/** The message is where its way leads: a client that is subscribed has got it, and so it is stored and kept. */
async function send(source: Source, message: Message): Promise<void> {
  const watcher = await RawClient.connect(node.tcp);
  await watcher.subscribe(message.topic);
  await (source === 'will' ? leaveWill(message) : publish(message));
  await watcher.next('publish');
  await watcher.end();
}

/** A subscriber, with the bytes that it receives. */
class Receiver {
  readonly client: RawClient;
  readonly fields: ConnectFields;
  readonly #chunks: Buffer[] = [];

  private constructor(client: RawClient, fields: ConnectFields) {
    this.client = client;
    this.fields = fields;
    client.socket.on('data', (chunk) => this.#chunks.push(chunk));
  }

  static async connect(fields: ConnectFields): Promise<Receiver> {
    const receiver = new Receiver(await RawClient.open(node.tcp, fields.version), fields);
    receiver.client.send(connectPacket(fields));
    await receiver.client.next('connack');
    return receiver;
  }

  get bytes(): Buffer {
    return Buffer.concat(this.#chunks);
  }

  next(): Promise<IPublishPacket> {
    return this.client.next('publish');
  }
}

interface Journey extends Way {
  readonly topic: string;
  readonly granted: Qos;
  readonly version: Version;
  readonly receiveMaximum?: number;
}

function filterOf({ granted: qos, route, topic }: Journey): { topic: string; qos: Qos } {
  return { topic: route === 'group' ? `$share/copies/${topic}` : topic, qos };
}

/** Connects, and is subscribed where the message has to find a subscription; a client that is to be away leaves. */
async function awaitMessages(journey: Journey): Promise<Receiver> {
  const { granted, receiveMaximum = 65_535, route, version } = journey;
  const properties = version === 5 ? { properties: { sessionExpiryInterval: 600, receiveMaximum } } : {};
  const receiver = await Receiver.connect({ version, clientId: `copies-${++serial}`, clean: false, ...properties });
  if (route !== 'retained') assert.deepEqual(await receiver.client.subscribe(filterOf(journey)), [granted]);
  if (route === 'stored') await receiver.client.end();
  return receiver;
}

/** The client to which the copies come, once the messages are sent. */
async function collect(journey: Journey, receiver: Receiver): Promise<Receiver> {
  if (journey.route === 'stored') return Receiver.connect(receiver.fields);
  if (journey.route === 'retained') await receiver.client.subscribe(filterOf(journey));
  return receiver;
}

/** Ends client and session. */
async function forget({ client }: Receiver): Promise<void> {
  await client.end(client.version === 5 ? 0 : undefined);
}

for (const { source, route } of ways) {
  for (const qos of [1, 2] as const) {
    test(`[E] [MQTT5 3.3.2-4] [MQTT5 3.3.2-15] [MQTT5 3.3.2-16] [MQTT5 3.3.2-17] [MQTT5 3.3.2-18] [MQTT5 3.3.2-20] ${source}, ${route}, QoS ${qos}: all properties arrive as they were, byte for byte and in their order`, async () => {
      const { contentType, correlationData, payloadFormat, responseTopic, user } = property;
      const properties = bytes(
        ...[user('b', '1'), payloadFormat(1), user('a', '2'), contentType('text/plain; é\uFEFF'), user('b', '3')],
        ...[responseTopic('answers/é'), user('1', 'x'), correlationData(Buffer.from([0, 0xff, 0])), user('b', '1')],
        ...[user('b', '1'), user('', '')],
      );
      const topic = `properties/${++serial}`;
      const message = { topic, payload: 'x', qos, isRetained: route === 'retained', version: 5, properties } as const;
      const journey = { source, route, topic, granted: qos, version: 5 } as const;
      const waiting = await awaitMessages(journey);
      await send(source, message);
      const receiver = await collect(journey, waiting);
      const copy = await receiver.next();
      assert.deepEqual([copy.qos, copy.retain], [qos, route === 'retained']);
      assert.ok(receiver.bytes.includes(bytes(u16(copy.messageId ?? 0), props(properties), Buffer.from('x'))));
      await forget(receiver);
    });
  }
}

const SHORT_SECONDS = 1;
const LONG_SECONDS = 100;

/** One message that expires soon and one that does not, both held back on their way. */
async function sendExpiring(way: Way): Promise<{ journey: Journey; receiver: Receiver }> {
  const { route, source } = way;
  const topic = `expiry/${source}/${route}`;
  const isRetained = route === 'retained';
  const put = (payload: string, seconds: number): Promise<void> =>
    send(source, {
      ...{ topic: isRetained ? `${topic}/${payload}` : topic, payload, qos: 1, version: 5, isRetained },
      properties: property.messageExpiry(seconds),
    });
  const fields = { granted: 1, version: 5, receiveMaximum: 1 } as const;
  const journey = { ...way, ...fields, topic: isRetained ? `${topic}/+` : topic };
  const receiver = await awaitMessages(journey);
  // With Receive Maximum 1 this one holds back what follows.
  if (route === 'live' || route === 'group') await put('first', LONG_SECONDS);
  await put('short', SHORT_SECONDS);
  await put('long', LONG_SECONDS);
  return { journey, receiver };
}

test('[E] [MQTT5 3.3.2-5] [MQTT5 3.3.2-6] every way: a copy that has not begun when its time is over is deleted, and one that begins later shows what is left', async () => {
  const begun = performance.now();
  const sent = await Promise.all(ways.map(sendExpiring));
  const placed = performance.now();
  await eventually(() => performance.now() > placed + 2_100);
  for (const { journey, receiver } of sent) {
    const name = `${journey.source}, ${journey.route}`;
    const { client } = await collect(journey, receiver);
    if (journey.route === 'live' || journey.route === 'group') {
      const { messageId = 0, payload } = await client.next('publish');
      assert.equal(payload.toString(), 'first');
      client.acknowledge('puback', messageId);
    }
    const { messageId = 0, payload, properties } = await client.next('publish');
    assert.equal(payload.toString(), 'long', name);
    const left = properties?.messageExpiryInterval ?? 0;
    const most = Math.ceil((performance.now() - begun) / 1000);
    assert.ok(left <= LONG_SECONDS - 2 && left >= LONG_SECONDS - most - 1, `${name}: ${left} after ${most} s or less`);
    client.acknowledge('puback', messageId);
    const topic = journey.topic.replace('+', 'marker');
    await publish({ topic, payload: 'marker', qos: 1, isRetained: false, version: 4, properties: Buffer.alloc(0) });
    assert.equal((await client.next('publish')).payload.toString(), 'marker', name);
    await client.end(0);
  }
});

for (const { source, route } of ways) {
  // A message of QoS 0 is not stored for absent clients, and a subscription with QoS 0 stores nothing.
  const levels: readonly Qos[] = route === 'stored' ? [1, 2] : [0, 1, 2];
  test(`[E] [MQTT5 3.8.4-8] [MQTT311 3.8.4-6] ${source}, ${route}: each copy has the lower one of its QoS and the granted one`, async () => {
    for (const version of [4, 5] as const) {
      for (const qos of levels) {
        for (const granted of levels) {
          const topic = `lower/${++serial}`;
          const isRetained = route === 'retained';
          const message = { topic, payload: 'x', qos, isRetained, version, properties: Buffer.alloc(0) };
          const journey = { source, route, topic, granted, version };
          const waiting = await awaitMessages(journey);
          await send(source, message);
          const receiver = await collect(journey, waiting);
          const copy = await receiver.next();
          assert.equal(copy.qos, Math.min(qos, granted), `MQTT ${version}, ${qos} to ${granted}`);
          assert.equal(copy.dup, false);
          receiver.client.acknowledges = true;
          await forget(receiver);
        }
      }
    }
  });
}
